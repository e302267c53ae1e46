"""Learning-rate finder: a short training on a copy of the state, its rate rising exponentially until the loss rises.

Sweep: Smith 2015, "Cyclical learning rates", arXiv 1506.01186, section 3.3. Choice: the middle of the loss's long way
down (the idea of fastai's "valley"): rates beside it still teach, and the edge of divergence is far.
"""

from __future__ import annotations

import copy
import json
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bodh.contracts import Json
from bodh.errors import Diverged

logger = logging.getLogger("bodh")

LOWEST, HIGHEST = 1e-6, 10.0
"""Rates tried, for a batch of 256."""
STEPS = 100
SMOOTHING = 0.9
WORSE = 2.0
"""The sweep ends where the smoothed loss has risen this many times as far as it fell before (and by half a unit)."""
FEWEST = 10
FILE = "learning-rate.json"


def find_rate(training: Any, step: Callable[[Any, float], Mapping[str, Any]], run: Path) -> float:
    """Return the learning rate, for a batch of 256, that a sweep suggests; nothing of the sweep stays.

    Args:
        training: a `train.loop.Training` before its first step.
        step: does one optimiser step at a rate (for the batch at hand) and returns figures, "loss" among them.
        run: folder in which the first process leaves the curve, `learning-rate.json`.

    Raises:
        Diverged: not even the lowest rates gave finite losses.
    """
    plan, before = training.plan, copy.deepcopy(training.state())
    scale = training.config.batch / 256
    rates: list[float] = []
    losses: list[float] = []
    average = 0.0
    for number in range(STEPS):
        rate = LOWEST * (HIGHEST / LOWEST) ** (number / (STEPS - 1))
        try:
            loss = training.engine.share(float(step(training, rate * scale)["loss"]))
        except Diverged:  # all processes agree on it
            break
        training.step += 1
        average = SMOOTHING * average + (1 - SMOOTHING) * loss
        smoothed = average / (1 - SMOOTHING ** (number + 1))
        if not math.isfinite(loss) or (losses and smoothed - min(losses) > WORSE * (losses[0] - min(losses)) + 0.5):
            break
        rates.append(rate)
        losses.append(smoothed)
    training.restore(before)
    training.plan = plan  # its clock goes on: the sweep took time
    if len(rates) < FEWEST:
        raise Diverged(f"learning_rate=find: the loss was not finite after {len(rates)} steps; give a number instead")
    found = valley(rates, losses)
    if training.engine.leads:
        curve: Json = {"rates": rates, "losses": losses, "chosen": found, "batch": 256}
        (run / FILE).write_text(json.dumps(curve), encoding="utf-8")
    logger.info(
        "learning_rate %.2g (for a batch of 256): the middle of the loss's way down over %d rates from %g to %.2g",
        found, len(rates), LOWEST, rates[-1],
    )  # fmt: skip
    return found


def valley(rates: Sequence[float], losses: Sequence[float]) -> float:
    """Return the rate at the middle of the longest decreasing subsequence of `losses`: bumps on the way do not end it.

    Args:
        rates: tried, rising.
        losses: smoothed, one a rate.
    """
    height = np.asarray(losses)
    length, before = np.ones(len(height), np.int64), np.zeros(len(height), np.int64)
    for at in range(1, len(height)):
        higher = np.flatnonzero(height[:at] > height[at])
        if len(higher):
            before[at] = higher[length[higher].argmax()]
            length[at] = length[before[at]] + 1
    at = int(length.argmax())
    for _ in range(int(length[at]) // 2):
        at = int(before[at])
    return rates[at]
