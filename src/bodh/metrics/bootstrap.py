"""Bootstrap: 95 % percentile intervals of classifiers' figures, over other test records of the same kind.

Source: Efron & Tibshirani 1993, "An introduction to the bootstrap", chapter 13. Records are drawn with replacement
within each true class, so that every draw has the class sizes of the test set; the draws are a function of the seed.

Axes: `n` records, `k` classes, `b` draws.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from bodh.metrics.classification import ranking_precision, squared_error

LEVEL = 0.95
DRAWS = 1000

Ends = tuple[float, float]


def draws_of(strata: np.ndarray | None, count: int, *, draws: int, seed: int) -> Iterator[np.ndarray]:
    """Yield `draws` arrays [n] of record indices, drawn with replacement, within each stratum where there are any.

    Args:
        strata: [n] int, or None: all records are one.
        count: n.
        draws: how many.
        seed: any number of 64 bits.
    """
    rng = np.random.default_rng(seed)
    if strata is None:
        for _ in range(draws):
            yield rng.integers(0, count, count)
        return
    order = np.argsort(strata, kind="stable")
    _, start, size = np.unique(strata[order], return_index=True, return_counts=True)
    first, width = np.repeat(start, size), np.repeat(size, size)
    for _ in range(draws):
        yield order[first + (rng.random(count) * width).astype(np.int64)]


def percentile(values: np.ndarray) -> Ends:
    """Return the ends of the central 95 % of `values` [b]."""
    low, high = np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def single_label(
    probabilities: np.ndarray, targets: np.ndarray, *, draws: int = DRAWS, seed: int = 0
) -> tuple[dict[str, Ends], dict[str, np.ndarray]]:
    """Return intervals of the figures of `classification.single_label`, and of every class.

    Areas under curves have none here: they would have to be sorted anew in every draw. The calibration error has none:
    drawing with replacement adds gaps to its bins, so that the draws lie above the figure itself.

    Args:
        probabilities: [n k].
        targets: [n] class index.
        draws: b.
        seed: of the draws.

    Returns:
        figure -> (low, high); and "precision", "recall", "f1" -> [k 2], nought for classes that do not occur.
    """
    k = probabilities.shape[1]
    predicted = probabilities.argmax(axis=1)
    right = predicted == targets
    support = np.bincount(targets, minlength=k)
    squared = squared_error(probabilities, targets)
    surprise = -np.log(probabilities[np.arange(len(targets)), targets].astype(np.float64).clip(1e-12))
    hits, told = np.empty((draws, k)), np.empty((draws, k))
    means = {name: np.empty(draws) for name in ("brier", "log_loss")}
    for b, index in enumerate(draws_of(targets, len(targets), draws=draws, seed=seed)):
        hits[b] = np.bincount(targets[index][right[index]], minlength=k)
        told[b] = np.bincount(predicted[index], minlength=k)
        means["brier"][b] = squared[index].mean()
        means["log_loss"][b] = surprise[index].mean()
    scores = _scores(hits, told, np.broadcast_to(support, hits.shape))  # each [b k]
    present = support > 0
    figures = {
        "accuracy": hits.sum(axis=1) / len(targets),
        "balanced_accuracy": scores["recall"][:, present].mean(axis=1),
    }
    for name, values in scores.items():
        figures[f"{name}_macro"] = values[:, present].mean(axis=1)
        figures[f"{name}_weighted"] = values @ (support / len(targets))
    classes = {
        name: np.stack(np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0), axis=1)
        for name, values in scores.items()
    }
    return {name: percentile(values) for name, values in (figures | means).items()}, classes


def several_labels(
    probabilities: np.ndarray, targets: np.ndarray, *, draws: int = DRAWS, seed: int = 0
) -> tuple[dict[str, Ends], dict[str, np.ndarray]]:
    """Return intervals of the figures of `classification.several_labels`, and of every class; records are one stratum.

    Args:
        probabilities: [n k].
        targets: [n k] 0/1.
        draws: b.
        seed: of the draws.

    Returns:
        figure -> (low, high); and "precision", "recall", "f1" -> [k 2].
    """
    predicted, truth = probabilities >= 0.5, targets.astype(bool)
    both = predicted & truth
    exact = (predicted == truth).all(axis=1)
    wrong, pure = (predicted != truth).mean(axis=1), ranking_precision(probabilities, targets)
    size = predicted.sum(axis=1) + truth.sum(axis=1)
    of_records = np.where(size > 0, 2 * both.sum(axis=1) / np.maximum(size, 1), 0.0)
    hits, told, support = (np.empty((draws, truth.shape[1])) for _ in range(3))
    per_record = {"all_right": exact, "wrong_decisions": wrong, "ranking_precision": pure, "f1_records": of_records}
    means = {name: np.empty(draws) for name in per_record}
    for b, index in enumerate(draws_of(None, len(targets), draws=draws, seed=seed)):
        hits[b], told[b], support[b] = both[index].sum(axis=0), predicted[index].sum(axis=0), truth[index].sum(axis=0)
        for name, values in per_record.items():
            means[name][b] = values[index].mean()
    scores = _scores(hits, told, support)
    occurs = truth.any(axis=0)
    means["f1_macro"] = scores["f1"][:, occurs].mean(axis=1)
    means["f1_micro"] = 2 * hits.sum(axis=1) / np.maximum(told.sum(axis=1) + support.sum(axis=1), 1)
    classes = {
        name: np.stack(np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0), axis=1)
        for name, values in scores.items()
    }
    return {name: percentile(values) for name, values in means.items()}, classes


def paired(first: np.ndarray, second: np.ndarray, strata: np.ndarray | None, *, draws: int, seed: int) -> Ends:
    """Return the interval of the mean of `first` - `second` [n], both drawn together.

    Args:
        first: score of every record.
        second: score of the same records by another.
        strata: [n] class of the records, or None.
        draws: b.
        seed: of the draws.
    """
    difference = np.asarray(first, np.float64) - np.asarray(second, np.float64)
    means = [difference[index].mean() for index in draws_of(strata, len(difference), draws=draws, seed=seed)]
    return percentile(np.asarray(means))


def _scores(hits: np.ndarray, told: np.ndarray, support: np.ndarray) -> dict[str, np.ndarray]:
    return {
        "precision": hits / np.maximum(told, 1),
        "recall": hits / np.maximum(support, 1),
        "f1": 2 * hits / np.maximum(told + support, 1),
    }
