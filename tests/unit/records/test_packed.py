from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from bodh.errors import DataError
from bodh.records import packed as module
from bodh.records.feed import Draw, Feed, Place
from bodh.records.joined import JoinedStore
from bodh.records.memory import MemoryStore
from bodh.records.packed import packed
from bodh.records.sampling import bucketed_order, epoch_order

END = 3


def texts(count: int, *, most: int = 20, seed: int = 0) -> MemoryStore:
    """Token ids as the text modality stores them: begin, some ids that tell the record, end."""
    rng = np.random.default_rng(seed)
    rows = [np.array([2, *(100 * n + 10 + np.arange(rng.integers(1, most))), END], np.int32) for n in range(count)]
    return MemoryStore(rows, name="texts")


class Ids:
    """The smallest modality of token rows: pads to the longest."""

    name = "text"

    def views(self, rows: Any, *_: Any) -> tuple[torch.Tensor]:
        out = torch.zeros(len(rows), max(len(row) for row in rows), dtype=torch.int64)
        for place, row in zip(out, rows, strict=True):
            place[: len(row)] = torch.from_numpy(np.asarray(row, np.int64))
        return (out,)


def test_every_token_is_in_exactly_one_window_in_order_and_the_last_wraps_round():
    store = texts(17)
    positions = np.array([3, 1, 16, 0, 5])
    whole = np.concatenate(store.rows(positions))
    windows = packed(store, positions, length=8, end=END)
    assert windows.shape == (8,)
    assert len(windows) == -(-len(whole) // 8) == len(windows.ids)
    flat = windows.rows(np.arange(len(windows))).reshape(-1)
    assert flat.dtype == np.int32
    assert np.array_equal(flat[: len(whole)], whole)
    assert np.array_equal(flat[len(whole) :], whole[: len(flat) - len(whole)])
    assert set(windows.splits.tolist()) == {"train"}
    assert windows.targets is None
    assert windows.lengths().tolist() == [8] * len(windows)


@pytest.mark.parametrize(("count", "length"), [(1, 64), (40, 8), (40, 7), (3, 4)])
def test_windows_read_one_by_one_are_those_joined_in_memory(monkeypatch: pytest.MonkeyPatch, count: int, length: int):
    store = texts(count)
    joined = packed(store, np.arange(count), length=length, end=END)
    monkeypatch.setattr(module, "IN_MEMORY", 0)
    lazy = packed(store, np.arange(count), length=length, end=END)
    some = np.array([len(joined) - 1, 0, *range(len(joined))])
    assert np.array_equal(lazy.rows(some), joined.rows(some))
    assert lazy.rows(np.empty(0, np.int64)).shape == joined.rows(np.empty(0, np.int64)).shape == (0, length)
    assert lazy.fingerprint == joined.fingerprint


def test_the_fingerprint_tells_texts_length_and_order():
    store = texts(9)
    prints = {
        packed(store, np.array(order), length=length, end=END).fingerprint
        for order, length in (([0, 1, 2], 8), ([0, 2, 1], 8), ([0, 1, 2], 16))
    }
    assert len(prints) == 3


def test_what_is_no_text_is_refused():
    with pytest.raises(DataError, match="no token ids that end with 3"):
        packed(MemoryStore(np.zeros((4, 5), np.int32)), np.arange(4), length=8, end=END)
    with pytest.raises(DataError, match="no texts to learn from"):
        packed(texts(3), np.empty(0, np.int64), length=8, end=END)


def test_an_epoch_of_a_packed_store_shows_every_token_once():
    store = texts(60)
    windows = packed(store, np.arange(60), length=8, end=END)
    feed = Feed(windows, np.arange(len(windows)), Ids(), (), batch=1, place=Place(torch.device("cpu")))  # type: ignore[arg-type]
    seen = torch.cat([feed.micro_batch(step, 0, lambda _: None).views[0] for step in range(feed.steps_per_epoch)])
    feed.close()
    tokens, counts = np.unique(seen.numpy(), return_counts=True)
    wanted, expected = np.unique(windows.rows(np.arange(len(windows))), return_counts=True)
    assert np.array_equal(tokens, wanted)
    assert np.array_equal(counts, expected)


def test_buckets_hold_every_position_once_of_similar_length_and_are_a_function_of_seed_and_epoch():
    lengths = np.random.default_rng(0).integers(1, 100, 1003)
    order = epoch_order(1003, seed=1, epoch=0)
    found = bucketed_order(order, lengths, batch=16, seed=1, epoch=0)
    assert np.array_equal(np.sort(found), np.arange(1003))
    assert np.array_equal(found, bucketed_order(order, lengths, batch=16, seed=1, epoch=0))
    assert not np.array_equal(found, bucketed_order(order, lengths, batch=16, seed=2, epoch=0))
    assert np.array_equal(found[992:], order[992:])  # what is dropped is dropped at random, not for its length

    def padding(drawn: np.ndarray) -> float:
        batches = lengths[drawn[:992]].reshape(-1, 16)
        return 1 - float(batches.sum() / (16 * batches.max(1)).sum())

    assert padding(found) < 0.05
    assert padding(order) > 0.4


def _seen(store: MemoryStore, lengths: np.ndarray, place: Place, steps: range, accumulate: int = 2) -> list[np.ndarray]:
    feed = Feed(
        store,
        np.arange(len(store)),
        Ids(),
        (),
        batch=8,
        accumulate=accumulate,
        seed=5,
        place=place,
        draw=Draw(lengths=lengths),  # type: ignore[arg-type]
    )
    index = [feed.micro_batch(step, part, lambda _: None).index.numpy() for step in steps for part in range(accumulate)]
    feed.close()
    return index


def test_a_feed_of_buckets_resumes_anywhere_and_two_processes_see_what_one_would():
    store = texts(50)
    lengths = store.lengths()
    one = _seen(store, lengths, Place(torch.device("cpu")), range(15))
    assert len(np.unique(np.concatenate(one[:12]))) == 48  # an epoch of six steps
    resumed = _seen(store, lengths, Place(torch.device("cpu")), range(9, 15))
    assert np.array_equal(one[18:], resumed)
    two = [_seen(store, lengths, Place(torch.device("cpu"), rank, 2), range(15)) for rank in range(2)]
    assert np.array_equal(one, np.concatenate(two, axis=1))
    spread = [np.ptp(lengths[np.concatenate(one[2 * step : 2 * step + 2])]) for step in range(6)]
    assert max(spread) <= 6


def test_stores_tell_lengths():
    store = texts(5)
    rows = [len(row) for row in store.rows(np.arange(5))]
    assert store.lengths().tolist() == rows
    labelled = MemoryStore(store.rows(np.arange(5)), targets=np.arange(5), class_names=tuple("abcde"))  # type: ignore[arg-type]
    assert JoinedStore(labelled, store).lengths().tolist() == [*rows, *rows]
    assert MemoryStore(np.zeros((3, 7, 2))).lengths().tolist() == [7, 7, 7]
