"""Decisions of simclr, byol and moco that the shared checks do not see."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from bodh.contracts import Batch, Facts, Progress, View
from bodh.losses.nt_xent import nt_xent
from bodh.objectives import byol, moco, simclr
from bodh.testing.objectives import TinyBackbone

N, STEPS = 16, 10
FACTS = Facts(records=4000, steps=STEPS, batch_size=N)


def _batch(seed: int = 0) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    first, second = torch.randn(2, N, 3, 8, 8, generator=generator)
    return Batch((first, second * 3 + 1), torch.arange(N), None, seed)  # views of different statistics


def _at(step: int) -> Progress:
    return Progress(step, STEPS, 0, 1)


def _build(module: Any, **settings: Any) -> Any:
    torch.manual_seed(0)
    return module.build(TinyBackbone((3, 8, 8)), module.Config(**settings), FACTS)


def _learn(objective: Any, step: int = 0) -> Tensor:
    loss: Tensor = objective(_batch(step), _at(step)).loss
    loss.backward()
    with torch.no_grad():
        for parameter in objective.parameters():
            if parameter.grad is not None:
                parameter -= 0.1 * parameter.grad
                parameter.grad = None
    objective.after_step(_at(step))
    return loss.detach()


def test_simclr_normalises_both_views_together() -> None:
    objective, batch = _build(simclr), _batch()
    loss = objective(batch, _at(0)).loss
    together = objective.projector(objective.backbone(torch.cat(batch.views)))
    torch.testing.assert_close(loss, nt_xent(together[:N], together[N:], temperature=0.5))
    apart = [objective.projector(objective.backbone(view)) for view in batch.views]
    assert abs((nt_xent(*apart, temperature=0.5) - loss).item()) > 1e-3


def test_byol_and_moco_v3_normalise_each_view_alone() -> None:
    for objective in (_build(byol), _build(moco, version="v3")):
        batch = _batch()
        passes: list[int] = []
        objective.backbone.register_forward_hook(lambda _, args, __, seen=passes: seen.append(len(args[0])))
        objective(batch, _at(0))
        assert passes == [N, N]


@pytest.mark.parametrize(("module", "version"), [(byol, {}), (moco, {"version": "v3"}), (moco, {"version": "v2"})])
def test_teacher_follows_once_a_step_and_not_in_between(module: Any, version: dict[str, str]) -> None:
    objective = _build(module, momentum=0.9, **version)
    before = objective.teacher.backbone.second[0].weight.clone()
    objective(_batch(), _at(0)).loss.backward()
    objective(_batch(1), _at(0)).loss.backward()  # a second micro-batch
    assert torch.equal(objective.teacher.backbone.second[0].weight, before)
    student = objective.backbone.second[0].weight
    with torch.no_grad():
        student += 1
    objective.after_step(_at(STEPS // 2))
    rises = version.get("version") != "v2"
    momentum = 1 - 0.1 * (math.cos(math.pi * 0.5) + 1) / 2 if rises else 0.9
    expected = momentum * before + (1 - momentum) * student.detach()
    torch.testing.assert_close(objective.teacher.backbone.second[0].weight, expected)


@pytest.mark.parametrize(("module", "version"), [(byol, {}), (moco, {"version": "v3"}), (moco, {"version": "v2"})])
def test_teacher_never_gets_a_gradient_and_keeps_its_own_statistics(module: Any, version: dict[str, str]) -> None:
    objective = _build(module, **version)
    _learn(objective)
    for name, parameter in objective.named_parameters():
        assert parameter.requires_grad != name.startswith("teacher"), name
        assert not name.startswith("teacher") or parameter.grad is None, name
    own = objective.teacher.backbone.first[1].running_mean
    assert float(own.abs().sum()) > 0
    assert not any(name.startswith("teacher") for name in objective.keep().state_dict())


def test_byol_views_differ_as_asked() -> None:
    assert _build(byol).views() == (View("strong", {"solarise": 0.0}), View("strong", {"solarise": 0.2}))
    views = _build(byol, blur=(1.0, 0.1)).views()
    assert [dict(view.options) for view in views] == [{"solarise": 0.0, "blur": 1.0}, {"solarise": 0.2, "blur": 0.1}]


@pytest.mark.parametrize("settings", [{"solarise": (0.0, 1.5)}, {"momentum": 1.1}, {"hidden": 0}, {"tempo": 1}])
def test_byol_refuses_what_is_out_of_range(settings: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=next(iter(settings))):
        byol.Config(**settings)


@pytest.mark.parametrize(
    ("epochs", "momentum"), [(20, 0.97), (200, 0.99), (800, 0.996)], ids=["short", "middle", "long"]
)
def test_momentum_is_chosen_by_the_length_of_the_run(epochs: int, momentum: float) -> None:
    facts = Facts(records=1000, steps=epochs * 10, batch_size=100)
    for module, config in ((byol, byol.Config()), (moco, moco.Config(version="v3"))):
        assert module.build(TinyBackbone((3, 8, 8)), config, facts).teacher.momentum == momentum


def test_moco_v2_follows_slowly_only_in_long_runs() -> None:
    for steps, momentum in ((49_999, 0.99), (50_000, 0.999)):
        built = moco.build(TinyBackbone((3, 8, 8)), moco.Config(), Facts(1000, steps, 100))
        assert built.teacher.momentum == momentum


@pytest.mark.parametrize(
    ("records", "batch", "size"),
    [(1_281_167, 256, 65536), (50_000, 256, 4096), (1437, 256, 256), (5, 8, 8), (10_000_000, 256, 65536)],
)
def test_queue_size(records: int, batch: int, size: int) -> None:
    assert moco.queue_size(records, batch) == size


def test_queue_takes_the_step_s_keys_in_turn_and_wraps() -> None:
    objective = _build(moco, queue=40, groups=1)
    start = objective.queue.clone()
    added = []
    for step in range(3):
        _, second = _batch(step).views
        with torch.no_grad():
            keys = nn.functional.normalize(objective.teacher.projector(objective.teacher.backbone(second)), dim=1)
        added.append(keys)
        _learn(objective, step)
    assert int(objective.pointer) == 48 % 40
    everything = torch.cat(added)
    torch.testing.assert_close(objective.queue[8:], everything[8:40], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(objective.queue[:8], everything[40:], rtol=1e-4, atol=1e-5)
    assert not torch.equal(objective.queue, start)
    torch.testing.assert_close(objective.queue.norm(dim=1), torch.ones(40))


def test_queue_takes_all_micro_batches_of_a_step() -> None:
    objective = _build(moco, queue=40)
    objective(_batch(0), _at(0))
    objective(_batch(1), _at(0))
    objective.after_step(_at(0))
    assert int(objective.pointer) == 32


def test_queue_smaller_than_a_batch_takes_the_last_keys() -> None:
    objective = _build(moco, queue=10, groups=1)
    _learn(objective)
    assert int(objective.pointer) == 0
    torch.testing.assert_close(objective.queue.norm(dim=1), torch.ones(10))


def test_keys_of_a_skipped_or_forgotten_step_never_enter_the_queue() -> None:
    objective = _build(moco, queue=40)
    objective(_batch(0), _at(0))  # its loss was not finite: the loop goes on without after_step
    _learn(objective, 1)
    assert int(objective.pointer) == N
    objective(_batch(2), _at(2))
    objective.load_state_dict(objective.state_dict())  # the loop timed a step and put everything back
    _learn(objective, 2)
    assert int(objective.pointer) == 2 * N


def test_moco_v2_normalises_keys_in_shuffled_groups() -> None:
    objective, batch = _build(moco, groups=4), _batch()
    order = torch.randperm(N, generator=torch.Generator().manual_seed(5))
    view = batch.views[1]
    with torch.no_grad():
        raw = torch.cat(
            [objective.teacher.projector(objective.teacher.backbone(part)) for part in view[order].split(4)]
        )
    expected = torch.empty_like(raw)
    expected[order] = nn.functional.normalize(raw, dim=1)
    torch.testing.assert_close(objective._keys(view, 4, seed=5), expected)
    assert not torch.allclose(objective._keys(view, 4, seed=6), expected, atol=1e-3)
    assert torch.equal(objective._keys(view, 4, seed=5), objective._keys(view, 4, seed=5))


@pytest.mark.parametrize(
    ("rows", "asked", "groups"), [(256, None, 8), (128, None, 4), (32, None, 2), (2, None, 1), (9, 8, 4), (256, 1, 1)]
)
def test_groups_always_hold_two_rows(rows: int, asked: int | None, groups: int) -> None:
    assert _build(moco, groups=asked)._groups_of(rows) == groups


def test_odd_batches_can_be_grouped() -> None:
    objective = _build(moco, groups=4)
    batch = _batch()
    odd = Batch(tuple(view[:9] for view in batch.views), batch.index[:9], None, 0)
    assert objective(odd, _at(0)).loss.isfinite()


def test_without_batch_normalisation_nothing_is_shuffled() -> None:
    class Layered(nn.Module):
        dim = 4

        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Sequential(nn.Flatten(), nn.Linear(192, 4), nn.LayerNorm(4))

        def forward(self, x: Tensor) -> Tensor:
            result: Tensor = self.body(x)
            return result

    objective = moco.build(Layered(), moco.Config(), FACTS)  # type: ignore[arg-type]
    assert isinstance(objective, moco.MoCoV2)
    assert objective._groups_of(256) == 1
    view = _batch().views[0]
    assert torch.equal(objective._keys(view, 1, seed=1), objective._keys(view, 1, seed=2))


def test_papers_widths() -> None:
    class Wide(nn.Module):
        dim = 2048

    wide: Any = Wide()
    heads = [
        simclr.build(wide, simclr.Config(), FACTS).projector,
        byol.build(wide, byol.Config(), FACTS).predictor,
        moco.build(wide, moco.Config(), FACTS).projector,
        moco.build(wide, moco.Config(version="v3"), FACTS).projector,
    ]
    found = [(head.spec.arguments["hidden"], head.spec.arguments["outputs"]) for head in heads]  # type: ignore[union-attr]
    assert found == [(2048, 128), (4096, 256), (2048, 128), (4096, 256)]
    assert heads[2].spec.arguments["norm"] == "none"  # type: ignore[union-attr]
    assert heads[3].spec.arguments["final_norm"]  # type: ignore[union-attr]
