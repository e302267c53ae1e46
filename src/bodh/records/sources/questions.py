"""Questions about texts, each answered by a piece of its text: SQuAD's JSON, lines, Parquet, or dicts in memory.

A row is a question (columns question, context, answers), a paragraph with its questions (XQuAD), or an article with
its paragraphs (SQuAD). Answers come with the character at which they begin.
"""

from __future__ import annotations

import gzip
import itertools
import json
import logging
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from bodh.contracts import Source
from bodh.errors import BadRecord, DataError
from bodh.records.sources import json_rows, parquet
from bodh.records.sources._asked import Asked
from bodh.records.sources._columns import Table, parts_of
from bodh.records.sources._groups import Piece, choose, files_of, part_and_group, suffix_of
from bodh.records.sources._parts import SPLIT_WORDS, digest
from bodh.records.sources._question_rows import Entry, Found, asks, chosen_language, divided, entries, languages

_log = logging.getLogger("bodh")

_PEEK, _LONGEST, _BLANK = 2**18, 2**24, 50
"""Bytes by which a file is judged, bytes of a line, and lines that are looked at."""
_SQUAD = ("data", "paragraphs")
"""What SQuAD's object holds, and what its articles do."""


def accepts(location: Any, wanted: str | None = None) -> bool:
    """Whether `location` holds questions with their texts and answers.

    Args:
        location: a path, or rows in memory.
        wanted: what was chosen of it; a column makes it a table of texts, a language does not.
    """
    try:
        first = _first_row(location)
    except DataError:
        return False  # the source that reads it all the same says what is wrong
    return asks(first) and (wanted is None or wanted in languages(first))


def wants(location: Any, asked: Asked) -> bool:
    """Whether `location` is read as questions: asked for, or nothing else was and it holds some."""
    if asked.modality == "questions" or asked.task == "extract":
        return True
    return asked[1:] == Asked()[1:] and accepts(location, asked.input)


def open_(location: Any, *, input: str | None, label: str | None, modality: str | None) -> Source:  # noqa: A002
    """Open questions.

    Args:
        location: a file or folder, or rows in memory: a list of dicts, or {"train": […], "test": […]}.
        input: which language, where texts come in several.
        label: questions have none.
        modality: "questions".

    Raises:
        DataError: nothing of it is a question with its text, or no such language.
    """
    if modality not in (None, "questions"):
        raise DataError(f"these are questions with their texts, read as modality=questions, not as {modality!r}")
    if label not in (None, "none"):
        raise DataError(f"questions have answers, no labels, given data.label={label!r}; leave it out")
    if not isinstance(location, Path):
        return QuestionRows("questions", "", partial(_memory_tables, location), input)
    name = location.resolve().name if location.is_dir() else location.name.split(".")[0]
    return QuestionRows(name, str(location.resolve()), partial(_tables, location), input)


class QuestionRows:
    """Questions, read wholly when opened.

    Args:
        name: short name.
        origin: path; "" in memory.
        read: returns the tables; a worker process calls it once more.
        language: of texts in several.

    Raises:
        DataError: there is not one question.
    """

    modality = "questions"
    targets: np.ndarray | None = None
    class_names: tuple[str, ...] = ()

    def __init__(self, name: str, origin: str, read: Callable[[], list[Table]], language: str | None) -> None:
        self.name, self.origin, self.in_memory = name, origin, not origin
        self._read, self._language = read, language
        found = Found()
        self._rows: list[Entry] | None = list(self._entries(found))
        if not self._rows:
            raise DataError(f"{name!r} holds no questions; it is empty")
        if all(row.fault for row in self._rows):
            row = self._rows[0]
            raise DataError(
                f"none of the {len(self._rows)} questions of {name!r} can be used: {row.where}: {row.fault}"
            )
        self.splits, told = divided(self._rows)
        names = [row.name for row in self._rows]
        unique = len(set(names)) == len(names)
        self.ids: Sequence[str] = names if unique else [row.where for row in self._rows]
        self.fingerprint = digest("questions", origin, *(row.content for row in self._rows), *self.splits)
        texts = len({row.context for row in self._rows})
        self.reading = f"{len(self._rows):,} questions about {texts:,} texts"
        self.divided = told
        """how questions were set aside for testing; nothing where the data brings a part for it"""
        self.notes = found.notes()
        _log.info("%s: %s", name, self.reading)
        for note in self.notes:
            _log.info("%s: %s", name, note)

    def _entries(self, found: Found) -> Iterator[Entry]:
        tables = self._read()
        rows = [_row(table, place) for table in tables for place in range(min(1, len(table)))]
        language = chosen_language(rows, self._language, repr(self.name))
        parts = iter(parts_of(tables)[0].tolist()) if _parted(tables) else itertools.repeat(None)
        for table in tables:
            for place, number in enumerate(table.numbers):
                part = next(parts)
                where = f"{table.name}:{number}" if table.lines else f"{table.name}[{number}]"
                if place in table.broken:
                    yield Entry(where, where, part, "", "", b"", table.broken[place])
                else:
                    yield from entries(_row(table, place), where, language=language, part=part, found=found)

    def __len__(self) -> int:
        return len(self.ids)

    def __getstate__(self) -> dict[str, Any]:
        """Leave the questions behind: a worker reads its own."""
        return self.__dict__ | {"_rows": None, "ids": [], "splits": np.empty(0, "<U5"), "notes": []}

    def read(self, index: int) -> bytes:
        """Return question, context and answers of record `index` as JSON in UTF-8.

        Raises:
            BadRecord: its answer does not stand in its text, or something is missing.
        """
        if self._rows is None:
            self._rows = list(self._entries(Found()))
        row = self._rows[index]
        if row.fault:
            raise BadRecord(row.fault if row.where == row.name else f"{row.where}: {row.fault}")
        return row.content


def _parted(tables: Sequence[Table]) -> bool:
    """Return whether files or a column tell the parts."""
    return any(table.part for table in tables) or len(set(parts_of(tables)[0].tolist())) > 1


def _row(table: Table, place: int) -> Mapping[str, Any]:
    return {name: values[place] for name, values in table.columns.items()}


# ------------------------------------------------------------------------------------------------------- files


def _first_row(location: Any) -> Any:
    """Return the first row of what is given, None where there is none to be seen."""
    if not isinstance(location, Path):
        if _is_memory(location):
            return next((_row(table, 0) for table in _memory_tables(location) if len(table)), None)
        return None
    file = location if location.is_file() else next(iter(_files(location)), None)
    if file is None:
        return None
    if file.suffix.lower() in parquet.SUFFIXES:
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            return dict.fromkeys(pq.read_schema(file).names, "")
        except (OSError, pa.ArrowException):
            return None
    if suffix_of(file) in json_rows.LINES:
        return _parsed(next((line for line in _lines(file) if line.strip()), b""))
    return _peek_json(file) if suffix_of(file) == ".json" else None


def _lines(file: Path) -> Iterator[bytes]:
    """Yield the first lines of a file, which may be packed; nothing of one that cannot be read."""
    try:
        with gzip.open(file) if file.suffix.lower() == ".gz" else file.open("rb") as opened:
            for _ in range(_BLANK):
                yield opened.readline(_LONGEST)
    except (OSError, EOFError, zlib.error):
        return


def _parsed(line: bytes) -> Any:
    """Return the value of a line of JSON, None where it is none."""
    try:
        return json.loads(line.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        return None


def _files(folder: Path) -> list[Path]:
    pieces = files_of(folder, json_rows.SUFFIXES) or files_of(folder, parquet.SUFFIXES)
    return [piece.what for piece in pieces]


def _peek_json(file: Path) -> Any:
    """Return the first row of a `.json` file; the file is read only where its start looks like questions."""
    start = b"".join(itertools.islice(_lines(file), _BLANK))[:_PEEK]
    if b'"question' not in start and b'"qas"' not in start and b'"paragraphs"' not in start:
        return None
    value = _value(file)
    if isinstance(value, Mapping):
        lists = [rows for rows in value.values() if isinstance(rows, list) and rows]
        return lists[0][0] if lists else None
    return value[0] if isinstance(value, list) and value else None


def _value(file: Path) -> Any:
    return json_rows.parsed(Piece(file, file.name, None, ""))[0]


def _tables(location: Path) -> list[Table]:
    """Return the tables of a file or folder: SQuAD's articles, rows of JSON, or of Parquet."""
    if parquet.accepts(location):
        return list(parquet.tables_of(location))
    notes: list[str] = []
    if location.is_dir() and not files_of(location, json_rows.LINES):
        pieces, _ = choose(files_of(location, (".json",)), None, owner=repr(location.name), notes=notes)
        found = [_squad(piece.what, piece.name, piece.part) for piece in pieces]
        if all(table is not None for table in found):
            return [table for table in found if table is not None]
    elif suffix_of(location) == ".json" and (table := _squad(location, location.name, None)) is not None:
        return [table]
    if not json_rows.accepts(location):
        raise DataError(
            f"{location.name!r} holds no questions; allowed are SQuAD's .json, .jsonl and .parquet with columns "
            "question, context and answers, and in Python a list of such dicts"
        )
    return json_rows.chosen(location, None, notes)[0]()


def _squad(file: Path, name: str, part: str | None) -> Table | None:
    """Return the articles of a file as SQuAD has them; None where it is another."""
    value = _value(file)
    articles = value.get(_SQUAD[0]) if isinstance(value, Mapping) else None
    if not isinstance(articles, list) or not all(isinstance(one, Mapping) for one in articles):
        return None
    names = dict.fromkeys(key for article in articles for key in article)
    columns = {key: [article.get(key) for article in articles] for key in names}
    return Table(f"{name} data", part, columns, range(len(articles)), lines=False)


# -------------------------------------------------------------------------------------------------- in memory


def _is_memory(location: Any) -> bool:
    if isinstance(location, Mapping):
        return any(isinstance(rows, list) for rows in location.values())
    return isinstance(location, list) and bool(location) and isinstance(location[0], Mapping)


def _memory_tables(location: Any) -> list[Table]:
    """Return the rows of a list of dicts, of SQuAD's object, or of {"train": […], "test": […]}."""
    if isinstance(location, Mapping) and _SQUAD[0] in location:
        location = location[_SQUAD[0]]
    if not isinstance(location, Mapping):
        location = {"questions": location}
    tables = []
    for key, rows in location.items():
        if not isinstance(rows, list) or not all(isinstance(row, Mapping) for row in rows):
            if key not in SPLIT_WORDS and isinstance(location, Mapping) and len(location) > 1:
                continue
            raise DataError(
                f"{key!r} is no list of questions; allowed are a list of dicts with question, context and answers, "
                'SQuAD\'s object, or {"train": […], "test": […]}'
            )
        names = dict.fromkeys(str(name) for row in rows for name in row)
        columns = {name: [row.get(name) for row in rows] for name in names}
        tables.append(Table(str(key), part_and_group(str(key))[0], columns, range(len(rows)), lines=False))
    return tables
