"""Measured numbers on the test records: the model's own head beside the mean, raw input, untrained and scratch.

MAE, RMSE, R² and median absolute error, with bootstrap intervals over the test records for the model's own head. The
baselines are ridge regressions on the same training labels (`evaluation.ridge`), and the mean of these labels, which
says nothing of a record and so is what every other has to beat.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bodh.contracts import Json, derive_seed
from bodh.errors import DataError
from bodh.evaluation.result import PRETRAINED, TITLES, Grid, Measured, ProtocolResult
from bodh.metrics import regression

if TYPE_CHECKING:
    from bodh.evaluation.context import Context

LABELS = True
HEAD = True
TASKS = ("regress",)


def run(context: Context) -> ProtocolResult:
    """Return the figures of the model's own numbers, and of what it has to beat.

    Raises:
        DataError: the model gives classes, or other numbers than the data has.
    """
    ours, theirs = context.model.manifest.class_names, context.class_names
    if context.model.manifest.task != "regress" or len(ours) != len(theirs):
        raise DataError(
            f"the model tells {', '.join(ours[:5])}; the data has {len(theirs)} measured number(s): "
            f"{', '.join(theirs[:5])}; fine-tune it on such data first"
        )
    config, positions, targets = context.config, context.positions["test"], context.targets("test")
    numbers = context.model.predict_rows(context.store, positions, batch=config.batch)
    ends = regression.intervals(numbers, targets, draws=config.bootstrap, seed=config.seed) if config.bootstrap else {}
    arms = {PRETRAINED: numbers, **_baselines(context)}
    names = {PRETRAINED: "the model's own head", "mean": "mean of the training labels", "probe": "its features, ridge"}
    told = {"raw": f"{TITLES['raw']}, ridge", "untrained": f"{TITLES['untrained']}, ridge"}
    figures = {arm: regression.figures(said, targets) for arm, said in arms.items()}
    rows: list[Json] = [{"who": (TITLES | names | told)[arm], **found} for arm, found in figures.items()]
    note = f"{len(positions):,} test records, in the unit of the labels"
    tables = {"regress": Grid("Numbers on test records", rows, note)}
    if ends:
        told_ends = [
            {"figure": name, "value": figures[PRETRAINED][name], "low": a, "high": b} for name, (a, b) in ends.items()
        ]
        how = f"95 % intervals: {config.bootstrap:,} bootstrap draws of the test records"
        tables["regress_intervals"] = Grid("The model's own head", told_ends, how)
    if len(ours) > 1:
        tables["values"] = Grid("Each number", regression.each(numbers, targets, theirs), note)
    figures[PRETRAINED] |= {"records": len(positions)}
    measured = Measured(theirs, numbers, targets.reshape(len(targets), -1), positions)
    return ProtocolResult("regress", figures=figures, tables=tables, measured=measured)


def _baselines(context: Context) -> dict[str, np.ndarray]:
    """Return the numbers [n_test k] that the mean, ridge regressions and a network from scratch give."""
    targets = context.targets("train").reshape(len(context.positions["train"]), -1)
    count = len(context.positions["test"])
    found = {"mean": np.broadcast_to(np.nanmean(targets, axis=0), (count, targets.shape[1]))}
    found["probe"] = context.probe(PRETRAINED)
    found |= {arm: context.probe(arm) for arm in context.arms if arm != PRETRAINED}
    if context.scratch and "scratch" in context.config.arms:
        seed = derive_seed("scratch", context.config.seed, 0)
        found["scratch"] = context.scratch(context.positions["train"], context.positions["test"], seed)
    return found
