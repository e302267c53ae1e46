"""Tables of texts: `.csv` and `.tsv`, also `.gz`; one file, or a folder of `train.csv`, `val.csv`, `test.csv`."""

from __future__ import annotations

import csv
import io
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

from bodh.contracts import Source
from bodh.errors import DataError
from bodh.records.sources._columns import IDS, LABELS, PARTS, TEXTS, Table
from bodh.records.sources._encoding import lines_of, read_text
from bodh.records.sources._groups import Piece, choose, files_of, holds_images, suffix_of
from bodh.records.sources._text_rows import Origin, TextRows

SUFFIXES = (".csv", ".tsv")
_SEPARATORS = ",;\t|"
_NAME = 40
"""Letters of a column's name at most."""
_SPAN = 100
"""Lines of one row above which a quotation mark is probably missing."""

Rows = list[tuple[int, list[str]]]
"""(line that it starts in, cells)"""


def accepts(location: Any) -> bool:
    """Whether `location` is such a file, or a folder that holds some and is not one of images."""
    if not isinstance(location, Path):
        return False
    if location.is_file():
        return suffix_of(location) in SUFFIXES
    return bool(files_of(location, SUFFIXES)) and not holds_images(location)


def open_(location: Path, *, input: str | None, label: str | None, modality: str | None) -> Source:  # noqa: A002
    """Open tables of texts; a first line that names no columns is a row, and columns are then called 1, 2, ….

    Args:
        location: file or folder.
        input: column of the texts, or several "title,text"; in a folder of several data sets NAME or NAME:COLUMN.
        label: column of the labels; "none": no labels; several columns of measured numbers: "x,y".
        modality: "text".

    Raises:
        DataError: a file is damaged or of another encoding, columns are missing, or the labels are no classes.
    """
    if modality not in (None, "text"):
        raise DataError(
            f"{location.name!r} is read as texts, not as modality={modality!r}; give vectors as .npy or .npz"
        )
    notes: list[str] = []
    pieces, column = [Piece(location, location.name, None, "")], input
    if location.is_dir():
        pieces, column = choose(files_of(location, SUFFIXES), input, owner=repr(location.name), notes=notes)
    files = tuple(piece.what for piece in pieces)
    shown = ", ".join(piece.name for piece in pieces[:4])
    name = location.resolve().name if location.is_dir() else location.name.split(".")[0]
    origin = Origin(name, location, files, f"a table ({shown})")
    return TextRows(origin, partial(tables_of, pieces), input=column, label=label, notes=notes)


def tables_of(pieces: Sequence[Piece[Path]]) -> list[Table]:
    """Return the tables of files; whether they have headers is decided by the first with rows."""
    tables: list[Table] = []
    names: list[str] | None = None
    for piece in pieces:
        text, encoding, nuls = read_text(piece.what, piece.name)
        rows = _rows(text, "\t" if suffix_of(piece.what) == ".tsv" else None)
        notes = [
            f"the row in line {line} of {piece.name} goes on for {after - line} lines: is a quotation mark missing?"
            for (line, _), (after, _) in pairwise([*rows, (text.count("\n") + 1, [])])
            if after - line > _SPAN
        ]
        rows = [(line, cells) for line, cells in rows if any(cell.strip() for cell in cells)]
        found = _header(rows, piece.name) if rows else None
        names = found if rows and names is None else names
        header: list[str] = []
        named = bool(rows) and bool(names) and (not tables or found is not None or _same(rows[0][1], names))
        if named:
            header = [cell.strip() for cell in rows.pop(0)[1]]
        table = _table(rows, header)
        table.name, table.part, table.encoding, table.nuls = piece.name, piece.part, encoding, nuls
        table.named = named
        table.notes += notes[:3]
        tables.append(table)
    return tables


def _table(rows: Rows, header: list[str]) -> Table:
    """Return rows as columns; a row of another width is broken."""
    width = len(header) or Counter(len(cells) for _, cells in rows).most_common(1)[0][0] if rows or header else 0
    names = header or [str(number + 1) for number in range(width)]
    doubled = [name for name, count in Counter(names).items() if count > 1]
    if doubled:
        names = [name if names.index(name) == place else f"{name}.{place + 1}" for place, name in enumerate(names)]
    broken = {}
    for place, (_, cells) in enumerate(rows):
        if len(cells) != width:
            broken[place] = f"{len(cells)} cells, where {width} are expected"
    columns: dict[str, list[Any]] = {
        name: [None if row in broken else cells[place] for row, (_, cells) in enumerate(rows)]
        for place, name in enumerate(names)
    }
    return Table("", None, columns, [line for line, _ in rows], broken=broken)


def _rows(text: str, separator: str | None) -> Rows:
    """Return the rows of a table; `separator` None: found out."""
    if separator is None:
        separator = _separator(text)
        found = list(_quoted(text, separator))
        if found and len(found[0][1]) == 1:  # one column: a comma is a part of its text
            found = [(line, [separator.join(cells)]) for line, cells in found]
        return found
    plain = [(line, cells.split(separator)) for line, cells in enumerate(lines_of(text), start=1) if cells.strip()]
    marked = [cell for _, cells in plain for cell in cells if '"' in cell]
    if not marked:
        return plain
    if all(_well_quoted(cell) for cell in marked):
        return list(_quoted(text, separator))
    if len({len(cells) for _, cells in plain}) > 1:  # quoted cells may hold line breaks
        quoted = list(_quoted(text, separator))
        if len({len(cells) for _, cells in quoted}) == 1:
            return quoted
    return plain  # a quotation mark is a quotation mark, as in most .tsv files


def _quoted(text: str, separator: str) -> Iterator[tuple[int, list[str]]]:
    """Yield rows whose cells may be quoted, with the line that each starts in."""
    before = csv.field_size_limit(sys.maxsize)
    try:
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
        line = 1
        for cells in reader:
            if cells:
                yield line, cells
            line = reader.line_num + 1
    finally:
        csv.field_size_limit(before)


def _separator(text: str) -> str:
    """Return what separates cells: what gives the most rows of one width, above 1, at the top of the table."""
    head = text[:200_000]
    best, chosen = (0.0, 0), ","
    for mark in _SEPARATORS:
        widths = Counter(len(cells) for _, (_, cells) in zip(range(100), _quoted(head, mark), strict=False))
        if not widths:
            continue
        width, rows = widths.most_common(1)[0]
        score = (rows / widths.total(), width)
        if width > 1 and score > best:
            best, chosen = score, mark
    return chosen


def _well_quoted(cell: str) -> bool:
    return len(cell) > 1 and cell[0] == cell[-1] == '"' and '"' not in cell[1:-1].replace('""', "")


def _header(rows: Rows, owner: str) -> list[str] | None:
    """Return the first row where it names columns: short, all different, no numbers, and not found again below.

    Raises:
        DataError: it does name columns, and one name comes twice.
    """
    names = [cell.strip() for cell in rows[0][1]]
    known = {*TEXTS, *LABELS, *PARTS, *IDS}
    twice = [name for name, count in Counter(names).items() if count > 1]
    if any(name.casefold() in known for name in twice):
        raise DataError(
            f"{owner!r} line {rows[0][0]}: the header names {twice[0]!r} more than once ({', '.join(names)}); "
            "give every column a name of its own"
        )
    if twice or not all(names):
        return None
    if any(name.casefold() in known for name in names):
        return names
    below = rows[1:1000]
    for place, name in enumerate(names):
        again = any(len(cells) > place and cells[place].strip() == name for _, cells in below)
        words = name.replace("_", " ").split()
        if again or len(name) > _NAME or len(words) > 3 or any(mark in name for mark in ".!?,;\"'") or _numeric(name):
            return None
    return names if below else None


def _same(cells: list[str], names: Sequence[str] | None) -> bool:
    return {cell.strip() for cell in cells} <= set(names or ())


def _numeric(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
