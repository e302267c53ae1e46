"""What transfer asks of the loop: frozen stages, rates by stage, validation, early stopping, the finder, balance."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from bodh.contracts import Progress
from bodh.records.feed import Draw, Feed, Place
from bodh.records.sampling import balanced_order
from bodh.testing.objectives import TinyBackbone
from bodh.train import loop
from bodh.train.find import FILE, valley
from bodh.train.freeze import held_at
from bodh.train.log import read
from bodh.train.validate import Best, Validation
from tests.unit.train.parts import NoiseModality, make_store, make_training, same_weights

NAMES = ("stem", "stage1", "stage2", "stage3")


def staged() -> TinyBackbone:
    torch.manual_seed(1)
    return TinyBackbone((3, 8, 8))


def classifier(**options: Any) -> loop.Training:
    return make_training(objective="classify", backbone=staged(), **options)[0]


def validation() -> Validation:
    return Validation(make_store(), np.arange(3, 64, 3), NoiseModality(), device=torch.device("cpu"), batch=8)  # type: ignore[arg-type]


def test_a_frozen_stage_keeps_every_number_and_is_not_under_autograd(tmp_path: Path) -> None:
    training = classifier(held=("first",))
    backbone: Any = training.backbone
    before = {name: tensor.clone() for name, tensor in backbone.first.state_dict().items()}
    seen: list[bool] = []
    backbone.first.register_forward_hook(lambda _m, _i, out: seen.append(out.requires_grad))
    loop.train(training, run=tmp_path, monitor=None, title="test")
    assert all(torch.equal(before[name], tensor) for name, tensor in backbone.first.state_dict().items())
    assert seen
    assert not any(seen)
    assert training.objective.training
    assert not backbone.first.training
    assert not same_weights(backbone.second, staged().second)


def test_frozen_norms_keep_statistics_and_learn_their_scale(tmp_path: Path) -> None:
    training = classifier(frozen_norms=True)
    loop.train(training, run=tmp_path, monitor=None, title="test")
    norm: Any = training.backbone.first[1]  # type: ignore[index]
    assert torch.equal(norm.running_mean, torch.zeros(8))
    assert not torch.equal(norm.weight, torch.ones(8))


def test_stages_join_from_the_last_to_the_first() -> None:
    at = [held_at(NAMES, ("stem",), gradual=0.6, fraction=f) for f in (0.0, 0.19, 0.2, 0.4, 0.6, 1.0)]
    assert at == [NAMES, NAMES, NAMES[:3], NAMES[:2], NAMES[:1], NAMES[:1]]
    assert held_at(NAMES, (), gradual=0, fraction=0) == ()


@pytest.mark.parametrize("optimiser", ["adamw", "sgd", "lars"])
def test_gradual_unfreezing_trains_what_has_joined_only(optimiser: str) -> None:
    training = classifier(gradual=0.5, optimiser=optimiser)
    backbone: Any = training.backbone
    first, second = (backbone.first[0].weight.clone(), backbone.second[0].weight.clone())
    for _ in range(4):  # of 16 steps: the head alone
        loop._one_step(training)
        training.step += 1
    assert torch.equal(backbone.second[0].weight, second)
    for _ in range(4):
        loop._one_step(training)
        training.step += 1
    assert not torch.equal(backbone.second[0].weight, second)
    assert torch.equal(backbone.first[0].weight, first)
    loop._one_step(training)
    training.feed.close()
    assert not torch.equal(backbone.first[0].weight, first)


def test_rates_fall_by_stage_and_the_head_has_the_whole() -> None:
    training = classifier(layer_decay=0.5)
    loop._one_step(training)
    training.feed.close()
    rate = {id(p): group["lr"] for group in training.optimiser.param_groups for p in group["params"]}
    backbone: Any = training.backbone
    head: Any = training.methods.keep()["head"]
    whole = rate[id(head.weight)]
    assert rate[id(backbone.second[0].weight)] == pytest.approx(whole)
    assert rate[id(backbone.first[0].weight)] == pytest.approx(whole / 2)
    assert rate[id(backbone.first[1].bias)] == pytest.approx(whole / 2)
    assert len(rate) == len(list(training.objective.parameters()))


def test_validation_is_the_mean_over_its_records() -> None:
    training = classifier()
    training.feed.close()
    parts = validation()
    noise, NoiseModality.scale = NoiseModality.scale, 0.0
    try:
        found = parts.measure(training.methods, training.objective, Progress(0, 1, 0, 1))
        store = make_store()
        x = torch.from_numpy(store.rows(np.arange(3, 64, 3))).float().permute(0, 3, 1, 2) / 255  # type: ignore[arg-type]
    finally:
        NoiseModality.scale = noise
    objective: Any = training.objective
    objective.eval()
    logits = objective.head(objective.backbone(x))
    targets = torch.from_numpy(np.arange(64)[3::3] % 4)
    assert found["loss"] == pytest.approx(nn.functional.cross_entropy(logits, targets).item(), rel=1e-5)
    assert found["accuracy"] == pytest.approx((logits.argmax(1) == targets).float().mean().item())


def test_the_best_weights_are_kept_and_patience_ends_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    accuracies = iter([0.2, 0.6, 0.5, 0.6, 0.9])
    at: list[torch.Tensor] = []
    training = classifier(patience=2, epochs=20)

    def told(*_: Any) -> dict[str, float]:
        at.append(training.methods.keep()["head"].weight.detach().clone())  # type: ignore[union-attr,operator]
        return {"accuracy": next(accuracies), "loss": 1.0}

    part = validation()
    monkeypatch.setattr(part, "measure", told)
    outcome = loop.train(training, run=tmp_path, monitor=None, title="test", validation=part)
    assert outcome.steps == 16
    assert outcome.choice["chosen"] == 8
    assert torch.equal(training.methods.keep()["head"].weight, at[1])  # type: ignore[arg-type]
    assert [r["accuracy"] for r in read(tmp_path / "log.jsonl") if r["kind"] == "validation"] == [0.2, 0.6, 0.5, 0.6]


def test_a_tie_in_accuracy_is_settled_by_the_loss() -> None:
    best, kept = Best(), nn.Linear(1, 1)
    assert best.see(1, {"accuracy": 0.5, "loss": 1.0}, kept)
    assert best.see(2, {"accuracy": 0.5, "loss": 0.9}, kept)
    assert not best.see(3, {"accuracy": 0.4, "loss": 0.1}, kept)
    assert best.to_json().keys() == {"step", "score", "stale", "weights", "points"}


EVERYTHING: dict[str, Any] = {
    "gradual": 0.6, "layer_decay": 0.7, "frozen_norms": True, "patience": 3, "learning_rate": "find", "epochs": 3,
}  # fmt: skip


def test_resume_is_exact_with_all_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = classifier(**EVERYTHING)
    loop.train(whole, run=tmp_path, monitor=None, title="test", validation=validation())
    real = loop._one_step
    broken = classifier(**EVERYTHING)

    def dies_at_seven(training: loop.Training, rate: float | None = None) -> dict[str, torch.Tensor]:
        if training.step == 7 and rate is None:
            raise MemoryError("killed")
        return real(training, rate)

    (tmp_path / "part").mkdir()
    monkeypatch.setattr(loop, "_one_step", dies_at_seven)
    with pytest.raises(MemoryError):
        loop.train(broken, run=tmp_path / "part", monitor=None, title="test", validation=validation())
    monkeypatch.setattr(loop, "_one_step", real)
    again = classifier(**EVERYTHING)
    loop.train(again, run=tmp_path / "part", monitor=None, title="test", validation=validation())
    assert same_weights(whole.objective, again.objective)
    assert whole.best.points == again.best.points


def test_the_finder_changes_nothing_and_leaves_its_curve(tmp_path: Path) -> None:
    found = classifier(learning_rate="find")
    loop.train(found, run=tmp_path, monitor=None, title="test")
    curve = json.loads((tmp_path / FILE).read_text())
    rate = curve["chosen"]
    assert rate in curve["rates"]
    assert len(curve["rates"]) == len(curve["losses"])
    (tmp_path / "given").mkdir()
    given = classifier(learning_rate=rate)
    loop.train(given, run=tmp_path / "given", monitor=None, title="test")
    assert same_weights(found.objective, given.objective)


def test_the_valley_is_the_middle_of_the_way_down() -> None:
    rates = [10.0**k for k in range(-6, 2)]
    assert valley(rates, [5.0, 4.9, 4.0, 3.0, 2.0, 1.0, 8.0, 9.0]) == rates[2]
    assert valley(rates, [5.0, 4.9, 5.5, 3.0, 2.0, 2.5, 1.0, 9.0]) == rates[3]
    assert valley([1.0], [2.0]) == 1.0


def test_balanced_orders_show_every_class_equally_often() -> None:
    groups = [np.arange(2), np.arange(2, 12), np.arange(12, 100)]
    counts = np.zeros(3, int)
    for epoch in range(3):
        order = balanced_order(100, groups, seed=3, epoch=epoch)
        assert np.array_equal(order, balanced_order(100, groups, seed=3, epoch=epoch))
        here = [int(np.isin(order, group).sum()) for group in groups]
        assert sorted(here) == [33, 33, 34]
        assert np.bincount(order, minlength=100)[:2].tolist() in ([17, 17], [17, 16], [16, 17])
        counts += here
    assert len(set(balanced_order(100, groups, seed=3, epoch=0)[:20].tolist())) > 5
    assert not np.array_equal(
        balanced_order(100, groups, seed=3, epoch=0), balanced_order(100, groups, seed=3, epoch=1)
    )


def test_the_feed_draws_by_groups() -> None:
    store = make_store()
    rare = np.arange(4)
    feed = Feed(
        store, np.arange(64), NoiseModality(), (), batch=16, seed=0,  # type: ignore[arg-type]
        place=Place(torch.device("cpu")), draw=Draw(groups=[rare, np.arange(4, 64)]),
    )  # fmt: skip
    drawn = np.concatenate([feed.micro_batch(step, 0, lambda _: None).index.numpy() for step in range(4)])
    feed.close()
    assert np.isin(drawn, rare).sum() == 32
