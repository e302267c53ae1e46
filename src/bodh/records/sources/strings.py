"""Texts in memory: a list of `str`, or a pair (list of `str`, labels)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from bodh.contracts import Source
from bodh.errors import BadRecord, DataError
from bodh.records.ids import Numbered
from bodh.records.labels import encode_labels
from bodh.records.sources._parts import digest


def accepts(location: Any) -> bool:
    """Whether `location` is a list or array of strings, or a pair of one and labels."""
    if isinstance(location, tuple) and len(location) == 2 and not isinstance(location[0], str):
        location = location[0]
    return _are_strings(location)


def open_(location: Any, *, input: str | None, label: str | None, modality: str | None) -> Source:  # noqa: A002
    """Open texts.

    Args:
        location: see `accepts`.
        input: there is nothing to choose.
        label: likewise.
        modality: "text".

    Raises:
        DataError: something among them is no string, or labels and texts are not as many.
    """
    if input or label:
        raise DataError("texts in memory have nothing to choose with input= or label=; give (texts, labels)")
    if modality not in (None, "text"):
        raise DataError(f"a list of strings is read as texts, not as modality={modality!r}")
    texts, labels = location if isinstance(location, tuple) and not isinstance(location[0], str) else (location, None)
    return Strings(list(texts), labels)


class Strings:
    """Texts in memory; all are for training. Empty ones are left out."""

    name = "texts"
    modality = "text"
    in_memory = True
    origin = ""

    def __init__(self, texts: list[Any], labels: Any) -> None:
        for place, text in enumerate(texts):
            if text is not None and not isinstance(text, str):
                raise DataError(f"text {place} of the list is of type {type(text).__name__}; all must be strings")
        if labels is not None and len(labels) != len(texts):
            raise DataError(f"{len(texts)} texts were given with {len(labels)} labels; they must be as many")
        kept = np.array([place for place, text in enumerate(texts) if text and text.strip()], np.int64)
        if not len(kept):
            raise DataError(f"none of the {len(texts)} texts has anything in it")
        self._texts: Sequence[str] = [texts[place] for place in kept.tolist()]
        whole = Numbered.of("text", len(texts))
        self.ids: Sequence[str] = whole if len(kept) == len(texts) else [whole[place] for place in kept.tolist()]
        self.splits = np.full(len(kept), "train")
        self.targets: np.ndarray | None = None
        self.class_names: tuple[str, ...] = ()
        if labels is not None:
            targets, self.class_names = encode_labels(labels, owner="the texts")
            self.targets = targets[kept]
        self.fingerprint = digest("text", *self._texts)
        self.reading = "a list of texts" + ("" if labels is None else " with labels")
        empty = len(texts) - len(kept)
        self.notes = [f"{empty:,} empty text{'' if empty == 1 else 's'} left out"] if empty else []

    def __len__(self) -> int:
        return len(self._texts)

    def read(self, index: int) -> bytes:
        """Return the text of record `index` in UTF-8.

        Raises:
            BadRecord: it has half a surrogate pair, which is no character.
        """
        try:
            return self._texts[index].encode()
        except UnicodeEncodeError as error:
            raise BadRecord(f"no Unicode text: {error.reason} at character {error.start}") from error


def _are_strings(values: Any) -> bool:
    if isinstance(values, list | tuple):
        return isinstance(next((value for value in values if value is not None), None), str)
    kind = getattr(getattr(values, "dtype", None), "kind", "")
    if kind == "U":
        return getattr(values, "ndim", 0) == 1
    return kind == "O" and len(values) > 0 and isinstance(next(iter(values)), str)
