"""The order of samples is a function of (seed, epoch): nothing to save, and resume is exact."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np

from bodh.contracts import derive_seed
from bodh.errors import DataError

POOL = 50
"""Batches within which records are sorted by length: enough for little padding, few enough to stay random."""


def epoch_order(n: int, *, seed: int, epoch: int) -> np.ndarray:
    """Return the positions 0 … n - 1 in the order of `epoch`, as int64 `[n]`.

    Args:
        n: number of records.
        seed: root seed of the run.
        epoch: from 0.
    """
    return _order(n, seed, epoch).copy()


def balanced_order(n: int, groups: Sequence[np.ndarray], *, seed: int, epoch: int) -> np.ndarray:
    """Return n positions in the order of `epoch`, drawn so that every group comes equally often, int64 `[n]`.

    A group smaller than its share is passed over several times; of a larger one, each epoch shows another part. Where
    n is no multiple of the groups, the ones that get one more change from epoch to epoch.

    Args:
        n: positions an epoch shows.
        groups: positions of each class; a position may be in several; none may be empty.
        seed: root seed of the run.
        epoch: from 0.
    """
    generator = np.random.Generator(np.random.PCG64(derive_seed("balanced", seed, epoch)))
    share, more = divmod(n, len(groups))
    extra = set(generator.permutation(len(groups))[:more].tolist())
    parts = []
    for number, group in enumerate(groups):
        wanted = share + (number in extra)
        passes = [generator.permutation(group) for _ in range(-(-wanted // len(group)))]
        parts += [np.concatenate(passes)[:wanted]] if passes else []
    return np.asarray(generator.permutation(np.concatenate(parts)), np.int64)


def mixed_order(n: int, labelled: np.ndarray, others: np.ndarray, *, ratio: int, seed: int, epoch: int) -> np.ndarray:
    """Return n positions in the order of `epoch`: one labelled, then `ratio` others, and so on, int64 `[n]`.

    So every batch, and every process's part of it, has its share of either. The fewer of the two are passed over
    several times, each time in another order; of the more, each epoch shows another part.

    Args:
        n: positions an epoch shows.
        labelled: positions with a label, at least one.
        others: positions without, at least one.
        ratio: others beside each labelled one, from 1.
        seed: root seed of the run.
        epoch: from 0.
    """
    generator = np.random.Generator(np.random.PCG64(derive_seed("mixed", seed, epoch)))
    order = np.empty(n, np.int64)
    first = np.arange(n) % (ratio + 1) == 0
    for group, places in ((labelled, first), (others, ~first)):
        wanted = int(places.sum())
        passes = [generator.permutation(group) for _ in range(-(-wanted // len(group)))]
        order[places] = np.concatenate([np.zeros(0, np.int64), *passes])[:wanted]
    return order


def bucketed_order(order: np.ndarray, lengths: np.ndarray, *, batch: int, seed: int, epoch: int) -> np.ndarray:
    """Return `order` so arranged that a batch holds records of similar length, int64 `[n]`.

    Within stretches of `POOL` batches records are sorted by length and cut into batches, which then come in random
    order: hardly any padding, and yet other neighbours in every epoch. What does not fill a batch stays at the end,
    where it is dropped.

    Args:
        order: [n] positions as the epoch would show them.
        lengths: [m] by position; those that are cut alike should be alike.
        batch: records a step, over all processes and micro-batches.
        seed: root seed of the run.
        epoch: from 0.
    """
    whole = len(order) // batch * batch
    generator = np.random.Generator(np.random.PCG64(derive_seed("buckets", seed, epoch)))
    sorted_ = np.asarray(order, np.int64).copy()
    for start in range(0, whole, POOL * batch):
        stretch = sorted_[start : min(start + POOL * batch, whole)]
        stretch[:] = stretch[np.argsort(lengths[stretch], kind="stable")]
    batches = sorted_[:whole].reshape(-1, batch)
    return np.concatenate([batches[generator.permutation(len(batches))].reshape(-1), sorted_[whole:]])


def batch_positions(
    n: int, *, batch: int, step: int, seed: int, order: Callable[[int], np.ndarray] | None = None
) -> tuple[int, np.ndarray]:
    """Return the epoch that `step` belongs to and the positions of its batch, int64 `[batch]`.

    The last, incomplete batch of an epoch is dropped: the next epoch starts instead.

    Args:
        n: number of records.
        batch: records a step.
        step: from 0.
        seed: root seed of the run.
        order: gives the positions [n] of an epoch; None: `epoch_order`, every position once.

    Raises:
        DataError: there are fewer records than a batch takes.
    """
    if n < batch:
        raise DataError(
            f"{n} records cannot fill a batch of {batch}; give more records, or type batch_size={max(1, n)}"
        )
    epoch, place = divmod(step, n // batch)
    positions = _order(n, seed, epoch) if order is None else order(epoch)
    return epoch, positions[place * batch : (place + 1) * batch].copy()


@lru_cache(maxsize=4)
def _order(n: int, seed: int, epoch: int) -> np.ndarray:
    generator = np.random.Generator(np.random.PCG64(derive_seed("order", seed, epoch)))
    return generator.permutation(n).astype(np.int64, copy=False)
