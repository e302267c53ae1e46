"""Run chunks of rows side by side, each on one thread, so that threads cannot change a single bit.

PyTorch's own threads split every operation, wait for each other after each, and may split sums differently. Here a
chunk of rows that fits a core's cache goes through all steps on one thread; the pool has as many threads as PyTorch
was given.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import TypeVar

import torch

Item = TypeVar("Item")


def for_each(work: Callable[[Item], None], items: Sequence[Item]) -> None:
    """Call `work` for every item, on as many threads as PyTorch uses here; the first exception is raised."""
    threads = torch.get_num_threads()
    if threads == 1:
        for item in items:
            work(item)
        return
    for _ in _pool(threads, os.getpid()).map(work, items):
        pass


@cache
def _pool(threads: int, process: int) -> ThreadPoolExecutor:  # noqa: ARG001  (a forked child needs its own)
    barrier = threading.Barrier(threads + 1)

    def start() -> None:
        torch.get_num_threads()  # a thread takes the process's number at its first call; only then can it have its own
        torch.set_num_threads(1)  # for this thread, whose own operations must not be split again
        barrier.wait()

    pool = ThreadPoolExecutor(threads, thread_name_prefix="bodh-views", initializer=start)
    for _ in range(threads):
        pool.submit(int)
    barrier.wait()
    torch.set_num_threads(threads)  # the number that new threads elsewhere begin with
    return pool
