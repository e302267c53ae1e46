"""Named entities in rows of tags, and how many of them were found, by the rule of CoNLL.

The rule is that of the script `conlleval` of the shared tasks (Tjong Kim Sang & De Meulder 2003, "Introduction to the
CoNLL-2003 shared task", section 2.4): an entity counts where type, first and last word are all right. It reads every
way of writing entities down: BIO (IOB2), IOB1, where B- stands only between neighbours of one type, and BILOU or
BIOES. Tags that break a way of writing are read as it reads them: an I- after O begins an entity, an I- of another
type than the tag before ends that one and begins its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

OUTSIDE = "O"
_BEGIN, _INSIDE, _END, _SINGLE = "B", "I", "E", "S"
_PREFIXES = {"B": _BEGIN, "I": _INSIDE, "M": _INSIDE, "E": _END, "L": _END, "S": _SINGLE, "U": _SINGLE}


class Entity(NamedTuple):
    """Words that are one thing: `start` is the first of them, `stop` the one after the last."""

    type: str
    start: int
    stop: int


def are_entities(names: Sequence[str]) -> bool:
    """Return whether these tags write entities down: O, and all others a known letter, a hyphen and a type."""
    marked = [name for name in names if name != OUTSIDE]
    return bool(marked) and len(marked) < len(names) and all(_parts(name)[1] for name in marked)


def entities(tags: Sequence[str]) -> list[Entity]:
    """Return the entities in the tags of one sentence, in order; a tag that is no entity's is outside."""
    found: list[Entity] = []
    before, kind, start = OUTSIDE, "", -1
    for place, (letter, type_) in enumerate([*map(_parts, tags), (OUTSIDE, "")]):
        if start >= 0 and _ends(before, letter, kind, type_):
            found.append(Entity(kind, start, place))
            start = -1
        if start < 0 and letter != OUTSIDE:
            start = place
        before, kind = letter, type_
    return found


def matches(wanted: Sequence[str], told: Sequence[str]) -> dict[str, np.ndarray]:
    """Return type -> int64 [3]: entities found, told and there, of the tags of one sentence.

    Args:
        wanted: [words] the right ones.
        told: [words] what was said.
    """
    there, said = set(entities(wanted)), set(entities(told))
    counts: dict[str, np.ndarray] = {}
    for place, group in enumerate((there & said, said, there)):
        for entity in group:
            counts.setdefault(entity.type, np.zeros(3, np.int64))[place] += 1
    return counts


def scores(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return precision, recall and F1 [...] of counts [... 3] as `matches` gives them, 0 where nothing is there."""
    right, told, there = np.moveaxis(np.asarray(counts, np.float64), -1, 0)
    precision = right / np.maximum(told, 1)
    recall = right / np.maximum(there, 1)
    return precision, recall, 2 * right / np.maximum(told + there, 1)


def _parts(tag: str) -> tuple[str, str]:
    """Return (letter, type) of a tag; (O, "") where it is no entity's."""
    letter, mark, kind = tag.partition("-")
    return (_PREFIXES[letter], kind) if mark and kind and letter in _PREFIXES else (OUTSIDE, "")


def _ends(before: str, letter: str, kind: str, type_: str) -> bool:
    """Whether an entity that reaches up to the tag before ends there."""
    return before in (_END, _SINGLE) or letter in (_BEGIN, _SINGLE, OUTSIDE) or kind != type_
