"""Arrays: in memory, `.npy`, or `.npz` with one array or with parts (x_train, y_train, x_test, …)."""

from __future__ import annotations

import logging
import zipfile
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from bodh.contracts import Source
from bodh.errors import DataError
from bodh.records.labels import encode_labels, read_class_names
from bodh.records.sources import strings
from bodh.records.sources._parts import ArraySource, as_records, bytes_digest, file_digest, split_of

_log = logging.getLogger("bodh")

SUFFIXES = (".npy", ".npz")
_INPUTS = ("x", "images", "image", "data", "inputs", "input", "features", "arr_0")
_LARGE = 1 << 30
"""Bytes from which a `.npy` file is decoded into the cache by workers, as files are, instead of into memory."""
_LABELS = ("y", "labels", "label", "targets", "target", "classes", "arr_1")


def accepts(location: Any) -> bool:
    """Whether `location` is an array, a pair (X, y), a list of arrays, or the path of a `.npy` or `.npz` file."""
    if isinstance(location, Path):
        return location.suffix.lower() in SUFFIXES and location.is_file()
    return (hasattr(location, "__array__") or isinstance(location, list | tuple)) and not strings.accepts(location)


def open_(location: Any, *, input: str | None, label: str | None, modality: str | None) -> Source:  # noqa: A002
    """Open arrays.

    Args:
        location: see `accepts`.
        input: name of the records' array in an `.npz`.
        label: name of the labels' array in an `.npz`.
        modality: "image" or "vector"; by default [n d] are vectors and uint8 [n h w] or [n h w c] images.

    Raises:
        DataError: no array can serve as records, or labels and records do not match.
    """
    if not isinstance(location, Path):
        return _in_memory(location, modality)
    if location.suffix.lower() == ".npy":
        return _npy(location, modality)
    return _npz(location, input, label, modality)


def _in_memory(location: Any, modality: str | None) -> Source:
    records, labels = location, None
    if isinstance(location, tuple):
        if len(location) != 2:
            raise DataError(f"a tuple of {len(location)} was given as data; allowed are (X, y) and one array")
        records, labels = location
    if isinstance(records, list):
        return _list(records, labels, modality)
    array, kind = as_records(np.asarray(records), owner="the array", modality=modality)
    return _source("array", array, kind, labels, fingerprint=bytes_digest([array]), origin="")


def _list(records: list[Any], labels: Any, modality: str | None) -> Source:
    rows = [np.asarray(record) for record in records]
    if rows and len({(row.shape, row.dtype) for row in rows}) == 1:
        return _in_memory((np.stack(rows), labels), modality)
    for number, row in enumerate(rows):
        if row.dtype != np.uint8 or row.ndim not in (2, 3):
            raise DataError(
                f"record {number} of the list is {row.dtype} of shape {row.shape}; "
                "allowed are uint8 images [h w] or [h w c]"
            )
    return _source("array", rows, "image", labels, fingerprint=bytes_digest(rows), origin="")


def _source(
    name: str, rows: np.ndarray | Sequence[np.ndarray], kind: str, labels: Any, *, fingerprint: str, origin: str
) -> Source:
    targets, names = (None, ()) if labels is None else encode_labels(labels, owner="the array")
    return ArraySource(
        name, kind, lambda: rows, [(name, len(rows))], np.full(len(rows), "train"), targets, names, fingerprint, origin
    )


def _npy(path: Path, modality: str | None) -> Source:
    array, kind = _npy_records(path, modality)
    return ArraySource(
        path.stem, kind, partial(_npy_rows, path, modality), [(path.name, len(array))], np.full(len(array), "train"),
        None, (), file_digest([path], kind), str(path.resolve()), f"a NumPy array of shape {array.shape}",
        in_memory=array.nbytes < _LARGE,
    )  # fmt: skip


def _npy_records(path: Path, modality: str | None) -> tuple[np.ndarray, str]:
    return as_records(np.asarray(_load(path)), owner=repr(path.name), modality=modality)


def _npy_rows(path: Path, modality: str | None) -> np.ndarray:
    return _npy_records(path, modality)[0]


def _load(path: Path) -> Any:
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        reason = "it holds Python objects, which bodh never loads" if _objects(error) else str(error)
        raise DataError(
            f"cannot read {path.name!r}: {reason}; save plain arrays with numpy.save or numpy.savez"
        ) from error


def _objects(error: Exception) -> bool:
    return "allow_pickle" in str(error) or "Python objects" in str(error)


def _npz(path: Path, input: str | None, label: str | None, modality: str | None) -> Source:  # noqa: A002
    with _load(path) as archive:
        parts = _pairs(path, list(archive.files), input, label)
        rows, labels, kinds, splits = [], [], set(), []
        for split, (record_key, label_key) in parts.items():
            array, kind = as_records(
                _member(path, archive, record_key), owner=f"{record_key!r} in {path.name!r}", modality=modality
            )
            rows.append(array)
            kinds.add((kind, array.shape[1:]))
            splits.append(np.full(len(array), split))
            if label_key:
                labels.append(_member(path, archive, label_key))
                if len(labels[-1]) != len(array):
                    raise DataError(
                        f"{path.name!r} has {len(array)} records in {record_key!r} "
                        f"but {len(labels[-1])} labels in {label_key!r}"
                    )
    if len(kinds) > 1:
        raise DataError(f"the parts of {path.name!r} differ in shape: {sorted(str(shape) for _, shape in kinds)}")
    whole = rows[0] if len(rows) == 1 else np.concatenate(rows)
    names = read_class_names(path.parent)
    targets, names = encode_labels(np.concatenate(labels), names, owner=repr(path.name)) if labels else (None, ())
    used = ", ".join(key for pair in parts.values() for key in pair if key)
    _log.info("%s: reading %s", path.name, used)
    kind = kinds.pop()[0]
    ids = [(f"{path.name}/{key}", len(row)) for (key, _), row in zip(parts.values(), rows, strict=True)]
    return ArraySource(
        path.stem, kind, lambda: whole, ids, np.concatenate(splits), targets, names,
        file_digest([path], used, kind), str(path.resolve()), f"a NumPy archive, from {used}",
    )  # fmt: skip


def _member(path: Path, archive: Mapping[str, np.ndarray], key: str) -> np.ndarray:
    try:
        return np.asarray(archive[key])
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        reason = "it holds Python objects, which bodh never loads" if _objects(error) else str(error)
        raise DataError(f"cannot read {key!r} in {path.name!r}: {reason}") from error


def _pairs(path: Path, keys: list[str], input: str | None, label: str | None) -> dict[str, tuple[str, str | None]]:  # noqa: A002
    """Return split -> (key of the records, key of the labels or None)."""
    for option, key in (("input", input), ("label", label)):
        if key is not None and key not in keys:
            raise DataError(f"{path.name!r} has no array {option}={key!r}; it has: {', '.join(keys)}")
    if input is not None:
        return {"train": (input, label)}
    by_split: dict[str | None, dict[str, str]] = {}
    for key in keys:
        role = _role(key)
        if role:
            by_split.setdefault(split_of(key), {}).setdefault(role, key)
    if len(keys) == 1 and "input" not in by_split.get(None, {}):
        by_split = {None: {"input": keys[0]}}
    named = {split: roles for split, roles in by_split.items() if split and "input" in roles}
    chosen = named or {"train": by_split.get(None, {})}
    if "input" not in next(iter(chosen.values())):
        raise DataError(
            f"cannot tell which array of {path.name!r} holds the records; it has: {', '.join(keys)}; "
            "choose with input=NAME and label=NAME"
        )
    order = [split for split in ("train", "val", "test") if split in chosen]
    return {split: (chosen[split]["input"], label or chosen[split].get("label")) for split in order}


def _role(key: str) -> str | None:
    words = {word for word in key.casefold().replace("-", "_").split("_") if word}
    if words & set(_LABELS) or key.casefold() in _LABELS:
        return "label"
    return "input" if words & set(_INPUTS) or key.casefold() in _INPUTS else None
