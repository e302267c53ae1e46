"""Which parts of a network a run trains: frozen stages, frozen batch norms, stages that join one after the other.

A frozen stage is frozen wholly: no gradient, and evaluation mode, so that batch norms keep their statistics and
dropout drops nothing. Where the first stages are frozen, nothing before the first trainable one has a gradient, so
autograd records nothing there.

Gradual unfreezing: Howard & Ruder 2018, "Universal language model fine-tuning", arXiv 1801.06146, section 3.3.
"""

from __future__ import annotations

from typing import Any, cast

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


def held_at(names: tuple[str, ...], held: tuple[str, ...], *, gradual: float, fraction: float) -> tuple[str, ...]:
    """Return the stages that do not train at `fraction` of the run; a pure function, so that resume is exact.

    Args:
        names: all stages, from input to output.
        held: stages that never train.
        gradual: share of the run, 0 to 1, over which the others join, the last first, at equal distances; before
            the first joins, the heads train alone. 0: all train from the start.
        fraction: done share of the run, 0 to 1.
    """
    if gradual <= 0:
        return held
    free = [name for name in names if name not in held]
    joined = min(len(free), int(len(free) * fraction / gradual + 1e-9))
    return tuple(name for name in names if name not in free[len(free) - joined :])


class Freezer:
    """Puts every part of an objective into the mode, and gives it the gradient, that it has at a point of the run.

    Args:
        objective: the whole module that is trained.
        backbone: the part of it that has stages (a `contracts.Backbone`).
        held: names of stages that never train.
        gradual: see `held_at`.
        norms: True: the backbone's batch norms keep their statistics; their scale and shift are trained all the same.
    """

    def __init__(
        self, objective: nn.Module, backbone: nn.Module, *, held: tuple[str, ...], gradual: float, norms: bool
    ) -> None:
        self._objective, self._backbone = objective, backbone
        self._held, self._gradual, self._norms = held, gradual, norms
        self._now: tuple[str, ...] | None = None
        for name in held:
            for module in cast("Any", backbone).block_modules()[name]:
                module.requires_grad_(False)
        self._learns = {id(parameter) for parameter in objective.parameters() if parameter.requires_grad}

    def enter(self, fraction: float) -> bool:
        """Set modes and gradients for `fraction` (0 to 1) of the run; return True where other parts train than before.

        Costs nothing where nothing changed.
        """
        names = cast("tuple[str, ...]", self._backbone.block_names) if self._gradual else ()
        now = held_at(names, self._held, gradual=self._gradual, fraction=fraction)
        if now == self._now and self._objective.training:
            return False
        self._objective.train()
        if now or self._now:
            self._hold(now)
        if self._norms:
            for module in self._backbone.modules():
                if isinstance(module, _BatchNorm):
                    module.eval()
        changed, self._now = now != self._now, now
        return changed

    def _hold(self, names: tuple[str, ...]) -> None:
        """Freeze the stages `names`; give the others the gradient that they had when the run began."""
        for name, modules in cast("Any", self._backbone).block_modules().items():
            for module in modules:
                if name in names:
                    module.requires_grad_(False).eval()
                    continue
                for parameter in module.parameters():
                    parameter.requires_grad_(id(parameter) in self._learns)
