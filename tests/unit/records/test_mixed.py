"""Labelled and unlabelled records in one batch."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from bodh.records.feed import Draw, Feed, Place
from bodh.records.joined import JoinedStore
from bodh.records.memory import MemoryStore
from bodh.records.sampling import mixed_order
from tests.unit.train.parts import NoiseModality


def store_of(records: int, labelled: int, *, side: int = 4, start: int = 0) -> MemoryStore:
    rows = np.arange(start, start + records, dtype=np.uint8)[:, None, None, None] * np.ones((side, side, 1), np.uint8)
    targets = np.where(np.arange(records) < labelled, np.arange(records) % 2, -1)
    return MemoryStore(rows, targets=targets, class_names=("a", "b"), name="some", fingerprint=f"{start}")


def test_the_mixed_order_keeps_the_ratio_and_uses_everything():
    labelled, others = np.arange(5), np.arange(5, 105)
    seen: set[int] = set()
    for epoch in range(4):
        order = mixed_order(105, labelled, others, ratio=3, seed=1, epoch=epoch)
        np.testing.assert_array_equal(order, mixed_order(105, labelled, others, ratio=3, seed=1, epoch=epoch))
        known = order < 5
        assert known.tolist() == [place % 4 == 0 for place in range(105)]
        assert set(np.bincount(order[known], minlength=5).tolist()) <= {5, 6}, "the few come equally often"
        assert len(set(order[~known].tolist())) == (~known).sum(), "of the many none comes twice in an epoch"
        seen |= set(order.tolist())
    assert seen == set(range(105))


@pytest.mark.parametrize("accumulate", [1, 2])
def test_two_processes_see_together_what_one_sees(accumulate: int):
    store = store_of(60, 6)
    common = {"batch": 16, "accumulate": accumulate, "seed": 3, "draw": Draw(ratio=3)}

    def feed(rank: int, world: int) -> Feed:
        place = Place(torch.device("cpu"), rank, world)
        return Feed(store, np.arange(60), NoiseModality(), (), place=place, **common)  # type: ignore[arg-type]

    alone, halves = feed(0, 1), [feed(0, 2), feed(1, 2)]
    for step in (0, 4, 2):  # also out of order, as after a resume
        for part in range(accumulate):
            whole, *shares = (one.micro_batch(step, part, lambda _: None) for one in (alone, *halves))
            assert torch.equal(whole.index, torch.cat([share.index for share in shares]))
            for batch in (whole, *shares):
                assert batch.targets is not None
                assert int((batch.targets >= 0).sum()) == len(batch.targets) // 4, "each has its share of labels"
    for one in (alone, *halves):
        one.close()


def test_joined_stores_are_read_where_they_lie():
    joined = JoinedStore(store_of(4, 4), store_of(3, 3, start=100))
    assert len(joined) == 7
    assert joined.targets is not None
    assert joined.targets.tolist() == [0, 1, 0, 1, -1, -1, -1]
    rows = joined.rows(np.array([5, 0, 3, 6]))
    assert isinstance(rows, np.ndarray)
    assert rows[:, 0, 0, 0].tolist() == [101, 0, 3, 102]
    assert joined.ids[4].startswith("unlabelled/")
    uneven = JoinedStore(store_of(4, 4), store_of(3, 3, side=6))
    assert uneven.shape is None
    assert [row.shape[0] for row in uneven.rows(np.array([6, 1]))] == [6, 4]
    assert joined.fingerprint != uneven.fingerprint
