"""Texts that are written at the same time take turns, a token each, so that a long one holds up no short one.

One thread a model writes them. A job is a generator: it yields after every token, a piece of text or nothing, and
returns its result. Whoever left, or is too late, costs no further token.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import Future
from typing import Any

from bodh.serving.batcher import Closed, QueueFull, TooLate

Work = Generator[str | None, None, Any]


class Job:
    """One request for texts.

    Attributes:
        future: its result.
    """

    def __init__(self, work: Work, deadline: float, tell: Callable[[str], None]) -> None:
        self.future: Future[Any] = Future()
        self.future.set_running_or_notify_cancel()
        self._work, self._deadline, self._tell = work, deadline, tell
        self._left = threading.Event()

    def leave(self) -> None:
        """Nobody waits for the result any more: not one more token is written."""
        self._left.set()

    def turn(self) -> bool:
        """Write one token; return whether there is more to do."""
        try:
            if self._left.is_set():
                raise Closed
            if time.monotonic() > self._deadline:
                raise TooLate
            if piece := next(self._work):
                self._tell(piece)
        except StopIteration as done:
            self.future.set_result(done.value)
        except Exception as error:  # noqa: BLE001 -- goes to the one who asked
            self.end(error)
        else:
            return True
        return False

    def end(self, error: Exception) -> None:
        """Give up."""
        self._work.close()
        self.future.set_exception(error)


class Turns:
    """Writes for many callers on one thread.

    Args:
        at_once: texts in progress at most, which take turns.
        waiting: that may wait at most until one of them is done.
        name: for the thread.
    """

    def __init__(self, *, at_once: int, waiting: int, name: str) -> None:
        self._at_once, self._limit = at_once, waiting
        self._jobs: deque[Job] = deque()
        self._writing: list[Job] = []
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._work, name=f"bodh-writes-{name}", daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        """True while the writing thread runs."""
        return self._thread.is_alive()

    @property
    def waiting(self) -> int:
        """Requests that are not done."""
        with self._changed:
            return len(self._jobs) + len(self._writing)

    def submit(self, work: Work, *, deadline: float, tell: Callable[[str], None]) -> Job:
        """Queue a job; `tell` gets its pieces of text, on the writing thread.

        Args:
            work: see the module; its first step does not begin here.
            deadline: `time.monotonic()` after which nobody wants the rest.
            tell: must not block.

        Raises:
            QueueFull: more wait than may.
            Closed: no more is taken, or the thread died.
        """
        job = Job(work, deadline, tell)
        with self._changed:
            if self._closed or not self._thread.is_alive():
                raise Closed
            if len(self._jobs) + len(self._writing) >= self._at_once + self._limit:
                raise QueueFull
            self._jobs.append(job)
            self._changed.notify()
        return job

    def close(self, *, seconds: float = 0.0) -> None:
        """Take no more, finish what there is for at most `seconds`, and drop the rest."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join(max(0.0, seconds))
        with self._changed:
            begun, left, self._jobs = self._writing, list(self._jobs), deque()
        for job in begun:
            job.leave()
        for job in left:
            job.end(Closed())
        self._thread.join(5.0)

    def _work(self) -> None:
        while True:
            with self._changed:
                while not (self._jobs or self._writing or self._closed):
                    self._changed.wait()
                while self._jobs and len(self._writing) < self._at_once:
                    self._writing.append(self._jobs.popleft())
                if not self._writing:
                    return
            going = [job for job in self._writing if job.turn()]
            with self._changed:
                self._writing = going
