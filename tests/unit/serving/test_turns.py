"""Texts that are written at the same time: each has its turn, nobody waits for a long one, who left costs nothing."""

from __future__ import annotations

import threading
import time
from collections.abc import Generator
from typing import Any

import pytest

from bodh.serving.batcher import Closed, QueueFull, TooLate
from bodh.serving.turns import Turns


def never() -> float:
    return time.monotonic() + 60


@pytest.fixture(name="turns")
def _turns() -> Generator[Turns, None, None]:
    found = Turns(at_once=2, waiting=1, name="test")
    yield found
    found.close()


def counting(name: str, count: int, order: list[str], begin: threading.Event | None = None) -> Any:
    if begin is not None:
        begin.wait(30)
    for number in range(count):
        order.append(name)
        yield f"{name}{number}"
    return name


def test_they_take_turns_and_the_short_one_ends_first(turns: Turns) -> None:
    order: list[str] = []
    told: list[str] = []
    begin = threading.Event()
    long = turns.submit(counting("a", 6, order, begin), deadline=never(), tell=told.append)
    short = turns.submit(counting("b", 2, order), deadline=never(), tell=lambda _: None)
    begin.set()
    assert (short.future.result(30), long.future.result(30)) == ("b", "a")
    assert told == [f"a{number}" for number in range(6)]
    assert order.index("b") < 3
    assert order[-3:] == ["a", "a", "a"]
    assert turns.waiting == 0


def test_more_than_may_wait_are_refused(turns: Turns) -> None:
    begin = threading.Event()
    jobs = [turns.submit(counting("x", 1, [], begin), deadline=never(), tell=lambda _: None) for _ in range(3)]
    with pytest.raises(QueueFull):
        turns.submit(counting("y", 1, []), deadline=never(), tell=lambda _: None)
    begin.set()
    assert [job.future.result(30) for job in jobs] == ["x"] * 3


def test_who_left_or_is_too_late_costs_no_further_token(turns: Turns) -> None:
    closed = threading.Event()

    def endless() -> Any:
        try:
            while True:
                yield "x"
        finally:
            closed.set()

    seen = threading.Event()
    job = turns.submit(endless(), deadline=never(), tell=lambda _: seen.set())
    assert seen.wait(30)
    job.leave()
    assert closed.wait(30)
    with pytest.raises(Closed):
        job.future.result(30)
    late = turns.submit(endless(), deadline=time.monotonic() - 1, tell=lambda _: None)
    with pytest.raises(TooLate):
        late.future.result(30)
    assert turns.submit(counting("z", 1, []), deadline=never(), tell=lambda _: None).future.result(30) == "z"


def test_what_fails_fails_alone(turns: Turns) -> None:
    def broken() -> Any:
        yield "x"
        raise ValueError("no")

    begin = threading.Event()
    good = turns.submit(counting("a", 3, [], begin), deadline=never(), tell=lambda _: None)
    bad = turns.submit(broken(), deadline=never(), tell=lambda _: None)
    begin.set()
    assert good.future.result(30) == "a"
    with pytest.raises(ValueError, match="no"):
        bad.future.result(30)
    assert turns.alive


def test_closing_finishes_what_there_is_and_takes_no_more() -> None:
    turns = Turns(at_once=1, waiting=4, name="test")
    jobs = [turns.submit(counting("a", 3, []), deadline=never(), tell=lambda _: None) for _ in range(3)]
    turns.close(seconds=30)
    assert [job.future.result(0) for job in jobs] == ["a"] * 3
    with pytest.raises(Closed):
        turns.submit(counting("b", 1, []), deadline=never(), tell=lambda _: None)


def test_closing_drops_what_takes_too_long() -> None:
    turns = Turns(at_once=1, waiting=4, name="test")

    def endless() -> Any:
        while True:
            time.sleep(0.001)
            yield None

    jobs = [turns.submit(endless(), deadline=never(), tell=lambda _: None) for _ in range(2)]
    turns.close(seconds=0.05)
    for job in jobs:
        with pytest.raises(Closed):
            job.future.result(30)
    assert not turns.alive
