"""Texts one after the other, cut into rows of one length: no token of a batch is padding."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bodh.contracts import RecordStore
from bodh.errors import DataError
from bodh.records.ids import Numbered
from bodh.records.memory import gather
from bodh.records.sources._parts import digest

IN_MEMORY = 1 << 30
"""Bytes of token ids up to which all texts are joined in memory; above, windows are put together when they are read."""
_BLOCK = 4096
"""Texts that are read at a time."""


def packed(store: RecordStore, positions: np.ndarray, *, length: int, end: int) -> PackedStore:
    """Return the texts at `positions` of `store` as rows of `length` tokens.

    The texts are joined in this order and cut every `length` tokens, wherever that falls: every token is in exactly
    one row. What the last row lacks is taken from the first texts once more.

    Args:
        store: of token ids, int32 `[t]` a record.
        positions: [n] of the texts.
        length: tokens of a row.
        end: the id that ends every text, by which documents are told apart later.

    Raises:
        DataError: no texts, or texts that do not end with `end`.
    """
    return PackedStore(store, positions, length=length, end=end)


class PackedStore:
    """A record store of windows over texts; see `packed`."""

    def __init__(self, store: RecordStore, positions: np.ndarray, *, length: int, end: int) -> None:
        self._store, self._positions = store, np.asarray(positions, np.int64)
        if not len(self._positions):
            raise DataError(f"{store.name!r} has no texts to learn from")
        first = np.asarray(store.rows(self._positions[:1])[0])
        if first.ndim != 1 or not len(first) or int(first[-1]) != end:
            raise DataError(f"records of {store.name!r} are no token ids that end with {end}; only texts can be packed")
        self._stops = np.cumsum(store.lengths()[self._positions])  # [n]
        self.tokens = int(self._stops[-1])
        """in all texts"""
        windows = -(-self.tokens // length)
        self.shape: tuple[int, ...] | None = (length,)
        self.name = store.name
        self.class_names: tuple[str, ...] = ()
        self.ids: Sequence[str] = Numbered.of(f"{store.name}/window", windows)
        self.splits = np.full(windows, "train")
        self.targets: np.ndarray | None = None
        self.fingerprint = digest(store.fingerprint, digest(self._positions.tobytes()), length, end)
        self.skipped = list(getattr(store, "skipped", ()))
        self.folder: Path | None = None
        self._joined = self._join() if self.tokens * 4 <= IN_MEMORY else None

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def length(self) -> int:
        """Tokens of a row."""
        return (self.shape or (0,))[0]

    def lengths(self) -> np.ndarray:
        """Return the tokens of every row, int64 `[n]`: all alike."""
        return np.full(len(self), self.length, np.int64)

    def rows(self, index: np.ndarray) -> np.ndarray:
        """Return windows at positions `index` [n] as int32 `[n t]`. Thread-safe where the store is."""
        index = np.asarray(index, np.int64)
        if self._joined is not None:
            return gather(self._joined, index)
        if not len(index):
            return np.empty((0, self.length), np.int32)
        return np.stack([self._window(int(number)) for number in index])

    def _join(self) -> np.ndarray:
        """All windows, int32 `[n t]`."""
        flat = np.empty(len(self) * self.length, np.int32)
        filled = 0
        for start in range(0, len(self._positions), _BLOCK):
            for row in self._store.rows(self._positions[start : start + _BLOCK]):
                flat[filled : filled + len(row)] = row
                filled += len(row)
        flat[filled:] = np.resize(flat[:filled], len(flat) - filled)
        return flat.reshape(len(self), self.length)

    def _window(self, number: int) -> np.ndarray:
        """Return one window, put together from the texts that it cuts."""
        out, filled = np.empty(self.length, np.int32), 0
        at = number * self.length
        while filled < self.length:
            place = at % self.tokens
            text = int(np.searchsorted(self._stops, place, side="right"))
            start = int(self._stops[text - 1]) if text else 0
            part = self._store.rows(self._positions[text : text + 1])[0][place - start :][: self.length - filled]
            out[filled : filled + len(part)] = part
            filled, at = filled + len(part), at + len(part)
        return out
