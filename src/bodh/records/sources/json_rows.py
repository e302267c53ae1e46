"""Texts in JSON: `.jsonl` (an object a line), `.json` (a list, or lists called train, val, test), also `.gz`."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from bodh.contracts import Source
from bodh.errors import DataError
from bodh.records.sources._columns import Table
from bodh.records.sources._encoding import lines_of, read_text
from bodh.records.sources._groups import Piece, choose, files_of, holds_images, part_and_group, suffix_of
from bodh.records.sources._text_rows import Origin, TextRows

LINES = (".jsonl", ".ndjson")
SUFFIXES = (*LINES, ".json")
_KINDS = {dict: "an object", list: "a list", str: "a text"}


def accepts(location: Any) -> bool:
    """Whether `location` is such a file, or a folder that holds some and is not one of images."""
    if not isinstance(location, Path):
        return False
    if location.is_file():
        return suffix_of(location) in SUFFIXES
    return bool(_files(location)) and not holds_images(location)


def open_(location: Path, *, input: str | None, label: str | None, modality: str | None) -> Source:  # noqa: A002
    """Open JSON; rows are objects, lists of as many values each ([text, label]), or texts alone.

    Args:
        location: file or folder.
        input: column of the texts, or several "title,text"; where there are several data sets NAME or NAME:COLUMN.
        label: column of the labels; "none": no labels; several columns of measured numbers: "x,y".
        modality: "text".

    Raises:
        DataError: a file is damaged or of another encoding, or holds no rows; columns are missing, or the labels are
            no classes.
    """
    if modality not in (None, "text"):
        raise DataError(f"{location.name!r} is read as texts, not as modality={modality!r}")
    notes: list[str] = []
    read, files, shown, column = chosen(location, input, notes)
    name = location.resolve().name if location.is_dir() else location.name.split(".")[0]
    origin = Origin(name, location, files, f"JSON ({shown})")
    return TextRows(origin, read, input=column, label=label, notes=notes)


def chosen(
    location: Path, wanted: str | None, notes: list[str]
) -> tuple[Callable[[], list[Table]], tuple[Path, ...], str, str | None]:
    """Return what reads the tables of one data set, its files, these in words, and what is left of `wanted`: a column.

    Args:
        location: file or folder.
        wanted: where there are several data sets NAME or NAME:COLUMN, else a column.
        notes: takes what should be said.
    """
    pieces, column = [Piece(location, location.name, None, "")], wanted
    if location.is_dir():
        pieces, column = choose(_files(location), wanted, owner=repr(location.name), notes=notes)
    keys: tuple[Piece[str], ...] = ()
    if len(pieces) == 1 and suffix_of(pieces[0].what) not in LINES:
        keys, column = _sets(pieces[0], column, notes)
    shown = ", ".join(piece.name for piece in pieces[:4]) + (f": {', '.join(key.what for key in keys)}" if keys else "")
    return partial(tables_of, pieces, keys), tuple(piece.what for piece in pieces), shown, column


def _files(folder: Path) -> list[Piece[Path]]:
    """Return files with rows: `.jsonl`, or else those `.json` that hold some; others are settings and the like."""
    found = files_of(folder, LINES)
    return found or [piece for piece in files_of(folder, (".json",)) if _holds_rows(piece)]


def _holds_rows(piece: Piece[Path]) -> bool:
    try:
        value = parsed(piece)[0]
    except DataError:
        return False
    if isinstance(value, dict):
        return any(part for key in value if (part := part_and_group(key)[0])) and all(map(_is_rows, value.values()))
    return _is_rows(value)


def _is_rows(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and isinstance(value[0], dict | list | str)


def _sets(piece: Piece[Path], wanted: str | None, notes: list[str]) -> tuple[tuple[Piece[str], ...], str | None]:
    """Return which lists of an object of lists are read (none where the file is one list), and the column."""
    value = parsed(piece)[0]
    if isinstance(value, list):
        return (), wanted
    if not isinstance(value, dict) or not value or not all(isinstance(rows, list) for rows in value.values()):
        raise DataError(
            f"{piece.name!r} holds no rows; allowed are a list of objects, an object of lists called train, val and "
            "test, or .jsonl with an object a line"
        )
    keys = [Piece(key, f"{piece.name}/{key}", *part_and_group(key)) for key in value]
    chosen, column = choose(keys, wanted, owner=repr(piece.name), notes=notes)
    return tuple(chosen), column


def tables_of(pieces: Sequence[Piece[Path]], keys: Sequence[Piece[str]] = ()) -> list[Table]:
    """Return the tables of files, or of the lists `keys` in one file."""
    tables = []
    for piece in pieces:
        if suffix_of(piece.what) in LINES:
            tables.append(_lines(piece))
            continue
        value, encoding = parsed(piece)
        lists = [(key.name, key.part, value[key.what]) for key in keys] or [(piece.name, piece.part, value)]
        for name, part, rows in lists:
            if not isinstance(rows, list):
                raise DataError(f"{name!r} holds no rows; allowed is a list of objects, of [text, label], or of texts")
            table = _table(rows, range(len(rows)), {})
            table.name, table.part, table.encoding, table.lines = name, part, encoding, False
            tables.append(table)
    return tables


def parsed(piece: Piece[Path]) -> tuple[Any, str]:
    """Return the value of a `.json` file, and its encoding."""
    text, encoding, _ = read_text(piece.what, piece.name)
    try:
        return json.loads(text), encoding
    except json.JSONDecodeError as error:
        hint = "; a file with an object a line is called .jsonl" if error.msg == "Extra data" else ""
        raise DataError(f"{piece.name!r} line {error.lineno}: no JSON ({error.msg}){hint}") from error
    except RecursionError as error:
        raise DataError(f"{piece.name!r} is JSON of too many levels; rows are a list of objects") from error


def _lines(piece: Piece[Path]) -> Table:
    """Return a table of a file with a row a line."""
    text, encoding, nuls = read_text(piece.what, piece.name)
    rows: list[Any] = []
    numbers, broken, blank = [], {}, 0
    for number, line in enumerate(lines_of(text), start=1):
        if not line.strip():
            blank += 1
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            row, broken[len(rows)] = None, f"no JSON: {error.msg} at column {error.colno}"
        except RecursionError:
            row, broken[len(rows)] = None, "JSON of too many levels"
        rows.append(row)
        numbers.append(number)
    if rows and len(broken) == len(rows):
        raise DataError(
            f"{piece.name!r} line {numbers[0]}: {broken[0]}, and so in every line; a row is one JSON object"
        )
    table = _table(rows, numbers, broken)
    table.name, table.part, table.encoding, table.nuls, table.blank = piece.name, piece.part, encoding, nuls, blank
    return table


def _table(rows: list[Any], numbers: Sequence[int], broken: dict[int, str]) -> Table:
    """Return rows as columns: an object's keys, "1", "2", … of lists, or "text"; rows of another kind are broken."""
    kinds = Counter(type(row) for row in rows if isinstance(row, dict | list | str)).most_common(1)
    usual = kinds[0][0] if kinds else dict
    columns: dict[str, list[Any]] = {}
    for place, row in enumerate(rows):
        if isinstance(row, dict | list | str) and not isinstance(row, usual):
            cells = {}
            broken.setdefault(place, f"{_KINDS[type(row)]}, where the other rows are {_KINDS[usual].split()[1]}s")
        elif isinstance(row, dict):
            cells = row
        elif isinstance(row, list):
            cells = {str(number): value for number, value in enumerate(row, start=1)}
        elif isinstance(row, str):
            cells = {"text": row}
        else:
            cells = {}
            broken.setdefault(place, f"{json.dumps(row)[:40]} is no row: allowed are objects, lists and texts")
        for name, value in cells.items():
            if name not in columns:
                columns[name] = [None] * len(rows)
            columns[name][place] = value
    return Table("", None, columns, numbers, broken=broken, named=usual is not list)
