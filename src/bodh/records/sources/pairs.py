"""Pairs of texts: parallel files (`train.en`, `train.de`), two columns of a table, or a list of pairs in memory.

A column may hold lists, as of several translations of one sentence: each is then a pair of its own.
"""

from __future__ import annotations

import itertools
import logging
import math
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from bodh.contracts import Source
from bodh.errors import BadRecord, DataError, suggestion
from bodh.records.sources import parquet, text_lines
from bodh.records.sources._asked import Asked
from bodh.records.sources._columns import Table, parts_of
from bodh.records.sources._groups import Piece, files_of, suffix_of
from bodh.records.sources._parts import digest
from bodh.records.sources._text_rows import TextRows
from bodh.records.sources._where import rows_where

_log = logging.getLogger("bodh")

OPTIONS = ("target", "where", "negative")
SEPARATOR = "\x1e"
"""Between the texts of a record (see `modalities.pairs`); in a text it becomes a space."""


class Pair(NamedTuple):
    """One record, before it is joined."""

    name: str
    source: str
    target: str
    negative: str | None = None
    """a text that is like the target, and yet none"""


class Part(NamedTuple):
    """The pairs of one file."""

    part: str
    pairs: list[Pair]
    empty: int
    """rows that were left out because a side is empty"""


def accepts(location: Any) -> bool:
    """Whether `location` is a list of pairs of strings; files and folders are read as pairs where a target is named."""
    if not isinstance(location, list) or not location:
        return False
    return all(_is_pair(one) for one in location[:10])


def wants(location: Any, asked: Asked) -> bool:
    """Whether `location` is read as pairs: asked for, a target that is named, or pairs in memory."""
    return asked.target is not None or asked.modality == "pairs" or accepts(location)


def open_(
    location: Any,
    *,
    input: str | None,  # noqa: A002
    label: str | None,
    modality: str | None,
    target: str | None = None,
    where: str | None = None,
    negative: str | None = None,
) -> Source:
    """Open pairs of texts.

    Args:
        location: a folder of parallel files, a table, a list of pairs, or a pair of lists.
        input: what is read: a language of parallel files, or a column; in a folder of several data sets NAME:COLUMN.
        label: pairs have none.
        modality: "pairs".
        target: what is to be written: the other language, or column. Where there are two, it need not be said.
        where: of a table, "COLUMN=VALUE": only such rows count.
        negative: of a table, the column of hard negatives: texts that are like the target, and yet none.

    Raises:
        DataError: files of different numbers of lines, no such column or language, or nothing but empty sides.
    """
    if modality not in (None, "pairs"):
        raise DataError(
            f"data.target={target!r} makes pairs of texts, not modality={modality!r}; leave one of them out"
        )
    if label not in (None, "none"):
        raise DataError(f"pairs of texts have no labels, given data.label={label!r}; leave it out")
    if not isinstance(location, Path):
        return _in_memory(location, input, target or where or negative)
    languages = _languages(location)
    if languages and (where or negative) is not None:
        option = f"where={where!r}" if where is not None else f"negative={negative!r}"
        raise DataError(f"parallel files have no columns, given data.{option}; leave it out")
    if languages:
        source, written = _two(languages, input, target, owner=repr(location.name), what="languages")
        read: Callable[[], list[Part]] = partial(_parallel, (source, languages[source]), (written, languages[written]))
        told = f"parallel files, {source} to {written}"
    else:
        read, source, written = _columns_of(location, input, target, where, negative)
        told = f"a table, column {source!r} to {written!r}" + (f", not {negative!r}" if negative else "")
    name = location.resolve().name if location.is_dir() else location.name.split(".")[0]
    return PairRows(name, str(location.resolve()), read, told)


class PairRows:
    """Pairs, read wholly when opened and kept as UTF-8, one after the other.

    Args:
        name: short name.
        origin: path; "" in memory.
        read: returns the pairs; a worker process calls it once more.
        told: how they are read, in a few words.

    Raises:
        DataError: there is not one pair.
    """

    modality = "pairs"
    targets: np.ndarray | None = None
    class_names: tuple[str, ...] = ()

    def __init__(self, name: str, origin: str, read: Callable[[], list[Part]], told: str) -> None:
        self.name, self.origin, self.reading = name, origin, told
        self.in_memory = not origin
        self._read = read
        parts = read()
        self._rows: list[bytes] | None = _joined(parts)
        empty = sum(part.empty for part in parts)
        if not self._rows:
            raise DataError(f"{name!r} holds no pairs: a side is empty in each of {empty} rows" if empty else
                            f"{name!r} holds no pairs; it is empty")  # fmt: skip
        self.ids: Sequence[str] = [pair.name for part in parts for pair in part.pairs]
        self.splits = np.repeat([part.part for part in parts], [len(part.pairs) for part in parts])
        self.fingerprint = digest("pairs", origin, *self._rows, *self.splits)
        self.notes = [f"{empty:,} pairs with an empty side left out"] if empty else []
        _log.info("%s: %s; %d pairs", name, told, len(self._rows))
        for note in self.notes:
            _log.info("%s: %s", name, note)

    def __len__(self) -> int:
        return len(self.ids)

    def __getstate__(self) -> dict[str, Any]:
        """Leave texts behind: a worker reads its own."""
        return self.__dict__ | {"_rows": None, "ids": [], "splits": np.empty(0, "<U5"), "notes": []}

    def read(self, index: int) -> bytes:
        """Return source and target of record `index` in UTF-8, U+001E between them.

        Raises:
            BadRecord: it has half a surrogate pair, which is no character.
        """
        if self._rows is None:
            self._rows = _joined(self._read())
        row = self._rows[index]
        if not row:
            raise BadRecord("no Unicode text: half a surrogate pair")
        return row


def _joined(parts: Iterable[Part]) -> list[bytes]:
    rows = []
    for part in parts:
        for pair in part.pairs:
            given = (pair.source, pair.target, *([] if pair.negative is None else [pair.negative]))
            sides = (side.replace(SEPARATOR, " ") for side in given)
            try:
                rows.append(SEPARATOR.join(sides).encode())
            except UnicodeEncodeError:
                rows.append(b"")
    return rows


def _two(known: Iterable[str], source: str | None, target: str | None, *, owner: str, what: str) -> tuple[str, str]:
    """Return what is read and what is written; one of two need not be said."""
    names = list(known)
    for option, name in (("input", source), ("target", target)):
        if name is not None and name not in names:
            raise DataError(
                f"{owner} has no data.{option}={name!r}{suggestion(name, names)}; its {what} are: {', '.join(names)}"
            )
    if source is not None and source == target:
        raise DataError(f"data.input and data.target are both {source!r}; name two of: {', '.join(names)}")
    given = source if target is None else target
    if (source is None or target is None) and (given is None or len(names) != 2):
        missing = "input and data.target" if given is None else "input" if source is None else "target"
        raise DataError(
            f"{owner}: say which text is read and which is written: data.{missing} is missing; its {what} are: "
            f"{', '.join(names)}; type data.input={names[0]} data.target={names[-1]}"
        )
    other = next((name for name in names if name != given), "")
    return source or other, target or other


# -------------------------------------------------------------------------------------------- parallel files


def _languages(location: Path) -> dict[str, list[Piece[Path]]]:
    """Return language -> its files, of a folder of parallel files; empty where it is none."""
    if not location.is_dir():
        return {}
    found: dict[str, list[Piece[Path]]] = {}
    for piece in files_of(location, text_lines.LANGUAGES):
        found.setdefault(suffix_of(piece.what)[1:], []).append(piece)
    return found if len(found) > 1 else {}


def _parallel(read: tuple[str, list[Piece[Path]]], written: tuple[str, list[Piece[Path]]]) -> list[Part]:
    """Return the pairs of the files of two languages, by line; each language with its files."""
    sides = [_by_stem(*read), _by_stem(*written)]
    alone = sorted(sides[0].keys() ^ sides[1].keys())
    if alone:
        has, lacks = (read[0], written[0]) if alone[0] in sides[0] else (written[0], read[0])
        raise DataError(
            f"{alone[0]}.{has} has no {alone[0]}.{lacks} beside it; parallel files come in twos, the same lines in "
            "either language"
        )
    parts = []
    for stem, first in sides[0].items():
        second = sides[1][stem]
        lines = [len(table) + table.blank for table in (first, second)]
        if lines[0] != lines[1]:
            raise DataError(
                f"{first.name} has {lines[0]:,} lines, but {second.name} has {lines[1]:,}; line for line one must be "
                "the translation of the other: find where they begin to differ"
            )
        others = dict(zip(second.numbers, second.columns["text"], strict=True))
        pairs = [
            Pair(f"{stem}:{number}", text, others[number])
            for number, text in zip(first.numbers, first.columns["text"], strict=True)
            if number in others
        ]
        parts.append(Part(first.part or "train", pairs, lines[0] - len(pairs)))
    return parts


def _by_stem(language: str, pieces: list[Piece[Path]]) -> dict[str, Table]:
    """Return the tables of the files of one language, by their names without it."""
    tables = text_lines.tables_of(pieces)
    return {re.sub(rf"\.{language}(\.gz)?$", "", table.name, flags=re.IGNORECASE): table for table in tables}


# ----------------------------------------------------------------------------------------------------- tables


def _columns_of(
    location: Path, source: str | None, target: str | None, where: str | None, negative: str | None
) -> tuple[Callable[[], list[Part]], str, str]:
    """Return what reads the pairs of a table, and the two columns."""
    group, _, column = (source or "").rpartition(":")
    read = partial(_tables, location, group or None, where)
    tables = read()
    names = list(dict.fromkeys(name for table in tables for name in table.columns))
    left = [name for name in names if name != negative]
    chosen = _two(left, column or None, target, owner=repr(location.name), what="columns")
    if negative is not None and negative not in names:
        raise DataError(
            f"{location.name!r} has no column data.negative={negative!r}{suggestion(negative, names)}; its columns "
            f"are: {', '.join(names)}"
        )
    return partial(_pairs_of, read, *chosen, negative), *chosen


def _tables(location: Path, group: str | None, where: str | None) -> list[Table]:
    """Return the tables of a file or folder, the rows that count with all their columns."""
    from bodh.records.open import open_source

    if parquet.accepts(location):
        return rows_where(list(parquet.tables_of(location)), where, owner=repr(location.name))[0]
    opened = open_source(location, input=group, label="none")
    if not isinstance(opened, TextRows):
        raise DataError(
            f"{location.name!r} holds no pairs of texts; allowed are parallel files (train.en, train.de), a table with "
            "two columns (.csv, .tsv, .jsonl, .parquet), and in Python a list of pairs"
        )
    return rows_where(opened.tables(), where, owner=repr(location.name))[0]


def _pairs_of(read: Callable[[], list[Table]], source: str, target: str, negative: str | None) -> list[Part]:
    tables = read()
    splits = parts_of(tables)[0]
    found: list[Part] = []
    row = 0
    for table in tables:
        columns = [table.column(one) for one in (source, target, negative) if one is not None]
        for place, (number, *cells) in enumerate(zip(table.numbers, *columns, strict=True)):
            name = f"{table.name}:{number}"
            pairs = [] if place in table.broken else list(_crossed(name, cells))
            part = str(splits[row + place])
            if not found or found[-1].part != part:
                found.append(Part(part, [], 0))
            found[-1].pairs.extend(pairs)
            found[-1] = found[-1]._replace(empty=found[-1].empty + (not pairs))
        row += len(table)
    return found


def _crossed(name: str, cells: Sequence[Any]) -> Iterator[Pair]:
    """Yield every text of one cell with every text of the others; most hold one."""
    texts = [_texts(cell) for cell in cells]
    several = math.prod(map(len, texts)) > 1
    for number, chosen in enumerate(itertools.product(*texts)):
        yield Pair(f"{name}/{number}" if several else name, *chosen)


def _texts(cell: Any) -> list[str]:
    cells = cell if isinstance(cell, list) else [cell]
    return [str(one) for one in cells if one is not None and str(one).strip()]


# -------------------------------------------------------------------------------------------------- in memory


def _in_memory(location: Any, source: str | None, target: str | None) -> Source:
    if source or target:
        raise DataError("pairs in memory have nothing to choose with input= or target=; give [(read, written), …]")
    pairs = location
    if isinstance(location, tuple) and len(location) == 2 and all(isinstance(side, list) for side in location):
        if len(location[0]) != len(location[1]):
            raise DataError(
                f"{len(location[0])} texts to read were given with {len(location[1])} to write; they must be as many"
            )
        pairs = list(zip(*location, strict=True))
    if not isinstance(pairs, list) or not all(_is_pair(pair) for pair in pairs) or len(set(map(len, pairs))) > 1:
        raise DataError(
            "these are no pairs of texts; allowed in Python are [(read, written), …], or all with a hard negative as a "
            "third, and, with modality=pairs, ([read, …], [written, …])"
        )
    given = [
        Pair(f"pair:{number}", *(str(side) for side in pair))
        for number, pair in enumerate(pairs)
        if all(side.strip() for side in pair)
    ]
    part = Part("train", given, len(pairs) - len(given))
    return PairRows("pairs", "", partial(list, (part,)), "pairs in memory")


def _is_pair(one: Any) -> bool:
    return isinstance(one, tuple | list) and len(one) in (2, 3) and all(isinstance(side, str) for side in one)
