"""Pictures with sentences: a table with a column of either, a folder of images with a captions.csv, or pairs in memory.

A cell may hold a list of sentences, and a picture may stand in several rows: all its sentences make one record.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from bodh.contracts import Source
from bodh.errors import DataError, suggestion
from bodh.records.ids import natural_key
from bodh.records.sources import csv_table, image_folder, json_rows, parquet
from bodh.records.sources._asked import Asked
from bodh.records.sources._captioned import Captioned, CaptionRows, Read, file_of
from bodh.records.sources._columns import Table, parts_of, text_columns
from bodh.records.sources._groups import Piece, choose, files_of, part_and_group, suffix_of
from bodh.records.sources._parts import SPLIT_WORDS, bytes_digest
from bodh.records.sources._png import png_of
from bodh.records.sources._where import rows_where

OPTIONS = ("target", "where")
FILE = "captions"
"""Name, but for its suffix and the part, of the table in a folder of images."""
SUFFIXES = (*csv_table.SUFFIXES, *json_rows.SUFFIXES)
WORDS = ("caption", "captions", "sentence", "sentences", "description", "text")
"""Columns that hold sentences, where nobody says which does."""
_SAMPLE = 100


def accepts(location: Any) -> bool:
    """Whether `location` is a list of (picture, sentence or sentences); see `wants` for files and folders."""
    if not isinstance(location, list) or not location:
        return False
    return all(_is_pair(one) and not isinstance(one[0], str) for one in location[:10])


def wants(location: Any, asked: Asked) -> bool:
    """Whether `location` is read as captions: asked for, pairs in memory, a captions file, or a target of pictures."""
    if asked.modality is not None:
        return asked.modality == "captions"
    if not isinstance(location, Path):
        return accepts(location)
    if location.is_dir() and _captions_files(location):
        return True
    if asked.target is None:
        return False
    try:
        return _pictures_of(location, asked.input)[0] != ""
    except DataError:  # who reads it as something else tells what is wrong
        return False


def open_(
    location: Any,
    *,
    input: str | None,  # noqa: A002
    label: str | None,
    modality: str | None,
    target: str | None = None,
    where: str | None = None,
) -> Source:
    """Open pictures with sentences.

    Args:
        location: a folder of images with a captions file, a table, a list of pairs, or a pair of lists.
        input: column of the pictures: encoded, or their paths from the table's folder on.
        label: captions have none.
        modality: "captions".
        target: column of the sentences.
        where: "COLUMN=VALUE": only such rows count.

    Raises:
        DataError: no such column, no pictures, or not one sentence.
    """
    if modality not in (None, "captions"):
        raise DataError(f"pictures with sentences are captions, not modality={modality!r}; leave one of them out")
    if label not in (None, "none"):
        raise DataError(f"captions have no labels, given data.label={label!r}; leave it out")
    if not isinstance(location, Path):
        return _in_memory(location, input or target or where)
    folder = location.is_dir()
    name = location.resolve().name if folder else location.name.split(".")[0]
    column, encoded = _pictures_of(location, input)
    if not column:
        raise DataError(_no_pictures(location, input))
    group = (input or "").rpartition(":")[0] or None
    sentences = _sentences_of(_tables(location, group), column, target, owner=repr(location.name))
    read = partial(_records, location, group, column, sentences, where, encoded=encoded)
    told = f"pictures from column {column!r}, sentences from column {sentences!r}"
    if encoded:
        rows = parquet.open_(location, input=column, label="none", modality="image")
        return CaptionRows(name, str(location.resolve()), read, rows.read, f"Parquet, {told}", rows.fingerprint)
    return CaptionRows(name, str(location.resolve()), read, file_of, f"a table, {told}")


# ----------------------------------------------------------------------------------------------------- tables


def _captions_files(folder: Path) -> list[tuple[Path, str | None]]:
    """Return the captions files of a folder of images with their parts: in itself, or in folders train, val, test."""
    inner = sorted(path for path in folder.iterdir() if path.is_dir() and path.name.casefold() in SPLIT_WORDS)
    for places in ([folder], inner):
        found = []
        for place in places:
            for path in sorted(place.iterdir(), key=lambda one: natural_key(one.name)):
                if suffix_of(path) not in SUFFIXES or not path.is_file():
                    continue
                part, group = part_and_group(path.name.lower().removesuffix(".gz").rpartition(".")[0])
                if group == FILE:
                    found.append((path, part if place == folder else SPLIT_WORDS[place.name.casefold()]))
        if found:
            return found
    return []


def _tables(location: Path, group: str | None) -> list[Table]:
    """Return the tables of a file, or of a data set in a folder, with all their columns but encoded pictures.

    Raises:
        DataError: there are none.
    """
    if parquet.accepts(location):
        tables = list(parquet.tables_of(location, images=False))
    elif location.is_dir():
        pieces = [
            Piece(path, path.relative_to(location).as_posix(), part, "") for path, part in _captions_files(location)
        ]
        found = pieces or files_of(location, SUFFIXES)
        if not found:
            raise DataError(_nothing(location))
        chosen = choose(found, group, owner=repr(location.name), notes=[])[0]
        tables = [table for piece in chosen for table in _opened(piece)]
    elif suffix_of(location) in SUFFIXES:
        tables = _opened(Piece(location, location.name, None, ""))
    else:
        raise DataError(_nothing(location))
    if len({table.part for table in tables if table.part}) < 2:  # where only one part is named, it means nothing
        tables = [replace(table, part=None) for table in tables]
    return tables


def _opened(piece: Piece[Path]) -> list[Table]:
    if suffix_of(piece.what) in csv_table.SUFFIXES:
        return csv_table.tables_of([piece])
    return json_rows.tables_of([piece])


def _nothing(location: Path) -> str:
    return (
        f"{location.name!r} holds no pictures with sentences; allowed are a folder of images with captions.csv or "
        "captions.jsonl, a table with a column of either (.parquet, .csv, .tsv, .jsonl), and in Python a list of "
        "(picture, sentence)"
    )


def _pictures_of(location: Path, wanted: str | None) -> tuple[str, bool]:
    """Return the column of pictures and whether they lie in it, encoded; "" where there is none, or not that one."""
    if parquet.accepts(location):
        able = parquet.image_columns(location if location.is_file() else parquet.files_of(location)[0])
        if wanted in able or (wanted is None and able):
            return (wanted or next((name for name in able if name.casefold() in parquet.INPUTS), able[0])), True
    group, _, column = (wanted or "").rpartition(":")
    tables = _tables(location, group or None)
    for name in [column] if column else _names(tables):
        cells = [cell for table in tables for cell in table.column(name)[:_SAMPLE] if cell not in (None, "")]
        if cells and all(isinstance(cell, str) and _is_picture(cell) for cell in cells):
            return name, False
    return "", False


def _names(tables: Sequence[Table]) -> list[str]:
    return list(dict.fromkeys(name for table in tables for name in table.columns))


def _is_picture(cell: str) -> bool:
    return Path(cell.strip()).suffix.lower() in image_folder.SUFFIXES


def _no_pictures(location: Path, wanted: str | None) -> str:
    """Return what is wrong where no column holds pictures."""
    group, _, column = (wanted or "").rpartition(":")
    names = _names(_tables(location, group or None))
    if parquet.accepts(location):
        names += parquet.image_columns(location if location.is_file() else parquet.files_of(location)[0])
    if column and column not in names:
        return (
            f"{location.name!r} has no column data.input={column!r}{suggestion(column, names)}; its columns are: "
            f"{', '.join(names)}"
        )
    what = f"no pictures in column {column!r}" if column else "no column of pictures"
    return (
        f"{location.name!r} has {what} (encoded, or paths such as one.jpg); its columns are: {', '.join(names)}; "
        "choose one with data.input=NAME"
    )


def _sentences_of(tables: Sequence[Table], pictures: str, wanted: str | None, *, owner: str) -> str:
    """Return the column of the sentences.

    Raises:
        DataError: no such column, or none that holds texts.
    """
    names = [name for name in _names(tables) if name != pictures]
    if wanted is not None:
        if wanted not in names:
            raise DataError(
                f"{owner} has no column of sentences data.target={wanted!r}{suggestion(wanted, names)}; its other "
                f"columns are: {', '.join(names) or 'none'}"
            )
        return wanted
    known = [name for word in WORDS for name in names if name.casefold() == word]
    if known:
        return known[0]
    if not names:
        raise DataError(f"{owner} has no column of sentences beside {pictures!r}, only pictures; add one")
    rest = {name: values for name, values in tables[0].columns.items() if name != pictures}
    return text_columns(replace(tables[0], columns=rest), None, None)[0][0]


def _records(
    location: Path, group: str | None, column: str, sentences: str, where: str | None, *, encoded: bool
) -> Read:
    """Return the records of a table: rows of one picture's path are one."""
    whole = _tables(location, group)
    starts = dict(zip((table.name for table in whole), np.cumsum([0, *map(len, whole)]).tolist(), strict=False))
    tables, aside = rows_where(whole, where, owner=repr(location.name))
    parts = iter(parts_of(tables)[0].tolist())
    root = location.resolve() if location.is_dir() else location.resolve().parent
    found: dict[tuple[str, Any], Captioned] = {}
    empty = 0
    for table in tables:
        shown = [None] * len(table) if encoded else table.column(column)
        for place, (number, picture, cell) in enumerate(
            zip(table.numbers, shown, table.column(sentences), strict=True)
        ):
            part = str(next(parts))
            texts = [] if place in table.broken else _texts(cell)
            path = "" if encoded else str(picture or "").strip()
            if not texts or not (encoded or path):
                empty += 1
                continue
            name = f"{table.name}:{number}" if encoded else path
            where_ = starts[table.name] + number if encoded else str(root / Path(table.name).parent / path)
            found.setdefault((part, where_), Captioned(where_, name, part)).sentences.extend(texts)
    notes = [f"{aside:,} rows without {where} left out"] if aside else []
    notes += [f"{empty:,} rows without a sentence left out"] if empty else []
    return Read(_with_own_names(list(found.values())), notes)


def _with_own_names(records: list[Captioned]) -> list[Captioned]:
    """Return the records, their places for names where names are the same."""
    if len({one.name for one in records}) < len(records):
        return [replace(one, name=f"{one.part}:{one.place}") for one in records]
    return records


def _texts(cell: Any) -> list[str]:
    cells = cell if isinstance(cell, list) else [cell]
    return [str(one).strip() for one in cells if one is not None and str(one).strip()]


# -------------------------------------------------------------------------------------------------- in memory


def _in_memory(location: Any, chosen: str | None) -> Source:
    if chosen:
        raise DataError(
            "captions in memory have nothing to choose with input=, target= or where=; give [(picture, sentence), …]"
        )
    pairs = location
    if isinstance(location, tuple) and len(location) == 2 and all(isinstance(side, list) for side in location):
        if len(location[0]) != len(location[1]):
            raise DataError(f"{len(location[0])} pictures were given with {len(location[1])} captions; as many of each")
        pairs = list(zip(*location, strict=True))
    if not isinstance(pairs, list) or not pairs or not all(map(_is_pair, pairs)):
        raise DataError(
            "these are no captions; allowed in Python are [(picture, sentence), …], a picture being a path, bytes, a "
            "PIL image or an array, several sentences a list; with modality=captions also ([picture, …], [sentence, …])"
        )
    records: list[Captioned] = []
    pictures: list[bytes | np.ndarray] = []
    for number, (picture, sentences) in enumerate(pairs):
        if texts := _texts(sentences):
            records.append(Captioned(len(pictures), f"picture:{number}", "train", texts))
            pictures.append(_raw(picture))
    left = len(pairs) - len(records)
    read = Read(records, [f"{left:,} pictures without a sentence left out"] if left else [])
    seen = bytes_digest([one if isinstance(one, np.ndarray) else np.frombuffer(one, np.uint8) for one in pictures])
    return CaptionRows("captions", "", lambda: read, pictures.__getitem__, "captions in memory", seen)


def _raw(picture: Any) -> bytes | np.ndarray:
    """Return a picture as the bytes of its file, or as an array."""
    if isinstance(picture, str | os.PathLike):
        try:
            return Path(picture).expanduser().read_bytes()
        except OSError as error:
            raise DataError(f"the picture {os.fspath(picture)!r} cannot be read: {error.strerror or error}") from error
    if isinstance(picture, bytes | bytearray | memoryview):
        return bytes(picture)
    if hasattr(picture, "getbands"):
        return png_of(picture)
    return np.asarray(picture)


def _is_pair(one: Any) -> bool:
    if not isinstance(one, tuple | list) or len(one) != 2:
        return False
    picture, sentences = one
    seen = isinstance(picture, str | os.PathLike | bytes | bytearray | memoryview) or (
        hasattr(picture, "getbands") or (hasattr(picture, "__array__") and np.ndim(picture) in (2, 3))
    )
    listed = isinstance(sentences, list | tuple) and all(isinstance(text, str) for text in sentences)
    return seen and (isinstance(sentences, str) or listed)
