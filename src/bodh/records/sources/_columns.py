"""Which columns of tables hold the texts, the labels, the parts and the ids, where nobody has said so."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from bodh.errors import DataError, suggestion
from bodh.records.labels import Labels, as_numbers, encode_labels, encode_lists
from bodh.records.sources._labels_file import missing
from bodh.records.sources._parts import SPLIT_WORDS

TEXTS = (
    "text", "sentence", "content", "document", "review", "message", "body", "utterance", "tweet", "comment", "query",
    "पाठ",
)  # fmt: skip
LABELS = (
    "label", "labels", "class", "classes", "target", "targets", "y", "category", "intent", "sentiment", "topic",
    "fine_label", "वर्ग",
)  # fmt: skip
PARTS = ("split", "part", "partition", "subset")
IDS = ("id", "ids", "uid", "guid")
_SAMPLE = 1000
"""Rows by which columns are judged."""
_CLASSES = 300
"""Most different values of a column that is taken for labels although its name does not say so."""
_LONG = 60
"""Letters of a value above which it is no class name."""

Values = list[Any]


@dataclass
class Table:
    """The rows of one file, or of one list in it.

    Attributes:
        name: prefix of its rows' ids.
        part: "train", "val", "test", or None where nothing tells.
        columns: name -> [rows] text, number, truth value, list, or None.
        numbers: [rows] what the rows are called: their lines, or positions.
        encoding: of the file.
        broken: position of a row -> why it cannot be read.
        blank: rows that were left out because nothing is in them.
        nuls: NUL characters that were left out.
        named: whether the file says what its columns are called.
        lines: whether `numbers` are lines of a file.
        notes: what else should be said.
    """

    name: str
    part: str | None
    columns: dict[str, Values]
    numbers: Sequence[int]
    encoding: str = "UTF-8"
    broken: dict[int, str] = field(default_factory=dict)
    blank: int = 0
    nuls: int = 0
    named: bool = True
    lines: bool = True
    notes: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.numbers)

    def column(self, name: str) -> Values:
        """Return a column, nothing where the table has none of that name."""
        return self.columns.get(name) or [None] * len(self)


def text_columns(table: Table, wanted: str | None, label: str | None) -> tuple[list[str], str]:
    """Return the columns that hold the texts, and why these, where they were not asked for.

    Args:
        table: the one for training.
        wanted: column, or several "a,b", whose texts are then joined; None: the only column of texts, one that is
            called as texts are, or the one with the longest texts on average.
        label: column of the labels, where it was asked for; it holds no texts.

    Raises:
        DataError: no such column, or none with texts.
    """
    names = list(table.columns)
    if wanted is not None:
        chosen = [wanted] if wanted in names else [name.strip() for name in wanted.split(",")]
        for name in chosen:
            if name not in names:
                raise DataError(
                    f"{table.name!r} has no column data.input={name!r}{suggestion(name, names)}; "
                    f"its columns are: {_shown(table)}"
                )
            some = [value for value in table.columns[name][:_SAMPLE] if value is not None]
            if some and all(isinstance(value, list | dict) for value in some):
                kind = "lists" if isinstance(some[0], list) else "objects"
                others = ", ".join(other for other in names if _length(table.columns[other]) is not None) or "none"
                raise DataError(
                    f"column {name!r} of {table.name!r} holds {kind}, no texts; columns of texts are: {others}"
                )
        return chosen, ""
    aside = {label, *(name for name in names if name.casefold() in (*LABELS, *PARTS, *IDS))}
    able = {name: size for name in names if (size := _length(table.columns[name])) is not None}
    free = {name: size for name, size in able.items() if name not in aside} or able
    if not free:
        raise DataError(
            f"{table.name!r} has no column of texts; its columns are: {_shown(table)}; choose one with data.input=NAME"
        )
    if len(free) == 1:
        return list(free), ""
    known = [name for word in TEXTS for name in free if name.casefold() == word]
    if known:
        return known[:1], f"by its name, of the columns {', '.join(names)}"
    longest = max(free, key=lambda name: free[name])
    return [longest], f"its texts are the longest, of the columns {', '.join(names)}"


def label_columns(tables: Sequence[Table], wanted: str | None, taken: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the columns of the labels, and others that could be.

    Args:
        tables: all, the one for training first.
        wanted: column, or several of measured numbers "x,y"; "none": no labels; None: one that is called as labels
            are, or the only one with few different short values.
        taken: columns of the texts.

    Raises:
        DataError: no such column.
    """
    names = list(dict.fromkeys(name for table in tables for name in table.columns))
    if wanted is not None:
        if wanted.casefold() == "none" and wanted not in names:
            return [], []
        chosen = [wanted] if wanted in names else [name.strip() for name in wanted.split(",")]
        for name in chosen:
            if name not in names:
                raise DataError(
                    f"{tables[0].name!r} has no column data.label={name!r}{suggestion(name, names)}; its columns are: "
                    f"{', '.join(names)}; without labels type data.label=none"
                )
        return chosen, []
    free = [name for name in names if name not in taken and name.casefold() not in (*PARTS, *IDS)]
    known = [name for word in LABELS for name in free if name.casefold() == word]
    if known:
        return known[:1], []
    able = [name for name in free if _few_values([value for table in tables for value in table.column(name)])]
    return (able, []) if len(able) == 1 else ([], able)


def labels_of(tables: Sequence[Table], columns: Sequence[str], names: Sequence[str], owner: str) -> Labels:
    """Return the labels in one column, or measured numbers of several, of all rows of all tables.

    Args:
        tables: in order.
        columns: at least one.
        names: class names by index, or by number from 1, where the data brings them.
        owner: whose labels they are, for messages.

    Raises:
        DataError: they are neither classes nor numbers.
    """
    parts = []
    for column in columns:
        what = f"column {column!r} of {owner!r}"
        values = [value for table in tables for value in table.column(column)]
        if any(isinstance(value, dict) for value in values):
            raise DataError(f"{what} holds objects; labels are numbers, words, or lists of them")
        if any(isinstance(value, list) for value in values):
            found = encode_lists([_as_list(value) for value in values], names, owner=what)
        else:
            found = encode_labels(_counted(_typed(values), names), names, owner=what, called=(column,))
        if len(columns) == 1:
            return found
        if found[0].ndim == 2:
            raise DataError(f"{what} holds lists; several columns must hold numbers each")
        parts.append(as_numbers(*found, owner=what)[0])
    return np.stack(parts, axis=1), tuple(columns)


def parts_of(tables: Sequence[Table]) -> tuple[np.ndarray, str]:
    """Return [rows] "train", "val" or "test", and how that was told: by files, by a column, or not at all."""
    if any(table.part for table in tables):
        return np.concatenate([np.full(len(table), table.part or "train", "<U5") for table in tables]), "files"
    for name in tables[0].columns:
        if name.casefold() in PARTS:
            words = [str(value).strip().casefold() for table in tables for value in table.column(name)]
            if set(words) <= set(SPLIT_WORDS) and len({SPLIT_WORDS[word] for word in words}) > 1:
                return np.array([SPLIT_WORDS[word] for word in words], "<U5"), f"column {name!r}"
    return np.full(sum(map(len, tables)), "train", "<U5"), ""


def ids_column(tables: Sequence[Table]) -> str | None:
    """Return the column that is called as ids are, or None."""
    return next((name for name in tables[0].columns if name.casefold() in IDS), None)


def _shown(table: Table) -> str:
    """Return the columns with an example each."""
    examples = {name: next((v for v in values if v not in (None, "")), "") for name, values in table.columns.items()}
    return ", ".join(f"{name} ({str(example)[:30] or 'empty'})" for name, example in examples.items()) or "none"


def _length(values: Values) -> float | None:
    """Return how long the texts of a column are on average; None where they are no texts."""
    some = [value for value in values[:_SAMPLE] if value not in (None, "")]
    words = [value for value in some if isinstance(value, str)]
    if 2 * len(words) <= len(some) or all(_number(value) for value in words):
        return None
    return float(np.mean([len(value) for value in words]))


def _few_values(values: Values) -> bool:
    """Whether these look like labels: from two to a few different short ones, each several times."""
    if any(isinstance(value, list | dict) for value in values[:_SAMPLE]):
        return False
    given = [str(value) for value in values if value is not None and not missing(str(value))]
    kinds = set(given)
    few = 2 <= len(kinds) <= min(_CLASSES, len(given) / 3)
    return few and all(len(kind) <= _LONG for kind in kinds)


def _typed(values: Values) -> np.ndarray:
    """Return whole numbers, floats, truth values or words, whichever all of `values` are; -1, NaN or None: missing."""
    given = [None if value is None or missing(str(value)) else value for value in values]
    known = [value for value in given if value is not None]
    if known and all(isinstance(value, bool) for value in known) and len(known) == len(given):
        return np.array(given, bool)
    try:
        whole = [int(value) for value in known if str(value) == str(int(value))]
        if known and len(whole) == len(known) and (min(whole) >= -1 or len(known) == len(given)):
            return np.array([-1 if value is None else int(value) for value in given], np.int64)
    except (ValueError, OverflowError):
        whole = []  # words, or numbers with a fraction
    try:
        return np.array([np.nan if value is None else float(value) for value in given])
    except ValueError:  # "none" is a word among words
        return np.array([None if value is None else str(value) for value in values], object)


def _counted(values: np.ndarray, names: Sequence[str]) -> np.ndarray:
    """Return classes from 0 where they are counted from 1 to the number of class names, as in lines of a file."""
    if not names or values.dtype.kind != "i" or not (values > 0).any():
        return values
    known = values[values >= 0]
    return np.where(values > 0, values - 1, values) if known.min() == 1 and known.max() == len(names) else values


def _as_list(value: Any) -> list[Any] | None:
    return value if isinstance(value, list) or value is None else [value]


def _number(value: str) -> bool:
    try:
        float(value)
    except ValueError:
        return False
    return True
