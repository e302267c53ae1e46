"""The supervised objective: what it refuses, how it weighs, what it leaves out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from bodh.contracts import Batch, Facts, Progress
from bodh.errors import ConfigError, DataError
from bodh.objectives import classify
from bodh.testing.objectives import TinyBackbone, check_objective
from bodh.views.mix import draw_mix

AT = Progress(0, 10, 0, 1)
NAMES = ("बिल्ली", "कुत्ता", "चिड़िया")


def _build(
    task: Any = "single", names: tuple[str, ...] = NAMES, counts: tuple[int, ...] = (10, 30, 20), **settings: Any
) -> classify.Classify:
    torch.manual_seed(0)
    facts = Facts(60, 10, 8, task=task, class_names=names, class_counts=counts)
    return classify.build(TinyBackbone((3, 8, 8)), classify.Config(**settings), facts)


def _batch(targets: torch.Tensor | None, seed: int = 0) -> Batch:
    x = torch.randn(8, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    return Batch((x,), torch.arange(8), targets, seed)


def test_data_without_labels_is_refused() -> None:
    with pytest.raises(DataError, match="label=COLUMN"):
        _build(task=None, names=())
    with pytest.raises(DataError, match=r"at least two classes, given 1: \['बिल्ली'\]"):
        _build(names=NAMES[:1], counts=(60,))
    with pytest.raises(DataError, match="without labels"):
        _build()(_batch(None), AT)


@pytest.mark.parametrize("weights", [[1.0, 2.0], [1.0, -1.0, 2.0], [0.0, 0.0, 0.0], [1.0, float("inf"), 1.0]])
def test_weights_that_do_not_fit_are_refused(weights: list[float]) -> None:
    with pytest.raises(ConfigError, match=r"3 finite numbers from 0 .* बिल्ली, कुत्ता, चिड़िया"):
        _build(class_weights=weights)


def test_balanced_without_counts_is_refused() -> None:
    with pytest.raises(ConfigError, match="number of records a class"):
        _build(counts=(), class_weights="balanced")


def test_balanced_is_scikit_learns() -> None:
    from sklearn.utils.class_weight import compute_class_weight

    y = np.repeat([0, 1, 2], [10, 30, 20])
    expected = compute_class_weight("balanced", classes=np.arange(3), y=y)
    built = _build(class_weights="balanced").weight
    assert built is not None
    assert built.tolist() == pytest.approx(expected.tolist())


def test_balanced_leaves_classes_without_records_out() -> None:
    built = _build(counts=(10, 0, 30), class_weights="balanced").weight
    assert built is not None
    assert built.tolist() == pytest.approx([40 / 30, 0, 40 / 90])


def test_heads_fit_the_task() -> None:
    assert [_build(task, NAMES[:k], (9,) * k).head.out_features for task, k in TASKS] == [3, 1, 3]


TASKS: list[tuple[Any, int]] = [("single", 3), ("binary", 2), ("multi", 3)]


def test_unlabelled_rows_change_nothing() -> None:
    objective = _build().eval()
    targets = torch.tensor([0, 1, 2, 0, -1, -1, -1, -1])
    output = objective(_batch(targets), AT)
    batch = _batch(targets[:4])
    alone = objective(Batch((batch.views[0][:4],), batch.index[:4], targets[:4], 0), AT)
    torch.testing.assert_close(output.loss, alone.loss)
    torch.testing.assert_close(output.figures["accuracy"], alone.figures["accuracy"])
    nothing = objective(_batch(torch.full((8,), -1)), AT)
    assert nothing.loss.item() == 0
    assert float(nothing.figures["accuracy"]) == 0


@pytest.mark.parametrize(("task", "k"), TASKS)
def test_accuracy_is_the_share_of_right_answers(task: Any, k: int) -> None:
    objective = _build(task, NAMES[:k], (9,) * k).eval()
    torch.nn.init.normal_(objective.head.weight, generator=torch.Generator().manual_seed(0))  # type: ignore[arg-type]
    x = _batch(None).views[0]
    logits = objective.head(objective.backbone(x)).detach()
    right = logits.argmax(1) if task == "single" else (logits > 0).long().squeeze(1)
    wrong = right.clone()
    if task == "multi":
        wrong[:, 0] = 1 - wrong[:, 0]
    else:
        wrong[:2] = (wrong[:2] + 1) % k
    wanted = {"single": 6 / 8, "binary": 6 / 8, "multi": 2 / 3}[task]
    assert float(objective(_batch(right), AT).figures["accuracy"]) == 1
    assert float(objective(_batch(wrong), AT).figures["accuracy"]) == pytest.approx(wanted)


def test_dropout_drops_by_the_batch_s_seed_and_only_in_training() -> None:
    objective = _build(dropout=0.5)
    features = torch.ones(400, 50)
    dropped = objective._drop(features, seed=1)
    assert set(dropped.unique().tolist()) == {0.0, 2.0}
    assert float(dropped.mean()) == pytest.approx(1, abs=0.05)
    assert torch.equal(dropped, objective._drop(features, seed=1))
    assert not torch.equal(dropped, objective._drop(features, seed=2))
    assert torch.equal(objective.eval()._drop(features, seed=1), features)


def test_view_is_the_one_asked_for() -> None:
    assert [view.kind for view in _build().views()] == ["weak"]
    assert [view.kind for view in _build(view="plain").views()] == ["plain"]


MIXED: dict[str, Any] = {"mixup": 0.4, "cutmix": 1.0, "label_smoothing": 0.1}


@pytest.mark.parametrize("task", ["single", "binary", "multi"])
def test_mixing_keeps_the_contract(task: Any) -> None:
    check_objective(classify, settings=MIXED, task=task)


@pytest.mark.parametrize(("task", "k"), TASKS)
@pytest.mark.parametrize("kind", ["mixup", "cutmix"])
def test_mixed_loss_is_the_mean_of_both_losses(task: Any, k: int, kind: str) -> None:
    objective = _build(task, NAMES[:k], (9,) * k, **{kind: 1.0})
    targets = torch.tensor([0, 1, 1, 0, 1, 0, 0, 1])
    if task == "multi":
        targets = torch.nn.functional.one_hot(targets, 3).float()
    batch = _batch(targets, seed=4)
    mix = draw_mix(batch.views[0].shape, mixup=objective.config.mixup, cutmix=objective.config.cutmix, seed=4)
    assert mix is not None
    logits = objective.head(objective.backbone(mix.records(batch.views[0])))

    def loss(y: torch.Tensor) -> torch.Tensor:
        if task == "single":
            return torch.nn.functional.cross_entropy(logits, y)
        return torch.nn.functional.binary_cross_entropy_with_logits(logits, y.reshape(logits.shape).float())

    expected = mix.share * loss(targets) + (1 - mix.share) * loss(targets[mix.partner])
    torch.testing.assert_close(objective(batch, AT).loss, expected)
    objective.eval()  # evaluation never mixes
    assert torch.equal(objective(batch, AT).loss, objective(_batch(targets, seed=5), AT).loss)


def test_mixtures_with_an_unlabelled_record_count_by_their_known_share() -> None:
    objective = _build(mixup=1.0)
    nothing = objective(_batch(torch.full((8,), -1)), AT)
    assert nothing.loss.item() == 0
    assert bool(objective(_batch(torch.tensor([0, 1, 2, 0, -1, -1, -1, -1])), AT).loss.isfinite())


def test_cutmix_of_vectors_is_refused() -> None:
    facts = Facts(60, 10, 8, shape=(12,), task="single", class_names=NAMES, class_counts=(10, 30, 20))
    with pytest.raises(ConfigError, match=r"cutmix=1.0 .* shape \(12,\); .*objective.mixup"):
        classify.build(TinyBackbone((12,)), classify.Config(cutmix=1.0), facts)


def test_randaugment_is_asked_for_as_a_view() -> None:
    (view,) = _build(view="randaugment").views()
    assert (view.kind, dict(view.options)) == ("weak", {"randaugment": 2})
