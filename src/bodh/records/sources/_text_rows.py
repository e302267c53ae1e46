"""A source of texts that lie in tables: rows of CSV, lines, JSON."""

from __future__ import annotations

import logging
import os
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from mmap import ACCESS_READ, mmap
from pathlib import Path
from tempfile import mkstemp
from typing import Any, overload
from weakref import finalize

import numpy as np

from bodh.errors import BadRecord, DataError
from bodh.records.labels import read_class_names
from bodh.records.sources import _columns
from bodh.records.sources._columns import Table
from bodh.records.sources._parts import bytes_digest, file_digest

_log = logging.getLogger("bodh")

_OUTLIER = 100
"""A text this many times as long as the middle one is told of."""


@dataclass(frozen=True)
class Origin:
    """Where tables come from.

    Attributes:
        name: short name of the data.
        location: file or folder that was opened.
        files: all that is read.
        kind: what it is, in a few words.
        noun: what a row is called in messages.
    """

    name: str
    location: Path
    files: tuple[Path, ...]
    kind: str
    noun: str = "row"


class TextRows:
    """Texts in columns of tables, read wholly when opened and kept as UTF-8 one after the other.

    Args:
        origin: where they come from.
        read: returns the tables; a worker process calls it once more.
        input: column of the texts, or several "a,b".
        label: column of the labels, "none", or several of measured numbers "x,y".
        notes: what should be said.

    Raises:
        DataError: no such column, no texts, or labels that are neither classes nor numbers.
    """

    modality = "text"
    in_memory = False

    def __init__(
        self,
        origin: Origin,
        read: Callable[[], list[Table]],
        *,
        input: str | None,  # noqa: A002
        label: str | None,
        notes: Sequence[str] = (),
    ) -> None:
        self.name, self.origin = origin.name, str(origin.location.resolve())
        self._read = read
        tables = read()
        if not sum(map(len, tables)):
            raise DataError(f"{self.name!r} holds no texts: {_nothing(tables)}")
        broken = sum(len(table.broken) for table in tables)
        if broken == sum(map(len, tables)):
            first = next(table for table in tables if table.broken)
            place, reason = next(iter(first.broken.items()))
            more = "".join(f"; {note}" for note in first.notes[:1])
            raise DataError(
                f"none of the {broken} {origin.noun}s of {self.name!r} can be read: {first.name} line "
                f"{first.numbers[place]}: {reason}{more}"
            )
        # a part for testing may have the texts alone; what training has decides
        main = next(table for table in tables if len(table))
        self.columns, why = _columns.text_columns(main, input, label)
        found = _Texts(tables, self.columns)
        self._texts: _Texts | None = found
        self._shared: Path | None = None
        kept = found.kept
        if not len(kept):
            raise DataError(f"{self.name!r} holds no texts: column {self.columns[0]!r} is empty in every {origin.noun}")
        chosen, able = _columns.label_columns(tables, label, self.columns)
        splits, told = _columns.parts_of(tables)
        self.splits = splits[kept]
        self.targets: np.ndarray | None = None
        self.class_names: tuple[str, ...] = ()
        if chosen:
            names = read_class_names(origin.files[0].parent)
            targets, self.class_names = _columns.labels_of(tables, chosen, names, self.name)
            self.targets = targets[kept]
        self.notes = [*notes, *(note for table in tables for note in table.notes)]
        self.ids: Sequence[str] = self._names(tables, kept)
        # what is read of the same files depends on columns, parts, lines: the texts themselves tell
        self.fingerprint = file_digest(origin.files, "text", found.digest())
        self.encodings = dict(Counter(table.encoding for table in tables))
        shown = ", ".join(map(repr, self.columns))
        self.reading = "; ".join(
            part
            for part in (
                origin.kind,
                f"texts from column {shown}" + (f" ({why})" if why else "") if len(main.columns) > 1 else "",
                "" if main.named else "no header, so columns are called 1, 2, …",
                f"parts from {told}" if told else "",
                f"labels from column {', '.join(map(repr, chosen))}" if chosen else "no labels",
            )
            if part
        )
        _log.info("%s: %s", self.name, self.reading)
        if able:
            self.notes.append(f"could be labels: columns {', '.join(able)}; choose with data.label=NAME")
        self._tell(tables, found, origin.noun)

    def _names(self, tables: list[Table], kept: np.ndarray) -> Sequence[str]:
        """Return ids from a column of that name where they are unique, else by file and line."""
        column = _columns.ids_column(tables)
        if column is not None and column not in self.columns:
            given = [str(value or "").strip() for table in tables for value in table.column(column)]
            given = [given[place] for place in kept.tolist()]
            if all(given) and len(set(given)) == len(given):
                return given
            self.notes.append(
                f"column {column!r} is empty or the same in several rows: records are named by their line"
            )
        return Lines(tables, kept)

    def _tell(self, tables: list[Table], found: _Texts, noun: str) -> None:
        """Note what was left out, and what stands out."""
        empty = found.blank + sum(table.blank for table in tables)
        if empty:
            self.notes.append(f"{empty:,} empty {noun}{'' if empty == 1 else 's'} left out")
        nuls = sum(table.nuls for table in tables)
        if nuls:
            self.notes.append(f"{nuls:,} NUL characters left out")
        if len(self.encodings) > 1:
            shown = ", ".join(f"{count} {name}" for name, count in self.encodings.items())
            self.notes.append(f"files of several encodings: {shown}")
        size = np.diff(found.stops, prepend=0)
        largest, middle = int(size.argmax()), float(np.median(size))
        if len(size) > 1 and size[largest] > max(10_000, _OUTLIER * middle):
            share = size[largest] / max(1, int(found.stops[-1]))
            self.notes.append(
                f"{self.ids[largest]} is {size[largest]:,} bytes long, {share:.0%} of all text; the middle one has "
                f"{middle:,.0f}: is it a document that should be broken into lines?"
            )

    def __len__(self) -> int:
        return len(self.ids)

    def __getstate__(self) -> dict[str, Any]:
        """Leave labels behind; texts go by way of a file, of which all workers share the memory."""
        shared = self._shared if self._texts is None else self._texts.shared()
        return self.__dict__ | {
            "_texts": None,
            "_shared": shared,
            "ids": [],
            "targets": None,
            "splits": np.empty(0, "<U5"),
            "notes": [],
        }

    def tables(self) -> list[Table]:
        """Return the tables with all their columns, read once more."""
        return self._read()

    def read(self, index: int) -> bytes:
        """Return the text of record `index` in UTF-8.

        Raises:
            BadRecord: its line cannot be read.
        """
        if self._texts is None:
            mapped = None if self._shared is None else _Texts.mapped(self._shared)
            self._texts = _Texts(self._read(), self.columns) if mapped is None else mapped
        return self._texts.read(index)


class _Texts:
    """The texts of tables as one string of bytes; empty ones are left out."""

    file: Path | None = None
    start = 0

    def __init__(self, tables: list[Table], columns: list[str]) -> None:
        self.broken: dict[int, str] = {}
        self.blank = 0
        kept: list[int] = []
        pieces: list[bytes] = []
        row = 0
        for table in tables:
            for place, cells in enumerate(zip(*(_cells(table, name) for name in columns), strict=True)):
                reason = table.broken.get(place)
                try:
                    text = "" if reason else "\n".join(part for cell in cells if (part := _as_text(cell)))
                except DataError as error:
                    text, reason = "", str(error)
                if reason:
                    self.broken[len(kept)] = f"{reason} (line {table.numbers[place]})" if table.lines else reason
                elif not text.strip():
                    self.blank += 1
                    continue
                kept.append(row + place)
                pieces.append(text.encode("utf-8", "replace"))  # half a surrogate pair is no character
            row += len(table)
        self.kept = np.array(kept, np.int64)
        self.stops = np.cumsum([len(piece) for piece in pieces], dtype=np.int64)
        self.data: bytes | mmap = b"".join(pieces)

    def shared(self) -> Path | None:
        """Return a file of these texts for other processes, which goes when they go; None: it cannot be written."""
        if self.file is None:
            handle, name = mkstemp(prefix="bodh-texts-")
            path = Path(name)
            finalize(self, path.unlink, missing_ok=True)
            try:
                with os.fdopen(handle, "wb") as opened:
                    np.save(opened, self.stops, allow_pickle=False)
                    np.save(opened, np.array(list(self.broken), np.int64), allow_pickle=False)
                    np.save(opened, np.array(list(self.broken.values()), np.str_), allow_pickle=False)
                    opened.write(self.data)
            except OSError as error:
                _log.debug("texts are not shared with workers: %s", error)  # each reads its own
                return None
            self.file = path
        return self.file

    @classmethod
    def mapped(cls, path: Path) -> _Texts | None:
        """Return the texts in a file of `shared`; None where it is gone."""
        texts = cls.__new__(cls)
        try:
            with path.open("rb") as opened:
                texts.stops = np.load(opened, allow_pickle=False)
                places, reasons = np.load(opened, allow_pickle=False), np.load(opened, allow_pickle=False)
                texts.start = opened.tell()
                texts.data = mmap(opened.fileno(), 0, access=ACCESS_READ)
        except OSError:
            return None
        texts.broken = dict(zip(places.tolist(), reasons.tolist(), strict=True))
        texts.file = path
        return texts

    def digest(self) -> str:
        """Return a digest of all texts."""
        return bytes_digest([np.frombuffer(self.data, np.uint8), self.stops])

    def read(self, index: int) -> bytes:
        if index in self.broken:
            raise BadRecord(self.broken[index])
        start = int(self.stops[index - 1]) if index else 0
        return self.data[self.start + start : self.start + int(self.stops[index])]


class Lines(Sequence[str]):
    """The names "file:line" of rows, made when asked for.

    Args:
        tables: theirs.
        kept: [n] positions of the rows among those of all tables.
    """

    def __init__(self, tables: list[Table], kept: np.ndarray) -> None:
        self._names = [table.name for table in tables]
        self._stops = list(accumulate(len(table) for table in tables))
        self._kept = kept
        self._numbers = np.concatenate([np.asarray(table.numbers, np.int64) for table in tables])

    def __len__(self) -> int:
        return len(self._kept)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        """Return one name, or the names of a slice."""
        if isinstance(index, slice):
            return [self[place] for place in range(*index.indices(len(self)))]
        place = int(index) + (len(self) if index < 0 else 0)
        if not 0 <= place < len(self):
            raise IndexError(index)
        row = int(self._kept[place])
        return f"{self._names[bisect_right(self._stops, row)]}:{self._numbers[row]}"

    def __iter__(self) -> Iterator[str]:
        return (self[place] for place in range(len(self)))


def _cells(table: Table, name: str) -> Sequence[Any]:
    """Return a column of texts; where a part has one single column, that is it, whatever it is called."""
    if name in table.columns or not len(table):
        return table.column(name)
    if len(table.columns) == 1:
        return next(iter(table.columns.values()))
    raise DataError(f"{table.name!r} has no column {name!r}; its columns are: {', '.join(table.columns)}")


def _as_text(cell: Any) -> str:
    """Return a cell as a text.

    Raises:
        DataError: it is a list or an object.
    """
    if isinstance(cell, str):
        return cell
    if cell is None:
        return ""
    if isinstance(cell, list | dict):
        raise DataError(f"no text but {'a list' if isinstance(cell, list) else 'an object'}")
    return str(cell)


def _nothing(tables: list[Table]) -> str:
    blank = sum(table.blank for table in tables)
    if not blank:
        return "it is empty"
    return f"there are {blank} empty lines in it" if blank > 1 else "there is one empty line in it"
