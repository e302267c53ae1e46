"""Answers without any network: the sentence with most words in common with the question, and a piece of it.

After the sliding window of Richardson et al. 2013, "MCTest", EMNLP, algorithm 1: what stands where the question's words
stand is the likeliest answer. Words count by how rare they are among all texts.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from bodh.metrics.answers import normalised

_ENDS = re.compile(r"(?<=[.!?।॥…])\s+|\n+")
"""Where a sentence ends."""


@dataclass(frozen=True, slots=True)
class Overlap:
    """What is known of the training records.

    Attributes:
        weight: of each word, the logarithm of how rare it is.
        rarest: weight of a word that never occurred.
        words: of an answer, the middle number.
    """

    weight: dict[str, float]
    rarest: float
    words: int

    @classmethod
    def fit(cls, texts: Sequence[str], answers: Sequence[str]) -> Overlap:
        """Count words in `texts` and in `answers` of training records."""
        every = sorted(set(texts))
        counts = Counter(word for text in every for word in set(normalised(text).split()))
        rarest = math.log(1 + len(every))
        lengths = sorted(len(answer.split()) for answer in answers)
        weight = {word: math.log((1 + len(every)) / count) for word, count in counts.items()}
        return cls(weight, rarest, lengths[len(lengths) // 2] if lengths else 1)

    def sentence(self, question: str, text: str) -> str:
        """Return the sentence of `text` whose words in common with `question` weigh most; the first of equal ones."""
        asked = set(normalised(question).split())
        return max(_sentences(text), key=lambda one: self._common(asked, one))

    def piece(self, question: str, text: str) -> str:
        """Return of that sentence so many words as answers have, none of the question's, that weigh most.

        Where all are the question's, the first words.
        """
        asked = set(normalised(question).split())
        words = self.sentence(question, text).split()
        best, chosen = -1.0, words[: self.words]
        for start in range(max(1, len(words) - self.words + 1)):
            part = words[start : start + self.words]
            bare = [normalised(word) for word in part]
            if not asked.isdisjoint(bare):
                continue
            weight = sum(self.weight.get(word, self.rarest) for word in bare if word)
            if weight > best:
                best, chosen = weight, part
        return " ".join(chosen)

    def _common(self, asked: set[str], sentence: str) -> float:
        return sum(self.weight.get(word, self.rarest) for word in asked & set(normalised(sentence).split()))


def _sentences(text: str) -> list[str]:
    return [part for part in _ENDS.split(text) if part.strip()] or [text]
