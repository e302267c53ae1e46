"""The order of samples is a function of (seed, epoch): nothing to save, and resume is exact."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from bodh.contracts import derive_seed
from bodh.errors import DataError


def epoch_order(n: int, *, seed: int, epoch: int) -> np.ndarray:
    """Return the positions 0 … n - 1 in the order of `epoch`, as int64 `[n]`.

    Args:
        n: number of records.
        seed: root seed of the run.
        epoch: from 0.
    """
    return _order(n, seed, epoch).copy()


def batch_positions(n: int, *, batch: int, step: int, seed: int) -> tuple[int, np.ndarray]:
    """Return the epoch that `step` belongs to and the positions of its batch, int64 `[batch]`.

    The last, incomplete batch of an epoch is dropped: the next epoch starts instead.

    Args:
        n: number of records.
        batch: records a step.
        step: from 0.
        seed: root seed of the run.

    Raises:
        DataError: there are fewer records than a batch takes.
    """
    if n < batch:
        raise DataError(
            f"{n} records cannot fill a batch of {batch}; give more records, or type batch_size={max(1, n)}"
        )
    epoch, place = divmod(step, n // batch)
    return epoch, _order(n, seed, epoch)[place * batch : (place + 1) * batch].copy()


@lru_cache(maxsize=4)
def _order(n: int, seed: int, epoch: int) -> np.ndarray:
    generator = np.random.Generator(np.random.PCG64(derive_seed("order", seed, epoch)))
    return generator.permutation(n).astype(np.int64, copy=False)
