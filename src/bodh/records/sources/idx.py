"""The idx format of MNIST: `train-images-idx3-ubyte.gz` with its labels, `t10k-…` as the test part, gzip or plain."""

from __future__ import annotations

import gzip
import math
import re
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np

from bodh.contracts import Source
from bodh.errors import DataError
from bodh.records.labels import encode_labels, read_class_names
from bodh.records.sources._parts import ArraySource, file_digest, split_of

_FILE = re.compile(r"^(?P<stem>.*?)[-_.]?(?P<what>images|labels)[-.]idx(?P<axes>\d)-ubyte(\.gz)?$", re.IGNORECASE)
_UBYTE = 0x08
_INNER = ("", "raw", "MNIST/raw", "FashionMNIST/raw", "KMNIST/raw")
"""Where the files may lie in a folder: as downloaded, or as torchvision keeps them."""


def accepts(location: Any) -> bool:
    """Whether `location` is an idx file or a folder that holds idx images."""
    if not isinstance(location, Path):
        return False
    return bool(_FILE.match(location.name)) if location.is_file() else bool(_images(location))


def open_(location: Path, *, input: str | None, label: str | None, modality: str | None) -> Source:  # noqa: A002
    """Open a folder of idx files, or one file of images (labels are found beside it).

    Raises:
        DataError: a file is damaged, or images and labels do not match.
    """
    if input or label:
        raise DataError(f"idx files in {location.name!r} have nothing to choose with input= or label=")
    if modality not in (None, "image"):
        raise DataError(f"idx files in {location.name!r} hold images, not modality={modality!r}")
    files = _images(location) if location.is_dir() else [_image_file(location)]
    parts, splits, labels, used = [], [], [], []
    for path in files:
        shape = header(path)
        if len(shape) not in (3, 4):
            raise DataError(f"{path.name!r} holds an array of shape {shape}, not images [n h w]")
        parts.append((path.name, shape[0]))
        splits.append(np.full(shape[0], (split_of(path.name) or "train") if len(files) > 1 else "train"))
        beside = _labels_of(path)
        labels.append(np.full(shape[0], -1, np.int64) if beside is None else _labels(beside, path, shape[0]))
        used += [path] if beside is None else [path, beside]
    values = np.concatenate(labels)
    names = read_class_names(files[0].parent)
    targets, names = encode_labels(values, names, owner=repr(location.name)) if (values >= 0).any() else (None, ())
    folder = location if location.is_dir() else location.parent
    return ArraySource(
        folder.resolve().name if location.is_dir() else location.name.split("-idx")[0], "image", _loader(files), parts,
        np.concatenate(splits), targets, names, file_digest(used), str(location.resolve()),
        f"idx files: {', '.join(path.name for path in used)}",
    )  # fmt: skip


def header(path: Path) -> tuple[int, ...]:
    """Return the shape of an idx file, reading only its first bytes."""
    with _opened(path) as file:
        return _header(path, file)


def payload(path: Path) -> np.ndarray:
    """Return the whole array of an idx file as uint8."""
    try:
        with _opened(path) as file:
            shape = _header(path, file)
            data = file.read()
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{path.name!r} is damaged or cut short ({error}); download it again") from error
    if len(data) != math.prod(shape):
        raise DataError(f"{path.name!r} is cut short: {len(data)} bytes for shape {shape}; download it again")
    return np.frombuffer(data, np.uint8).reshape(shape)


def _header(path: Path, file: BinaryIO) -> tuple[int, ...]:
    try:
        magic = file.read(4)
        axes = magic[3] if len(magic) == 4 else 0
        sizes = file.read(4 * axes)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{path.name!r} is damaged or cut short ({error}); download it again") from error
    if magic[:2] != b"\0\0" or magic[2:3] != bytes([_UBYTE]) or not axes or len(sizes) != 4 * axes:
        raise DataError(f"{path.name!r} is no idx file of unsigned bytes: it starts with {magic.hex(' ')}")
    return tuple(int.from_bytes(sizes[i : i + 4], "big") for i in range(0, 4 * axes, 4))


def _opened(path: Path) -> BinaryIO:
    with path.open("rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
    return cast("BinaryIO", gzip.open(path, "rb")) if packed else path.open("rb")


def _loader(files: list[Path]) -> Callable[[], np.ndarray | list[np.ndarray]]:
    def load() -> np.ndarray | list[np.ndarray]:
        arrays = [payload(path) for path in files]
        if len(arrays) == 1:
            return arrays[0]
        if len({array.shape[1:] for array in arrays}) == 1:
            return np.concatenate(arrays)
        return [row for array in arrays for row in array]

    return load


def _images(folder: Path) -> list[Path]:
    """Return one file of images a part, in the order train, validation, test."""
    for inner in _INNER:
        here = folder / inner
        found: dict[str, Path] = {}
        for path in sorted(here.iterdir()) if here.is_dir() else ():
            match = _FILE.match(path.name)
            if match and match["what"].lower() == "images" and not path.name.startswith(".") and path.is_file():
                found.setdefault(path.name.removesuffix(".gz"), path)  # plain and packed side by side: the plain one
        if found:
            order = {"train": 0, None: 0, "val": 1, "test": 2}
            return sorted(found.values(), key=lambda path: order[split_of(path.name)])
    return []


def _image_file(path: Path) -> Path:
    match = _FILE.match(path.name)
    if match and match["what"].lower() == "labels":
        raise DataError(f"{path.name!r} holds labels; give the file of images, or the folder of both")
    return path


def _labels_of(images: Path) -> Path | None:
    stem = re.sub("images", "labels", images.name.removesuffix(".gz"), flags=re.IGNORECASE)
    stem = re.sub(r"idx\d", "idx1", stem)
    return next((path for name in (stem, stem + ".gz") if (path := images.with_name(name)).is_file()), None)


def _labels(path: Path, images: Path, count: int) -> np.ndarray:
    values = payload(path)
    if values.shape != (count,):
        raise DataError(f"{images.name!r} has {count} images, but {path.name!r} has labels of shape {values.shape}")
    return values.astype(np.int64)
