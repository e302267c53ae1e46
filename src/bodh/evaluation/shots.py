"""Few-shot: classes from 1 to 20 examples each, on frozen features, with an honest estimate of how good that is.

Methods, on features of length 1 (Wang et al. 2019, "SimpleShot", arXiv 1911.04623; centring them on the mean of so few
examples, as is done there on that of many classes, lost up to 3 points here): *mean* (nearest class mean: Snell et al.
2017, arXiv 1703.05175), *knn* (weighted nearest examples), *ridge* (regression on the classes: Bertinetto et al. 2019,
arXiv 1805.08136, its penalty by exact leave-one-out). *auto* takes what tells held-out examples best; its estimate then
holds examples out of that choice as well.

Axes: `n` examples, `d` features, `k` classes, `m` records to tell.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from bodh.contracts import Json
from bodh.errors import ConfigError
from bodh.evaluation import ridge
from bodh.metrics.intervals import wilson

METHODS = ("mean", "ridge", "knn")
"""In the order that breaks ties."""
LEAVE_ONE_OUT = 40
"""Up to this many examples each is held out alone; more are held out in ten parts."""
PARTS, INNER_PARTS = 10, 5
NEIGHBOURS = 5
_TEMPERATURES = np.logspace(-2, 1, 31)
_VOTES = 0.1
"""Temperature of the weights of neighbours."""

Scores = Callable[[np.ndarray], np.ndarray]
"""features [m d] -> scores [m k]"""


@dataclass(frozen=True, slots=True)
class Estimate:
    """How often new records will be told rightly, as far as the examples can say: less often than in truth where
    there are few a class, for what is held out is missing from the fit.

    Attributes:
        accuracy: share of held-out examples told rightly; None where it cannot be estimated.
        low: of Wilson's 95 % interval.
        high: of it.
        tested: examples that were held out.
        how: in words; or why it cannot be estimated.
    """

    accuracy: float | None
    low: float | None
    high: float | None
    tested: int
    how: str


@dataclass(frozen=True, slots=True)
class FewShot:
    """A classifier made of examples.

    Attributes:
        method: mean, ridge or knn.
        scores: features [m d] -> scores [m k].
        temperature: probabilities are softmax(scores / temperature).
        estimate: of its accuracy.
        tried: method -> accuracy on held-out examples; empty where nothing could be held out.
    """

    method: str
    scores: Scores
    temperature: float
    estimate: Estimate
    tried: Json

    def __call__(self, features: np.ndarray) -> np.ndarray:
        """Return class probabilities [m k] for `features` [m d]."""
        return _softmax(self.scores(features) / self.temperature)


def fit(features: np.ndarray, targets: np.ndarray, classes: int, *, method: str = "auto", seed: int = 0) -> FewShot:
    """Return a classifier from examples.

    Args:
        features: [n d].
        targets: [n] class index; every class occurs.
        classes: k.
        method: auto, mean, knn or ridge.
        seed: of the parts that are held out together.

    Raises:
        ConfigError: no such method.
    """
    if method not in ("auto", *METHODS):
        raise ConfigError(f"method: {method!r} is not one of: auto, {', '.join(METHODS)}")
    features = features.astype(np.float64)
    candidates = METHODS if method == "auto" else (method,)
    tested = np.bincount(targets, minlength=classes)[targets] > 1
    if not tested.any():
        chosen, why = candidates[0], "one example a class: nothing can be held out, so it cannot be estimated"
        scores = _fit(chosen, features, targets, classes)
        return FewShot(chosen, scores, _spread(scores(features), targets), Estimate(None, None, None, 0, why), {})
    parts = _parts(targets, tested, LEAVE_ONE_OUT if tested.sum() <= LEAVE_ONE_OUT else PARTS, seed)
    chosen, temperature, right, tried = _choose(candidates, features, targets, classes, parts)
    how = "leave-one-out" if parts.max() + 1 == tested.sum() else f"{parts.max() + 1}-fold"
    if len(candidates) > 1:
        right, how = _nested(features, targets, classes, tested, seed), "cross-validated with the choice of the method"
    if not tested.all():
        how += f"; without {int((~tested).sum())} classes of one example"
    share, count = float(right[tested].mean()), int(tested.sum())
    estimate = Estimate(share, *wilson(share, count), count, how)
    return FewShot(chosen, _fit(chosen, features, targets, classes), temperature, estimate, tried)


def _choose(
    candidates: Sequence[str], features: np.ndarray, targets: np.ndarray, classes: int, parts: np.ndarray
) -> tuple[str, float, np.ndarray, Json]:
    """Return the method that tells held-out examples best, its temperature, who it told rightly [n], and all shares."""
    held = parts >= 0
    results = []
    for method in candidates:
        scores = _held_out(method, features, targets, classes, parts)
        right = scores.argmax(axis=1) == targets
        temperature, loss = _temperature(scores[held], targets[held])
        results.append((float(right[held].mean()), -loss, method, temperature, right))
    _, _, method, temperature, right = max(results, key=lambda one: one[:2])  # the first of equals
    return method, temperature, right, {name: share for share, _, name, _, _ in results}


def _nested(features: np.ndarray, targets: np.ndarray, classes: int, tested: np.ndarray, seed: int) -> np.ndarray:
    """Return which examples [n] are told rightly where neither classifier nor choice of the method has seen them."""
    right = np.zeros(len(targets), bool)
    parts = _parts(targets, tested, PARTS, seed)
    for part in range(parts.max() + 1):
        out = parts == part
        x, y = features[~out], targets[~out]
        inner = np.bincount(y, minlength=classes)[y] > 1
        method = METHODS[0]
        if inner.any():
            method = _choose(METHODS, x, y, classes, _parts(y, inner, INNER_PARTS, seed))[0]
        right[out] = _fit(method, x, y, classes)(features[out]).argmax(axis=1) == targets[out]
    return right


def _parts(targets: np.ndarray, tested: np.ndarray, number: int, seed: int) -> np.ndarray:
    """Return the part [n] in which every example is held out, -1 for those that never are; classes spread evenly.

    No part holds all examples of a class, as long as a class has as many examples as there are in one part.
    """
    order = np.random.default_rng(seed).permutation(np.flatnonzero(tested))
    order = order[np.argsort(targets[order], kind="stable")]
    fewest = int(np.bincount(targets[order])[np.unique(targets[order])].min())
    number = max(2, min(number, len(order))) if fewest >= 2 else len(order)
    parts = np.full(len(targets), -1)
    parts[order] = np.arange(len(order)) % number
    return parts


def _held_out(method: str, features: np.ndarray, targets: np.ndarray, classes: int, parts: np.ndarray) -> np.ndarray:
    """Return scores [n k] of every example by a classifier that has not seen it; nought where none is held out."""
    scores = np.zeros((len(targets), classes))
    for part in range(parts.max() + 1):
        out = parts == part
        scores[out] = _fit(method, features[~out], targets[~out], classes)(features[out])
    return scores


def _fit(method: str, features: np.ndarray, targets: np.ndarray, classes: int) -> Scores:
    x = _unit(features)
    table = np.eye(classes)[targets]  # [n k]
    if method == "ridge":
        fitted = ridge.fit(x, table)
        return lambda given: fitted(_unit(given.astype(np.float64))).astype(np.float64)
    if method == "mean":
        means = _unit(table.T @ x)  # a class without examples lies at nought: never the nearest
        absent = np.where(table.any(axis=0), 0.0, -2.0)
        return lambda given: _unit(given.astype(np.float64)) @ means.T + absent
    count = min(NEIGHBOURS, int(table.sum(axis=0).max()))

    def nearest(given: np.ndarray) -> np.ndarray:
        alike = _unit(given.astype(np.float64)) @ x.T  # [m n]
        kept = np.argpartition(-alike, count - 1, axis=1)[:, :count]
        weight = np.exp(np.take_along_axis(alike, kept, axis=1) / _VOTES)
        votes = np.zeros((len(given), classes))
        for column in range(count):
            votes[np.arange(len(given)), targets[kept[:, column]]] += weight[:, column]
        scores: np.ndarray = np.log(votes / votes.sum(axis=1, keepdims=True) + 1e-3) * _VOTES
        return scores

    return nearest


def _temperature(scores: np.ndarray, targets: np.ndarray) -> tuple[float, float]:
    """Return the temperature with the least log loss on held-out scores, and that loss (Guo et al. 2017)."""
    losses = []
    for temperature in _TEMPERATURES:
        told = _softmax(scores / temperature)[np.arange(len(targets)), targets]
        losses.append(float(-np.log(told.clip(1e-12)).mean()))
    best = int(np.argmin(losses))
    return float(_TEMPERATURES[best]), losses[best]


def _spread(scores: np.ndarray, targets: np.ndarray) -> float:
    """Return how far apart the scores [n k] of examples for other classes lie: a temperature for want of a better."""
    others = scores[~np.eye(scores.shape[1], dtype=bool)[targets]]
    return max(float(others.std()), 1e-3)


def _softmax(scores: np.ndarray) -> np.ndarray:
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    shares: np.ndarray = powers / powers.sum(axis=1, keepdims=True)
    return shares


def _unit(x: np.ndarray) -> np.ndarray:
    length = np.linalg.norm(x, axis=1, keepdims=True)
    scaled: np.ndarray = x / np.maximum(length, 1e-12)
    return scaled
