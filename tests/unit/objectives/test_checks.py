"""The shipped checks see what is wrong: for every check a broken objective that fails it, and the sound one passes."""

# ruff: noqa: ARG002 (the protocol names arguments that some examples do not need)
from __future__ import annotations

from collections.abc import Mapping
from types import ModuleType
from typing import Any

import pytest
import torch
from pydantic import Field
from torch import Tensor, nn

from bodh.config.base import Config as BaseConfig
from bodh.contracts import Batch, Facts, Needs, Progress, StepOutput, View
from bodh.testing import objectives as checks
from bodh.testing.objectives import CHECKS, Subject, check_objective


class Config(BaseConfig):
    strength: float = Field(1.0, gt=0, description="of nothing")


class Sound(nn.Module):
    """Draws the two views' features together, away from zero."""

    def __init__(self, backbone: Any) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = nn.Linear(backbone.dim, 4)
        self.register_buffer("centre", torch.zeros(4))

    def views(self) -> tuple[View, ...]:
        return (View(), View())

    def step(self, batch: Batch, progress: Progress) -> StepOutput:
        z0, z1 = (self.head(self.backbone(view)).float() for view in batch.views)
        loss = (z0 - z1 + self.centre).square().mean() + (z0.mean() - 1).square()
        self.seen = z0.detach().mean(0)
        return StepOutput(loss, {"mean": z0.detach().mean()})

    def forward(self, batch: Batch, progress: Progress) -> StepOutput:
        return self.step(batch, progress)

    def after_step(self, progress: Progress) -> None:
        self.centre.add_(0.01 * self.seen)  # type: ignore[operator]

    def keep(self) -> nn.ModuleDict:
        return nn.ModuleDict({"backbone": self.backbone})


class NotScalar(Sound):
    def step(self, batch: Batch, progress: Progress) -> StepOutput:
        return StepOutput(super().step(batch, progress).loss[None])


class NotFinite(Sound):
    def step(self, batch: Batch, progress: Progress) -> StepOutput:
        return StepOutput(super().step(batch, progress).loss / 0)


class KeepsGraph(Sound):
    def step(self, batch: Batch, progress: Progress) -> StepOutput:
        loss = super().step(batch, progress).loss
        return StepOutput(loss, {"loss": loss})


class ChangesInput(Sound):
    def step(self, batch: Batch, progress: Progress) -> StepOutput:
        batch.views[0].mul_(0.5)
        return super().step(batch, progress)


class StopsGradient(Sound):
    def step(self, batch: Batch, progress: Progress) -> StepOutput:
        return StepOutput(self.head(self.backbone(batch.views[0]).detach()).square().mean())


class IdleWeights(Sound):
    def __init__(self, backbone: Any) -> None:
        super().__init__(backbone)
        self.unused = nn.Linear(2, 2)


class KeepsACopy(Sound):
    def keep(self) -> nn.ModuleDict:
        import copy

        return nn.ModuleDict({"backbone": copy.deepcopy(self.backbone)})


class KeepsTooMuch(Sound):
    def keep(self) -> nn.ModuleDict:
        return nn.ModuleDict({"backbone": self.backbone, "projector": self.head})


class MovesWeights(Sound):
    def after_step(self, progress: Progress) -> None:
        with torch.no_grad():
            self.head.weight.mul_(0.9)


class HidesState(Sound):
    hidden: Tensor | float = 0.0

    def step(self, batch: Batch, progress: Progress) -> StepOutput:
        output = super().step(batch, progress)
        return StepOutput(output.loss * (1 + self.hidden))

    def after_step(self, progress: Progress) -> None:
        self.hidden = self.hidden + 0.1


class RollsDice(Sound):
    def step(self, batch: Batch, progress: Progress) -> StepOutput:
        return StepOutput(super().step(batch, progress).loss * (1 + torch.rand(())))


class Climbs(Sound):
    steps = 0

    def step(self, batch: Batch, progress: Progress) -> StepOutput:
        self.steps += 1
        return StepOutput(-super().step(batch, progress).loss.clamp(max=50) + 100 * self.steps)


class HalfLoss(Sound):
    def step(self, batch: Batch, progress: Progress) -> StepOutput:
        z0, z1 = (self.head(self.backbone(view)) for view in batch.views)
        return StepOutput((z0 - z1).abs().mean())


class DependsOnStrides(Sound):
    def step(self, batch: Batch, progress: Progress) -> StepOutput:
        return StepOutput(super().step(batch, progress).loss * batch.views[0].stride(1))


class MovesFrozen(Sound):
    def after_step(self, progress: Progress) -> None:
        with torch.no_grad():
            for parameter in self.backbone.parameters():
                if not parameter.requires_grad:
                    parameter.mul_(0.9)


class ChangesItsMind(Sound):
    asked = 0

    def views(self) -> tuple[View, ...]:
        self.asked += 1
        return (View(), View(options={"blur": float(self.asked)}))


def _module(objective: type[nn.Module] = Sound, **constants: Any) -> ModuleType:
    module = ModuleType("example", "An objective for tests: draw two views of a record together.")

    def build(backbone: Any, config: Config, facts: Facts) -> nn.Module:
        return objective(backbone)

    fields: Mapping[str, Any] = {
        "Config": Config,
        "NEEDS": Needs(),
        "FAMILY": "contrast",
        "DEFAULTS": {"learning_rate": 1e-3},
        "build": build,
        **constants,
    }
    for name, value in fields.items():
        setattr(module, name, value)
    return module


class Undescribed(BaseConfig):
    strength: float = 1.0


class Demanding(BaseConfig):
    strength: float = Field(description="of nothing")


BROKEN = [
    (checks.check_declares, _module(FAMILY="magic"), "FAMILY is 'magic'"),
    (checks.check_declares, _module(__doc__="short"), "'short'"),
    (checks.check_declares, _module(DEFAULTS={"lr": 1}), "lr"),
    (checks.check_declares, _module(Config=Undescribed), "'strength' has no description"),
    (checks.check_declares, _module(Config=Demanding), "'strength' has no default"),
    (checks.check_views, _module(ChangesItsMind), "the second time"),
    (checks.check_step, _module(NotScalar), r"shape \(1,\)"),
    (checks.check_step, _module(NotFinite), "inf"),
    (checks.check_step, _module(KeepsGraph), "'loss' is not detached"),
    (checks.check_step, _module(ChangesInput), "changed its input"),
    (checks.check_step, _module(StopsGradient), "no gradient reached the backbone"),
    (checks.check_every_parameter_learns, _module(IdleWeights), "unused.weight"),
    (checks.check_keep, _module(KeepsACopy), "does not share"),
    (checks.check_keep, _module(KeepsTooMuch), "projector"),
    (checks.check_after_step, _module(MovesWeights), "head.weight"),
    (checks.check_resumes, _module(HidesState), "instead of"),
    (checks.check_deterministic, _module(RollsDice), "batch.seed"),
    (checks.check_learns, _module(Climbs), "in 20 steps"),
    (checks.check_half_precision, _module(HalfLoss), "bfloat16"),
    (checks.check_memory_format, _module(DependsOnStrides), "channels-last"),
    (checks.check_frozen_backbone, _module(MovesFrozen), "frozen backbone changed"),
]


@pytest.mark.parametrize(("check", "module", "said"), BROKEN)
def test_a_broken_objective_is_caught(check: checks.Check, module: ModuleType, said: str) -> None:
    with pytest.raises(AssertionError, match=said):
        check(Subject(module))


def test_every_check_has_its_broken_objective() -> None:
    assert {check for check, _, _ in BROKEN} == set(CHECKS)


@pytest.mark.parametrize("shape", [(3, 8, 8), (6,)])
def test_a_sound_objective_passes(shape: tuple[int, ...]) -> None:
    check_objective(_module(), shape=shape)


def test_exceptions_may_be_listed() -> None:
    checks.check_every_parameter_learns(Subject(_module(IdleWeights, WITHOUT_GRADIENT=("unused.",))))
