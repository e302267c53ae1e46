"""What one comparison says: the best baseline, the paired difference, the labels saved."""

from __future__ import annotations

import math

import numpy as np

from bodh.contracts import Json
from bodh.evaluation.result import PRETRAINED, Contest
from bodh.metrics.intervals import paired_interval


def compared(scores: dict[str, np.ndarray]) -> Json:
    """Return the paired difference of the pretrained arm to the best other arm: {"best", "difference", "low", "high"}.

    The best is chosen by its mean on the test records, in favour of the baselines.
    """
    others = {arm: s for arm, s in scores.items() if arm != PRETRAINED}
    if not others:
        return {"best": None, "difference": None, "low": None, "high": None}
    best = max(others, key=lambda arm: float(others[arm].mean()))
    interval = paired_interval(scores[PRETRAINED], others[best])
    return {"best": best, "difference": interval.mean, "low": interval.low, "high": interval.high}


def labels_needed(contests: tuple[Contest, ...], contest: Contest, arm: str) -> tuple[float, str]:
    """Return (multiple, "=" or ">" or "<"): the labels with which `arm` equals the pretrained model at `contest`.

    Between budgets the curve of `arm` is straight over the logarithm of the labels, and never falls. ">": not reached
    with the most labels that were tried; "<": passed with the fewest already.
    """
    aim = float(contest.scores[PRETRAINED].mean())
    labels = [c.labels for c in contests]
    curve = np.maximum.accumulate([float(c.scores[arm].mean()) for c in contests])
    if curve[0] >= aim:
        return labels[0] / contest.labels, "=" if curve[0] == aim else "<"
    for i in range(1, len(curve)):
        if curve[i] >= aim:
            part = (aim - curve[i - 1]) / (curve[i] - curve[i - 1])
            needed = math.exp((1 - part) * math.log(labels[i - 1]) + part * math.log(labels[i]))
            return needed / contest.labels, "="
    return labels[-1] / contest.labels, ">"


def written(multiple: float, sign: str) -> str:
    """Return "3.1×", "> 10×" or "< 1×"."""
    number = f"{multiple:.1f}" if multiple < 10 else f"{multiple:.0f}"
    return f"{number}×" if sign == "=" else f"{sign} {number}×"
