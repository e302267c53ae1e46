"""Names of records: natural order, and long lists of numbered names that take no memory."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Any, overload

import numpy as np

_DIGITS = re.compile(r"(\d+)")


class Numbered(Sequence[str]):
    """The names "prefix:0", "prefix:1", …, for one or several prefixes, made when asked for.

    Args:
        parts: (prefix, count) in order.
    """

    def __init__(self, parts: Sequence[tuple[str, int]]) -> None:
        self.parts = tuple((prefix, count) for prefix, count in parts if count)
        self.stops = list(accumulate(count for _, count in self.parts))

    @classmethod
    def of(cls, prefix: str, count: int) -> Numbered:
        """Return `count` names with one prefix."""
        return cls([(prefix, count)])

    def __len__(self) -> int:
        return self.stops[-1] if self.stops else 0

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        """Return one name, or the names of a slice."""
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        position = int(index) + (len(self) if index < 0 else 0)
        if not 0 <= position < len(self):
            raise IndexError(index)
        part = bisect_right(self.stops, position)
        prefix, count = self.parts[part]
        return f"{prefix}:{position - self.stops[part] + count}"

    def __iter__(self) -> Iterator[str]:
        for prefix, count in self.parts:
            for number in range(count):
                yield f"{prefix}:{number}"


def pick(ids: Sequence[str], positions: np.ndarray) -> Sequence[str]:
    """Return `ids` at `positions`; the same object where these are all of them, in order."""
    if len(positions) == len(ids) and bool((positions == np.arange(len(ids))).all()):
        return ids
    return [ids[int(i)] for i in positions]


def natural_key(name: str) -> tuple[list[Any], str]:
    """Return a sort key that puts "2" before "10", in any script's digits, the same on every machine."""
    pieces: list[Any] = _DIGITS.split(name.casefold())
    pieces[1::2] = [int(number) for number in pieces[1::2]]
    return pieces, name


def readable(name: str) -> str:
    """Return `name` with bytes that are no UTF-8 written as escapes, so that it can be printed and stored."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
