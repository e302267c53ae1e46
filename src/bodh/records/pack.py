"""Decoding a source once into a folder: in parallel, resumable, and finished all at once or not at all.

    KEY.lock                held by the process that packs; freed by the system when that process dies
    KEY.partial/            what is being packed; becomes KEY/ by one rename
        source.json         what it is made from
        data.bin            the records' bytes, one after the other
        shapes.bin          int64 [rows axes]; only kept where shapes differ
        journal.jsonl       how far everything above is safely on the disk: one line every few seconds
        kept.npy            int64 positions in the source; only where some were left out
        skipped.csv         id and reason of those
        manifest.json       last

A store that streams has all of that but `data.bin`.
"""

from __future__ import annotations

import csv
import errno
import json
import logging
import os
import secrets
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import numpy as np

from bodh.contracts import Json, Modality, Source
from bodh.errors import DataError, OutputError
from bodh.records.cache import LABEL
from bodh.records.pool import Part, Pool

_log = logging.getLogger("bodh")

VERSION = 1
MANIFEST, DATA, SHAPES, KEPT, SKIPPED, JOURNAL = (
    "manifest.json", "data.bin", "shapes.bin", "kept.npy", "skipped.csv", "journal.jsonl",
)  # fmt: skip
_MARK_SECONDS = 2.0
"""A killed run loses at most this much work."""
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@dataclass(frozen=True)
class Plan:
    """How to pack.

    Attributes:
        workers: processes that decode; 0: this one.
        chunk: records a request.
        keep: whether the decoded bytes are written, or only what is known about them.
        tolerance: share of broken records above which packing stops.
        progress: called with (records done, records in all).
    """

    workers: int = 0
    chunk: int = 64
    keep: bool = True
    tolerance: float = 0.05
    progress: Callable[[int, int], None] | None = None


def pack(source: Source, modality: Modality, folder: Path, plan: Plan) -> None:
    """Decode `source` into `folder`, which appears when it is complete.

    Two processes that pack the same folder at once both end well: the second waits for the first; where the file
    system knows no locks, both work and the first to finish wins.

    Raises:
        DataError: too many broken records; the message names the first.
        OutputError: the disk is full or cannot be written; nothing is left behind.
    """
    with _writing(folder.parent):
        folder.parent.mkdir(parents=True, exist_ok=True)
    with _turn(folder, source.name) as alone:
        if complete(folder):
            return
        suffix = ".partial" if alone else f".{os.getpid()}-{secrets.token_hex(4)}.partial"
        partial = folder.with_name(folder.name + suffix)
        try:
            if not complete(partial):  # else it was killed just before the rename
                _fill(source, modality, partial, plan)
            with _writing(folder.parent):
                _publish(partial, folder)
        except (DataError, OutputError):
            shutil.rmtree(partial, ignore_errors=True)
            raise


def complete(folder: Path) -> Json | None:
    """Return the manifest of a finished store, or None where there is none or it is damaged."""
    try:
        manifest: Json = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        sizes = {DATA: manifest["bytes"] if manifest["kept_bytes"] else None, SHAPES: manifest["shapes_bytes"]}
        whole = all(size is None or (folder / name).stat().st_size == size for name, size in sizes.items())
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return manifest if whole and manifest.get("version") == VERSION else None


def too_many(source: Source, skipped: list[tuple[str, str]], *, stopped: bool) -> DataError:
    """Return the error that says how many records are broken, and which come first.

    Args:
        source: theirs.
        skipped: (id, reason).
        stopped: whether the rest has not been looked at.
    """
    first = "; ".join(f"{name!r} ({reason})" for name, reason in skipped[:3])
    if len(skipped) == len(source):
        return DataError(f"none of the {len(source)} records of {source.name!r} can be read: {first}")
    count = f"{'at least ' if stopped else ''}{len(skipped)} of {len(source)}"
    return DataError(
        f"{count} records of {source.name!r} cannot be read, more than 5 %: {first}; "
        f"repair or remove them; to see all, type: bodh data {getattr(source, 'origin', '') or 'DATA'}"
    )


def _fill(source: Source, modality: Modality, partial: Path, plan: Plan) -> None:
    total = len(source)
    with _writing(partial):
        partial.mkdir(parents=True, exist_ok=True)
        label = {"name": source.name, "origin": getattr(source, "origin", ""), "fingerprint": source.fingerprint}
        (partial / LABEL).write_text(json.dumps(label, ensure_ascii=False), encoding="utf-8")
        writer = _Writer(partial, plan.keep)
    if writer.done:
        _log.info("%s: %d of %d records were decoded before, going on from there", source.name, writer.done, total)
    starts = range(writer.done, total, plan.chunk)
    requests = (np.arange(start, min(start + plan.chunk, total)) for start in starts)
    stops = (min(start + plan.chunk, total) for start in starts)
    try:
        with Pool(source, modality, plan.workers if len(starts) > 1 else 0) as pool:
            for part in pool.decode(requests):
                with _writing(partial):
                    writer.add(part)
                if len(writer.skipped) > plan.tolerance * total:
                    raise too_many(source, writer.named(source), stopped=True)
                if part.last:
                    stop = next(stops)
                    with _writing(partial):
                        writer.reached(stop)
                    if plan.progress:
                        plan.progress(stop, total)
        if not writer.rows:
            raise too_many(source, writer.named(source), stopped=False)
        with _writing(partial):
            writer.finish(source, modality)
    finally:
        writer.close()


@dataclass
class _Writer:
    """The files of a store that is being packed; begun anew, or taken up where the journal says."""

    folder: Path
    keep: bool
    done: int = 0
    rows: int = 0
    bytes: int = 0
    dtype: str = ""
    axes: int = 0
    skipped: list[tuple[int, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._take_up()
        self._files: dict[str, IO[bytes]] = {}
        for name, size in ((DATA, self.bytes if self.keep else 0), (SHAPES, self.rows * self.axes * 8)):
            file = (self.folder / name).open("ab", buffering=1 << 20)
            file.truncate(size)
            self._files[name] = file
        self._journal = (self.folder / JOURNAL).open("a", encoding="utf-8")
        self._marked, self._told = time.monotonic(), len(self.skipped)

    def _take_up(self) -> None:
        journal = self.folder / JOURNAL
        good = 0
        try:
            lines = journal.read_bytes().splitlines(keepends=True)
            for line in lines:
                entry = json.loads(line)
                self.done, self.rows, self.bytes = entry["done"], entry["rows"], entry["bytes"]
                self.dtype, self.axes = entry["dtype"], entry["axes"]
                self.skipped += [(int(position), str(reason)) for position, reason in entry["skipped"]]
                good += len(line)
        except (OSError, ValueError, KeyError) as error:
            _log.debug("%s ends here: %s", journal, error)  # in the middle of a line, or before its first
        if journal.exists():
            os.truncate(journal, good)
        held = {
            name: (self.folder / name).stat().st_size if (self.folder / name).exists() else 0 for name in (DATA, SHAPES)
        }
        if held[SHAPES] < self.rows * self.axes * 8 or (self.keep and held[DATA] < self.bytes):
            self.done = self.rows = self.bytes = self.axes = 0  # files and journal do not belong together
            self.dtype, self.skipped = "", []
            os.truncate(journal, 0)

    def add(self, part: Part) -> None:
        self.skipped += part.skipped
        if not len(part.shapes):
            return
        if not self.rows:
            self.dtype, self.axes = part.dtype, part.shapes.shape[1]
        if (part.dtype, part.shapes.shape[1]) != (self.dtype, self.axes):
            raise DataError(
                f"records differ in kind: {self.dtype} with {self.axes} axes, "
                f"and {part.dtype} with {part.shapes.shape[1]} axes"
            )
        if self.keep:
            self._files[DATA].write(part.data)
        self._files[SHAPES].write(part.shapes.astype("<i8").tobytes())
        self.rows += len(part.shapes)
        self.bytes += len(part.data)

    def reached(self, done: int) -> None:
        """Note that all records before `done` are in; every few seconds make it safe."""
        self.done = done
        if time.monotonic() - self._marked < _MARK_SECONDS:
            return
        self._sync()
        entry = {
            "done": done, "rows": self.rows, "bytes": self.bytes, "dtype": self.dtype, "axes": self.axes,
            "skipped": self.skipped[self._told :],
        }  # fmt: skip
        self._journal.write(json.dumps(entry) + "\n")
        self._journal.flush()
        os.fsync(self._journal.fileno())
        self._marked, self._told = time.monotonic(), len(self.skipped)

    def finish(self, source: Source, modality: Modality) -> None:
        self._sync()
        shapes = np.fromfile(self.folder / SHAPES, "<i8").reshape(self.rows, self.axes)
        uniform = bool((shapes == shapes[0]).all())
        if self.skipped:
            broken = np.array([position for position, _ in self.skipped])
            np.save(self.folder / KEPT, np.setdiff1d(np.arange(len(source)), broken))
        with (self.folder / SKIPPED).open("w", encoding="utf-8", newline="") as file:
            table = csv.writer(file)
            table.writerow(["id", "reason"])
            table.writerows(self.named(source))
        manifest = {
            "version": VERSION, "name": source.name, "origin": getattr(source, "origin", ""),
            "fingerprint": source.fingerprint, "modality": modality.name, "records": self.rows, "of": len(source),
            "dtype": self.dtype, "axes": self.axes, "shape": shapes[0].tolist() if uniform else None,
            "bytes": self.bytes, "kept_bytes": self.keep, "shapes_bytes": None if uniform else shapes.nbytes,
        }  # fmt: skip
        with (self.folder / MANIFEST).open("w", encoding="utf-8") as file:
            json.dump(manifest, file, ensure_ascii=False, indent=1)
            file.flush()
            os.fsync(file.fileno())

    def named(self, source: Source) -> list[tuple[str, str]]:
        """Return (id, reason) of what was left out."""
        return [(source.ids[position], reason) for position, reason in self.skipped]

    def _sync(self) -> None:
        for file in self._files.values():
            file.flush()
            os.fsync(file.fileno())

    def close(self) -> None:
        for close in (*(file.close for file in self._files.values()), self._journal.close):
            try:
                close()
            except OSError as error:
                _log.debug("closing: %s", error)  # the disk is full, which is said elsewhere


def _publish(partial: Path, folder: Path) -> None:
    manifest = complete(partial) or {}
    leftovers = {JOURNAL: True, SHAPES: manifest["shapes_bytes"] is None, DATA: not manifest["kept_bytes"]}
    for name, over in leftovers.items():
        if over:
            (partial / name).unlink(missing_ok=True)
    if folder.exists() and not complete(folder):
        _log.warning("%s is damaged and is made again", folder)
        shutil.rmtree(folder)
    try:
        partial.rename(folder)
    except OSError:
        if not complete(folder):
            raise
        shutil.rmtree(partial, ignore_errors=True)  # another process was first, and its result is the same
        return
    if os.name == "posix":
        handle = os.open(folder.parent, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


@contextmanager
def _turn(folder: Path, name: str) -> Iterator[bool]:
    """Wait until no other process packs `folder`; yields False where the file system knows no locks."""
    try:
        import fcntl
    except ImportError:
        yield False
        return
    with _writing(folder.parent), folder.with_name(folder.name + ".lock").open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            alone = True
        except BlockingIOError:
            _log.info("another process is decoding %s just now; waiting for it", name)
            fcntl.flock(file, fcntl.LOCK_EX)
            alone = True
        except OSError:
            alone = False
        yield alone


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    """Turn what the system says about a write into a line for the user."""
    try:
        yield
    except OSError as error:
        hint = "export BODH_CACHE=/another/folder"
        if error.errno in _FULL:
            raise OutputError(
                f"the disk is full: decoded records do not fit under {str(folder)!r}; free space, or type: {hint}"
            ) from error
        raise OutputError(
            f"cannot write under {str(folder)!r}: {error.strerror or error}; choose another place: {hint}"
        ) from error
