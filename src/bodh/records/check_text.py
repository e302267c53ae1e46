"""What `records.check` tells of texts: lengths, encodings, and which are the same but for case and punctuation."""

from __future__ import annotations

import unicodedata
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np

from bodh.contracts import Json, Source
from bodh.errors import BadRecord, DataError
from bodh.records.sources._encoding import decoded
from bodh.records.sources._folders import FileFolder

_SHOWN = 60
"""Letters of a text that stand in for it."""
_SHORT = 2
"""Letters or fewer that hardly say anything."""


@dataclass(frozen=True)
class Texts:
    """What was found, by position in the store.

    Attributes:
        letters: [n] characters of every text.
        alike: groups of texts that differ in case, punctuation or spaces only; of equal ones the first stands for all.
        beginnings: position -> how the text begins, of the first of every group, also of equal ones.
    """

    letters: np.ndarray
    alike: list[np.ndarray]
    beginnings: dict[int, str]


def look_at(source: Source, broken: Sequence[str], same: Sequence[np.ndarray]) -> Texts:
    """Read all texts once.

    Args:
        source: theirs.
        broken: ids of records that the store has left out.
        same: groups of records of equal content, as positions in the store.
    """
    left_out = set(broken)
    later = {int(place) for group in same for place in group[1:]}
    letters: list[int] = []
    keys: dict[bytes, list[int]] = defaultdict(list)
    index = np.array([place for place, name in enumerate(source.ids) if name not in left_out], np.int64)
    for place, position in enumerate(index.tolist()):
        text = _read(source, position)
        letters.append(len(text))
        key = text.casefold().translate(_KEPT)
        if place not in later and key:
            keys[blake2b(key.encode(), digest_size=16).digest()].append(place)
    alike = [np.array(group) for group in keys.values() if len(group) > 1]
    firsts = [int(group[0]) for group in (*same, *alike)]
    return Texts(np.array(letters, np.int64), alike, {one: beginning(_read(source, int(index[one]))) for one in firsts})


def sizes(found: Texts) -> Json:
    """Return shortest, median and longest text, and all together, in characters."""
    if not len(found.letters):
        return {}
    return {
        "shortest": f"{found.letters.min():,} characters",
        "median": f"{np.median(found.letters):,.0f} characters",
        "longest": f"{found.letters.max():,} characters",
        "together": f"{found.letters.sum():,} characters",
    }


def encodings(source: Source) -> Json:
    """Return how many files are of which encoding; nothing for texts in memory and in Parquet."""
    if not isinstance(source, FileFolder):
        return dict(getattr(source, "encodings", {}))
    found: Counter[str] = Counter()
    for index in range(len(source)):
        try:
            found[decoded(source.raw(index), "").encoding] += 1
        except (BadRecord, DataError):
            found["not known"] += 1  # told by name among the broken
    return dict(found.most_common())


def findings(found: Texts) -> list[str]:
    """Return what stands out."""
    short = int((found.letters <= _SHORT).sum())
    if not short:
        return []
    return [f"{short:,} text{' has' if short == 1 else 's have'} no more than {_SHORT} characters"]


def beginning(text: str) -> str:
    """Return how a text begins, in one line."""
    line = " ".join(text.split())
    return line if len(line) <= _SHOWN else line[: _SHOWN - 1].rstrip() + "…"


def _read(source: Source, index: int) -> str:
    raw = source.read(index)
    return raw.decode("utf-8", "replace") if isinstance(raw, bytes) else str(raw)


class _Letters(dict[int, int | None]):
    """A table for `str.translate` that drops all but letters, digits and the marks that belong to letters."""

    def __missing__(self, code: int) -> int | None:
        letter = chr(code)
        self[code] = code if letter.isalnum() or unicodedata.category(letter).startswith("M") else None
        return self[code]


_KEPT = _Letters()
