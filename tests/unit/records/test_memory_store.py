from __future__ import annotations

import numpy as np
import pytest

from bodh.records.ids import Numbered, natural_key, pick, readable
from bodh.records.memory import MemoryStore, gather


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.int64])
@pytest.mark.parametrize("shape", [(), (3,), (4, 5, 3)])
def test_gather_is_indexing(dtype: type, shape: tuple[int, ...]):
    array = np.random.default_rng(0).integers(0, 200, (20, *shape)).astype(dtype)
    index = np.array([3, 3, 19, 0, -1])
    found = gather(array, index)
    assert found.dtype == array.dtype
    assert np.array_equal(found, array[index])
    assert found.flags.writeable
    assert not np.shares_memory(found, array)


def test_gather_reads_arrays_that_are_not_in_order():
    array = np.arange(60, dtype=np.uint8).reshape(5, 3, 4).transpose(0, 2, 1)
    assert np.array_equal(gather(array, np.array([4, 1])), array[[4, 1]])
    assert gather(np.empty((0, 3), np.uint8), np.array([], np.int64)).shape == (0, 3)


def test_a_list_of_equal_shapes_becomes_one_array_and_others_stay_a_list():
    equal = MemoryStore([np.zeros((2, 2), np.uint8), np.ones((2, 2), np.uint8)])
    assert equal.shape == (2, 2)
    differing = MemoryStore([np.zeros((2, 2), np.uint8), np.ones((3, 2), np.uint8)])
    assert differing.shape is None
    assert [row.shape for row in differing.rows(np.array([1, 0, 1]))] == [(3, 2), (2, 2), (3, 2)]


def test_the_fingerprint_follows_the_bytes():
    rows = np.arange(12, dtype=np.uint8).reshape(3, 4)
    changed = rows.copy()
    changed[2, 3] += 1
    assert MemoryStore(rows).fingerprint == MemoryStore(rows.copy()).fingerprint
    assert MemoryStore(rows).fingerprint != MemoryStore(changed).fingerprint
    assert MemoryStore(rows).fingerprint != MemoryStore(rows.reshape(3, 2, 2)).fingerprint


def test_lengths_that_do_not_match_are_refused():
    with pytest.raises(ValueError, match="2 targets for 3 records"):
        MemoryStore(np.zeros((3, 1)), targets=np.zeros(2))


def test_numbered_names():
    names = Numbered([("a", 2), ("none", 0), ("b", 3)])
    assert list(names) == ["a:0", "a:1", "b:0", "b:1", "b:2"]
    assert [names[i] for i in range(len(names))] == list(names)
    assert names[-1] == "b:2"
    assert names[1:3] == ["a:1", "b:0"]
    with pytest.raises(IndexError):
        names[5]
    assert pick(names, np.arange(5)) is names
    assert pick(names, np.array([4, 0])) == ["b:2", "a:0"]


def test_natural_order_counts_in_every_script():
    names = ["चित्र१०.png", "चित्र२.png", "img10", "img2", "IMG1", "img02", "a"]
    assert sorted(names, key=natural_key) == ["a", "IMG1", "img02", "img2", "img10", "चित्र२.png", "चित्र१०.png"]


def test_names_that_are_no_utf8_become_readable():
    assert readable("caf\udce9.jpg") == "caf\\xe9.jpg"
    assert readable("बिल्ली.jpg") == "बिल्ली.jpg"
