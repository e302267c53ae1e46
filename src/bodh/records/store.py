"""Records decoded once, kept on disk, read by every later epoch."""

from __future__ import annotations

import csv
import logging
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from bodh.contracts import Json, Modality, RecordStore, Source
from bodh.errors import DataError
from bodh.records.cache import STORES, cache_root, free_bytes
from bodh.records.ids import pick
from bodh.records.memory import MemoryStore, gather
from bodh.records.pack import DATA, KEPT, SHAPES, SKIPPED, VERSION, Plan, complete, pack, too_many
from bodh.records.pool import worker_count
from bodh.records.sources._parts import digest
from bodh.records.worker import decode

_log = logging.getLogger("bodh")

TOLERANCE = 0.05
"""Share of broken records above which nothing is trained."""
_PROBES = 12
_SLOW = 5.0
"""Seconds of decoding one record above which no more are tried out."""
_CHUNK_SECONDS = 0.05
_WORTH_A_WORKER = 0.8
"""Seconds of decoding for which starting a process pays."""


class OpenStore(RecordStore, Protocol):
    """What `open_store` returns: a record store that also tells what was left out, and where it lies."""

    skipped: list[tuple[str, str]]
    """(id, reason) of broken records"""
    folder: Path | None
    """None: in memory"""


def open_store(
    source: Source,
    modality: Modality,
    *,
    cache: Path | None = None,
    workers: int | None = None,
    budget: int | None = None,
    refresh: bool = False,
    tolerance: float = TOLERANCE,
    progress: Callable[[int, int], None] | None = None,
) -> OpenStore:
    """Return the decoded records of `source`, decoding them now where no earlier run has.

    Records of arrays stay in memory. Others are decoded in parallel into a folder that later runs share; a run that
    was killed meanwhile goes on where it stopped. Where that folder would need more than `budget`, records are
    decoded whenever they are read, which is said.

    Args:
        source: what to decode.
        modality: how.
        cache: folder for decoded records; `cache_root()` by default.
        workers: processes that decode; 0 decodes here; by default as many as pay off.
        budget: bytes on the disk that the records may take; half of what is free by default.
        refresh: decode again even where an earlier run has.
        tolerance: share of broken records above which it stops.
        progress: called with (records done, records in all) while decoding; by default a line is logged now and then.

    Returns:
        A record store with `.skipped`, (id, reason) of broken records, and `.folder`, where it lies (None: in memory).

    Raises:
        DataError: more than `tolerance` of the records are broken; the message names the first.
        OutputError: the cache cannot be written, or the disk is full.
    """
    if getattr(source, "in_memory", False):
        return _in_memory(source, modality, tolerance, progress)
    stores = (cache or cache_root()) / STORES
    folder = stores / digest(source.fingerprint, modality.name, modality.store_key(), VERSION)
    index = folder.with_name(folder.name + "-stream")
    if refresh:
        for old in (folder, index):
            for stale in (old, old.with_name(old.name + ".partial")):
                shutil.rmtree(stale, ignore_errors=True)
    if not complete(folder):
        probe = _probe(source, modality)
        partial = folder.with_name(folder.name + ".partial")
        held = (partial / DATA).stat().st_size if (partial / DATA).exists() else 0
        allowed = (free_bytes(stores) + held) // 2 if budget is None else budget
        processes = _workers(workers, probe, len(source))
        told = progress or _Told(source.name)
        plan = Plan(processes, probe.chunk(len(source), processes), True, tolerance, told)
        if probe.bytes * len(source) > allowed:
            return _streamed(source, modality, index, plan, probe.bytes * len(source), allowed)
        pack(source, modality, folder, plan)
    manifest = complete(folder)
    if manifest is None:
        raise DataError(
            f"{source.name!r}: the decoded records at {str(folder)!r} are damaged; type: bodh data … --forget"
        )
    store = DiskStore(source, folder, manifest)
    _judge(source, store.skipped, tolerance)
    return store


class DiskStore:
    """Decoded records in a folder, read through memory maps: opening is instant, reading is a copy."""

    def __init__(self, source: Source, folder: Path, manifest: Json) -> None:
        self.folder: Path | None = folder
        self._place = folder
        self.name, self.fingerprint = source.name, source.fingerprint
        kept = np.load(folder / KEPT) if (folder / KEPT).exists() else np.arange(len(source))
        self.ids: Sequence[str] = pick(source.ids, kept)
        self.splits = np.asarray(source.splits)[kept]
        self.targets = None if source.targets is None else np.asarray(source.targets)[kept]
        self.class_names = source.class_names
        self.skipped = read_skipped(folder)
        self.shape: tuple[int, ...] | None = None if manifest["shape"] is None else tuple(manifest["shape"])
        self._manifest = manifest
        self._map()

    def _map(self) -> None:
        records, axes = self._manifest["records"], self._manifest["axes"]
        # a plain view: slicing np.memmap itself costs microseconds a record
        self._flat = np.asarray(np.memmap(self._place / DATA, np.dtype(self._manifest["dtype"]), "r"))
        if self.shape is not None:
            self._rows = self._flat.reshape(records, *self.shape)
            return
        self._shapes = np.fromfile(self._place / SHAPES, "<i8").reshape(records, axes)
        self._stops = np.cumsum(self._shapes.prod(1))

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name not in ("_flat", "_rows")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._map()

    def __len__(self) -> int:
        return int(self._manifest["records"])

    def rows(self, index: np.ndarray) -> np.ndarray | list[np.ndarray]:
        """Return copies of the records at `index` [n]: `[n …]`, or a list where shapes differ. Thread-safe."""
        if self.shape is not None:
            return gather(self._rows, index)
        index = np.asarray(index, np.int64)
        shapes, stops = self._shapes[index], self._stops[index]
        starts = (stops - shapes.prod(1)).tolist()
        places = zip(shapes.tolist(), starts, stops.tolist(), strict=True)
        return [self._flat[start:stop].copy().reshape(shape) for shape, start, stop in places]

    def lengths(self) -> np.ndarray:
        """Return how long every record is along its first axis (texts: tokens), int64 `[n]`."""
        if self.shape is not None:
            return np.full(len(self), self.shape[0], np.int64)
        return np.asarray(self._shapes[:, 0], np.int64)


def read_skipped(folder: Path) -> list[tuple[str, str]]:
    """Return the (id, reason) lines of a store's `skipped.csv`."""
    with (folder / SKIPPED).open(encoding="utf-8", newline="") as file:
        return [(row[0], row[1]) for row in list(csv.reader(file))[1:]]


def _judge(source: Source, skipped: list[tuple[str, str]], tolerance: float) -> None:
    """Stop where too many records are broken: also where an earlier, more tolerant run has decoded them."""
    if len(skipped) > tolerance * len(source) or len(skipped) == len(source):
        raise too_many(source, skipped, stopped=False)


def _in_memory(
    source: Source, modality: Modality, tolerance: float, progress: Callable[[int, int], None] | None
) -> MemoryStore:
    rows, kept, skipped = [], [], []
    for position in range(len(source)):
        row = decode(source, modality, position)
        if isinstance(row, str):
            skipped.append((source.ids[position], row))
            continue
        rows.append(row)
        kept.append(position)
    _judge(source, skipped, tolerance)
    if progress:
        progress(len(source), len(source))
    chosen = np.array(kept)
    return MemoryStore(
        rows,
        targets=None if source.targets is None else source.targets[chosen],
        splits=source.splits[chosen],
        ids=pick(source.ids, chosen),
        class_names=source.class_names,
        name=source.name,
        fingerprint=source.fingerprint,
        skipped=skipped,
    )


class _Told:
    """Logs how far decoding is, where it takes long."""

    every = 10.0
    """seconds"""

    def __init__(self, name: str) -> None:
        self.name, self.start, self.first = name, time.monotonic(), -1
        self.last = self.start

    def __call__(self, done: int, total: int) -> None:
        now = time.monotonic()
        if self.first < 0:
            self.first = done
        if now - self.last < self.every or done == self.first:
            return
        self.last = now
        left = (now - self.start) * (total - done) / (done - self.first)
        _log.info("%s: %d of %d records decoded, about %.0f s left", self.name, done, total, left)


@dataclass(frozen=True)
class _Probe:
    """What some records tell about all: bytes and seconds a record."""

    bytes: float
    seconds: float

    def chunk(self, records: int, workers: int) -> int:
        """Return how many records to ask for at once: some time's worth, and several requests a worker."""
        worth = _CHUNK_SECONDS / max(self.seconds, 1e-9)
        return int(max(1, min(512, worth, records / (4 * max(1, workers)))))


def _probe(source: Source, modality: Modality) -> _Probe:
    positions = np.unique(np.linspace(0, len(source) - 1, _PROBES).astype(np.int64)).tolist()
    start = time.perf_counter()
    first = decode(source, modality, positions[0])  # pays for imports and for opening files
    if (seconds := time.perf_counter() - start) > _SLOW and not isinstance(first, str):
        return _Probe(float(first.nbytes), seconds)  # one enormous record
    sizes, start = [], time.perf_counter()
    for position in positions:
        row = decode(source, modality, position)
        if not isinstance(row, str):
            sizes.append(row.nbytes)
    seconds = (time.perf_counter() - start) / len(positions)
    return _Probe(float(np.mean(sizes)) if sizes else 0.0, seconds)


def _workers(wanted: int | None, probe: _Probe, records: int) -> int:
    if wanted is not None:
        return worker_count(wanted)
    # the choice changes how long it takes, never what comes out
    worthwhile = int(probe.seconds * records / _WORTH_A_WORKER)
    return min(worker_count(None), worthwhile) if worthwhile > 1 else 0


def _streamed(source: Source, modality: Modality, index: Path, plan: Plan, needed: float, allowed: int) -> OpenStore:
    from bodh.records.stream import StreamStore

    _log.warning(
        "%s: decoded records would take %.1f GB, more than the %.1f GB allowed: they are decoded whenever they are "
        "read, which is slower; free disk space, or choose another place: export BODH_CACHE=/another/folder",
        source.name, needed / 1e9, allowed / 1e9,
    )  # fmt: skip
    if not complete(index):
        pack(source, modality, index, Plan(plan.workers, plan.chunk, False, plan.tolerance, plan.progress))
    manifest = complete(index)
    if manifest is None:
        raise DataError(
            f"{source.name!r}: what is known about it at {str(index)!r} is damaged; type: bodh data … --forget"
        )
    store = StreamStore(source, modality, index, manifest, workers=plan.workers)
    _judge(source, store.skipped, plan.tolerance)
    return store
