"""Requests become batches: what is waiting goes together, and nobody waits for company.

One thread a model computes; while it does, requests queue up, and the next batch is made of them: small batches
when it is quiet, large ones under load, without a timer. The queue is bounded; whoever left or is too late costs
nothing; one bad record cannot fail its neighbours.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field

import numpy as np

Outputs = dict[str, np.ndarray]
Compute = Callable[[np.ndarray], Outputs]
log = logging.getLogger("bodh")


class QueueFull(Exception):  # noqa: N818 -- a state, answered with 429
    """More records wait than may."""


class Closed(Exception):  # noqa: N818 -- a state, answered with 503
    """The batcher takes no more."""


class TooLate(Exception):  # noqa: N818 -- a state, answered with 504
    """The deadline passed before the work began."""


@dataclass(slots=True)
class _Job:
    rows: np.ndarray
    deadline: float
    future: Future[Outputs] = field(default_factory=Future)


class Batcher:
    """Computes rows for many callers on one thread, in batches of what is waiting.

    Args:
        compute: from `[n …]` to named arrays `[n …]`.
        largest: rows in one batch at most; a job with more is computed in pieces.
        waiting: rows that may wait at most.
        name: for the thread and the log.
    """

    def __init__(self, compute: Compute, *, largest: int, waiting: int, name: str) -> None:
        self._compute = compute
        self._largest = largest
        self._limit = waiting
        self._name = name
        self._jobs: deque[_Job] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._work, name=f"bodh-{name}", daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        """True while the computing thread runs: without it no request would ever be answered."""
        return self._thread.is_alive()

    @property
    def waiting(self) -> int:
        """Rows that wait now."""
        with self._changed:
            return self._waiting()

    def submit(self, rows: np.ndarray, *, deadline: float) -> Future[Outputs]:
        """Queue `rows` [n …] and return their outputs as a future; cancel it to take them back.

        Args:
            rows: the input, at least one row.
            deadline: `time.monotonic()` after which nobody wants the answer.

        Raises:
            QueueFull: more rows wait than may.
            Closed: the batcher was closed, or its thread died.
        """
        job = _Job(rows, deadline)
        with self._changed:
            if self._closed or not self._thread.is_alive():
                raise Closed
            # a job that fits no queue is let into an empty one
            if self._jobs and self._waiting() + len(rows) > self._limit:
                raise QueueFull
            self._jobs.append(job)
            self._changed.notify()
        return job.future

    def close(self, *, seconds: float = 0.0) -> None:
        """Take no more, finish what waits for at most `seconds`, and drop the rest."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join(max(0.0, seconds))
        with self._changed:
            left, self._jobs = list(self._jobs), deque()
            self._changed.notify()
        for job in left:
            if job.future.set_running_or_notify_cancel():
                job.future.set_exception(Closed())

    def _waiting(self) -> int:
        return sum(len(job.rows) for job in self._jobs if not job.future.cancelled())

    def _work(self) -> None:
        while (batch := self._take()) is not None:
            if not batch:
                continue
            try:
                _hand_out(batch, self._in_pieces(np.concatenate([job.rows for job in batch])))
            except Exception as error:  # noqa: BLE001 -- goes to those who asked
                self._one_by_one(batch, error)

    def _take(self) -> list[_Job] | None:
        """Return the next jobs to compute together, oldest first; None when closed and empty."""
        batch: list[_Job] = []
        total = 0
        with self._changed:
            while not self._jobs and not self._closed:
                self._changed.wait()
            if not self._jobs:
                return None
            while self._jobs:
                job = self._jobs[0]
                fits = not batch or (
                    total + len(job.rows) <= self._largest
                    and job.rows.shape[1:] == batch[0].rows.shape[1:]
                    and job.rows.dtype == batch[0].rows.dtype
                )
                if not fits:
                    break
                self._jobs.popleft()
                if not job.future.set_running_or_notify_cancel():
                    continue  # the caller left
                if time.monotonic() > job.deadline:
                    job.future.set_exception(TooLate())
                    continue
                batch.append(job)
                total += len(job.rows)
        return batch

    def _in_pieces(self, rows: np.ndarray) -> Outputs:
        if len(rows) <= self._largest:
            return self._compute(rows)
        parts = [self._compute(rows[i : i + self._largest]) for i in range(0, len(rows), self._largest)]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def _one_by_one(self, batch: list[_Job], error: Exception) -> None:
        """A batch failed: compute its jobs alone, so that only the one to blame fails."""
        if len(batch) > 1:
            log.warning(
                "model %s: a batch of %d requests failed (%s); trying them alone", self._name, len(batch), error
            )
        for job in batch:
            if len(batch) == 1:
                job.future.set_exception(error)
                continue
            try:
                _hand_out([job], self._in_pieces(job.rows))
            except Exception as own:  # noqa: BLE001 -- goes to the one who asked
                job.future.set_exception(own)


def _hand_out(batch: list[_Job], outputs: Outputs) -> None:
    total = sum(len(job.rows) for job in batch)
    for name, value in outputs.items():
        if len(value) != total:
            raise ValueError(f"output {name!r} has {len(value)} rows for {total} records")
    start = 0
    for job in batch:
        stop = start + len(job.rows)
        job.future.set_result({name: value[start:stop] for name, value in outputs.items()})
        start = stop
