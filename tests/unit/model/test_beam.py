"""Beam search: against all texts there are, against the likeliest token each time; rows do not touch each other."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from bodh.model import on_arrays, on_tensors
from bodh.model.beam import finished, search

V, END = 5, 1


class Tree:
    """Tells logits that depend on the row and on all that was written, from a fixed table."""

    def __init__(self, rows, on=on_arrays):
        self.texts, self.on = [(row, ()) for row in rows], on

    def logits(self, row, text):
        generator = torch.Generator().manual_seed(hash((row, text)) % 2**31)
        return 2 * torch.randn(V, generator=generator)

    def advance(self, ids):
        self.texts = [(row, (*text, int(one))) for (row, text), one in zip(self.texts, ids, strict=True)]
        logits = torch.stack([self.logits(*text) for text in self.texts])
        return logits if self.on is on_tensors else logits.numpy()

    def select(self, rows):
        self.texts = [self.texts[int(row)] for row in rows]


FORBIDDEN = np.array([True, False, False, False, False])


def _search(rows, on=on_arrays, **options):
    settings = {"beams": 1, "length": 5, "penalty": 1.0, **options}
    return finished(search(Tree(rows, on), np.zeros(len(rows), np.int64), end=END, forbidden=FORBIDDEN, **settings))


def _score(row, text, penalty):
    tree, written, total = Tree([row]), (0,), 0.0
    for one in text:
        total += float(tree.logits(row, written).log_softmax(dim=0)[one])
        written = (*written, one)
    return total / len(text) ** penalty


@pytest.mark.parametrize("penalty", [0.0, 1.0])
def test_with_enough_beams_the_likeliest_of_all_texts_is_found(penalty):
    letters, length = range(2, V), 4
    for row in range(4):
        every = [
            (*text, END) for size in range(length) for text in itertools.product(letters, repeat=size)
        ]  # all texts that end within the length
        wanted = sorted(every, key=lambda text, row=row: -_score(row, text, penalty))[:5]
        found = _search([row], beams=100, length=length, penalty=penalty)[0]
        ended = [one for one in found if one.ended][:5]
        assert [(*one.ids, END) for one in ended] == wanted
        assert [one.score for one in ended] == pytest.approx([_score(row, text, penalty) for text in wanted], abs=1e-4)


def test_one_beam_takes_the_likeliest_token_each_time():
    for row, found in enumerate(_search(list(range(8)), length=6)):
        tree, text = Tree([row]), (0,)
        while len(text) <= 6 and text[-1] != END:
            text = (*text, int(tree.logits(row, text).masked_fill(torch.from_numpy(FORBIDDEN), -torch.inf).argmax()))
        assert found[0].ids == [one for one in text[1:] if one != END]
        assert found[0].ended == (text[-1] == END)
        assert found[0].score == pytest.approx(_score(row, text[1:], 1.0), abs=1e-4)


@pytest.mark.parametrize("beams", [1, 3])
def test_rows_do_not_depend_on_each_other(beams):
    together = _search(list(range(10)), beams=beams)
    assert together == [_search([row], beams=beams)[0] for row in range(10)]
    assert all(len(one) == beams for one in together)
    assert all(one.score >= other.score for own in together for one, other in itertools.pairwise(own) if other.ended)
    assert any(not one.ended for own in together for one in own)  # as long as they may be
    assert 0 not in {token for own in together for one in own for token in one.ids}


def test_more_beams_find_texts_as_likely_or_likelier_on_average():
    few, many = (_search(list(range(20)), beams=beams, length=12) for beams in (1, 8))
    assert sum(one[0].score for one in many) > sum(one[0].score for one in few)


@pytest.mark.parametrize("beams", [1, 4])
def test_on_tensors_the_same_is_found_as_on_arrays(beams):
    one, other = (_search(list(range(10)), on, beams=beams, length=8) for on in (on_arrays, on_tensors))
    assert [[(text.ids, text.ended) for text in own] for own in one] == [
        [(text.ids, text.ended) for text in own] for own in other
    ]
    for own, theirs in zip(one, other, strict=True):
        assert [text.score for text in own] == pytest.approx([text.score for text in theirs], abs=1e-5)
