"""Plain text, a document a line: one `.txt`, also `.gz`, or a folder of `train.txt`, `val.txt`, `test.txt`.

Files that end with the code of a language, as of translations (`train.en`, `val.de.gz`), are such files too; of a
folder with several languages one is chosen with input=LANGUAGE.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from bodh.contracts import Source
from bodh.errors import DataError
from bodh.records.sources._columns import Table
from bodh.records.sources._encoding import lines_of, read_text
from bodh.records.sources._groups import Piece, choose, files_of, holds_images, suffix_of
from bodh.records.sources._parts import SPLIT_WORDS
from bodh.records.sources._text_rows import Origin, TextRows

SUFFIXES = (".txt", ".text")
OPTIONS = ("split_lines",)
LANGUAGES = frozenset(
    (
        ".ar", ".as", ".bg", ".bn", ".ca", ".cs", ".da", ".de", ".el", ".en", ".es", ".et", ".eu", ".fa", ".fi", ".fr",
        ".gu", ".he", ".hi", ".hr", ".hu", ".id", ".is", ".it", ".ja", ".kn", ".ko", ".lt", ".lv", ".mr", ".ms", ".ne",
        ".nl", ".no", ".or", ".pa", ".pt", ".ro", ".ru", ".sa", ".sk", ".sl", ".sr", ".sv", ".sw", ".ta", ".te", ".th",
        ".tr", ".uk", ".ur", ".vi", ".zh",
    )
)  # fmt: skip
"""Suffixes that are no other format's."""


def accepts(location: Any) -> bool:
    """Whether `location` is such a file, or a folder of such files that are parts, or of one alone."""
    if not isinstance(location, Path):
        return False
    if location.is_file():
        return suffix_of(location) in {*SUFFIXES, *LANGUAGES}
    return bool(_files(location)) and not holds_images(location)


def open_(
    location: Path,
    *,
    input: str | None,  # noqa: A002
    label: str | None,
    modality: str | None,
    split_lines: bool | None = None,
) -> Source:
    """Open files of text.

    Args:
        location: file or folder.
        input: in a folder of several data sets or languages its name.
        label: plain text has none.
        modality: "text".
        split_lines: whether every line is a document (default), or every file.

    Raises:
        DataError: a file is damaged or of another encoding, or labels were asked for.
    """
    if modality not in (None, "text"):
        raise DataError(f"{location.name!r} is read as texts, not as modality={modality!r}")
    if label not in (None, "none"):
        raise DataError(
            f"{location.name!r} is plain text, which has no labels, given data.label={label!r}; put the texts of every "
            "class into a folder of their own, or give a table: .csv, .tsv or .jsonl"
        )
    notes: list[str] = []
    pieces = [Piece(location, location.name, None, "")]
    if location.is_dir():
        pieces, column = choose(_files(location), input, owner=repr(location.name), notes=notes)
    elif input is not None:
        column = input
    else:
        column = None
    if column not in (None, "text"):
        groups = sorted({piece.group for piece in _files(location)}) if location.is_dir() else []
        known = f"; there are: {', '.join(groups)}" if any(groups) else ""
        raise DataError(f"{location.name!r} is plain text, which has no columns, given data.input={column!r}{known}")
    whole = split_lines is False
    files = tuple(piece.what for piece in pieces)
    shown = ", ".join(piece.name for piece in pieces[:4])
    what = "every file is one document" if whole else "every line is a document"
    if not whole and len(files) == 1:
        what += " (data.split_lines=false: the whole file is one)"
    name = location.resolve().name if location.is_dir() else location.name.split(".")[0]
    origin = Origin(name, location, files, f"plain text ({shown}); {what}", noun="file" if whole else "line")
    return TextRows(origin, partial(tables_of, pieces, whole), input=None, label="none", notes=notes)


def _files(folder: Path) -> list[Piece[Path]]:
    """Return files that are parts of a data set, or the only one; other `.txt` files are a document each."""
    found = files_of(folder, SUFFIXES)
    if len(found) == 1 or (len(found) > 1 and all(piece.part for piece in found) and _at_top(found)):
        return found
    if found:
        return []
    found = files_of(folder, LANGUAGES)
    return [piece._replace(group=suffix_of(piece.what)[1:]) for piece in found]


def _at_top(found: Sequence[Piece[Path]]) -> bool:
    """Whether no file lies in a folder called train, val or test: those hold a document a file."""
    return not any(piece.what.parent.name.casefold() in SPLIT_WORDS for piece in found)


def tables_of(pieces: Sequence[Piece[Path]], whole: bool = False) -> list[Table]:
    """Return a table a file, with one column, "text": its lines that are not empty, or with `whole` all of it."""
    tables = []
    for piece in pieces:
        text, encoding, nuls = read_text(piece.what, piece.name)
        lines = [text] if whole else lines_of(text)
        kept = [(number, line) for number, line in enumerate(lines, start=1) if line.strip()]
        columns: dict[str, list[Any]] = {"text": [line for _, line in kept]}
        table = Table(piece.name, piece.part, columns, [number for number, _ in kept], encoding=encoding, nuls=nuls)
        table.blank = len(lines) - len(kept)
        tables.append(table)
    return tables
