"""Data sets that ship with scikit-learn: `sklearn:digits` (images); `iris`, `wine`, `breast_cancer` (vectors)."""

from __future__ import annotations

from typing import Any

import numpy as np

from bodh.contracts import Source
from bodh.errors import DataError, UnknownName
from bodh.records.labels import encode_labels
from bodh.records.sources._parts import ArraySource, as_records, bytes_digest

SCHEME = "sklearn"
NAMES = ("breast_cancer", "digits", "iris", "wine")


def accepts(location: Any) -> bool:
    """Whether `location` is a name such as "sklearn:digits"."""
    return isinstance(location, str) and location.startswith(f"{SCHEME}:")


def open_(location: str, *, input: str | None, label: str | None, modality: str | None) -> Source:  # noqa: A002
    """Open a data set that needs no network. Digits are 8 x 8 grey images, their 17 levels spread over 0 to 255.

    Raises:
        UnknownName: scikit-learn ships no such set, or it is none with classes.
        DataError: input= or label= was given, or the modality does not fit.
    """
    name = location.removeprefix(f"{SCHEME}:")
    if name not in NAMES:
        raise UnknownName("scikit-learn data set", name, NAMES)
    if input or label:
        raise DataError(f"{location!r} has nothing to choose with input= or label=")
    from sklearn import datasets

    bunch = getattr(datasets, f"load_{name}")()
    array = np.asarray(bunch.data, np.float32)
    if name == "digits" and modality != "vector":
        array = np.rint(np.asarray(bunch.images) * (255.0 / 16.0)).astype(np.uint8)
    elif modality not in (None, "vector"):
        raise DataError(f"{location!r} holds vectors, not modality={modality!r}")
    array, kind = as_records(array, owner=repr(location), modality=modality)
    targets, names = encode_labels(bunch.target, [str(word) for word in bunch.target_names], owner=repr(location))
    return ArraySource(
        name, kind, lambda: array, [(name, len(array))], np.full(len(array), "train"), targets, names,
        bytes_digest([array]), location, "a data set that ships with scikit-learn",
    )  # fmt: skip
