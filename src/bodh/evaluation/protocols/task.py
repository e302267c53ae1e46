"""The model's own head on the test records: figures, per class, confusion, and what it told most surely and wrongly."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import numpy as np

from bodh.errors import DataError
from bodh.evaluation.judge import charts, class_grid, figure_rows, judge
from bodh.evaluation.result import PRETRAINED, Confusion, Grid, Mistake, ProtocolResult
from bodh.metrics import classification

if TYPE_CHECKING:
    from bodh.evaluation.context import Context

logger = logging.getLogger("bodh")

LABELS = True
HEAD = True
MISTAKES = 24


def run(context: Context) -> ProtocolResult:
    """Return the figures of the model's predictions on the test records.

    Raises:
        DataError: the model's classes and those of the data have no name in common, or labels mean another thing.
    """
    probabilities, targets, positions, note = aligned(context)
    names, config = context.model.manifest.class_names, context.config
    judged = judge("the classifier", names, probabilities, targets, positions, draws=config.bootstrap, seed=config.seed)
    if judged.intervals:
        within = "" if judged.several else ", within classes"
        note += f"; 95 % intervals: {config.bootstrap:,} bootstrap draws of the test records{within}"
    rows = figure_rows(judged)
    measured = context.model.manifest.metrics
    if isinstance(measured.get("temperature"), float):
        rows.append({"figure": "temperature", "value": measured["temperature"]})
        note += f"; its temperature was set on {measured.get('validation_records', 0):,} validation records"
    tables = {"task": Grid("Classifier on test records", rows, note), "classes": class_grid(judged)}
    confusions: tuple[Confusion, ...] = ()
    mistakes: tuple[Mistake, ...] = ()
    if not judged.several:
        counts = classification.confusion(probabilities.argmax(axis=1), targets, len(names))
        confusions = (Confusion("Confusion", names, counts, note="rows: true class; columns: what the model says"),)
        mistakes = surest_mistakes(probabilities, targets, positions, names)
    return ProtocolResult(
        "task",
        figures={PRETRAINED: judged.figures},
        tables=tables,
        charts=charts(judged),
        confusions=confusions,
        mistakes=mistakes,
        judged=judged,
    )


def aligned(context: Context) -> tuple[np.ndarray, np.ndarray, np.ndarray, str]:
    """Return probabilities [n k], targets in the model's classes, positions in the store, and a note.

    Classes are matched by name, so that the order in which data lists them does not matter.

    Raises:
        DataError: no class in common, or one label a record here and several there.
    """
    ours, theirs = context.model.manifest.class_names, context.class_names
    targets, positions = context.targets("test"), context.positions["test"]
    if (targets.ndim == 2) != (context.model.manifest.task == "multi"):
        raise DataError("the model and the data differ in whether a record has one label or several")
    place = np.array([ours.index(name) if name in ours else -1 for name in theirs])
    if (place < 0).all():
        raise DataError(
            f"the model knows the classes {', '.join(ours[:5])}; the data has {', '.join(theirs[:5])}: none in common"
        )
    note = f"{len(positions):,} test records"
    if targets.ndim == 2:
        moved = np.zeros((len(targets), len(ours)), np.uint8)
        moved[:, place[place >= 0]] = targets[:, place >= 0]
        targets = moved
    else:
        targets = place[targets]
        known = targets >= 0
        if not known.all():
            unknown = f"{int((~known).sum()):,} of classes that the model does not know are left out"
            note += f"; {unknown}"
            logger.warning("of %s test records, %s", f"{len(positions):,}", unknown)
        targets, positions = targets[known], positions[known]
        if not len(targets):
            raise DataError("no test record is of a class that the model knows")
    views = context.config.test_views
    if views > 1:
        note += f"; answers averaged over {views} views (exported files see the record alone)"
    probabilities = context.model.predict_rows(context.store, positions, batch=context.config.batch, views=views)
    return probabilities, targets, positions, note


def surest_mistakes(
    probabilities: np.ndarray, targets: np.ndarray, positions: np.ndarray, names: tuple[str, ...]
) -> tuple[Mistake, ...]:
    """Return at most 24 records that were told wrongly, the surest first.

    Args:
        probabilities: [n k].
        targets: [n] class index.
        positions: [n] in the store.
        names: [k] of the classes.
    """
    predicted, confidence = probabilities.argmax(axis=1), probabilities.max(axis=1)
    wrong = np.flatnonzero(predicted != targets)
    surest = wrong[np.argsort(-confidence[wrong], kind="stable")][:MISTAKES]
    return tuple(
        Mistake(int(positions[i]), names[targets[i]], names[predicted[i]], float(confidence[i])) for i in surest
    )
