"""Search for the likeliest text: the `beams` likeliest beginnings are kept at every step; one is greedy search.

Scores are log-probabilities divided by a power of the length, as a sum alone favours short texts (Wu et al. 2016,
"Google's neural machine translation system", arXiv 1609.08144, section 7). Imports no torch: servers use it.

Axis letters: `n` rows, `b` beams, `v` ids, `t` tokens written so far.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import numpy as np

from bodh.model.on_arrays import Arithmetic

T = TypeVar("T")


class Writer(Protocol):
    """What tells the next id: a network and what it has written so far, a row of it for every beam."""

    on: Arithmetic
    """what reckons with its logits"""

    def advance(self, ids: np.ndarray) -> Any:
        """Return logits `[m v]` of the id after the next ids `ids` `[m]`."""
        ...

    def select(self, rows: np.ndarray) -> None:
        """Keep the rows at positions `rows` `[m']`, in that order, any of them several times."""
        ...


@dataclass(frozen=True, slots=True)
class Found:
    """One text that was found.

    Attributes:
        ids: without begin and end.
        score: log-probability, divided by its length to the power of the penalty.
        ended: whether it came to its end; else it was as long as it may be.
    """

    ids: list[int]
    score: float
    ended: bool


def finished(work: Generator[Any, None, T]) -> T:
    """Return what `work` returns once all its steps are done."""
    while True:
        try:
            next(work)
        except StopIteration as done:
            result: T = done.value
            return result


def search(
    writer: Writer, first: np.ndarray, *, end: int, forbidden: np.ndarray, beams: int, length: int, penalty: float
) -> Generator[None, None, list[list[Found]]]:
    """Return for each of n rows the likeliest texts, at most `beams`, the best first; yields after every token.

    What is found for a row does not depend on the rows beside it.

    Args:
        writer: before anything is written, one row for each of n.
        first: `[n]` ids that texts begin with.
        end: id that ends a text.
        forbidden: `[v]` bool, ids that are never written.
        beams: beginnings that are kept, from 1.
        length: most ids that are written, the end among them, from 1.
        penalty: power of the length; 0: none.
    """
    n = len(first)
    found: list[list[Found]] = [[] for _ in range(n)]
    open_ = np.arange(n)  # rows that are not settled
    scores = np.full((n, beams), -np.inf, np.float32)  # log-probabilities of the beginnings
    scores[:, 0] = 0.0  # all beams begin alike, so only one may go on
    texts = np.empty((n, beams, 0), np.int64)
    last = np.repeat(first[:, None], beams, axis=1)
    if beams > 1:
        writer.select(np.repeat(np.arange(n), beams))
    for step in range(1, length + 1):
        # [n 2b]: enough that b go on, though all others end
        best, beam, token = writer.on.likeliest(writer.advance(last.reshape(-1)), scores, forbidden, 2 * beams)
        ends = token == end
        grown = np.concatenate([_taken(texts, beam), token[:, :, None]], axis=2)
        norm = step**penalty
        _take(found, open_, grown, best / norm, ends, beams=beams)
        going = np.where(ends, -np.inf, best)
        kept = np.argsort(-going, axis=1, kind="stable")[:, :beams]
        scores, beam, last, texts = (_taken(one, kept) for one in (going, beam, token, grown))
        yield
        if step == length:
            _rest(found, open_, texts, scores / norm, beams=beams)
            break
        left = _unsettled(found, open_, scores[:, 0] / norm, beams=beams)
        if not len(left):
            break
        if beams > 1 or len(left) < len(open_):
            writer.select((left[:, None] * beams + beam[left]).reshape(-1))
        open_, scores, texts, last = open_[left], scores[left], texts[left], last[left]
    return found


def _taken(of: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Return of every row of `of` `[n m …]` what is at `places` `[n k]`."""
    found: np.ndarray = of[np.arange(len(of))[:, None], places]
    return found


def _take(
    found: list[list[Found]], rows: np.ndarray, grown: np.ndarray, scores: np.ndarray, ends: np.ndarray, *, beams: int
) -> None:
    """Add texts that have ended, those among the `beams` likeliest, to what was found; keep the best."""
    for row, place in np.argwhere(ends[:, :beams]).tolist():
        own = found[int(rows[row])]
        score = float(scores[row, place])
        if score > -np.inf:
            own.append(Found(grown[row, place, :-1].tolist(), score, ended=True))
            own.sort(key=lambda one: -one.score)
            del own[beams:]


def _rest(found: list[list[Found]], rows: np.ndarray, texts: np.ndarray, scores: np.ndarray, *, beams: int) -> None:
    """Fill up with texts that have not ended, where fewer than `beams` have."""
    for row, own in enumerate(rows.tolist()):
        for text, score in zip(texts[row].tolist(), scores[row].tolist(), strict=True):
            if len(found[own]) < beams and score > -np.inf:
                found[own].append(Found(text, score, ended=False))


def _unsettled(found: Sequence[Sequence[Found]], rows: np.ndarray, likeliest: np.ndarray, *, beams: int) -> np.ndarray:
    """Return the positions of rows that are not settled: fewer found than asked for, or a beginning that is better."""
    left = [
        place
        for place, (row, score) in enumerate(zip(rows.tolist(), likeliest.tolist(), strict=True))
        if score > -np.inf and (len(found[row]) < beams or found[row][-1].score < score)
    ]
    return np.array(left, np.int64)
