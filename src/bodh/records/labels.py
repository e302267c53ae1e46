"""Label values of any kind become class indices and class names, or numbers and what these are called."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bodh.errors import DataError
from bodh.records.ids import natural_key

_log = logging.getLogger("bodh")

CLASSES_FILE = "classes.txt"
"""Beside the data: one class name a line, line number = class index."""

Labels = tuple[np.ndarray, tuple[str, ...]]
"""([n] int64 with -1 where unlabelled, [n k] uint8 for several labels at once, or [n] or [n k] float32 with NaN where
unlabelled for measured numbers; [k] class names, or what the numbers are called)"""

MOST_WHOLE = 100
"""Whole numbers that come as floats are classes up to this many different ones; above, they are measured numbers."""


def read_class_names(folder: Path) -> tuple[str, ...]:
    """Return the lines of `classes.txt` in `folder`, or an empty tuple where there is none."""
    path = folder / CLASSES_FILE
    if not path.is_file():
        return ()
    lines = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines()]
    return tuple(line for line in lines if line)


def encode_labels(values: Any, names: Sequence[str] = (), *, owner: str, called: Sequence[str] = ("value",)) -> Labels:
    """Turn label values into class indices, or into numbers where they are measured.

    Floats are measured numbers, unless they are few different whole ones or [n k] zeros and ones; whole numbers are
    classes, unless one is below -1. `as_numbers` reads classes as numbers after all.

    Args:
        values: [n] numbers, truth values or words (missing: -1, None, NaN or ""); [n k] zeros and ones, or floats.
        names: class names by index, where the data brings them; only for whole numbers and [n k].
        owner: whose labels they are, for messages.
        called: [k] what measured numbers are called; one name is numbered where there are more columns.

    Raises:
        DataError: the values are neither classes nor finite numbers, or do not fit `names`.
    """
    array = np.asarray(values)
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if _measured(array, names):
        return _numbers_of(array, called, owner)
    if array.ndim == 2:
        return _several(array, names, owner)
    if array.ndim != 1:
        raise DataError(f"labels of {owner} have the shape {array.shape}; allowed are [n], or [n k] zeros and ones")
    if array.dtype.kind == "b":
        return array.astype(np.int64), tuple(names) or ("false", "true")
    if array.dtype.kind in "OUS":
        return _words(array, names, owner)
    if array.dtype.kind == "f":
        array = np.where(np.isnan(array), -1.0, array).astype(np.int64)
        kinds = len(np.unique(array[array >= 0]))
        _log.info("labels of %s are %d different whole numbers: read as classes; type data.task=regress", owner, kinds)
    if array.dtype.kind not in "iu":
        raise DataError(f"labels of {owner} are of type {array.dtype}; whole numbers or words are needed")
    return _numbers(array.astype(np.int64), names, owner)


def _numbers(array: np.ndarray, names: Sequence[str], owner: str) -> Labels:
    labelled = array[array >= 0]
    if names:
        if labelled.size and labelled.max() >= len(names):
            raise DataError(
                f"{owner} has the label {labelled.max()}, but only {len(names)} class names (0 to {len(names) - 1})"
            )
        return np.where(array >= 0, array, -1), tuple(names)
    kinds = np.unique(labelled)
    index = np.where(array >= 0, np.searchsorted(kinds, array), -1) if kinds.size else np.full(array.shape, -1)
    return index.astype(np.int64), tuple(str(kind) for kind in kinds.tolist())


def _words(array: np.ndarray, names: Sequence[str], owner: str) -> Labels:
    words = ["" if value is None or value != value else str(value).strip() for value in array.tolist()]  # noqa: PLR0124
    kinds = tuple(sorted({word for word in words if word}, key=natural_key))
    if names and set(kinds) <= set(names):
        kinds = tuple(names)
    if len(kinds) > 1000 and len(kinds) * 2 > len(words):
        raise DataError(
            f"labels of {owner} hold {len(kinds)} different words in {len(words)} records: "
            "these are no classes; choose another column with label="
        )
    place = {kind: number for number, kind in enumerate(kinds)} | {"": -1}
    return np.array([place[word] for word in words], dtype=np.int64), kinds


def as_numbers(targets: np.ndarray, names: Sequence[str], *, owner: str) -> Labels:
    """Return classes whose names are numbers as those numbers, float32; measured numbers as they are.

    Args:
        targets: see `Labels`.
        names: [k] class names.
        owner: whose labels they are, for messages.

    Raises:
        DataError: a class name is no number.
    """
    if targets.dtype.kind == "f":
        return targets, tuple(names)
    if targets.ndim == 2:
        return targets.astype(np.float32), tuple(names)
    try:
        values = np.array([float(name) for name in names] + [np.nan], dtype=np.float32)
    except ValueError:
        shown = ", ".join(names[:5])
        raise DataError(
            f"labels of {owner} are words ({shown}), which cannot be read as numbers; leave task=regress out, "
            "or choose a column of numbers with data.label=NAME"
        ) from None
    return values[targets], ("value",)  # -1, unlabelled, takes the last


def relabelled(records: Any, targets: np.ndarray, names: Sequence[str]) -> Any:
    """Return a twin of a source or store that shares its records and has other labels; the original stays as it is."""
    twin = object.__new__(type(records))  # not copy.copy: what goes to workers leaves labels and splits behind
    twin.__dict__.update(records.__dict__, targets=targets, class_names=tuple(names))
    return twin


def _measured(array: np.ndarray, names: Sequence[str]) -> bool:
    """Whether values are numbers that were measured rather than classes."""
    if array.dtype.kind == "i" and array.ndim == 1:
        return not names and bool((array < -1).any())
    if array.dtype.kind != "f" or array.ndim not in (1, 2):
        return False
    known = array[~np.isnan(array)]
    if array.ndim == 2:
        return not (len(known) == array.size and np.isin(known, (0, 1)).all())
    whole = np.array_equal(known, np.round(known)) and bool((known >= -1).all())
    return not whole or len(np.unique(known)) > MOST_WHOLE


def _numbers_of(array: np.ndarray, called: Sequence[str], owner: str) -> Labels:
    numbers = array.astype(np.float32)
    if np.isinf(numbers).any():
        raise DataError(f"labels of {owner} hold infinite numbers; leave them empty (not-a-number) where unknown")
    columns = 1 if array.ndim == 1 else array.shape[1]
    if len(called) != columns:
        called = [f"{called[0]}_{column}" for column in range(columns)]
    _log.info("labels of %s are measured numbers (%s): a task of regression", owner, ", ".join(called))
    return numbers, tuple(called)


def _several(array: np.ndarray, names: Sequence[str], owner: str) -> Labels:
    if array.dtype.kind not in "biuf" or not np.isin(array, (0, 1)).all():
        raise DataError(f"labels of {owner} have the shape {array.shape}; several labels a record are zeros and ones")
    if names and len(names) != array.shape[1]:
        raise DataError(f"labels of {owner} have {array.shape[1]} columns, but there are {len(names)} class names")
    return array.astype(np.uint8), tuple(names) or tuple(str(column) for column in range(array.shape[1]))


def encode_lists(lists: Sequence[Sequence[Any] | None], names: Sequence[str] = (), *, owner: str) -> Labels:
    """Turn lists of labels, one list a record, into zeros and ones [n k]."""
    flat = [value for row in lists for value in (row or ())]
    index, kinds = encode_labels(np.array(flat) if flat else np.zeros(0, np.int64), names, owner=owner)
    member = np.zeros((len(lists), len(kinds)), np.uint8)
    owners = np.repeat(np.arange(len(lists)), [len(row or ()) for row in lists])
    member[owners[index >= 0], index[index >= 0]] = 1
    return member, kinds
