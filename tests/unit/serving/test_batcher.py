"""Batches form from what is waiting; nobody is hurt by a neighbour; what nobody wants is not computed."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest

from bodh.serving.batcher import Batcher, Closed, QueueFull, TooLate


class Work:
    """Doubles its rows; can be held up, and fails where a row holds 13."""

    def __init__(self) -> None:
        self.batches: list[int] = []
        self.free = threading.Event()
        self.entered = threading.Event()
        self.free.set()

    def __call__(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        self.entered.set()
        assert self.free.wait(10)
        self.batches.append(len(rows))
        if (rows == 13).any():
            raise RuntimeError("thirteen")
        return {"double": rows * 2}


@contextmanager
def running(work: Work, *, largest: int = 4, waiting: int = 100) -> Iterator[Batcher]:
    batcher = Batcher(work, largest=largest, waiting=waiting, name="test")
    try:
        yield batcher
    finally:
        work.free.set()
        batcher.close(seconds=10)


def rows(*values: float) -> np.ndarray:
    return np.array(values, dtype=np.float32)[:, None]


def soon() -> float:
    return time.monotonic() + 10


@contextmanager
def held(work: Work, batcher: Batcher) -> Iterator[None]:
    """While this lasts, the model is busy with one row and everything else waits."""
    work.free.clear()
    work.entered.clear()
    first = batcher.submit(rows(0), deadline=soon())
    assert work.entered.wait(10)
    yield
    work.free.set()
    first.result(10)


def test_a_lonely_request_does_not_wait_for_company() -> None:
    work = Work()
    with running(work) as batcher:
        assert batcher.submit(rows(1, 2), deadline=soon()).result(10)["double"].tolist() == [[2], [4]]
    assert work.batches == [2]


def test_what_waits_goes_together_in_order_and_comes_back_apart() -> None:
    work = Work()
    with running(work, largest=4) as batcher:
        with held(work, batcher):
            futures = [batcher.submit(rows(i, i), deadline=soon()) for i in range(1, 4)]
        assert [future.result(10)["double"][0, 0] for future in futures] == [2, 4, 6]
    assert work.batches == [1, 4, 2]


def test_a_large_request_is_computed_in_pieces() -> None:
    work = Work()
    with running(work, largest=4) as batcher:
        result = batcher.submit(rows(*range(10)), deadline=soon()).result(10)
    assert result["double"][:, 0].tolist() == [2 * i for i in range(10)]
    assert work.batches == [4, 4, 2]


def test_rows_of_different_shape_or_type_do_not_share_a_batch() -> None:
    work = Work()
    with running(work) as batcher:
        with held(work, batcher):
            wide = batcher.submit(np.ones((1, 2), dtype=np.float32), deadline=soon())
            byte = batcher.submit(np.ones((1, 2), dtype=np.uint8), deadline=soon())
        assert wide.result(10)["double"].shape == (1, 2)
        assert byte.result(10)["double"].dtype == np.uint8
    assert work.batches == [1, 1, 1]


def test_one_bad_record_fails_alone() -> None:
    work = Work()
    with running(work) as batcher:
        with held(work, batcher):
            good, bad, other = (batcher.submit(rows(v), deadline=soon()) for v in (1, 13, 3))
        assert good.result(10)["double"][0, 0] == 2
        assert other.result(10)["double"][0, 0] == 6
        with pytest.raises(RuntimeError, match="thirteen"):
            bad.result(10)
        assert batcher.alive
        assert batcher.submit(rows(5), deadline=soon()).result(10)["double"][0, 0] == 10


def test_the_queue_is_bounded_by_records() -> None:
    work = Work()
    with running(work, waiting=3) as batcher:
        with held(work, batcher):
            futures = [batcher.submit(rows(1, 2), deadline=soon()), batcher.submit(rows(3), deadline=soon())]
            assert batcher.waiting == 3
            with pytest.raises(QueueFull):
                batcher.submit(rows(4), deadline=soon())
        assert [len(future.result(10)["double"]) for future in futures] == [2, 1]


def test_work_of_those_who_left_makes_room_and_is_not_done() -> None:
    work = Work()
    with running(work, waiting=2) as batcher:
        with held(work, batcher):
            left = batcher.submit(rows(1, 2), deadline=soon())
            assert left.cancel()
            stays = batcher.submit(rows(3, 4), deadline=soon())
        assert len(stays.result(10)["double"]) == 2
    assert work.batches == [1, 2]


def test_work_that_is_too_late_is_not_done() -> None:
    work = Work()
    with running(work) as batcher:
        with held(work, batcher):
            late = batcher.submit(rows(1), deadline=time.monotonic() - 1)
        with pytest.raises(TooLate):
            late.result(10)
    assert work.batches == [1]


def test_closing_finishes_what_was_accepted_and_takes_no_more() -> None:
    work = Work()
    batcher = Batcher(work, largest=4, waiting=10, name="test")
    futures = [batcher.submit(rows(i), deadline=soon()) for i in range(8)]
    batcher.close(seconds=10)
    assert [future.result(0)["double"][0, 0] for future in futures] == [2 * i for i in range(8)]
    with pytest.raises(Closed):
        batcher.submit(rows(1), deadline=soon())
    assert not batcher.alive


def test_closing_without_time_tells_those_who_wait() -> None:
    work = Work()
    batcher = Batcher(work, largest=4, waiting=10, name="test")
    work.free.clear()
    first = batcher.submit(rows(0), deadline=soon())
    assert work.entered.wait(10)
    second = batcher.submit(rows(1), deadline=soon())
    batcher.close(seconds=0)
    with pytest.raises(Closed):
        second.result(10)
    work.free.set()
    assert first.result(10)["double"][0, 0] == 0


def test_an_output_of_the_wrong_length_is_an_error_not_a_mix_up() -> None:
    batcher = Batcher(lambda rows: {"x": rows[:1]}, largest=4, waiting=10, name="test")
    with pytest.raises(ValueError, match="1 rows for 2 records"):
        batcher.submit(rows(1, 2), deadline=soon()).result(10)
    batcher.close(seconds=10)


def test_many_callers_at_once_all_get_their_own() -> None:
    work = Work()
    results: dict[int, float] = {}
    with running(work, largest=8, waiting=1000) as batcher:

        def call(i: int) -> None:
            results[i] = float(batcher.submit(rows(i + 100), deadline=soon()).result(10)["double"][0, 0])

        threads = [threading.Thread(target=call, args=(i,)) for i in range(64)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert results == {i: 2.0 * (i + 100) for i in range(64)}
    assert sum(work.batches) == 64
