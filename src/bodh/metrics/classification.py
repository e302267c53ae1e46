"""Figures of classifiers, from probabilities and targets; scikit-learn computes wherever it has the figure.

Classes that do not occur in the targets do not count in any mean over classes. Records whose target is unknown must
be left out before. Importing this file imports neither torch nor scikit-learn.

Axes: `n` records, `k` classes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bodh.contracts import Json

if TYPE_CHECKING:
    from collections.abc import Sequence


def single_label(probabilities: np.ndarray, targets: np.ndarray) -> Json:
    """Return the figures of one class of k: fractions from 0 to 1.

    Accuracy, balanced accuracy, precision, recall and F1 (macro over classes that occur, weighted by their size,
    micro over all decisions: all three are the accuracy), ROC-AUC and PR-AUC (one against the rest, macro), expected
    calibration error, Brier score (0 to 2), log loss.

    Args:
        probabilities: [n k], rows sum to 1.
        targets: [n] int class index.
    """
    from sklearn.metrics import precision_recall_fscore_support

    predicted = probabilities.argmax(axis=1)
    present = np.unique(targets)
    recalls = [float((predicted[targets == label] == label).mean()) for label in present]
    figures: Json = {
        "records": len(targets),
        "accuracy": float((predicted == targets).mean()),
        "balanced_accuracy": float(np.mean(recalls)),
    }
    for average in ("macro", "weighted"):
        scores = precision_recall_fscore_support(targets, predicted, labels=present, average=average, zero_division=0)
        figures |= {
            f"{name}_{average}": float(x) for name, x in zip(("precision", "recall", "f1"), scores, strict=False)
        }
    figures |= {f"{name}_micro": figures["accuracy"] for name in ("precision", "recall", "f1")}
    one_hot = np.eye(probabilities.shape[1], dtype=bool)[targets]
    picked = probabilities[np.arange(len(targets)), targets].astype(np.float64)
    return figures | {
        "roc_auc": _mean_over_classes(probabilities, one_hot, "roc_auc_score"),
        "pr_auc": _mean_over_classes(probabilities, one_hot, "average_precision_score"),
        "calibration_error": calibration_error(probabilities, targets),
        "brier": float(squared_error(probabilities, targets).mean()),
        "log_loss": float(-np.log(picked.clip(1e-12)).mean()),
    }


def several_labels(probabilities: np.ndarray, targets: np.ndarray, *, threshold: float = 0.5) -> Json:
    """Return the figures of several labels at once: fractions from 0 to 1.

    Mean average precision and ROC-AUC (macro), F1 (micro, macro, per record), share of records with every label right,
    share of single decisions that are wrong, label ranking average precision.

    Args:
        probabilities: [n k], each its own.
        targets: [n k] 0/1.
        threshold: a label is predicted from this probability on.
    """
    from sklearn.metrics import f1_score

    predicted = (probabilities >= threshold).astype(np.int64)
    truth = targets.astype(np.int64)
    present = np.flatnonzero(truth.any(axis=0))
    return {
        "records": len(targets),
        "mean_average_precision": _mean_over_classes(probabilities, truth.astype(bool), "average_precision_score"),
        "roc_auc": _mean_over_classes(probabilities, truth.astype(bool), "roc_auc_score"),
        "f1_micro": float(f1_score(truth, predicted, average="micro", zero_division=0)),
        "f1_macro": float(f1_score(truth[:, present], predicted[:, present], average="macro", zero_division=0)),
        "f1_records": float(f1_score(truth, predicted, average="samples", zero_division=0)),
        "all_right": float((predicted == truth).all(axis=1).mean()),
        "wrong_decisions": float((predicted != truth).mean()),
        "ranking_precision": float(ranking_precision(probabilities, truth).mean()),
    }


def per_class(probabilities: np.ndarray, targets: np.ndarray, class_names: Sequence[str]) -> list[Json]:
    """Return precision, recall, F1 and number of records of every class, as table rows.

    Args:
        probabilities: [n k].
        targets: [n] class index, or [n k] 0/1 (then a label counts as predicted from probability 0.5 on).
        class_names: [k].
    """
    from sklearn.metrics import precision_recall_fscore_support

    several = targets.ndim == 2
    predicted = (probabilities >= 0.5).astype(np.int64) if several else probabilities.argmax(axis=1)
    labels = np.arange(probabilities.shape[1])
    scores = precision_recall_fscore_support(targets.astype(np.int64), predicted, labels=labels, zero_division=0)
    return [
        {"class": name, "precision": float(p), "recall": float(r), "f1": float(f), "records": int(n)}
        for name, p, r, f, n in zip(class_names, *scores, strict=True)
    ]


def confusion(predicted: np.ndarray, targets: np.ndarray, classes: int) -> np.ndarray:
    """Return counts [k k]: row = true class, column = predicted class."""
    counts = np.bincount(targets * classes + predicted, minlength=classes * classes)
    return counts.reshape(classes, classes)


def calibration_error(probabilities: np.ndarray, targets: np.ndarray, *, bins: int = 15) -> float:
    """Return the expected calibration error, 0 to 1: mean gap of confidence and accuracy over equal-width bins.

    Source: Guo et al. 2017, arXiv 1706.04599, equation 3.
    """
    confidence = probabilities.max(axis=1).astype(np.float64)
    right = probabilities.argmax(axis=1) == targets
    which, _ = confidence_bins(confidence, bins)
    gap = np.bincount(which, weights=right - confidence, minlength=bins)
    return float(np.abs(gap).sum() / max(1, len(targets)))


def confidence_bins(confidence: np.ndarray, bins: int = 15) -> tuple[np.ndarray, int]:
    """Return the bin [n] of every confidence [n], of `bins` of equal width that are closed above, and their number."""
    which = np.minimum((np.ceil(confidence * bins) - 1).clip(0).astype(np.int64), bins - 1)
    return which, bins


def squared_error(probabilities: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Return the squared distance of every record [n] from its class, 0 to 2; the mean is the Brier score.

    Source: Brier 1950, "Verification of forecasts expressed in terms of probability", equation 2 (all classes).

    Args:
        probabilities: [n k].
        targets: [n] class index.
    """
    truth = np.eye(probabilities.shape[1])[targets]
    distance: np.ndarray = ((probabilities.astype(np.float64) - truth) ** 2).sum(axis=1)
    return distance


def ranking_precision(probabilities: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Return for every record [n] how purely its true labels rank on top: 0 to 1, mean = label ranking precision.

    For every true label: the share of true ones among the labels that rank at least as high; averaged over the
    record's true labels. A record without labels counts as 1, as in scikit-learn, which returns the mean only.
    """
    truth = targets.astype(bool)
    n, k = truth.shape
    total = np.empty(n)
    block = max(1, 4_000_000 // (k * k))
    for start in range(0, n, block):
        p, t = probabilities[start : start + block], truth[start : start + block]
        at_least = p[:, None, :] >= p[:, :, None]  # [n label other]
        pure = (at_least & t[:, None, :]).sum(axis=2) / at_least.sum(axis=2)
        total[start : start + block] = np.where(t, pure, 0.0).sum(axis=1)
    number = truth.sum(axis=1)
    result: np.ndarray = np.where((number == 0) | (number == k), 1.0, total / np.maximum(number, 1))
    return result


def record_scores(probabilities: np.ndarray, targets: np.ndarray, metric: str) -> np.ndarray:
    """Return a score of every record [n] whose mean is `metric`: what paired comparisons work on.

    Args:
        probabilities: [n k].
        targets: [n] class index, or [n k] 0/1.
        metric: "accuracy", "balanced_accuracy" (a record weighs more where its class is rare), or
            "ranking_precision" (several labels at once).

    Raises:
        ValueError: another metric.
    """
    if metric == "ranking_precision":
        return ranking_precision(probabilities, targets)
    if metric not in ("accuracy", "balanced_accuracy"):
        raise ValueError(f"no score of a single record for metric {metric!r}")
    right = (probabilities.argmax(axis=1) == targets).astype(np.float64)
    if metric == "accuracy":
        return np.asarray(right)
    counts = np.bincount(targets, minlength=probabilities.shape[1])
    weight: np.ndarray = right * len(targets) / (counts[targets] * (counts > 0).sum())
    return weight


def _mean_over_classes(probabilities: np.ndarray, truth: np.ndarray, score: str) -> float | None:
    """Return scikit-learn's binary `score`, averaged over classes with records on both sides; None without any."""
    from sklearn import metrics

    compute = getattr(metrics, score)
    mixed = np.flatnonzero(truth.any(axis=0) & ~truth.all(axis=0))
    return float(np.mean([compute(truth[:, k], probabilities[:, k]) for k in mixed])) if len(mixed) else None
