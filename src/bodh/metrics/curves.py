"""Curves of classifiers: ROC, precision against recall, and reliability (confidence against accuracy).

scikit-learn computes the first two. Axes: `n` records, `k` classes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bodh.metrics.classification import confidence_bins


@dataclass(frozen=True, slots=True)
class ClassCurve:
    """One class against all others: its curve and the area under it (average precision for precision and recall)."""

    label: int
    """class index; -1 for all decisions of all classes together (micro)"""
    x: np.ndarray
    y: np.ndarray
    area: float


@dataclass(frozen=True, slots=True)
class Reliability:
    """Confidence against accuracy in bins of equal width that hold records, from low to high confidence [m]."""

    confidence: np.ndarray
    accuracy: np.ndarray
    records: np.ndarray


def one_hot(targets: np.ndarray, classes: int) -> np.ndarray:
    """Return bool [n k] of class indices [n], or of [n k] 0/1 as it is."""
    return targets.astype(bool) if targets.ndim == 2 else np.eye(classes, dtype=bool)[targets]


def roc(probabilities: np.ndarray, targets: np.ndarray) -> list[ClassCurve]:
    """Return a curve of false (x) and true (y) positive rate for all together, then every class with both kinds."""
    from sklearn.metrics import auc, roc_curve

    curves = []
    for label, truth, score in _decisions(probabilities, targets):
        x, y, _ = roc_curve(truth, score)
        curves.append(ClassCurve(label, x, y, float(auc(x, y))))
    return curves


def precision_recall(probabilities: np.ndarray, targets: np.ndarray) -> list[ClassCurve]:
    """Return a curve of recall (x, rising) and precision (y) for all together, then every class with both kinds."""
    from sklearn.metrics import average_precision_score, precision_recall_curve

    curves = []
    for label, truth, score in _decisions(probabilities, targets):
        y, x, _ = precision_recall_curve(truth, score)
        curves.append(ClassCurve(label, x[::-1], y[::-1], float(average_precision_score(truth, score))))
    return curves


def reliability(probabilities: np.ndarray, targets: np.ndarray) -> Reliability:
    """Return mean confidence and accuracy of the predicted class in 15 bins; of every decision for several labels.

    Args:
        probabilities: [n k].
        targets: [n] class index, or [n k] 0/1.
    """
    if targets.ndim == 2:
        confidence = np.maximum(probabilities, 1 - probabilities).astype(np.float64).ravel()
        right = ((probabilities >= 0.5) == targets.astype(bool)).ravel()
    else:
        confidence = probabilities.max(axis=1).astype(np.float64)
        right = probabilities.argmax(axis=1) == targets
    which, bins = confidence_bins(confidence)
    records = np.bincount(which, minlength=bins)
    held = records > 0
    sums = (np.bincount(which, weights=values, minlength=bins)[held] for values in (confidence, right))
    mean_confidence, accuracy = (total / records[held] for total in sums)
    return Reliability(mean_confidence, accuracy, records[held])


def at(curve: ClassCurve, x: np.ndarray) -> np.ndarray:
    """Return the height of an ROC curve at positions `x`: straight between corners, the top of a vertical step."""
    last = np.append(np.diff(curve.x) > 0, True)
    height: np.ndarray = np.interp(x, curve.x[last], curve.y[last])
    return height


def precision_at(curve: ClassCurve, recall: np.ndarray) -> np.ndarray:
    """Return the precision of a curve where `recall` is first reached: between corners no line can be drawn.

    Source: Davis & Goadrich 2006, "The relationship between precision-recall and ROC curves", section 4.
    """
    reached: np.ndarray = curve.y[np.searchsorted(curve.x, recall - 1e-12)]
    return reached


def _decisions(probabilities: np.ndarray, targets: np.ndarray) -> list[tuple[int, np.ndarray, np.ndarray]]:
    truth = one_hot(targets, probabilities.shape[1])
    mixed = np.flatnonzero(truth.any(axis=0) & ~truth.all(axis=0))
    if not len(mixed):
        return []
    together = (-1, truth.ravel(), probabilities.ravel())
    return [together, *((int(k), truth[:, k], probabilities[:, k]) for k in mixed)]
