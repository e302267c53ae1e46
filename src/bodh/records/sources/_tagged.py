"""A source of sentences whose words have tags, however they were written down."""

from __future__ import annotations

import logging
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from bodh.errors import BadRecord, DataError
from bodh.records.ids import natural_key
from bodh.records.sources._parts import digest

_log = logging.getLogger("bodh")

WORD, TAGS = "\x1f", "\x1e"
"""Between the words of a record, and between these and their tags (see `modalities.words`); in a word a space."""


@dataclass(frozen=True, slots=True)
class Sentence:
    """One record.

    Attributes:
        name: its id.
        words: as they stand.
        tags: [words] None where it is not known; empty where the sentence has none.
        broken: why it cannot be read; "" where it can.
        line: where it begins, for messages: "train.conll line 12".
    """

    name: str
    words: Sequence[str]
    tags: Sequence[str | None] = ()
    broken: str = ""
    line: str = ""


@dataclass(frozen=True)
class Part:
    """The sentences of one file.

    Attributes:
        part: "train", "val" or "test".
        sentences: in order.
        notes: what should be said of it.
    """

    part: str
    sentences: list[Sentence]
    notes: list[str] = field(default_factory=list)


class TaggedRows:
    """Sentences, read wholly when opened and kept as UTF-8, one after the other.

    Args:
        name: short name.
        origin: path; "" in memory.
        read: returns the sentences; a worker process calls it once more.
        told: how they are read, in a few words.
        names: of the tags, in order, where the data brings them.

    Raises:
        DataError: there is not one sentence, or not one that can be read.
    """

    modality = "words"
    targets: np.ndarray | None = None

    def __init__(
        self, name: str, origin: str, read: Callable[[], list[Part]], told: str, names: Sequence[str] = ()
    ) -> None:
        self.name, self.origin, self.reading = name, origin, told
        self.in_memory = not origin
        self._read = read
        parts = read()
        every = [sentence for part in parts for sentence in part.sentences]
        if not every:
            raise DataError(f"{name!r} holds no sentences; it is empty")
        if all(sentence.broken for sentence in every):
            raise DataError(f"none of the {len(every)} sentences of {name!r} can be read: {every[0].broken}")
        occurring = {tag for sentence in every for tag in sentence.tags if tag is not None}
        self.class_names: tuple[str, ...] = tuple(names) or tuple(sorted(occurring, key=natural_key))
        self._place = {tag: number for number, tag in enumerate(self.class_names)}
        self._rows: list[bytes | str] | None = [_row(sentence, self._place) for sentence in every]
        self.ids: Sequence[str] = [sentence.name for sentence in every]
        self.splits = np.repeat([part.part for part in parts], [len(part.sentences) for part in parts])
        self.fingerprint = digest("words", origin, *self._rows, *self.splits, *self.class_names)
        words = sum(len(sentence.words) for sentence in every)
        self.reading += f"; {len(every):,} sentences, {words:,} words, " + (
            f"{len(self.class_names)} tags: {_some(self.class_names)}" if self.class_names else "no tags"
        )
        self.notes = [*(note for part in parts for note in part.notes), *_unlearnable(parts)]
        counts = Counter(tag for sentence in every for tag in sentence.tags if tag is not None)
        if counts:
            shown = ", ".join(f"{tag} {count / counts.total():.1%}" for tag, count in counts.most_common(5))
            self.notes.append(f"the commonest tags, of {counts.total():,} words: {shown}")
        broken = [sentence for sentence in every if sentence.broken]
        if broken:
            many = f"{len(broken):,} sentences" if len(broken) > 1 else "a sentence"
            self.notes.append(f"{many} cannot be read; {broken[0].broken}")
        _log.info("%s: %s", name, self.reading)
        for note in self.notes:
            _log.info("%s: %s", name, note)

    def __len__(self) -> int:
        return len(self.ids)

    def __getstate__(self) -> dict[str, Any]:
        """Leave sentences behind: a worker reads its own."""
        return self.__dict__ | {"_rows": None, "ids": [], "splits": np.empty(0, "<U5"), "notes": []}

    def read(self, index: int) -> bytes:
        """Return words and numbers of tags of record `index` in UTF-8 (see `modalities.words`).

        Raises:
            BadRecord: the sentence is broken; with file and line.
        """
        if self._rows is None:
            self._rows = [_row(one, self._place) for part in self._read() for one in part.sentences]
        row = self._rows[index]
        if isinstance(row, str):
            raise BadRecord(row)
        return row


def _row(sentence: Sentence, place: dict[str, int]) -> bytes | str:
    """Return a sentence as bytes, or why that cannot be done."""
    if sentence.broken:
        return sentence.broken
    words = (word.replace(WORD, " ").replace(TAGS, " ") for word in sentence.words)
    numbers = (-1 if tag is None else place[tag] for tag in sentence.tags)
    said = unicodedata.normalize("NFC", WORD.join(words)) + TAGS + " ".join(map(str, numbers))
    try:
        return said.encode()
    except UnicodeEncodeError:
        return f"{sentence.line or sentence.name}: no Unicode text: half a surrogate pair"


def checked(name: str, words: Any, tags: Any, where: str) -> Sentence:
    """Return a sentence of words and tags that came as lists, broken where they do not fit.

    Args:
        name: its id.
        words: list of texts.
        tags: as many texts, or numbers that stand for some; None: it has none.
        where: file and line, for messages.
    """

    def broken(why: str) -> Sentence:
        return Sentence(name, (), (), f"{where}: {why}", where)

    if not isinstance(words, list | tuple) or not all(isinstance(word, str) for word in words):
        return broken(f"words are a list of texts, given {_short(words)}")
    if not words:
        return broken("there is no word in it")
    if tags is None:
        return Sentence(name, words, (), "", where)
    if not isinstance(tags, list | tuple) or not all(isinstance(tag, str | int) or tag is None for tag in tags):
        return broken(f"tags are a list of texts, given {_short(tags)}")
    if len(tags) != len(words):
        return broken(f"{len(words)} words, but {len(tags)} tags; every word has one")
    return Sentence(name, words, [told(tag) for tag in tags], "", where)


def told(tag: Any) -> str | None:
    """Return a tag as a text; None where it is empty, "_" or -1: not known."""
    text = "" if tag is None else str(tag).strip()
    return None if text in ("", "_", "-1") else text


def _unlearnable(parts: Iterable[Part]) -> Iterator[str]:
    """Yield what should be said of tags that occur in other parts but never in training."""
    parts = list(parts)
    known = {tag for part in parts if part.part == "train" for one in part.sentences for tag in one.tags}
    if not known - {None}:
        return
    found: Counter[str] = Counter()
    first: dict[str, str] = {}
    for part in parts:
        for sentence in part.sentences if part.part != "train" else ():
            for tag in sentence.tags:
                if tag is not None and tag not in known:
                    found[tag] += 1
                    first.setdefault(tag, sentence.line or sentence.name)
    for tag, count in found.most_common(5):
        yield f"tag {tag!r} ({first[tag]}; {count} words) never occurs in training: no model can learn it"
    if len(found) > 5:
        yield f"and {len(found) - 5} more such tags"


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:8]) + (f" … {names[-1]}" if len(names) > 8 else "")


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:59] + "…"
