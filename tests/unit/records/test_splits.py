from __future__ import annotations

import itertools

import numpy as np
import pytest

from bodh.errors import DataError
from bodh.records.memory import MemoryStore
from bodh.records.splits import label_budget, stratified_split, train_val_test, unseen


def imbalanced(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).permutation(np.repeat([0, 1, 2, -1], [500, 50, 5, 20]))


def several(n: int = 300, k: int = 6, seed: int = 0) -> np.ndarray:
    return (np.random.default_rng(seed).random((n, k)) < 0.2).astype(np.uint8)


def test_a_split_shares_out_every_class_and_loses_nothing():
    targets = imbalanced()
    train, rest = stratified_split(targets, fraction=0.8, seed=1)
    assert np.array_equal(np.sort(np.concatenate([train, rest])), np.arange(len(targets)))
    assert len(train) == round(0.8 * len(targets))
    assert np.array_equal(np.bincount(targets[train] + 1), [16, 400, 40, 4])


def test_a_split_depends_on_its_seed():
    targets = imbalanced()
    one, same, other = (stratified_split(targets, fraction=0.5, seed=seed)[0] for seed in (1, 1, 2))
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)


def test_a_class_of_two_is_on_both_sides_whatever_the_fraction():
    targets = np.array([0] * 98 + [1, 1])
    for fraction in (0.02, 0.5, 0.99):
        train, rest = stratified_split(targets, fraction=fraction, seed=0)
        assert 1 in targets[train]
        assert 1 in targets[rest]


def test_records_that_are_all_of_different_classes_are_divided_too():
    train, rest = stratified_split(np.arange(10), fraction=0.8, seed=0)
    assert (len(train), len(rest)) == (8, 2)


def test_several_labels_are_divided_by_combination():
    targets = several()
    train, rest = stratified_split(targets, fraction=0.75, seed=0)
    assert len(train) + len(rest) == len(targets)
    assert np.allclose(targets[train].mean(0), targets[rest].mean(0), atol=0.08)


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.1, 1.5])
def test_an_impossible_fraction_is_told(fraction: float):
    with pytest.raises(DataError, match=str(fraction)):
        stratified_split(np.zeros(10, np.int64), fraction=fraction, seed=0)


def test_one_record_cannot_be_divided():
    with pytest.raises(DataError, match="1 records cannot be divided"):
        stratified_split(np.zeros(1, np.int64), fraction=0.5, seed=0)


@pytest.mark.parametrize("targets", [imbalanced(), several()])
def test_smaller_budgets_lie_inside_larger_ones(targets: np.ndarray):
    for budgets in ([{"per_class": k} for k in (1, 2, 5, 20)], [{"fraction": f} for f in (0.01, 0.1, 0.5, 1.0)]):
        draws = [set(label_budget(targets, **budget, seed=7).tolist()) for budget in budgets]
        assert all(small <= large for small, large in itertools.pairwise(draws))
        assert draws[0] != draws[-1]


def test_a_budget_of_k_draws_k_of_each_class_or_all_there_are_and_no_unlabelled():
    targets = imbalanced()
    drawn = label_budget(targets, per_class=10, seed=0)
    assert np.bincount(targets[drawn]).tolist() == [10, 10, 5]
    assert (targets[drawn] >= 0).all()
    assert np.array_equal(drawn, np.sort(drawn))


def test_a_fraction_draws_at_least_one_of_each_class():
    targets = imbalanced()
    assert np.bincount(targets[label_budget(targets, fraction=0.01, seed=0)]).tolist() == [5, 1, 1]
    assert len(label_budget(targets, fraction=1.0, seed=0)) == 555


def test_draws_of_different_seeds_differ():
    targets = imbalanced()
    assert not np.array_equal(label_budget(targets, per_class=5, seed=0), label_budget(targets, per_class=5, seed=1))


def test_a_budget_of_several_labels_meets_each_label():
    targets = several()
    drawn = label_budget(targets, per_class=4, seed=0)
    assert (targets[drawn].sum(0) >= 4).all()
    assert len(drawn) <= 4 * 7


@pytest.mark.parametrize(
    ("budget", "said"),
    [
        ({}, "exactly one"),
        ({"per_class": 1, "fraction": 0.1}, "exactly one"),
        ({"per_class": 0}, "not 0"),
        ({"fraction": 2}, "not 2"),
    ],
)
def test_an_impossible_budget_is_told(budget: dict[str, float], said: str):
    with pytest.raises(DataError, match=said):
        label_budget(np.zeros(4, np.int64), seed=0, **budget)


def test_a_budget_without_labels_is_told():
    with pytest.raises(DataError, match="no record is labelled"):
        label_budget(np.full(4, -1), per_class=1, seed=0)


def store(splits: list[str], targets: np.ndarray | None = None) -> MemoryStore:
    return MemoryStore(np.zeros((len(splits), 2), np.float32), splits=np.array(splits), targets=targets, name="set")


def test_the_parts_of_a_source_are_honoured():
    parts = train_val_test(store(["train", "test", "val", "train"]), seed=0)
    assert {name: part.tolist() for name, part in parts.items()} == {"train": [0, 3], "val": [2], "test": [1]}


def test_a_validation_part_serves_as_test_where_there_is_none():
    parts = train_val_test(store(["train", "val", "train"]), seed=0)
    assert {name: part.tolist() for name, part in parts.items()} == {"train": [0, 2], "val": [], "test": [1]}


def test_a_fifth_is_set_aside_class_by_class_where_there_are_no_parts():
    targets = np.repeat([0, 1], [80, 20])
    parts = train_val_test(store(["train"] * 100, targets), seed=0)
    assert np.bincount(targets[parts["test"]]).tolist() == [16, 4]
    assert len(parts["train"]) == 80
    assert len(train_val_test(store(["train"] * 10), seed=0)["test"]) == 2


def test_data_without_training_records_is_told():
    with pytest.raises(DataError, match="'set' has no training records, only: test"):
        train_val_test(store(["test", "test"]), seed=0)


def test_measured_numbers_are_shared_out_by_size():
    values = np.random.default_rng(0).exponential(size=200).astype(np.float32)
    values[:20] = np.nan
    train, rest = stratified_split(values, fraction=0.8, seed=0)
    assert len(train) == 160
    assert np.isnan(values[rest]).sum() == 4  # unlabelled records are a group of their own
    edges = np.nanquantile(values, [0.25, 0.5, 0.75])
    shares = np.bincount(np.searchsorted(edges, values[rest][~np.isnan(values[rest])]), minlength=4)
    assert shares.min() >= 7, "every quarter of the range has about its fourth of 36"


def test_a_budget_of_measured_numbers_counts_records_and_grows_by_adding():
    values = np.stack([np.arange(100.0), np.arange(100.0) ** 2], axis=1).astype(np.float32)
    values[:3] = np.nan
    small, large = (label_budget(values, per_class=count, seed=1) for count in (10, 30))
    assert (len(small), len(large)) == (10, 30)
    assert set(small) < set(large)
    assert not set(small) & {0, 1, 2}
    assert len(label_budget(values, fraction=0.5, seed=1)) == 48
    assert label_budget(values, per_class=10, seed=2).tolist() != small.tolist()
    with pytest.raises(DataError, match="no record is labelled"):
        label_budget(np.full(5, np.nan, np.float32), per_class=1, seed=0)


def test_classes_that_no_record_is_of():
    assert unseen(np.array([0, 2, 2, -1]), ("a", "b", "c")) == ["b"]
    assert unseen(np.array([0.5, 2]), ()) == []
    assert unseen(several(), tuple("abcdef")) == []
    assert unseen(np.empty(0, np.int64), ("a", "b")) == []
