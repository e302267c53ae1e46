"""Worker processes that decode records, seen from the side that wants them."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import cycle, islice
from multiprocessing.connection import Connection
from multiprocessing.reduction import ForkingPickler
from pickle import PicklingError
from types import TracebackType

import numpy as np

from bodh.contracts import Modality, Source
from bodh.errors import BodhError
from bodh.records.worker import joined, parts

_log = logging.getLogger("bodh")

_START = "import sys; sys.path[:] = sys.argv[1:]; from bodh.records.worker import main; main()"
_REQUESTS_AHEAD = 4
_LARGEST = 64


@dataclass(frozen=True, slots=True)
class Part:
    """Some decoded records, in the order in which they were asked for."""

    data: bytes
    """their bytes, one after the other"""
    dtype: str
    shapes: np.ndarray
    """[rows axes] int64"""
    skipped: list[tuple[int, str]]
    """(position, reason) of those that cannot be read"""
    last: bool
    """whether this is the last part of a request"""

    def rows(self) -> list[np.ndarray]:
        """Return the records as arrays of their own."""
        flat = np.frombuffer(self.data, self.dtype) if self.data else np.empty(0, self.dtype)
        stops = np.cumsum(self.shapes.prod(1)) if len(self.shapes) else np.empty(0, np.int64)
        pieces = np.split(flat, stops[:-1]) if len(stops) else []
        return [piece.reshape(shape).copy() for piece, shape in zip(pieces, self.shapes, strict=True)]


def worker_count(wanted: int | None) -> int:
    """Return how many workers to start: as wanted, or one a processor that this process may use."""
    if wanted is not None:
        return max(0, wanted)
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(usable, _LARGEST)


class Pool:
    """Decodes positions of a source, by `workers` processes or, with none, right here.

    Answers come in the order of the requests, so that the result does not depend on the number of workers. Not
    thread-safe. Use as a context manager.
    """

    def __init__(self, source: Source, modality: Modality, workers: int) -> None:
        self.source, self.modality = source, modality
        self._workers: list[_Worker] = []
        if workers and os.name == "posix":
            self._start(workers)

    def __enter__(self) -> Pool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _start(self, workers: int) -> None:
        try:
            luggage = ForkingPickler.dumps((self.source, self.modality))
            self._workers = [_Worker(luggage) for _ in range(workers)]
            for worker in self._workers:
                worker.greet()
        except (_CannotTravelError, PicklingError, AttributeError, TypeError) as error:
            # classes of a notebook or of a script are not importable elsewhere
            _log.info("%s cannot be sent to worker processes and is decoded in this one: %s", self.source.name, error)
            self.close()

    def close(self) -> None:
        """End the workers."""
        for worker in self._workers:
            worker.close()
        self._workers = []

    def decode(self, requests: Iterable[np.ndarray]) -> Iterator[Part]:
        """Yield the decoded records of `requests` (each some positions, int64), in order.

        Raises:
            BodhError: a worker died or met an error that is not the record's.
        """
        if not self._workers:
            for positions in requests:
                yield from _here(self.source, self.modality, positions)
            return
        waiting = iter(requests)
        pending: deque[_Worker] = deque()
        ring = cycle(self._workers)
        while True:
            for positions in islice(waiting, _REQUESTS_AHEAD * len(self._workers) - len(pending)):
                worker = next(ring)
                worker.ask(positions)
                pending.append(worker)
            if not pending:
                return
            worker = pending.popleft()
            done = False
            while not done:
                part = worker.answer()
                done = part.last
                yield part


class _CannotTravelError(Exception):
    """A source or modality that a worker cannot rebuild."""


class _Worker:
    def __init__(self, luggage: memoryview) -> None:
        environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
        (ours_in, theirs_out), (theirs_in, ours_out) = os.pipe(), os.pipe()
        self._process = subprocess.Popen(
            [sys.executable, "-c", _START, *sys.path], stdin=theirs_in, stdout=theirs_out, env=environment
        )
        os.close(theirs_in)
        os.close(theirs_out)
        self._requests = Connection(ours_out, readable=False)
        self._answers = Connection(ours_in, writable=False)
        try:
            self._requests.send_bytes(luggage)
        except OSError as error:
            raise BodhError(self._epitaph()) from error

    def greet(self) -> None:
        """Wait until the worker has unpacked."""
        try:
            message = self._answers.recv()
        except (EOFError, OSError) as error:
            raise BodhError(self._epitaph()) from error
        if message is not True:
            raise _CannotTravelError(str(message).splitlines()[0])

    def ask(self, positions: np.ndarray) -> None:
        try:
            self._requests.send(np.asarray(positions, np.int64))
        except OSError as error:
            raise BodhError(self._epitaph()) from error

    def answer(self) -> Part:
        try:
            message = self._answers.recv()
            if isinstance(message, str):
                raise BodhError(f"decoding failed: {message}")
            kinds, shapes, skipped, last = message
            data = self._answers.recv_bytes() if shapes else b""
        except (EOFError, OSError) as error:
            raise BodhError(self._epitaph()) from error
        return Part(data, *_kind(kinds, shapes), skipped, last)

    def _epitaph(self) -> str:
        code = self._process.wait()
        how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
        hint = "; it may have run out of memory: try fewer workers (workers=1)" if code == -9 else ""
        return f"a process that decodes records {how}{hint}"

    def close(self) -> None:
        self._requests.close()
        self._answers.close()
        self._process.terminate()
        self._process.wait()


def _kind(kinds: list[tuple[str, int]], shapes: list[tuple[int, ...]]) -> tuple[str, np.ndarray]:
    if len(kinds) > 1:
        raise BodhError(f"a modality decodes records into arrays of one type and one number of axes, not {kinds}")
    dtype, axes = kinds[0] if kinds else ("uint8", 0)
    return dtype, np.array(shapes, np.int64).reshape(len(shapes), axes)


def _here(source: Source, modality: Modality, positions: np.ndarray) -> Iterator[Part]:
    """Decode in this process, in parts as a worker would."""
    for rows, skipped, last in parts(source, modality, positions):
        kinds = sorted({(str(row.dtype), row.ndim) for row in rows})
        yield Part(joined(rows), *_kind(kinds, [row.shape for row in rows]), skipped, last)
