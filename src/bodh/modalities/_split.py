"""Where the words of a text are, in scripts that put spaces between words.

A word is a run of letters, combining signs (a vowel sign, a virama), digits, joiners and underscores; an apostrophe or
a hyphen between two of these belongs to it (don't, state-of-the-art), and so do a point and a comma between two digits
(3.5, 10,000). Every other sign that is no space is a word of its own: so is the danda at the end of a Hindi sentence.
"""

from __future__ import annotations

import re
import unicodedata
from functools import cache

_INNER = "'’-\u2010\u2011"
"""Between two letters or digits these are part of a word."""
_IN_NUMBERS = ".,"
_JOINERS = "\u200c\u200d"


def spans(text: str) -> list[tuple[int, int]]:
    """Return (start, stop) of every word of `text`, in characters; see the head of this file."""
    found: list[tuple[int, int]] = []
    start: int | None = None
    for place, letter in enumerate(text):
        if _belongs(letter) or (start is not None and _joins(text, place)):
            start = place if start is None else start
            continue
        if start is not None:
            found.append((start, place))
            start = None
        if not letter.isspace():
            found.append((place, place + 1))
    if start is not None:
        found.append((start, len(text)))
    return found


def blocks(text: str) -> list[tuple[int, int]]:
    """Return (start, stop) of everything that stands between spaces, in characters."""
    return [match.span() for match in re.finditer(r"\S+", text)]


@cache
def _belongs(letter: str) -> bool:
    return unicodedata.category(letter)[0] in "LMN" or letter == "_" or letter in _JOINERS


def _joins(text: str, place: int) -> bool:
    """Whether the sign at `place` belongs to the word that it stands in."""
    if place + 1 >= len(text):
        return False
    before, letter, after = text[place - 1], text[place], text[place + 1]
    if letter in _IN_NUMBERS:
        return before.isdigit() and after.isdigit()
    return letter in _INNER and _belongs(before) and _belongs(after)
