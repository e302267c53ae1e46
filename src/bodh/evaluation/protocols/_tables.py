"""Rows and notes that several protocols share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bodh.contracts import Json
from bodh.evaluation.result import TITLES
from bodh.metrics.intervals import mean_interval

if TYPE_CHECKING:
    from bodh.evaluation.context import Context

METRICS = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "ranking_precision": "label ranking precision",
    "r2": "variance explained (R²)",
}
"""The metric's key and how it is written."""


def arm_row(context: Context, arm: str, scores: np.ndarray) -> Json:
    """Return one row: the arm, its metric, and ± over networks where there are several. `scores` is [s n]."""
    interval = mean_interval(scores.mean(axis=1))
    return {
        "features": TITLES[arm],
        METRICS[context.metric]: interval.mean,
        "±": interval.half,
        "networks": len(scores),
    }


def explain(context: Context) -> str:
    """Return in words what was measured on."""
    train, test = (len(context.positions[part]) for part in ("train", "test"))
    told = f"{train:,} training and {test:,} test records; {METRICS[context.metric]}; ± is a 95 % interval"
    return f"{told}; raw input: {context.raw_words}" if context.raw_words else told


def every_draw(context: Context, scores: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return `scores` with one row a seed: where all labels are used, an arm with one network has no draws to vary."""
    return {arm: np.broadcast_to(s, (context.config.seeds, s.shape[1])) for arm, s in scores.items()}
