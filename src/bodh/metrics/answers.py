"""Exact match and F1 of answers, as SQuAD's own program counts them, in any script.

Papers: Rajpurkar et al. 2016, "SQuAD: 100,000+ questions for machine comprehension of text", arXiv 1606.05250, section
6.1 and evaluate-v1.1.py; Rajpurkar et al. 2018, "Know what you don't know", arXiv 1806.03822 (no answer is the answer
""); Lewis et al. 2020, "MLQA", arXiv 1910.07475 (signs of any script are left out, not those of ASCII alone).
"""

from __future__ import annotations

import re
import string
import unicodedata
from collections import Counter
from collections.abc import Sequence

import numpy as np

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_SIGNS = frozenset(string.punctuation)


def normalised(text: str) -> str:
    """Return `text` in NFC and small letters, without punctuation, English articles, and white space that is not one.

    Of what has no letters but ASCII it is what SQuAD's program makes of it; a danda is punctuation too, a vowel sign
    is not.
    """
    small = unicodedata.normalize("NFC", text).lower()
    kept = "".join(one for one in small if one not in _SIGNS and unicodedata.category(one)[0] != "P")
    return " ".join(_ARTICLES.sub(" ", kept).split())


def exact(told: str, right: str) -> float:
    """Return 1 where two answers are the same once normalised, else 0."""
    return float(normalised(told) == normalised(right))


def f1(told: str, right: str) -> float:
    """Return the harmonic mean of precision and recall of the words of `told`, 0 to 1; of nothing 1 for nothing."""
    given, wanted = normalised(told).split(), normalised(right).split()
    if not given or not wanted:
        return float(given == wanted)
    both = sum((Counter(given) & Counter(wanted)).values())
    return 2 * both / (len(given) + len(wanted))


def scores(told: Sequence[str], right: Sequence[Sequence[str]]) -> tuple[np.ndarray, np.ndarray]:
    """Return exact match and F1 `[n]` of every question, each the best over its right answers.

    Args:
        told: [n] answers; "" says that there is none.
        right: [n] of one or several right answers; none, or nothing but empty ones: there is no answer.
    """
    found = np.zeros((len(told), 2))
    for place, (given, wanted) in enumerate(zip(told, right, strict=True)):
        known = [one for one in wanted if normalised(one)] or [""]
        found[place] = max(exact(given, one) for one in known), max(f1(given, one) for one in known)
    return found[:, 0], found[:, 1]
