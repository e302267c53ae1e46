"""What is done with logits to choose the next id, where they are NumPy arrays; `on_tensors` does it on PyTorch's.

Imports no torch: servers use it. Both files have the same functions, and a test compares them.

Axis letters: `n` texts, `b` beginnings of each, `v` ids, `t` tokens so far.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

if TYPE_CHECKING:
    from bodh.model.generation import Generation


class Arithmetic(Protocol):
    """This file, or `on_tensors`: logits lie where the network computed them, all else is arrays."""

    def penalised(self, logits: Any, before: np.ndarray, penalty: float) -> Any:
        """See `penalised`."""
        ...

    def choose(self, logits: Any, options: Generation, drawn: np.ndarray, forbidden: np.ndarray) -> np.ndarray:
        """See `choose`."""
        ...

    def likeliest(
        self, logits: Any, scores: np.ndarray, forbidden: np.ndarray, count: int
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """See `likeliest`."""
        ...


def penalised(logits: np.ndarray, before: np.ndarray, penalty: float) -> np.ndarray:
    """Return `logits` `[n v]` with those of ids in `before` `[n t]` divided by `penalty`, multiplied where negative."""
    if penalty == 1:
        return logits
    told = np.take_along_axis(logits, before, axis=1)
    changed = logits.copy()
    factor = logits.dtype.type(penalty)
    np.put_along_axis(changed, before, np.where(told < 0, told * factor, told / factor), axis=1)
    return changed


def choose(logits: np.ndarray, options: Generation, drawn: np.ndarray, forbidden: np.ndarray) -> np.ndarray:
    """Return the ids `[n]` that are next: the likeliest, or those at which the numbers drawn fall.

    Args:
        logits: `[n v]`, penalties applied.
        options: temperature, top-k and top-p count.
        drawn: `[n]` from 0 to below 1.
        forbidden: `[v]` bool, ids that are never chosen.
    """
    logits = np.where(forbidden, -np.inf, logits)
    if options.temperature == 0:
        best: np.ndarray = logits.argmax(axis=1)
        return best
    share = probabilities(logits, options).cumsum(axis=1)  # [n v]
    place = (share <= (drawn * share[:, -1])[:, None]).sum(axis=1)
    found: np.ndarray = np.minimum(place, logits.shape[1] - 1)
    return found


def probabilities(logits: np.ndarray, options: Generation) -> np.ndarray:
    """Return what tokens are drawn with, float64 `[n v]`, 0 for those that may not be drawn.

    Args:
        logits: `[n v]`.
        options: temperature (above 0), top-k and top-p count.
    """
    logits = logits.astype(np.float64) / options.temperature
    if options.top_k is not None and options.top_k < logits.shape[1]:
        least = -np.partition(-logits, options.top_k - 1, axis=1)[:, options.top_k - 1, None]
        logits = np.where(logits < least, -np.inf, logits)
    found: np.ndarray = np.exp(logits - logits.max(axis=1, keepdims=True))
    found /= found.sum(axis=1, keepdims=True)
    if options.top_p is not None and options.top_p < 1:
        order = np.argsort(-found, axis=1, kind="stable")
        ranked = np.take_along_axis(found, order, axis=1)
        kept = ranked.cumsum(axis=1) - ranked < options.top_p  # what is likelier does not suffice by itself
        np.put_along_axis(found, order, ranked * kept, axis=1)
        found /= found.sum(axis=1, keepdims=True)
    return found


def likeliest(
    logits: np.ndarray, scores: np.ndarray, forbidden: np.ndarray, count: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the likeliest ways on from the beginnings of each text, the likeliest first, each `[n count]`.

    Args:
        logits: `[n*b v]`.
        scores: float32 `[n b]`, log-probabilities of the beginnings.
        forbidden: `[v]` bool, ids that are never written.
        count: of ways on; fewer where there are not so many.

    Returns:
        their log-probabilities, the beginnings that they go on from, and the ids they go on with.
    """
    logits = logits.astype(np.float32)
    logits -= logits.max(axis=1, keepdims=True)
    told = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    told[:, forbidden] = -np.inf
    ids = told.shape[1]
    told = (told.reshape(*scores.shape, ids) + scores[:, :, None]).reshape(len(scores), -1)
    count = min(count, told.shape[1])
    place = np.sort(np.argpartition(-told, count - 1, axis=1)[:, :count], axis=1)  # of equals, the first
    best = np.take_along_axis(told, place, axis=1)
    order = np.argsort(-best, axis=1, kind="stable")
    best, place = np.take_along_axis(best, order, axis=1), np.take_along_axis(place, order, axis=1)
    return best, place // ids, place % ids
