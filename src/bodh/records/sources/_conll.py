"""Files with a word a line and columns of tags: CoNLL-2003 and its kin, CoNLL-U, BIO.

A sentence ends with an empty line. Columns are parted by tabs where the first line has one, else by spaces. Of CoNLL-U
(ten columns, https://universaldependencies.org/format.html) comments, ranges ("3-4") and empty nodes ("8.1") are
skipped: words are what has a number of its own.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bodh.errors import DataError, suggestion
from bodh.records.sources._encoding import lines_of, read_text
from bodh.records.sources._groups import Piece, suffix_of
from bodh.records.sources._tagged import Part, Sentence, told

SUFFIXES = (".conll", ".conllu", ".bio", ".iob", ".iob2", ".bilou", ".conll2003")
UNIVERSAL = ("id", "form", "lemma", "upos", "xpos", "feats", "head", "deprel", "deps", "misc")
"""The columns of CoNLL-U."""
_NUMBER, _RANGE = re.compile(r"\d+"), re.compile(r"\d+[-.]\d+")
_DOCUMENT = "-DOCSTART-"
LONGEST = 2000
"""Words of a file without any empty line, above which it is something else."""


@dataclass
class _Block:
    """The lines of one sentence: their numbers and columns."""

    numbers: list[int] = field(default_factory=list)
    rows: list[list[str]] = field(default_factory=list)


@dataclass(frozen=True)
class Lines:
    """A file, taken apart.

    Attributes:
        name: for messages.
        part: "train", "val", "test" or None.
        blocks: its sentences.
        width: columns of its first line.
        universal: whether it is CoNLL-U.
        skipped: ranges and empty nodes that were left out.
    """

    name: str
    part: str | None
    blocks: list[_Block]
    width: int
    universal: bool
    skipped: int


def taken_apart(piece: Piece[Path]) -> Lines:
    """Return the lines of a file by sentence.

    Raises:
        DataError: it is damaged, of another encoding, or empty.
    """
    text = read_text(piece.what, piece.name).text
    lines = lines_of(text)
    first = next((line for line in lines if line.strip() and not line.startswith("#")), "")
    if not first:
        raise DataError(f"{piece.name!r} holds no sentences: there is no line with a word")
    mark = "\t" if "\t" in first else None
    width = len(_cells(first, mark))
    universal = suffix_of(piece.what) == ".conllu" or (width == len(UNIVERSAL) and _starts(first, mark))
    blocks, open_, skipped = [], _Block(), 0
    for number, line in enumerate([*lines, ""], start=1):
        if not line.strip():
            if open_.rows:
                blocks.append(open_)
                open_ = _Block()
            continue
        cells = _cells(line, mark)
        if line.startswith("#") and (universal or len(cells) != width):
            continue
        if cells[0] == _DOCUMENT:
            continue
        if universal and _RANGE.fullmatch(cells[0]):
            skipped += 1
            continue
        open_.numbers.append(number)
        open_.rows.append(cells)
    if len(blocks) == 1 and len(blocks[0].rows) > LONGEST:
        raise DataError(
            f"{piece.name!r} is one sentence of {len(blocks[0].rows):,} words; a word a line is expected, with an "
            "empty line between sentences; for a table with lists type data.input=NAME data.label=NAME"
        )
    return Lines(piece.name, piece.part, blocks, width, universal, skipped)


def _cells(line: str, mark: str | None) -> list[str]:
    return line.rstrip("\r\n").split(mark) if mark else line.split()


def _starts(line: str, mark: str | None) -> bool:
    return bool(re.match(r"1(-\d+)?$", _cells(line, mark)[0]))


def parts_of(pieces: Sequence[Piece[Path]], words: str | None, tags: str | None) -> tuple[list[Part], str]:
    """Return the sentences of files, and which columns were read, in words.

    Args:
        pieces: of one data set, the one for training first.
        words: number of the column of words, from 1; None: the second of CoNLL-U, else the first.
        tags: of the tags: upos, xpos, deprel, ner, or a number; "none": none; None: upos of CoNLL-U, else the last.

    Raises:
        DataError: a file cannot be read, or has no such column.
    """
    files = [taken_apart(piece) for piece in pieces]
    main = files[0]
    at = _column(words, main, "input", default=1 if main.universal else 0)
    wanted = _column(tags, main, "label", default=3 if main.universal else main.width - 1) if tags != "none" else -1
    if wanted == at:
        if tags is not None:
            raise DataError(f"{main.name!r}: column {at + 1} cannot hold both the words and the tags")
        wanted = -1  # a file of words alone
    key = "NER=" if main.universal and tags == "ner" else ""
    parts = []
    for file in files:
        notes = [f"{file.name}: {file.skipped:,} ranges and empty nodes skipped"] if file.skipped else []
        own = wanted
        if file.width <= wanted and file.width < main.width:
            notes.append(f"{file.name} has {file.width} columns and so no tags; {main.name} has {main.width}")
            own = -1
        parts.append(Part(file.part or "train", list(_sentences(file, at, own, key)), notes))
    return parts, _said(main, at, wanted)


def _said(main: Lines, at: int, wanted: int) -> str:
    kind = "CoNLL-U" if main.universal else f"{main.width} columns"
    names = UNIVERSAL if main.universal else ()
    words, tags = (f"{one + 1}" + (f" ({names[one]})" if 0 <= one < len(names) else "") for one in (at, wanted))
    return f"{kind}; words from column {words}" + (f", tags from column {tags}" if wanted >= 0 else ", no tags")


def _column(asked: str | None, file: Lines, option: str, *, default: int) -> int:
    """Return the place of a column, from 0."""
    if asked is None:
        return default
    known = {name: place for place, name in enumerate(UNIVERSAL)} if file.universal else {"ner": file.width - 1}
    if not file.universal and file.width > 2:
        known |= {"pos": 1, "upos": 1}
    if file.universal:
        known |= {"pos": 3, "ner": 9}
    if _NUMBER.fullmatch(asked) and 1 <= int(asked) <= file.width:
        return int(asked) - 1
    if asked.casefold() in known and known[asked.casefold()] < file.width:
        return known[asked.casefold()]
    raise DataError(
        f"{file.name!r} has no column data.{option}={asked!r}{suggestion(asked, known)}; allowed are "
        f"{', '.join(known)}, or a number from 1 to {file.width}"
    )


def _sentences(file: Lines, at: int, wanted: int, key: str) -> Iterator[Sentence]:
    for block in file.blocks:
        where = f"{file.name} line {block.numbers[0]}"
        words, tags, broken = [], [], ""
        for number, cells in zip(block.numbers, block.rows, strict=True):
            if len(cells) != file.width or not cells[at].strip():
                what = f"{len(cells)} columns" if len(cells) != file.width else f"column {at + 1} is empty"
                broken = f"{file.name} line {number}: {what}, where a line has {file.width}"
                break
            words.append(cells[at])
            if wanted >= 0:
                tags.append(_within(cells[wanted], key) if key else told(cells[wanted]))
        name = f"{file.name}:{block.numbers[0]}"
        yield Sentence(name, () if broken else words, () if broken else tags, broken, where)


def _within(cell: str, key: str) -> str | None:
    """Return the tag in the last column of CoNLL-U, where it stands among others: "SpaceAfter=No|NER=B-LOC"."""
    found = next((part.removeprefix(key) for part in cell.split("|") if part.startswith(key)), None)
    return told(found)
