"""Ctrl-C and SIGTERM: finish the step, save, say how to resume."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Stop:
    """Set by the first signal; the second one interrupts at once."""

    def __init__(self) -> None:
        self.number: int | None = None

    def handle(self, number: int, frame: FrameType | None) -> None:
        """Remember the signal; on the second, interrupt."""
        del frame
        if self.number is not None:
            raise KeyboardInterrupt
        self.number = number


@contextmanager
def watch() -> Iterator[Stop]:
    """Yield a `Stop` that SIGINT and SIGTERM set; the handlers of before come back afterwards.

    Outside the main thread, where Python allows no handlers, the `Stop` simply stays unset.
    """
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = {number: signal.signal(number, stop.handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
