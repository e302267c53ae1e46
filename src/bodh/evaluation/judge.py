"""What a classifier said of test records, judged: figures with intervals, each class, curves, calibration."""

from __future__ import annotations

import numpy as np

from bodh.contracts import Json, derive_seed
from bodh.evaluation.result import Chart, Curve, Grid, Judged
from bodh.metrics import bootstrap, classification, curves

FALSE_POSITIVES = np.array([0, 0.5, 1, 2, 3, 5, 7, 10, 15, 20, 25, 30, 40, 50, 60, 70, 80, 90, 100]) / 100
RECALLS = np.linspace(0, 1, 21)
"""Where curves are read for the page: the same positions for all classes, so that its table has one row each."""
SHOWN = 6
"""Classes with a curve of their own; of more, those that are told worst."""


def judge(
    who: str,
    names: tuple[str, ...],
    probabilities: np.ndarray,
    targets: np.ndarray,
    positions: np.ndarray,
    *,
    draws: int,
    seed: int,
) -> Judged:
    """Return figures, intervals and classes of what was said.

    Args:
        who: in words.
        names: [k] of the classes.
        probabilities: [n k].
        targets: [n] class index, or [n k] 0/1.
        positions: [n] in the store.
        draws: of the bootstrap; 0: no intervals.
        seed: root of the draws.
    """
    module = "several_labels" if targets.ndim == 2 else "single_label"
    figures: Json = getattr(classification, module)(probabilities, targets)
    rows = classification.per_class(probabilities, targets, names)
    intervals: dict[str, tuple[float, float]] = {}
    if draws:
        own = derive_seed("bootstrap", seed)
        intervals, classes = getattr(bootstrap, module)(probabilities, targets, draws=draws, seed=own)
        for number, row in enumerate(rows):
            for name, ends in classes.items():
                row[f"{name}_low"], row[f"{name}_high"] = map(float, ends[number])
    return Judged(who, names, probabilities, targets, positions, figures, intervals, rows)


def figure_rows(judged: Judged) -> list[Json]:
    """Return one table row a figure, with the ends of its interval where it has one."""
    rows: list[Json] = []
    for name, value in judged.figures.items():
        low, high = judged.intervals.get(name, (None, None))
        row = {"figure": name.replace("_", " "), "value": value}
        rows.append(row | ({"low": low, "high": high} if judged.intervals else {}))
    return rows


def class_grid(judged: Judged) -> Grid:
    """Return precision, recall and F1 of every class, F1 with its interval."""
    rows: list[Json] = []
    for row in judged.classes:
        shown = {name: row[name] for name in ("class", "precision", "recall", "f1")}
        if "f1_low" in row:
            shown |= {"f1 low": row["f1_low"], "f1 high": row["f1_high"]}
        rows.append(shown | {"records": row["records"]})
    return Grid("Each class", rows)


def averages(judged: Judged) -> list[Json]:
    """Return precision, recall and F1 as macro, weighted and micro averages, over classes that occur."""
    from sklearn.metrics import precision_recall_fscore_support

    truth = judged.targets.astype(np.int64)
    if judged.several:
        said = (judged.probabilities >= 0.5).astype(np.int64)
        occurs = np.flatnonzero(truth.any(axis=0))
    else:
        said, occurs = judged.probabilities.argmax(axis=1), np.unique(truth)
    rows: list[Json] = []
    for average in ("macro", "weighted", "micro"):
        labels = None if average == "micro" else occurs
        scores = precision_recall_fscore_support(truth, said, labels=labels, average=average, zero_division=0)
        row: Json = {"average": average}
        for name, value in zip(("precision", "recall", "f1"), scores, strict=False):
            row[name] = float(value)
        rows.append(row)
    return rows


def charts(judged: Judged) -> tuple[Chart, ...]:
    """Return ROC, precision against recall, and reliability, as the page draws them."""
    found: list[Chart] = []
    told = "one class against all others; area in brackets"
    roc = curves.roc(judged.probabilities, judged.targets)
    if roc:
        lines = [_curve(judged, one, FALSE_POSITIVES, curves.at(one, FALSE_POSITIVES)) for one in _worst(roc)]
        found.append(Chart("ROC", "false positive rate, %", "true positive rate", lines, note=told))
        pairs = _worst(curves.precision_recall(judged.probabilities, judged.targets))
        lines = [_curve(judged, one, RECALLS, curves.precision_at(one, RECALLS)) for one in pairs]
        told = "one class against all others; average precision in brackets"
        found.append(Chart("Precision and recall", "recall, %", "precision", lines, note=told))
    found.append(_reliability(judged))
    return tuple(found)


def _worst(found: list[curves.ClassCurve]) -> list[curves.ClassCurve]:
    """Return the curve of all decisions, then of all classes, or of those with the smallest area, in their order."""
    together, *classes = found
    kept = sorted(sorted(classes, key=lambda one: one.area)[:SHOWN], key=lambda one: one.label)
    return [together, *kept]


def _curve(judged: Judged, curve: curves.ClassCurve, x: np.ndarray, y: np.ndarray) -> Curve:
    name = "all decisions" if curve.label < 0 else judged.class_names[curve.label]
    nothing: list[float | None] = [None] * len(x)
    return Curve(f"{name} ({curve.area:.3f})", (100 * x).tolist(), y.tolist(), nothing, nothing)


def _reliability(judged: Judged) -> Chart:
    found = curves.reliability(judged.probabilities, judged.targets)
    nothing: list[float | None] = [None] * len(found.records)
    x = (100 * found.confidence).round(1).tolist()
    low, high = zip(*(_wilson(a, n) for a, n in zip(found.accuracy, found.records, strict=True)), strict=True)
    lines = [
        Curve("right", x, found.accuracy.tolist(), list(low), list(high)),
        Curve("as sure as right", x, found.confidence.tolist(), nothing, nothing),
    ]
    parts = [
        f"{label} {judged.figures[name]:.3f}"
        for name, label in (("calibration_error", "expected calibration error"), ("brier", "Brier score"))
        if name in judged.figures
    ]
    gap = float((found.accuracy - found.confidence) @ found.records / found.records.sum())
    parts.append("as sure as it is right" if abs(gap) < 0.01 else "too sure" if gap < 0 else "not sure enough")
    note = "; ".join([*parts, f"{len(found.records)} bins of confidence that hold records; intervals: Wilson, 95 %"])
    return Chart("Reliability", "confidence, %", "right", lines, note=note)


def _wilson(share: float, records: int) -> tuple[float, float]:
    from bodh.metrics.intervals import wilson

    return wilson(share, int(records))
