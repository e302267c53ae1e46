"""Texts at which writing ends: nothing of them is told, nothing before them is lost, no sign is torn off its letter."""

from __future__ import annotations

import pytest

from bodh.model.pieces import Until


def through(parts: list[str], *stops: str) -> tuple[list[str], bool]:
    until = Until(iter(parts), stops)
    return list(until), until.stopped


@pytest.mark.parametrize("parts", [["one two three"], ["one ", "tw", "o thr", "ee"], list("one two three")])
def test_what_comes_before_the_stop_is_told(parts: list[str]) -> None:
    told, stopped = through(parts, "two")
    assert "".join(told) == "one "
    assert stopped


def test_the_first_of_several_stops_counts() -> None:
    assert "".join(through(list("a.b\nc"), "\n", ".")[0]) == "a"


def test_what_only_begins_like_a_stop_is_told_in_the_end() -> None:
    told, stopped = through(list("one tw"), "two")
    assert "".join(told) == "one tw"
    assert not stopped
    assert "".join(through(list("ttwtwo"), "two")[0]) == "ttw"


def test_without_stops_everything_passes_as_it_comes() -> None:
    assert through(["a", "", "b"]) == (["a", "", "b"], False)


def test_no_piece_begins_with_a_sign() -> None:
    told, _ = through(["कि", "ता", "ब"], "ाज")  # a stop that begins with a vowel sign
    assert "".join(told) == "किताब"
    assert not any(part.startswith(("ा", "ि")) for part in told)
