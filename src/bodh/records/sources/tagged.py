"""Sentences whose words have tags: CoNLL and CoNLL-U, tables with two columns of lists, parallel files, in memory.

A table is JSON or Parquet with lists of as many words as tags (`tokens`, `ner_tags`); parallel files have the words of
a sentence in a line and its tags in the same line of the other: `train.words` and `train.tags`, `seq.in` and `seq.out`.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from bodh.contracts import Source
from bodh.errors import DataError, suggestion
from bodh.records.labels import read_class_names
from bodh.records.sources import _conll, json_rows, parquet, text_lines
from bodh.records.sources._asked import Asked
from bodh.records.sources._columns import Table, parts_of
from bodh.records.sources._groups import Piece, choose, files_of, part_and_group, suffix_of
from bodh.records.sources._tagged import Part, Sentence, TaggedRows, checked

WORDS = ("tokens", "words", "शब्द")
"""What a column of words is called, where nobody says."""
TAGS = ("tags", "ner_tags", "pos_tags", "upos", "labels", "ner", "pos", "xpos", "chunk_tags", "xpos_tags")
"""Likewise of tags, in the order in which they are chosen."""
PARALLEL = ((".words", ".tags"), (".in", ".out"))
_PEEK = 2**20
"""Bytes of a file by which it is told from others."""


def accepts(location: Any) -> bool:
    """Whether `location` is a file or folder of words with tags, by its names and first row, or a list of them."""
    if isinstance(location, list):
        return bool(location) and all(_is_tagged(one) for one in location[:10])
    if not isinstance(location, Path):
        return False
    if location.is_file():
        return suffix_of(location) in _conll.SUFFIXES or _has_lists(location)
    if files_of(location, _conll.SUFFIXES) or _parallel_files(location):
        return True
    rows = files_of(location, (*json_rows.LINES, *parquet.SUFFIXES))
    return bool(rows) and _has_lists(rows[0].what)


def wants(location: Any, asked: Asked) -> bool:
    """Whether `location` is read as words with tags: asked for, or nothing else was and it holds some.

    Raises:
        DataError: it is, and another task was asked for.
    """
    if asked.modality != "words" and asked.task != "tag" and (asked.modality is not None or not accepts(location)):
        return False
    if asked.task not in ("auto", "tag"):
        raise DataError(
            f"these are words with tags, not what --task {asked.task} learns from; leave it out, or type tag"
        )
    return True


def open_(location: Any, *, input: str | None, label: str | None, modality: str | None) -> Source:  # noqa: A002
    """Open sentences of words.

    Args:
        location: file, folder, list of (words, tags), or a pair of lists (all words, all tags).
        input: column of the words: a name, of CoNLL a number from 1; in a folder of several data sets NAME or
            NAME:COLUMN.
        label: column of the tags: upos, ner …, a name or a number; "none": no tags.
        modality: "words".

    Raises:
        DataError: a file is damaged, there are no such columns, or no sentence can be read.
    """
    if modality not in (None, "words"):
        raise DataError(f"words with tags are not read as modality={modality!r}; leave it out")
    if not isinstance(location, Path):
        return _in_memory(location, input, label)
    name = location.resolve().name if location.is_dir() else location.name.split(".")[0]
    names: Sequence[str] = ()
    parallel = _parallel_files(location) if location.is_dir() else ()
    if parallel:
        if input is not None:
            raise DataError(f"{location.name!r}: parallel files have no columns, given data.input={input!r}")
        read: Callable[[], list[Part]] = partial(_parallel, parallel, label == "none")
        told = f"parallel files ({', '.join(piece.name for piece in parallel[0][:2])} …)"
    elif _is_table(location):
        read, told, names = _table(location, input, label)
    else:
        read, told = _columns(location, input, label)
    return TaggedRows(name, str(location.resolve()), read, told, names)


# ------------------------------------------------------------------------------------------- a word a line


def _columns(location: Path, wanted: str | None, label: str | None) -> tuple[Callable[[], list[Part]], str]:
    notes: list[str] = []
    pieces, column = [Piece(location, location.name, None, "")], wanted
    if location.is_dir():
        pieces, column = choose(
            files_of(location, (*_conll.SUFFIXES, ".txt", ".tsv")), wanted, owner=repr(location.name), notes=notes
        )

    told = _conll.parts_of(pieces, column, label)[1]
    return partial(
        _of_lines, pieces, column, label
    ), f"{', '.join(piece.name for piece in pieces[:4])}: {told}{''.join(f'; {note}' for note in notes)}"


def _of_lines(pieces: Sequence[Piece[Path]], words: str | None, tags: str | None) -> list[Part]:
    return _conll.parts_of(pieces, words, tags)[0]


# ------------------------------------------------------------------------------------------------- tables


def _is_table(location: Path) -> bool:
    suffixes = (*json_rows.SUFFIXES, *parquet.SUFFIXES)
    return suffix_of(location) in suffixes if location.is_file() else bool(files_of(location, suffixes))


def _table(
    location: Path, wanted: str | None, label: str | None
) -> tuple[Callable[[], list[Part]], str, Sequence[str]]:
    """Return what reads the sentences of a table, how, and the names of its tags where the file tells them."""
    column, files = wanted, [location]
    if parquet.accepts(location):
        files = parquet.files_of(location) if location.is_dir() else [location]
        tables: Callable[[], list[Table]] = partial(_of_parquet, location)
    else:
        tables, found, _, column = json_rows.chosen(location, wanted, [])
        files = list(found)
    first = tables()
    words = _named(first, column, WORDS, option="input", what="words")
    tags = None if label == "none" else _named(first, label, TAGS, option="label", what="tags", besides=words)
    others = [name for name in TAGS if tags is not None and name in first[0].columns and name not in (tags, words)]
    told = f"a table; words from column {words!r}, " + (f"tags from column {tags!r}" if tags else "no tags")
    told += f" (also there: {', '.join(others)}; choose with data.label=NAME)" if others else ""
    names: Sequence[str] = ()
    if tags is not None:
        names = read_class_names(files[0].parent)
        if not names and suffix_of(files[0]) in parquet.SUFFIXES:
            names = _schema_names(files[0], tags)
    return partial(_rows, tables, words, tags, tuple(names)), told, names


def _of_parquet(location: Path) -> list[Table]:
    return list(parquet.tables_of(location))


def _schema_names(path: Path, column: str) -> tuple[str, ...]:
    import pyarrow.parquet as pq

    return parquet.schema_names(pq.read_schema(path), column)


def _named(
    tables: Sequence[Table], asked: str | None, known: Sequence[str], *, option: str, what: str, besides: str = ""
) -> str:
    """Return the column of words, or of tags."""
    names = list(dict.fromkeys(name for table in tables for name in table.columns))
    lists = [name for name in names if name != besides and _holds_lists(tables[0].column(name))]
    if asked is not None:
        for name in (asked, f"{asked}_tags", {"upos": "pos_tags", "pos": "upos"}.get(asked, asked)):
            if name in names:
                return name
        raise DataError(
            f"{tables[0].name!r} has no column data.{option}={asked!r}{suggestion(asked, names)}; its columns are: "
            f"{', '.join(names)}"
        )
    found = [name for name in known if name in lists]
    if not found and len(lists) != 1:
        raise DataError(
            f"{tables[0].name!r}: which column holds the {what}? Its columns of lists are: {', '.join(lists) or 'none'}"
            f"; type data.{option}=NAME"
        )
    return found[0] if found else lists[0]


def _holds_lists(values: Sequence[Any]) -> bool:
    some = [value for value in values[:100] if value is not None]
    return bool(some) and all(isinstance(value, list) for value in some)


def _rows(tables: Callable[[], list[Table]], words: str, tags: str | None, names: Sequence[str]) -> list[Part]:
    found = tables()
    splits, row = parts_of(found)[0], 0
    parts: list[Part] = []
    for table in found:
        if not len(table):
            continue
        pairs = zip(
            table.numbers, table.column(words), table.column(tags) if tags else [None] * len(table), strict=True
        )
        for place, (number, said, given) in enumerate(pairs):
            where = f"{table.name} line {number}" if table.lines else f"{table.name} row {number}"
            name, part = f"{table.name}:{number}", str(splits[row + place])
            one = checked(name, said, _by_name(given, names), where)
            if place in table.broken:
                one = Sentence(name, (), (), f"{where}: {table.broken[place]}", where)
            if not parts or parts[-1].part != part:
                parts.append(Part(part, []))
            parts[-1].sentences.append(one)
        row += len(table)
    return parts


def _by_name(tags: Any, names: Sequence[str]) -> Any:
    """Return tags as their names, where they are numbers that stand for these."""
    if not names or not isinstance(tags, list):
        return tags
    return [names[tag] if isinstance(tag, int) and 0 <= tag < len(names) else tag for tag in tags]


def _has_lists(path: Path) -> bool:
    """Whether the first row of a table has lists of as many words as tags, by their usual names."""
    row: dict[str, Any] = {}
    if suffix_of(path) in json_rows.LINES:
        row = _first_row(path)
    elif suffix_of(path) in parquet.SUFFIXES:
        row = _first_of_parquet(path)
    tags = [row[name] for name in TAGS if isinstance(row.get(name), list)]
    words = [row[name] for name in WORDS if row.get(name) and _are_words(row[name])]
    return any(len(one) == len(other) for one in words for other in tags)


def _first_of_parquet(path: Path) -> dict[str, Any]:
    """Return the lists of words and tags in the first row of a file; nothing where it is damaged, or has none."""
    import pyarrow as pa
    import pyarrow.parquet as pq
    import pyarrow.types as pt

    try:
        with pq.ParquetFile(path) as file:
            lists = [
                field.name
                for field in file.schema_arrow
                if field.name in (*WORDS, *TAGS) and (pt.is_list(field.type) or pt.is_large_list(field.type))
            ]
            first = next(file.iter_batches(batch_size=1, columns=lists), None) if lists else None
    except (OSError, pa.ArrowException):
        return {}
    return {} if first is None or not len(first) else dict(first.to_pylist()[0])


def _first_row(path: Path) -> dict[str, Any]:
    """Return the first line of a file as an object; an empty one where it is none."""
    try:
        with gzip.open(path) if path.suffix.lower() == ".gz" else path.open("rb") as file:
            row = json.loads(file.readline(_PEEK).decode("utf-8-sig"))
    except (OSError, EOFError, ValueError, RecursionError):
        return {}
    return row if isinstance(row, dict) else {}


def _are_words(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(word, str) for word in value)


# -------------------------------------------------------------------------------------------- parallel files


def _parallel_files(folder: Path) -> list[tuple[Piece[Path], Piece[Path]]]:
    """Return the files of words and of tags in a folder, those for training first; none where there are none."""
    for words, tags in PARALLEL:
        pieces = files_of(folder, (words, tags))
        if not {words, tags} <= {suffix_of(piece.what) for piece in pieces}:
            continue
        beside = {_stem(piece): piece for piece in pieces if suffix_of(piece.what) == tags}
        found = []
        for piece in pieces:
            if suffix_of(piece.what) == words:
                other = beside.get(_stem(piece))
                if other is None:
                    raise DataError(f"{piece.name} has no {_stem(piece)}{tags} beside it; words and tags come in twos")
                found.append((piece, other))
        return sorted(found, key=lambda two: (two[0].part or "train") != "train")
    return []


def _stem(piece: Piece[Path]) -> str:
    return piece.name.removesuffix(".gz").rpartition(".")[0]


def _parallel(files: Sequence[tuple[Piece[Path], Piece[Path]]], untagged: bool) -> list[Part]:
    parts = []
    for first, second in files:
        said, given = (text_lines.tables_of([piece])[0] for piece in (first, second))
        lines = [len(table) + table.blank for table in (said, given)]
        if lines[0] != lines[1]:
            raise DataError(
                f"{first.name} has {lines[0]:,} lines, but {second.name} has {lines[1]:,}; line for line one has the "
                "tags of the other: find where they begin to differ"
            )
        tags = dict(zip(given.numbers, given.columns["text"], strict=True))
        sentences = [
            checked(
                f"{first.name}:{number}", text.split(), None if untagged else tags.get(number, "").split(),
                f"{first.name} line {number}",
            )
            for number, text in zip(said.numbers, said.columns["text"], strict=True)
        ]  # fmt: skip
        parts.append(Part(first.part or part_and_group(_stem(first))[0] or "train", sentences))
    return parts


# -------------------------------------------------------------------------------------------------- in memory


def _in_memory(location: Any, wanted: str | None, label: str | None) -> Source:
    if wanted or label not in (None, "none"):
        raise DataError("words in memory have nothing to choose with input= or label=; give [(words, tags), …]")
    rows = location
    if isinstance(location, tuple) and len(location) == 2:
        if len(location[0]) != len(location[1]):
            raise DataError(f"{len(location[0])} sentences were given with {len(location[1])} lists of tags")
        rows = list(zip(*location, strict=True))
    if not isinstance(rows, list) or not all(isinstance(one, tuple | list) and len(one) == 2 for one in rows):
        raise DataError(
            "these are no words with tags; allowed in Python are [(words, tags), …] and, with modality=words, "
            '([words, …], [tags, …]): [(["Ram", "goes"], ["PROPN", "VERB"]), …]'
        )
    return TaggedRows("words", "", partial(_given, rows), "words in memory")


def _given(rows: Sequence[Any]) -> list[Part]:
    sentences = [
        checked(f"sentence:{number}", words, tags, f"sentence {number}") for number, (words, tags) in enumerate(rows)
    ]
    return [Part("train", sentences)]


def _is_tagged(one: Any) -> bool:
    if not (isinstance(one, tuple | list) and len(one) == 2 and all(isinstance(side, list | tuple) for side in one)):
        return False
    return bool(one[0]) and _are_words(list(one[0])) and all(isinstance(tag, str | int) for tag in one[1])
