"""Search for the likeliest text: the `beams` likeliest beginnings are kept at every step; one is greedy search.

Scores are log-probabilities divided by a power of the length, as a sum alone favours short texts (Wu et al. 2016,
"Google's neural machine translation system", arXiv 1609.08144, section 7).

Axis letters: `n` rows, `b` beams, `v` ids, `t` tokens written so far.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from torch import Tensor


class Writer(Protocol):
    """What tells the next id: a network and what it has written so far, a row of it for every beam."""

    def advance(self, ids: Tensor) -> Tensor:
        """Return logits `[m v]` of the id after the next ids `ids` `[m]`."""
        ...

    def select(self, rows: Tensor) -> None:
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


def search(
    writer: Writer, first: Tensor, *, end: int, forbidden: Tensor, beams: int, length: int, penalty: float
) -> list[list[Found]]:
    """Return for each of n rows the likeliest texts, at most `beams`, the best first.

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
    import torch

    n = len(first)
    found: list[list[Found]] = [[] for _ in range(n)]
    open_ = torch.arange(n, device=first.device)  # rows that are not settled
    scores = first.new_full((n, beams), -torch.inf, dtype=torch.float32)  # log-probabilities of the beginnings
    scores[:, 0] = 0.0  # all beams begin alike, so only one may go on
    texts = first.new_empty((n, beams, 0))
    last = first[:, None].expand(n, beams)
    if beams > 1:
        writer.select(torch.arange(n, device=first.device).repeat_interleave(beams))
    for step in range(1, length + 1):
        told = writer.advance(last.reshape(-1)).float().log_softmax(dim=1)
        told = told.masked_fill(forbidden, -torch.inf).view(len(open_), beams, -1)  # [n b v]
        ids = told.shape[2]
        best, place = (scores[:, :, None] + told).flatten(1).topk(min(2 * beams, beams * ids), dim=1)
        beam, token = place // ids, place % ids  # [n 2b]: enough that b go on, though all others end
        ends = token == end
        grown = torch.cat([texts.gather(1, beam[:, :, None].expand(-1, -1, step - 1)), token[:, :, None]], dim=2)
        norm = step**penalty
        _take(found, open_, grown, best / norm, ends, beams=beams)
        going = best.masked_fill(ends, -torch.inf)
        scores, kept = going.topk(beams, dim=1)
        beam, last = beam.gather(1, kept), token.gather(1, kept)
        texts = grown.gather(1, kept[:, :, None].expand(-1, -1, step))
        if step == length:
            _rest(found, open_, texts, scores / norm, beams=beams)
            break
        left = _unsettled(found, open_, scores[:, 0] / norm, beams=beams)
        if not len(left):
            break
        rows = (left[:, None] * beams + beam[left]).reshape(-1)
        if beams > 1 or len(left) < len(open_):
            writer.select(rows)
        open_, scores, texts, last = open_[left], scores[left], texts[left], last[left]
    return found


def _take(found: list[list[Found]], rows: Tensor, grown: Tensor, scores: Tensor, ends: Tensor, *, beams: int) -> None:
    """Add texts that have ended, those among the `beams` likeliest, to what was found; keep the best."""
    for row, place in ends[:, :beams].nonzero().tolist():
        own = found[int(rows[row])]
        score = float(scores[row, place])
        if score > -float("inf"):
            own.append(Found(grown[row, place, :-1].tolist(), score, ended=True))
            own.sort(key=lambda one: -one.score)
            del own[beams:]


def _rest(found: list[list[Found]], rows: Tensor, texts: Tensor, scores: Tensor, *, beams: int) -> None:
    """Fill up with texts that have not ended, where fewer than `beams` have."""
    for row, own in enumerate(rows.tolist()):
        for text, score in zip(texts[row].tolist(), scores[row].tolist(), strict=True):
            if len(found[own]) < beams and score > -float("inf"):
                found[own].append(Found(text, score, ended=False))


def _unsettled(found: Sequence[Sequence[Found]], rows: Tensor, likeliest: Tensor, *, beams: int) -> Tensor:
    """Return the positions of rows that are not settled: fewer found than asked for, or a beginning that is better."""
    import torch

    left = [
        place
        for place, (row, score) in enumerate(zip(rows.tolist(), likeliest.tolist(), strict=True))
        if score > -float("inf") and (len(found[row]) < beams or found[row][-1].score < score)
    ]
    return torch.tensor(left, dtype=torch.int64, device=rows.device)
