"""Data sets by torchvision's name: `torchvision:CIFAR10`. Downloaded, once, because the user named them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bodh import _optional
from bodh.contracts import Source
from bodh.errors import BadRecord, DataError, UnknownName
from bodh.records.cache import cache_root
from bodh.records.labels import encode_labels
from bodh.records.sources._parts import ArraySource, bytes_digest, file_digest

SCHEME = "torchvision"


@dataclass(frozen=True)
class _Kind:
    """How a data set of torchvision is asked for its parts, and where it keeps records and labels."""

    parts: tuple[tuple[str, str, dict[str, Any]], ...]
    """(split, prefix of the ids, arguments)"""
    records: str = "data"
    labels: str = "targets"


def _flagged(records: str = "data", labels: str = "targets") -> _Kind:
    return _Kind((("train", "train", {"train": True}), ("test", "test", {"train": False})), records, labels)


def _named(*parts: tuple[str, str], records: str = "_image_files", labels: str = "_labels") -> _Kind:
    return _Kind(tuple((split, name, {"split": name}) for split, name in parts), records, labels)


_TRAIN_VAL_TEST = (("train", "train"), ("val", "val"), ("test", "test"))
_TRAIN_TEST = (("train", "train"), ("test", "test"))
KINDS = {
    "CIFAR10": _flagged(),
    "CIFAR100": _flagged(),
    "DTD": _named(*_TRAIN_VAL_TEST),
    "EuroSAT": _Kind((("train", "all", {}),), "samples", "targets"),
    "FGVCAircraft": _named(*_TRAIN_VAL_TEST),
    "FashionMNIST": _flagged(),
    "Flowers102": _named(*_TRAIN_VAL_TEST),
    "Food101": _named(*_TRAIN_TEST),
    "GTSRB": _named(*_TRAIN_TEST, records="_samples", labels=""),
    "Imagenette": _named(("train", "train"), ("val", "val"), records="_samples", labels=""),
    "KMNIST": _flagged(),
    "MNIST": _flagged(),
    "OxfordIIITPet": _named(("train", "trainval"), ("test", "test"), records="_images"),
    "STL10": _named(("train", "train"), ("train", "unlabeled"), ("test", "test"), records="data", labels="labels"),
    "SVHN": _named(*_TRAIN_TEST, records="data", labels="labels"),
}
"""What can be named, and how it is read."""


def accepts(location: Any) -> bool:
    """Whether `location` is a name such as "torchvision:CIFAR10"."""
    return isinstance(location, str) and location.startswith(f"{SCHEME}:")


def open_(location: str, *, input: str | None, label: str | None, modality: str | None) -> Source:  # noqa: A002
    """Open a data set of torchvision; what is not yet under the cache folder is downloaded there.

    Raises:
        UnknownName: no such data set, or none that bodh reads.
        DataError: it cannot be downloaded or is damaged; or input=, label=, modality= do not fit.
    """
    name = location.removeprefix(f"{SCHEME}:")
    exact = {known.casefold(): known for known in KINDS}.get(name.casefold())
    if exact is None:
        raise UnknownName("torchvision data set", name, KINDS)
    if input or label or modality not in (None, "image"):
        raise DataError(
            f"{location!r} holds images with labels; it has nothing to choose with input=, label=, modality="
        )
    _optional.torchvision()
    from torchvision import datasets

    root = cache_root() / SCHEME
    kind = KINDS[exact]
    loaded = [_load(getattr(datasets, exact), location, root, arguments) for _, _, arguments in kind.parts]
    records = [getattr(part, kind.records) for part in loaded]
    labels = [_labels_of(part, kind) for part in loaded]
    splits = np.concatenate([np.full(len(rows), part[0]) for rows, part in zip(records, kind.parts, strict=True)])
    words = getattr(loaded[0], "classes", ())
    names = [str(word[0] if isinstance(word, tuple) else word) for word in words]
    values = np.concatenate(labels)
    targets, class_names = encode_labels(values, names if values.max() < len(names) else (), owner=repr(location))
    parts = [(part[1], len(rows)) for rows, part in zip(records, kind.parts, strict=True)]
    if hasattr(records[0], "shape"):
        array = np.concatenate([_channels_last(np.asarray(rows)) for rows in records])
        return ArraySource(
            exact, "image", lambda: array, parts, splits, targets, class_names, bytes_digest([array]), location,
            f"torchvision's {exact}, under {root}",
        )  # fmt: skip
    paths = [os.fspath(row[0] if isinstance(row, tuple) else row) for rows in records for row in rows]
    return _Files(exact, location, root, paths, splits, targets, class_names)


def _load(kind: Any, location: str, root: Path, arguments: dict[str, Any]) -> Any:
    try:
        root.mkdir(parents=True, exist_ok=True)
        try:
            return kind(str(root), download=False, **arguments)
        except (RuntimeError, FileNotFoundError):
            return kind(str(root), download=True, **arguments)
    except (OSError, RuntimeError, ValueError) as error:  # URLError is an OSError
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(
            f"{location!r} is not under {str(root)!r} and cannot be downloaded: {reason}; "
            "look at the network, or put torchvision's files there"
        ) from error


def _labels_of(part: Any, kind: _Kind) -> np.ndarray:
    if not kind.labels:
        return np.array([row[1] for row in getattr(part, kind.records)], dtype=np.int64)
    return np.asarray(getattr(part, kind.labels), dtype=np.int64)


def _channels_last(array: np.ndarray) -> np.ndarray:
    first = array.ndim == 4 and array.shape[1] == 3 and array.shape[3] != 3
    return np.ascontiguousarray(array.transpose(0, 2, 3, 1)) if first else array


class _Files:
    """A data set that torchvision keeps as image files."""

    modality = "image"
    in_memory = False

    def __init__(
        self,
        name: str,
        origin: str,
        root: Path,
        paths: list[str],
        splits: np.ndarray,
        targets: np.ndarray,
        class_names: tuple[str, ...],
    ) -> None:
        self.name, self.origin, self.splits, self.class_names = name, origin, splits, class_names
        self.targets: np.ndarray | None = targets
        self.reading = f"torchvision's {name}, under {root}"
        self.notes: list[str] = []
        self._paths = paths
        self.ids: Sequence[str] = [os.path.relpath(path, root).replace(os.sep, "/") for path in paths]
        self.fingerprint = file_digest(map(Path, paths))

    def __len__(self) -> int:
        return len(self._paths)

    def read(self, index: int) -> bytes:
        """Return the bytes of the image's file. Raises BadRecord where it cannot be read."""
        try:
            return Path(self._paths[index]).read_bytes()
        except OSError as error:
            raise BadRecord(f"cannot be read: {error.strerror or error}") from error
