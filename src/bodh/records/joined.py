"""Records of two stores as one: labelled ones, and others without labels beside them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bodh.contracts import RecordStore
from bodh.records.sources._parts import digest


class JoinedStore:
    """The records of `first`, then those of `more` as unlabelled training records; read where they lie.

    Args:
        first: has labels, one class a record.
        more: its labels, if any, are left out.
    """

    def __init__(self, first: RecordStore, more: RecordStore) -> None:
        self.parts = (first, more)
        self.name, self.class_names = first.name, tuple(first.class_names)
        self.ids: Sequence[str] = [*first.ids, *(f"unlabelled/{name}" for name in more.ids)]
        self.splits = np.concatenate([np.asarray(first.splits), np.full(len(more), "train")])
        self.targets: np.ndarray | None = np.concatenate([np.asarray(first.targets), np.full(len(more), -1)])
        self.fingerprint = digest(first.fingerprint, more.fingerprint)
        self.shape = first.shape if first.shape == more.shape else None
        self.skipped = [*getattr(first, "skipped", []), *getattr(more, "skipped", [])]

    def __len__(self) -> int:
        return len(self.parts[0]) + len(self.parts[1])

    def lengths(self) -> np.ndarray:
        """Return how long every record is along its first axis (texts: tokens), int64 `[n]`."""
        return np.concatenate([part.lengths() for part in self.parts])

    def rows(self, index: np.ndarray) -> np.ndarray | list[np.ndarray]:
        """Return the records at `index` [n]: `[n …]`, or a list where shapes differ. Thread-safe."""
        index = np.asarray(index, np.int64)
        border = len(self.parts[0])
        found: list[np.ndarray] = [np.empty(0)] * len(index)
        for store, places, start in (
            (self.parts[0], np.flatnonzero(index < border), 0),
            (self.parts[1], np.flatnonzero(index >= border), border),
        ):
            if len(places):
                for place, row in zip(places, store.rows(index[places] - start), strict=True):
                    found[place] = row
        return found if self.shape is None else np.stack(found) if found else np.empty((0, *self.shape))
