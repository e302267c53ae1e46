"""Records held in memory: what arrays and small data sets become."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bodh.records.ids import Numbered


class MemoryStore:
    """A record store over an array, or over a list of arrays where records differ in shape.

    Args:
        array: [n …] stored records (image: uint8 [n h w c]), or a list of n arrays.
        targets: [n] class index, [n k] zeros and ones, or None.
        splits: [n] of "train", "val", "test"; all "train" by default.
        ids: [n] names; numbers by default.
        class_names: [k] names of the classes.
        name: for messages and folders.
        fingerprint: digest of the records; computed from their bytes by default.
        skipped: (id, reason) of what was left out.
    """

    def __init__(
        self,
        array: np.ndarray | list[np.ndarray],
        *,
        targets: np.ndarray | None = None,
        splits: np.ndarray | None = None,
        ids: Sequence[str] | None = None,
        class_names: tuple[str, ...] = (),
        name: str = "array",
        fingerprint: str | None = None,
        skipped: Sequence[tuple[str, str]] = (),
    ) -> None:
        n = len(array)
        if not isinstance(array, np.ndarray) and n and len({row.shape for row in array}) == 1:
            array = np.stack(array)
        self._rows = array
        self.shape: tuple[int, ...] | None = tuple(array.shape[1:]) if isinstance(array, np.ndarray) else None
        self.name = name
        self.ids: Sequence[str] = Numbered.of(name, n) if ids is None else ids
        self.splits = np.full(n, "train") if splits is None else np.asarray(splits)
        self.targets = targets
        self.class_names = class_names
        self.skipped = list(skipped)
        self.folder: Path | None = None
        self.fingerprint = _digest(array) if fingerprint is None else fingerprint
        for what, length in (("ids", len(self.ids)), ("splits", len(self.splits))):
            if length != n:
                raise ValueError(f"{length} {what} for {n} records")
        if targets is not None and len(targets) != n:
            raise ValueError(f"{len(targets)} targets for {n} records")

    def __len__(self) -> int:
        return len(self._rows)

    def rows(self, index: np.ndarray) -> np.ndarray | list[np.ndarray]:
        """Return records at positions `index` [n]: `[n …]`, or a list where shapes differ. Thread-safe."""
        if isinstance(self._rows, np.ndarray):
            return gather(self._rows, index)
        return [self._rows[i] for i in np.asarray(index)]

    def lengths(self) -> np.ndarray:
        """Return how long every record is along its first axis (texts: tokens), int64 `[n]`."""
        return np.array([len(row) for row in self._rows], np.int64)


def _digest(rows: np.ndarray | list[np.ndarray]) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for row in rows:
        digest.update(repr((row.shape, str(row.dtype))).encode())
        digest.update(np.ascontiguousarray(row).data)
    return digest.hexdigest()


def gather(array: np.ndarray, index: np.ndarray) -> np.ndarray:
    """Return `array[index]` as a new array.

    Each row is copied as one opaque block, which is half again as fast as indexing [n h w c] (256 rows of 3 KiB:
    120 against 200 microseconds; sorting the index first makes it slower).
    """
    index = np.asarray(index, dtype=np.int64)
    width = array[0].nbytes if len(array) else 0
    if not width or not array.flags.c_contiguous:
        return np.asarray(array[index])
    blocks = array.reshape(len(array), -1).view(np.dtype((np.void, width))).reshape(len(array))
    copied = np.ascontiguousarray(blocks[index])
    return copied.view(array.dtype).reshape(len(index), *array.shape[1:])
