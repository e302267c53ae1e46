"""Optimiser and schedule: which parameters decay, and how fast each step goes."""

from __future__ import annotations

import math
import time
from dataclasses import asdict, dataclass
from typing import Any, cast

import torch
from torch import nn

from bodh._optional import timm
from bodh.contracts import Json
from bodh.train.config import TrainConfig

DEFAULT_RATE = 1e-3
"""Until the finder has found one."""


def build_optimiser(
    objective: nn.Module, config: TrainConfig, *, backbone: nn.Module | None = None
) -> torch.optim.Optimizer:
    """Return the optimiser over the trainable parameters of `objective`.

    Vectors and scalars (biases, norms' scales and shifts) are not decayed; LARS does not adapt them either
    (You et al. 2017, arXiv 1708.03888; Chen et al. 2020, arXiv 2002.05709, appendix B.9). Every group's "scale"
    is what the learning rate is multiplied with there (`stage_scales`).

    Args:
        objective: what is trained.
        config: settings.
        backbone: the part of it whose stages get rates of their own; needed where `layer_decay` is below 1.
    """
    trainable = [parameter for parameter in objective.parameters() if parameter.requires_grad]
    scales = {} if backbone is None or config.layer_decay == 1 else stage_scales(backbone, config.layer_decay)
    groups: list[dict[str, Any]] = []
    for scale in sorted({1.0, *scales.values()}, reverse=True):
        here = [p for p in trainable if scales.get(id(p), 1.0) == scale]
        groups += [
            {"params": [p for p in here if p.ndim > 1], "weight_decay": config.weight_decay, "scale": scale},
            {"params": [p for p in here if p.ndim <= 1], "weight_decay": 0.0, "scale": scale, "decays": False},
        ]
    groups = [group for group in groups if group["params"]]
    rate = peak_rate(config)
    if config.optimiser == "adamw":
        return torch.optim.AdamW(groups, lr=rate, betas=(config.momentum, config.beta2), fused=True)
    if config.optimiser == "sgd":
        # the fused kernel cannot take up parameters that get their first gradient later than others
        return torch.optim.SGD(groups, lr=rate, momentum=config.momentum, fused=config.gradual == 0)
    timm()
    from timm.optim.lars import Lars

    optimiser: torch.optim.Optimizer = Lars(groups, lr=rate, momentum=config.momentum)
    return optimiser


def stage_scales(backbone: nn.Module, decay: float) -> dict[int, float]:
    """Return id of parameter -> factor of its learning rate: `decay ** (K - k)` in stage k of K; heads keep 1.

    Layer-wise learning-rate decay: Clark et al. 2020 (ELECTRA, arXiv 2003.10555, appendix B), Bao et al. 2021
    (BEiT, arXiv 2106.08254, appendix); there by layer, here by the backbone's stages.
    """
    blocks = cast("Any", backbone).block_modules()
    return {
        id(parameter): decay ** (len(blocks) - number)
        for number, modules in enumerate(blocks.values(), start=1)
        for module in modules
        for parameter in module.parameters()
    }


def peak_rate(config: TrainConfig, found: float | None = None) -> float:
    """Return the learning rate after the warm-up, for the batch at hand.

    Args:
        config: its `learning_rate` is meant for a batch of 256.
        found: by the finder, for a batch of 256; takes the place of `learning_rate=find`.
    """
    rate = config.learning_rate if found is None else found
    return (DEFAULT_RATE if rate == "find" else rate) * config.batch / 256


def rate_at(fraction: float, config: TrainConfig, found: float | None = None) -> float:
    """Return the learning rate at `fraction` (0 to 1) of the run: linear warm-up, then half a cosine to `rate_end`."""
    peak = peak_rate(config, found)
    if config.warmup > 0 and fraction < config.warmup:
        return peak * fraction / config.warmup
    if config.schedule == "constant":
        return peak
    rest = (fraction - config.warmup) / max(1e-12, 1 - config.warmup)
    return peak * (config.rate_end + (1 - config.rate_end) * 0.5 * (1 + math.cos(math.pi * min(1.0, rest))))


def decay_at(fraction: float, config: TrainConfig) -> float:
    """Return the weight decay at `fraction` (0 to 1) of the run: constant, or along half a cosine to its end."""
    first, last = config.weight_decay, config.weight_decay_end
    if last is None:
        return first
    return last + (first - last) * 0.5 * (1 + math.cos(math.pi * min(1.0, fraction)))


@dataclass(slots=True)
class Plan:
    """How many steps the run takes. With a time budget the number is revised as the machine's pace is seen.

    The plan is part of the checkpoint, so that a resumed run goes on with the very same schedule.

    Attributes:
        steps: optimiser steps planned.
        anchor_step: step of the last revision.
        anchor_fraction: share of the run that was done then.
        seconds: wall-clock budget, or None.
        spent: seconds of training before this process started (a resumed run's earlier life).
        pace: smoothed seconds a step.
        rate: learning rate for a batch of 256 that the finder chose; None: the settings say it.
    """

    steps: int
    anchor_step: int = 0
    anchor_fraction: float = 0.0
    seconds: float | None = None
    spent: float = 0.0
    pace: float = 0.0
    rate: float | None = None

    def fraction(self, step: int) -> float:
        """Return the share of the run that is done before `step`, 0 to 1, monotonic over revisions."""
        left = max(1, self.steps - self.anchor_step)
        return min(1.0, self.anchor_fraction + (1 - self.anchor_fraction) * (step - self.anchor_step) / left)

    def revise(self, step: int, elapsed: float, step_seconds: float) -> bool:
        """Fit the remaining steps to the remaining time; return True where that changed them by over 2 %.

        Args:
            step: steps done.
            elapsed: seconds of training so far, earlier lives included.
            step_seconds: recent seconds a step, monitors and checkpoints included.
        """
        if self.seconds is None:
            return False
        self.pace = 0.7 * self.pace + 0.3 * step_seconds if self.pace else step_seconds
        left = max(0.0, self.seconds - elapsed)
        steps = step + int(left / max(self.pace, 1e-9))
        if abs(steps - self.steps) <= 0.02 * max(1, self.steps - step):
            return False
        self.anchor_fraction, self.anchor_step, self.steps = self.fraction(step), step, steps
        return True

    def to_json(self) -> Json:
        """Return the plan as plain numbers, for the checkpoint."""
        return asdict(self)


class Clock:
    """Wall time of a run by phase, in seconds: data, views, network, other."""

    def __init__(self) -> None:
        self.total = {"data": 0.0, "views": 0.0, "network": 0.0, "other": 0.0}
        self._last = time.perf_counter()

    def lap(self, phase: str) -> None:
        """Book the time since the last lap to `phase`."""
        now = time.perf_counter()
        self.total[phase] += now - self._last
        self._last = now

    def shares(self) -> dict[str, float]:
        """Return the share of each phase, 0 to 1, since the last call, and start anew."""
        whole = max(sum(self.total.values()), 1e-9)
        shares = {f"share_{phase}": seconds / whole for phase, seconds in self.total.items()}
        self.total = dict.fromkeys(self.total, 0.0)
        return shares
