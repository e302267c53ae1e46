"""Decisions of simsiam, barlow, vicreg, supcon and dino that the shared checks do not see."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from bodh.contracts import Batch, Facts, Progress, View
from bodh.errors import DataError
from bodh.objectives import barlow, dino, simsiam, supcon, vicreg
from bodh.testing.objectives import TinyBackbone

N, STEPS = 16, 10
FACTS = Facts(records=4000, steps=STEPS, batch_size=N)


class AnySide(TinyBackbone):
    any_side = True


def _batch(seed: int = 0, sides: tuple[int, ...] = (8, 8), targets: Tensor | None = None) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    views = tuple(torch.randn(N, 3, side, side, generator=generator) for side in sides)
    return Batch(views, torch.arange(N), targets, seed)


def _at(step: int) -> Progress:
    return Progress(step, STEPS, 0, 1)


def _build(module: Any, backbone: type[TinyBackbone] = TinyBackbone, **settings: Any) -> Any:
    torch.manual_seed(0)
    return module.build(backbone((3, 8, 8)), module.Config(**settings), FACTS)


def _watch(network: nn.Module) -> list[tuple[int, ...]]:
    shapes: list[tuple[int, ...]] = []
    network.register_forward_pre_hook(lambda _, args: shapes.append(tuple(args[0].shape)))
    return shapes


@pytest.mark.parametrize("module", [simsiam, barlow, vicreg])
def test_each_view_passes_alone_and_supcon_s_together(module: Any) -> None:
    objective = _build(module)
    shapes = _watch(objective.backbone)
    objective(_batch(), _at(0))
    assert shapes == [(N, 3, 8, 8)] * 2
    objective = _build(supcon)
    shapes = _watch(objective.backbone)
    objective(_batch(targets=torch.arange(N) % 3), _at(0))
    assert shapes == [(2 * N, 3, 8, 8)]


def test_simsiam_stops_the_gradient_and_counts_from_nought() -> None:
    objective, batch = _build(simsiam), _batch()
    output = objective(batch, _at(0))
    z = [objective.projector(objective.backbone(view)) for view in batch.views]
    p = [objective.predictor(rows) for rows in z]
    cosine = nn.functional.cosine_similarity
    expected = 1 - (cosine(p[0], z[1]).mean() + cosine(p[1], z[0]).mean()) / 2
    torch.testing.assert_close(output.loss, expected)
    assert 0 <= output.loss.item() <= 2
    objective.predictor.requires_grad_(False)
    nn.init.zeros_(objective.predictor.layers[-1].weight)  # a prediction that hears nothing
    objective.zero_grad()
    objective(batch, _at(0)).loss.backward()
    assert all(float(q.grad.abs().sum()) == 0 for q in objective.backbone.parameters())


def test_papers_widths() -> None:
    class Wide(nn.Module):
        dim = 2048

    wide: Any = Wide()

    def arguments(head: Any) -> tuple[Any, ...]:
        return tuple(head.spec.arguments[name] for name in ("hidden", "outputs", "layers", "norm", "final_norm"))

    siamese = simsiam.build(wide, simsiam.Config(), FACTS)
    assert arguments(siamese.projector) == (2048, 2048, 3, "batch", True)
    assert arguments(siamese.predictor) == (512, 2048, 2, "batch", False)
    for module in (barlow, vicreg):
        assert arguments(module.build(wide, module.Config(), FACTS).projector) == (8192, 8192, 3, "batch", False)  # type: ignore[attr-defined]
    assert arguments(supcon.build(wide, supcon.Config(), FACTS).projector) == (2048, 128, 2, "batch", False)
    assert arguments(dino.build(wide, dino.Config(), FACTS).projector) == (2048, 128, 3, "batch", True)


@pytest.mark.parametrize("targets", [None, torch.ones(N, 4)])
def test_supcon_wants_one_class_a_record(targets: Tensor | None) -> None:
    with pytest.raises(DataError, match="supcon learns from one class a record"):
        _build(supcon)(_batch(targets=targets), _at(0))


def test_dino_asks_for_small_views_where_the_backbone_takes_any_side() -> None:
    views = _build(dino, AnySide, small_views=3, small_side=0.5, small_scale=(0.1, 0.3)).views()
    assert len(views) == 5
    assert [view.options["solarise"] for view in views[:2]] == [0.0, 0.2]
    assert all("side" not in view.options for view in views[:2])
    assert views[2:] == (View("strong", {"crop_scale": (0.1, 0.3), "side": 0.5}),) * 3
    assert all("side" not in view.options for view in _build(dino, TinyBackbone).views())


def test_dino_passes_views_of_one_size_together_and_the_teacher_sees_the_large_ones() -> None:
    objective = _build(dino, AnySide, outputs=12)
    student, teacher = _watch(objective.backbone), _watch(objective.teacher.backbone)
    objective(_batch(sides=(8, 8, 4, 4, 4)), _at(0))
    assert student == [(2 * N, 3, 8, 8), (3 * N, 3, 4, 4)]
    assert teacher == [(2 * N, 3, 8, 8)]


def test_dino_holds_the_prototypes_at_first() -> None:
    objective = _build(dino, held=0.2, outputs=12)
    for step, still in ((0, True), (1, True), (2, False)):
        objective.zero_grad()
        objective(_batch(), _at(step)).loss.backward()
        assert (float(objective.prototypes.weight.grad.abs().sum()) == 0) == still
        assert float(objective.projector.layers[0].weight.grad.abs().sum()) > 0


def test_dino_centre_follows_the_whole_step_and_forgets_a_skipped_one() -> None:
    objective = _build(dino, centre_momentum=0.75, outputs=12)
    objective(_batch(5), _at(0))  # its loss was not finite: the loop goes on without after_step
    with torch.no_grad():
        scores = [objective.teacher(torch.cat(_batch(seed).views)).mean(dim=0) for seed in (0, 1)]
    for seed in (0, 1):
        objective(_batch(seed), _at(1))  # two micro-batches of one step
    objective.after_step(_at(1))
    torch.testing.assert_close(objective.centre, 0.25 * (scores[0] + scores[1]) / 2)
    before = objective.centre.clone()
    objective(_batch(2), _at(2))
    objective.load_state_dict(objective.state_dict())  # the loop timed a step and put everything back
    objective.after_step(_at(2))
    assert torch.equal(objective.centre, before)


def test_dino_teacher_temperature_rises_in_the_first_part_of_the_run() -> None:
    temperatures = dino.Temperatures(student=0.1, first=0.04, last=0.07, warmup=0.5)
    assert [temperatures.teacher(f) for f in (0, 0.25, 0.5, 1)] == pytest.approx([0.04, 0.055, 0.07, 0.07])
    assert dino.Temperatures(0.1, 0.04, 0.07, 0.0).teacher(0.0) == 0.07


@pytest.mark.parametrize(("steps", "momentum"), [(0, 0.9), (180, 0.9), (2500, 0.98), (12_500, 0.996), (10**6, 0.996)])
def test_dino_teacher_follows_faster_in_a_short_run(steps: int, momentum: float) -> None:
    built = dino.build(TinyBackbone((3, 8, 8)), dino.Config(), Facts(1000, steps, 100))
    assert built.teacher.momentum == pytest.approx(momentum)


def test_dino_teacher_follows_backbone_head_and_prototypes() -> None:
    objective = _build(dino, momentum=0.9, outputs=12)
    before = objective.teacher.projector[1].weight.clone()
    with torch.no_grad():
        objective.prototypes.weight += 1
    objective.after_step(_at(STEPS // 2))
    momentum = 1 - 0.1 * (math.cos(math.pi * 0.5) + 1) / 2
    expected = momentum * before + (1 - momentum) * objective.prototypes.weight.detach()
    torch.testing.assert_close(objective.teacher.projector[1].weight, expected)


def test_dino_figures_tell_both_collapses() -> None:
    even = dino._figures(torch.zeros(2, N, 12))
    assert float(even["entropy"]) == pytest.approx(1)
    assert float(even["used"]) == pytest.approx(12)
    one = dino._figures(100 * torch.nn.functional.one_hot(torch.zeros(2, N, dtype=torch.long), 12))
    assert float(one["entropy"]) == pytest.approx(0, abs=1e-6)
    assert float(one["used"]) == pytest.approx(1)
    assert float(one["agreement"]) == 1


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"small_scale": (0.4, 0.1)}, "small_scale must be"),
        ({"small_side": 1.2}, "small_side"),
        ({"teacher_temperature": (0.0, 0.1)}, "teacher_temperature"),
        ({"centre_momentum": 1.0}, "centre_momentum"),
    ],
)
def test_dino_refuses_what_is_out_of_range(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        dino.Config(**settings)
