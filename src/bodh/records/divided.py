"""Which records train and which test, also where all there is is one long record: its end is then the test."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, cast

import numpy as np

from bodh.contracts import Modality, RecordStore
from bodh.records.splits import train_val_test

_log = logging.getLogger("bodh")

LAST = 0.1
"""Share of a single record that is set aside, at its end."""


def divided(store: RecordStore, modality: Modality, seed: int) -> tuple[RecordStore, dict[str, np.ndarray]]:
    """Return the store to read from, and the positions of "train", "val" and "test" in it; see `train_val_test`.

    A single record is read as two where its modality can divide one (`divide`): what comes first trains, the last
    tenth tests.

    Raises:
        DataError: no training records, or a single one that cannot be divided.
    """
    if len(store) == 1 and store.targets is None and hasattr(modality, "divide"):
        two = Divided(store, modality)
        _log.info("%s is one document: its last tenth is set aside", store.name)
        return two, {name: np.flatnonzero(two.splits == name) for name in ("train", "val", "test")}
    return store, train_val_test(store, seed)


class Divided:
    """The single record of `store` as two, of which the first trains and the second tests.

    Args:
        store: of one record.
        modality: divides it.
    """

    def __init__(self, store: RecordStore, modality: Modality) -> None:
        self._parts: list[np.ndarray] = list(cast("Any", modality).divide(store.rows(np.arange(1))[0], 1 - LAST))
        self.name, self.fingerprint = store.name, store.fingerprint
        self.ids: Sequence[str] = [store.ids[0], f"{store.ids[0]} (end)"]
        self.splits = np.array(["train", "test"])
        self.targets: np.ndarray | None = None
        self.class_names: tuple[str, ...] = ()
        self.shape: tuple[int, ...] | None = None
        self.skipped = list(getattr(store, "skipped", ()))

    def __len__(self) -> int:
        return len(self._parts)

    def lengths(self) -> np.ndarray:
        """Return how long both parts are, int64 `[2]`."""
        return np.array([len(part) for part in self._parts], np.int64)

    def rows(self, index: np.ndarray) -> list[np.ndarray]:
        """Return the parts at `index` [n]. Thread-safe."""
        return [self._parts[int(place)] for place in index]
