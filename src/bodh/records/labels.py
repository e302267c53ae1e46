"""Label values of any kind become class indices and class names."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bodh.errors import DataError
from bodh.records.ids import natural_key

CLASSES_FILE = "classes.txt"
"""Beside the data: one class name a line, line number = class index."""

Labels = tuple[np.ndarray, tuple[str, ...]]
"""([n] int64 with -1 where unlabelled, or [n k] uint8 for several labels at once; [k] class names)"""


def read_class_names(folder: Path) -> tuple[str, ...]:
    """Return the lines of `classes.txt` in `folder`, or an empty tuple where there is none."""
    path = folder / CLASSES_FILE
    if not path.is_file():
        return ()
    lines = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines()]
    return tuple(line for line in lines if line)


def encode_labels(values: Any, names: Sequence[str] = (), *, owner: str) -> Labels:
    """Turn label values into indices.

    Args:
        values: [n] whole numbers, truth values or words (missing: -1, None, NaN or ""), or [n k] zeros and ones.
        names: class names by index, where the data brings them; only for whole numbers and [n k].
        owner: whose labels they are, for messages.

    Raises:
        DataError: the values are measurements rather than classes, or do not fit `names`.
    """
    array = np.asarray(values)
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim == 2:
        return _several(array, names, owner)
    if array.ndim != 1:
        raise DataError(f"labels of {owner} have the shape {array.shape}; allowed are [n], or [n k] zeros and ones")
    if array.dtype.kind == "b":
        return array.astype(np.int64), tuple(names) or ("false", "true")
    if array.dtype.kind in "OUS":
        return _words(array, names, owner)
    if array.dtype.kind == "f":
        array = _whole(array, owner)
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


def _whole(array: np.ndarray, owner: str) -> np.ndarray:
    missing = np.isnan(array)
    whole = np.where(missing, -1.0, array)
    if not np.array_equal(whole, np.round(whole)):
        example = float(array[~missing & (array != np.round(array))][0])
        raise DataError(
            f"labels of {owner} are measurements such as {example:g}, not classes; "
            "give whole numbers or words, or leave the labels out"
        )
    return whole.astype(np.int64)


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
