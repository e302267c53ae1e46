"""Which records train and which test: stratified splits and label budgets, drawn by seed."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np

from bodh.contracts import RecordStore, derive_seed
from bodh.errors import DataError

_log = logging.getLogger("bodh")

TEST_FRACTION = 0.2
"""Share of records set aside where a source brings no test part."""


def stratified_split(targets: np.ndarray, *, fraction: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Divide positions 0 … n - 1 into `(train, rest)` so that every class is shared out alike.

    Each class with two records or more has at least one on either side. Unlabelled records (-1) count as a class
    of their own, and so does each combination of several labels. Of measured numbers, small, middle and large ones
    are shared out alike (groups between quantiles).

    Args:
        targets: [n] class index, [n k] zeros and ones, or [n] or [n k] floats.
        fraction: share of records in the *first* part, between 0 and 1 exclusive.
        seed: other seed, other split.

    Returns:
        Two sorted int64 arrays that share no position and together hold all of them.

    Raises:
        DataError: fewer than two records, or a fraction that is not between 0 and 1.
    """
    n = len(targets)
    if not 0.0 < fraction < 1.0:
        raise DataError(f"a split needs a fraction between 0 and 1, not {fraction}")
    if n < 2:
        raise DataError(f"{n} records cannot be divided into two parts; at least 2 are needed")
    group = _groups(targets)
    counts = np.bincount(group)
    exact = counts * fraction
    take = np.floor(exact).astype(np.int64)
    # largest remainders get what is missing, so that the whole keeps the fraction that was asked for
    missing = round(n * fraction) - int(take.sum())
    take[np.argsort(-(exact - take), kind="stable")[: max(0, missing)]] += 1
    several = counts >= 2
    take[several] = np.clip(take[several], 1, counts[several] - 1)
    train = _ranks(group, _generator("split", seed)) < take[group]
    if train.all() or not train.any():  # every class has a single record: the classes themselves are divided
        train = _generator("split", seed).permutation(n) < min(max(1, round(n * fraction)), n - 1)
    return np.flatnonzero(train), np.flatnonzero(~train)


def label_budget(
    targets: np.ndarray, *, per_class: int | None = None, fraction: float | None = None, seed: int
) -> np.ndarray:
    """Draw the labelled records that a small budget buys; larger budgets of one seed contain smaller ones.

    Args:
        targets: [n] class index, -1 where unlabelled (never drawn); or [n k] zeros and ones. With several labels a
            record is drawn where any of its labels still wants one, so that the budget is met for each label. Of
            measured numbers (floats, NaN where unlabelled) small and large ones are drawn alike.
        per_class: records a class; a class with fewer gives all it has. Measured numbers have no classes: so many
            records in all. Give this or `fraction`.
        fraction: share of each class, above 0 up to 1; at least one record a class.
        seed: other seed, other draw.

    Returns:
        Sorted int64 positions.

    Raises:
        DataError: neither or both budgets given, a budget out of range, or no labelled record.
    """
    if (per_class is None) == (fraction is None):
        raise DataError("a label budget is per_class=K or fraction=F, exactly one of them")
    if per_class is not None and per_class < 1:
        raise DataError(f"per_class must be 1 or more, not {per_class}")
    if fraction is not None and not 0.0 < fraction <= 1.0:
        raise DataError(f"fraction must be above 0 and at most 1, not {fraction}")
    targets = np.asarray(targets)
    if targets.dtype.kind == "f":
        return _budget_of_numbers(targets, per_class, fraction, seed)
    member = _membership(targets) if targets.ndim == 2 else None  # [n k]
    counts = np.bincount(targets[targets >= 0]) if member is None else member.sum(0)
    if not counts.any():
        raise DataError("no record is labelled, so no label budget can be drawn")
    quota = np.full(len(counts), per_class) if per_class else np.maximum(1, np.rint(counts * (fraction or 0.0)))
    generator = _generator("budget", seed)
    if member is None:
        labelled = np.flatnonzero(targets >= 0)
        group = targets[labelled]
        return np.asarray(labelled[_ranks(group, generator) < quota[group]])
    order = generator.permutation(len(targets))
    shuffled = member[order]
    rank = shuffled.cumsum(0) - 1  # among the records of that label
    drawn = (shuffled & (rank < quota)).any(1)
    return np.sort(order[drawn])


def labelled(targets: np.ndarray) -> np.ndarray:
    """Return [n] bool, which records have a label; records of several labels at once all have."""
    if targets.dtype.kind == "f":
        known: np.ndarray = ~np.isnan(targets.reshape(len(targets), -1)).all(axis=1)
        return known
    return targets >= 0 if targets.ndim == 1 else np.ones(len(targets), bool)


def unseen(targets: np.ndarray, class_names: Sequence[str]) -> list[str]:
    """Return the names of classes that no record is of, where records have one class each; none of no records.

    Args:
        targets: [n] class index, -1: no label; other labels have no such classes.
        class_names: by index.
    """
    if targets.ndim != 1 or targets.dtype.kind != "i" or not len(targets):
        return []
    counts = np.bincount(targets[targets >= 0], minlength=len(class_names))
    return [name for name, count in zip(class_names, counts.tolist(), strict=True) if not count]


def train_val_test(store: RecordStore, seed: int) -> dict[str, np.ndarray]:
    """Return the positions of "train", "val" and "test".

    What the source brings is honoured. Where it brings no test part, its validation part serves as one; where it
    brings neither, a stratified fifth of the records is set aside. "val" may be empty.

    Raises:
        DataError: no training records.
    """
    splits = np.asarray(store.splits)
    parts = {name: np.flatnonzero(splits == name) for name in ("train", "val", "test")}
    if not len(parts["train"]):
        raise DataError(f"{store.name!r} has no training records, only: {', '.join(sorted(set(splits.tolist())))}")
    if len(parts["test"]):
        return parts
    if len(parts["val"]):
        _log.info("%s has no test part: its validation part (%d records) is the test", store.name, len(parts["val"]))
        return {"train": parts["train"], "val": parts["test"], "test": parts["val"]}
    train = parts["train"]
    targets = np.zeros(len(train), np.int64) if store.targets is None else np.asarray(store.targets)[train]
    kept, aside = stratified_split(targets, fraction=1.0 - TEST_FRACTION, seed=seed)
    how = "" if store.targets is None else ", class by class"
    _log.info("%s has no test part: %d of %d records are set aside%s", store.name, len(aside), len(train), how)
    return {"train": train[kept], "val": parts["val"], "test": train[aside]}


def _generator(purpose: str, seed: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(derive_seed(purpose, seed)))


def _groups(targets: np.ndarray) -> np.ndarray:
    """Return [n] group numbers: the class, the combination of labels, or between which quantiles numbers lie."""
    targets = np.asarray(targets)
    if targets.dtype.kind == "f":
        columns = targets.reshape(len(targets), -1)
        bins = int(np.clip((len(targets) / 5) ** (1 / columns.shape[1]), 1, 10))  # about five records a group or more
        targets = np.stack([_quantiles(column, bins) for column in columns.T], axis=1)
    _, group = np.unique(targets, axis=0, return_inverse=True)
    return group.reshape(-1)


def _quantiles(values: np.ndarray, bins: int) -> np.ndarray:
    """Return [n] which of `bins` equally full ranges each value lies in; -1 for not-a-number."""
    known = ~np.isnan(values)
    if not known.any():
        return np.full(len(values), -1)
    edges = np.quantile(values[known], np.linspace(0, 1, bins + 1)[1:-1])
    return np.where(known, np.searchsorted(edges, values, side="right"), -1)


def _budget_of_numbers(targets: np.ndarray, records: int | None, fraction: float | None, seed: int) -> np.ndarray:
    """Return positions [q] drawn evenly over small and large numbers; a larger budget contains a smaller one."""
    usable = np.flatnonzero(labelled(targets))
    if not len(usable):
        raise DataError("no record is labelled, so no label budget can be drawn")
    group = _groups(targets[usable])
    generator = _generator("budget", seed)
    turn = _ranks(group, generator)
    order = np.lexsort((generator.permutation(len(usable)), turn))  # one of every group, then the next of every group
    count = records if records is not None else max(1, round((fraction or 0.0) * len(usable)))
    return np.sort(usable[order[:count]])


def _ranks(group: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Return [n] the random rank of each record within its group, from 0."""
    order = generator.permutation(len(group))
    order = order[np.argsort(group[order], kind="stable")]
    counts = np.bincount(group)
    rank = np.empty(len(group), np.int64)
    rank[order] = np.arange(len(group)) - np.repeat(np.cumsum(counts) - counts, counts)
    return rank


def _membership(targets: np.ndarray) -> np.ndarray:
    """Return [n k + 1] bool: the labels of each record, and in the last column that it has none."""
    member = targets > 0
    return np.column_stack([member, ~member.any(1)])
