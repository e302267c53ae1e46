"""Records decoded whenever they are read, for sources that do not fit on the disk when decoded."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bodh.contracts import Json, Modality, Source
from bodh.errors import DataError
from bodh.records.ids import pick
from bodh.records.pack import KEPT, SHAPES
from bodh.records.pool import Pool
from bodh.records.store import read_skipped


class StreamStore:
    """A record store without stored records: `rows` decodes by worker processes.

    A first pass has found the broken records and the shapes, so that it has the same records at the same positions
    as a store on disk would.
    """

    def __init__(self, source: Source, modality: Modality, folder: Path, manifest: Json, *, workers: int) -> None:
        self.folder: Path | None = folder
        self.name, self.fingerprint = source.name, source.fingerprint
        self._kept = np.load(folder / KEPT) if (folder / KEPT).exists() else np.arange(len(source))
        self.ids: Sequence[str] = pick(source.ids, self._kept)
        self.splits = np.asarray(source.splits)[self._kept]
        self.targets = None if source.targets is None else np.asarray(source.targets)[self._kept]
        self.class_names = source.class_names
        self.skipped = read_skipped(folder)
        self.shape: tuple[int, ...] | None = None if manifest["shape"] is None else tuple(manifest["shape"])
        self._dtype = np.dtype(manifest["dtype"])
        self._workers = max(1, workers)
        self._pool = Pool(source, modality, workers)
        self._lock = threading.Lock()
        self.close = weakref.finalize(self, self._pool.close)

    def __len__(self) -> int:
        return len(self._kept)

    def lengths(self) -> np.ndarray:
        """Return how long every record is along its first axis (texts: tokens), int64 `[n]`."""
        if self.shape is not None:
            return np.full(len(self), self.shape[0], np.int64)
        shapes = np.fromfile(Path(str(self.folder)) / SHAPES, "<i8").reshape(len(self), -1)
        return np.ascontiguousarray(shapes[:, 0], np.int64)

    def rows(self, index: np.ndarray) -> np.ndarray | list[np.ndarray]:
        """Return records at positions `index` [n]: `[n …]`, or a list where shapes differ. One thread at a time."""
        positions = self._kept[np.asarray(index, np.int64)]
        if not len(positions):
            return [] if self.shape is None else np.empty((0, *self.shape), self._dtype)
        pieces = np.array_split(positions, min(len(positions), 4 * self._workers))
        rows: list[np.ndarray] = []
        with self._lock:
            for part in self._pool.decode(pieces):
                if part.skipped:
                    position, reason = part.skipped[0]
                    raise DataError(f"record {position} of {self.name!r} could be read before, but not now: {reason}")
                rows += part.rows()
        return rows if self.shape is None else np.stack(rows)
