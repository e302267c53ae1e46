"""A source of pictures with sentences, wherever they come from."""

from __future__ import annotations

import io
import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from bodh.errors import BadRecord, DataError
from bodh.records.sources._parts import digest

_log = logging.getLogger("bodh")

FRAME = b"\x1ecaptions\x1e"
"""How a record begins (see `modalities.captions`)."""
SEPARATOR = "\x1e"
"""Between the sentences of a record; in a sentence it becomes a space."""
Picture = Callable[[Any], "bytes | np.ndarray"]


@dataclass
class Captioned:
    """One record, before it is joined.

    Attributes:
        place: where its picture is: a row, or a path.
        name: id.
        part: "train", "val" or "test".
        sentences: at least one.
    """

    place: Any
    name: str
    part: str
    sentences: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Read:
    """What was read.

    Attributes:
        records: those with a sentence.
        notes: what was left out.
    """

    records: list[Captioned]
    notes: list[str]


class CaptionRows:
    """Pictures with sentences; the sentences are read when it is opened, a picture when it is asked for.

    Args:
        name: short name.
        origin: path; "" in memory.
        read: returns the records; a worker process calls it once more.
        picture: returns a picture from its place.
        told: how they are read, in a few words.
        pictures: digest of the pictures; by default of their files' places, sizes and times.

    Raises:
        DataError: there is not one picture with a sentence.
    """

    modality = "captions"
    targets: np.ndarray | None = None
    class_names: tuple[str, ...] = ()

    def __init__(
        self, name: str, origin: str, read: Callable[[], Read], picture: Picture, told: str, pictures: str | None = None
    ) -> None:
        self.name, self.origin, self.reading = name, origin, told
        self.in_memory = not origin
        self._read, self._picture = read, picture
        found = read()
        self._records: list[Captioned] | None = found.records
        self.notes = list(found.notes)
        if not found.records:
            left = f" ({'; '.join(self.notes)})" if self.notes else ""
            raise DataError(f"{name!r} holds no picture with a sentence{left}")
        self.ids: Sequence[str] = [one.name for one in found.records]
        self.splits = np.array([one.part for one in found.records], "<U5")
        texts = [SEPARATOR.join([one.name, one.part, *one.sentences]) for one in found.records]
        seen = pictures or digest(*(_stat(one.place) for one in found.records))
        self.fingerprint = digest("captions", origin, seen, *texts)
        count = sum(len(one.sentences) for one in found.records)
        _log.info("%s: %s; %d pictures with %d sentences", name, told, len(found.records), count)
        for note in self.notes:
            _log.info("%s: %s", name, note)

    def __len__(self) -> int:
        return len(self.ids)

    def __getstate__(self) -> dict[str, Any]:
        """Leave sentences behind: a worker reads its own."""
        return self.__dict__ | {"_records": None, "ids": [], "splits": np.empty(0, "<U5"), "notes": []}

    def read(self, index: int) -> bytes:
        """Return the sentences and the picture of record `index` (see `modalities.captions.FRAME`).

        Raises:
            BadRecord: the picture is not there, or a sentence has half a surrogate pair, which is no character.
        """
        if self._records is None:
            self._records = self._read().records
        record = self._records[index]
        try:
            texts = SEPARATOR.join(one.replace(SEPARATOR, " ") for one in record.sentences).encode()
        except UnicodeEncodeError:
            raise BadRecord("no Unicode text: half a surrogate pair") from None
        picture = self._picture(record.place)
        if isinstance(picture, np.ndarray):
            buffer = io.BytesIO()
            np.save(buffer, picture, allow_pickle=False)
            picture = buffer.getvalue()
        return FRAME + len(texts).to_bytes(8, "little") + texts + picture


def file_of(place: str) -> bytes:
    """Return the bytes of a picture's file."""
    try:
        found = Path(place).read_bytes()
    except OSError as error:
        raise BadRecord(f"the picture {place!r} cannot be read: {error.strerror or error}") from error
    if not found:
        raise BadRecord(f"the picture {place!r} is empty")
    return found


def _stat(place: Any) -> str:
    try:
        found = os.stat(place)  # noqa: PTH116 - a hundred thousand times
    except OSError:
        return f"{place} is missing"
    return f"{place} {found.st_size} {found.st_mtime_ns}"
