from __future__ import annotations

import numpy as np
import pytest

from bodh.errors import DataError
from bodh.records.sampling import batch_positions, epoch_order


def test_an_epoch_holds_every_position_once_and_depends_on_seed_and_epoch_alone():
    order = epoch_order(1000, seed=3, epoch=2)
    assert order.dtype == np.int64
    assert np.array_equal(np.sort(order), np.arange(1000))
    assert np.array_equal(order, epoch_order(1000, seed=3, epoch=2))
    assert not np.array_equal(order, epoch_order(1000, seed=3, epoch=3))
    assert not np.array_equal(order, epoch_order(1000, seed=4, epoch=2))


def test_the_order_is_the_one_of_every_other_version():
    # resumed runs of older versions depend on it
    assert epoch_order(8, seed=0, epoch=0).tolist() == [7, 4, 3, 6, 5, 1, 0, 2]


def test_batches_walk_through_epochs_and_drop_the_rest():
    batches = [batch_positions(10, batch=4, step=step, seed=1) for step in range(5)]
    assert [epoch for epoch, _ in batches] == [0, 0, 1, 1, 2]
    assert np.array_equal(np.concatenate([batches[2][1], batches[3][1]]), epoch_order(10, seed=1, epoch=1)[:8])


def test_a_batch_may_be_changed_without_changing_the_next_run():
    _, first = batch_positions(10, batch=4, step=0, seed=1)
    kept = first.copy()
    first[:] = -1
    assert np.array_equal(batch_positions(10, batch=4, step=0, seed=1)[1], kept)


def test_fewer_records_than_a_batch_is_told():
    with pytest.raises(DataError, match=r"7 records cannot fill a batch of 8"):
        batch_positions(7, batch=8, step=0, seed=0)
