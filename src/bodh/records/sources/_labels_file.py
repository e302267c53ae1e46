"""`labels.csv` beside images or texts: a header, then a line a record: its file, and a class or measured numbers."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bodh.errors import DataError
from bodh.records.labels import Labels, encode_labels

LABELS_FILE = "labels.csv"
_MISSING = {"", "nan", "na", "none", "null"}


def read_labels_file(
    path: Path, files: Sequence[str], wanted: str | None, *, noun: str
) -> tuple[Labels, tuple[str, ...]]:
    """Return the labels of `files` and the columns that they were read from.

    Args:
        path: the CSV file, UTF-8, separated by commas; the first column is the record's path from this file's folder.
        files: [n] paths of the records, with "/"; those that are not in the file are unlabelled.
        wanted: column, or several of measured numbers "x,y"; None: all beside the first.
        noun: what a file is called in messages.

    Raises:
        DataError: no header, no such column, no such file, a file twice, or labels that are neither.
    """
    header, rows = _rows(path)
    columns = header[1:] if wanted is None else [name.strip() for name in wanted.split(",")]
    for name in columns:
        if name not in header[1:]:
            raise DataError(f"{path.name} has no column label={name!r}; its columns are: {', '.join(header)}")
    place = {name: number for number, name in enumerate(files)}
    values = [[""] * len(files) for _ in columns]
    seen: set[str] = set()
    for number, row in enumerate(rows, start=2):
        name = row[0].strip().replace("\\", "/").removeprefix("./")
        if name not in place:
            raise DataError(f"line {number} of {path.name} names {name!r}, which is no {noun} in {str(path.parent)!r}")
        if name in seen:
            raise DataError(f"line {number} of {path.name} names {name!r} a second time")
        seen.add(name)
        for column, held in zip(columns, values, strict=True):
            at = header.index(column)
            held[place[name]] = row[at].strip() if at < len(row) else ""
    owner = f"{path.name} in {path.parent.name!r}"
    if len(columns) == 1:
        return encode_labels(typed(values[0]), owner=owner, called=columns), tuple(columns)
    try:
        numbers = np.array([[float("nan") if missing(v) else float(v) for v in held] for held in values])
    except ValueError:
        raise DataError(
            f"{owner} has several columns, which must all hold numbers; choose one with data.label=NAME: "
            f"{', '.join(columns)}"
        ) from None
    return encode_labels(numbers.T, owner=owner, called=columns), tuple(columns)


def _rows(path: Path) -> tuple[list[str], list[list[str]]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines = [row for row in csv.reader(file) if any(cell.strip() for cell in row)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"cannot read {str(path)!r}: {error}; save it as CSV in UTF-8") from error
    if not lines or len(lines[0]) < 2:
        raise DataError(f"{str(path)!r} needs a header such as file,value and then a line a file")
    return [cell.strip() for cell in lines[0]], lines[1:]


def typed(values: list[str]) -> np.ndarray:
    """Return whole numbers, floats, or words, whichever all of `values` are; empty ones are missing."""
    words = [None if missing(value) else value for value in values]
    given = [word for word in words if word is not None]
    try:
        whole = [int(word) for word in given]
        if len(given) == len(values):
            return np.array(whole, dtype=np.int64)
    except ValueError:
        try:
            [float(word) for word in given]
        except ValueError:
            return np.array(words, dtype=object)
    return np.array([float("nan") if word is None else float(word) for word in words])


def missing(value: str) -> bool:
    return value.casefold() in _MISSING
