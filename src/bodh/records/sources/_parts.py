"""What sources share: the words for splits, fingerprints, and a source over arrays."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from bodh.errors import DataError
from bodh.records.ids import Numbered

SPLIT_WORDS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "test": "test",
    "testing": "test",
    "t10k": "test",
}
"""What folders and files call their parts, and what bodh calls these."""


_CHANNELS = (1, 3, 4)


def split_of(name: str) -> str | None:
    """Return the split that a file name starts with ("train-00000-of-00002", "x_test"), or None."""
    words = [word for word in re.split(r"[^a-z0-9]+", name.casefold()) if word]
    found = [SPLIT_WORDS[word] for word in words if word in SPLIT_WORDS]
    return found[0] if found else None


def digest(*parts: object) -> str:
    """Return a hex digest of the parts' text."""
    return hashlib.blake2b("\x1f".join(map(str, parts)).encode("utf-8", "surrogateescape"), digest_size=16).hexdigest()


def file_digest(paths: Iterable[Path], *more: object) -> str:
    """Return a digest of the files' places, sizes and times, which changes when any of them may have changed."""
    stats = [(os.fspath(path.resolve()), path.stat()) for path in paths]
    return digest(*((name, stat.st_size, stat.st_mtime_ns) for name, stat in stats), *more)


def bytes_digest(rows: Iterable[np.ndarray]) -> str:
    """Return a digest of arrays: shapes, types and bytes."""
    whole = hashlib.blake2b(digest_size=16)
    for row in rows:
        whole.update(repr((row.shape, str(row.dtype))).encode())
        whole.update(np.ascontiguousarray(row).view(np.uint8).data if row.size else b"")
    return whole.hexdigest()


@dataclass
class ArraySource:
    """A source whose records are rows of arrays, loaded when first read.

    Args:
        name: short name for messages.
        modality: "image" or "vector".
        load: returns the records, [n …] or a list of n arrays.
        parts: (prefix of the ids, records) in order.
        splits: [n] of "train", "val", "test".
        targets: labels, or None.
        class_names: [k].
        fingerprint: digest of the records.
        origin: path or name that it was opened from; "" for arrays in memory.
        reading: how it is read, in a few words.
        in_memory: whether all records fit in memory, as they have to where a format is compressed as a whole.
    """

    name: str
    modality: str
    load: Callable[[], np.ndarray | Sequence[np.ndarray]]
    parts: Sequence[tuple[str, int]]
    splits: np.ndarray
    targets: np.ndarray | None
    class_names: tuple[str, ...]
    fingerprint: str
    origin: str = ""
    reading: str = "an array"
    in_memory: bool = True
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.ids: Sequence[str] = Numbered(self.parts)
        if not len(self.ids):
            raise DataError(f"{self.name!r} holds no records")
        if self.targets is not None and len(self.targets) != len(self.ids):
            raise DataError(
                f"{self.name!r} has {len(self.ids)} records but {len(self.targets)} labels; they must be as many"
            )

    def __len__(self) -> int:
        return len(self.ids)

    def __getstate__(self) -> dict[str, Any]:
        """Leave loaded records and labels behind: a worker loads its own."""
        lean = {"targets": None, "splits": np.empty(0, "<U5")}
        return {name: value for name, value in self.__dict__.items() if name != "_rows"} | lean

    @cached_property
    def _rows(self) -> np.ndarray | Sequence[np.ndarray]:
        return self.load()

    def read(self, index: int) -> np.ndarray:
        """Return record `index` as an array."""
        return np.asarray(self._rows[index])


def as_records(array: np.ndarray, *, owner: str, modality: str | None) -> tuple[np.ndarray, str]:
    """Return an array as records [n …] with its modality: [n d] numbers are vectors, [n h w] or [n h w c] images.

    Images are uint8 or uint16, or truth values; as [n h w c] also other numbers, which the modality judges. Where the
    channels come first, they are moved.

    Raises:
        DataError: the array is neither.
    """
    allowed = "bodh reads images as uint8 [n h w] or [n h w c], and vectors as numbers [n d]"
    if array.dtype.kind not in "biuf":
        raise DataError(f"{owner} is an array of {array.dtype}; {allowed}")
    if array.ndim >= 2 and (modality == "vector" or (modality is None and array.ndim == 2)):
        return array.reshape(len(array), -1), "vector"
    if array.ndim not in (3, 4):
        raise DataError(f"{owner} has the shape {array.shape}; {allowed}")
    if array.ndim == 4 and array.shape[3] not in _CHANNELS and array.shape[1] in _CHANNELS:
        array = array.transpose(0, 2, 3, 1)
    if array.ndim == 4 and array.shape[3] not in _CHANNELS:
        raise DataError(f"{owner} has the shape {array.shape}, whose last axis is no channel axis; {allowed}")
    if array.ndim == 3 and array.dtype not in (np.uint8, np.uint16, bool) and modality is None:
        raise DataError(
            f"{owner} is {array.dtype} of shape {array.shape}: images or something else? {allowed}; "
            "say modality=image or modality=vector"
        )
    return array, "image"
