"""Which characters of a text each token stands for, and a question with its text as one stored row.

Places are counted in the text as it was given, whatever a tokenizer makes of it first (NFC, small letters, bytes).

Axis letters: `t` tokens.
"""

from __future__ import annotations

import json
import unicodedata
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from bodh.errors import BadRecord
from bodh.modalities import _tokenizers

_JOINERS = "\u200c\u200d"
_HEAD = 5
"""Numbers before everything else in a stored row: see `packed`."""
UNKNOWN, NONE = -2, -1
"""Places of an answer that was not told, and of one that there is not."""


class Record(NamedTuple):
    """A question, the text that may answer it, and what answers it."""

    question: str
    context: str
    answers: tuple[tuple[str, int], ...] | None
    """(text, place of its first character in `context`); none: the text has no answer; None: nobody has told"""


class Row(NamedTuple):
    """A record in tokens."""

    question: np.ndarray
    """ids int32 [q], nothing around them"""
    context: np.ndarray
    """ids int32 [t], likewise"""
    spans: np.ndarray
    """int32 [t 2]: first character of each token and the one after its last, white space left out"""
    first: int
    """token of the first answer's first character; or `NONE`, `UNKNOWN`"""
    last: int
    """token of its last"""
    content: bytes
    """the record as JSON"""

    @property
    def record(self) -> Record:
        """What the row was made of."""
        return parsed(self.content)


class Speller:
    """A tokenizer that tells which characters its tokens stand for.

    Args:
        definition: the bytes of a tokenizer.json.
    """

    def __init__(self, definition: bytes) -> None:
        self._definition = definition
        self._last: tuple[str, np.ndarray, np.ndarray] | None = None

    @cached_property
    def _tokenizer(self) -> Any:
        """The tokenizer, to which special tokens in a text are text, and which brings texts to NFC first."""
        found = _tokenizers.read(self._definition)
        found.encode_special_tokens = True
        normal = _tokenizers.library().normalizers
        found.normalizer = normal.Sequence([normal.NFC(), *([] if found.normalizer is None else [found.normalizer])])
        return found

    @cached_property
    def between(self) -> int:
        """How many end tokens stand between two texts of a row: one, as in BERT, or two, as in RoBERTa."""
        alone, both = (self._tokenizer.encode("", *more).ids for more in ((), ("",)))
        return max(1, len(both) - len(alone))

    def spelled(self, text: str) -> tuple[np.ndarray, np.ndarray]:
        """Return the ids int32 `[t]` of `text`, nothing around them, and their characters int32 `[t 2]`."""
        found = self._tokenizer.encode(text, add_special_tokens=False)
        spans = np.array(found.offsets, np.int32).reshape(-1, 2)
        for span in spans:
            start, stop = int(span[0]), int(span[1])
            while start < stop and text[start].isspace():
                start += 1
            while stop > start and text[stop - 1].isspace():
                stop -= 1
            span[:] = start, stop
        return np.array(found.ids, np.int32), spans

    def again(self, text: str) -> tuple[np.ndarray, np.ndarray]:
        """Return the same; the last text is remembered, for questions about one text come one after the other."""
        known = self._last
        if known is None or known[0] != text:
            known = self._last = text, *self.spelled(text)
        return known[1:]

    def __getstate__(self) -> dict[str, Any]:
        return {"_definition": self._definition, "_last": None}  # workers read the tokenizer themselves


def whole_letters(text: str, start: int, stop: int) -> tuple[int, int]:
    """Return places `start` to `stop` of `text`, widened: no letter is parted from its vowel signs or accents."""
    while 0 < start < len(text) and _continues(text[start]):
        start -= 1
    while stop < len(text) and _continues(text[stop]):
        stop += 1
    return start, stop


def _continues(letter: str) -> bool:
    """Tell whether a character is a part of the one before it: a combining sign, or a joiner."""
    return unicodedata.category(letter)[0] == "M" or letter in _JOINERS


def parsed(raw: bytes) -> Record:
    """Return the record in `raw`, JSON as sources of questions give it.

    Raises:
        BadRecord: it is none, or an answer does not stand where it should.
    """
    try:
        given = json.loads(raw)
        question, context, answers = str(given["question"]), str(given["context"]), given["answers"]
        told = None if answers is None else tuple((str(text), int(start)) for text, start in answers)
    except (ValueError, KeyError, TypeError, UnicodeDecodeError):
        raise BadRecord("no question with its text") from None
    for what, text in (("question", question), ("text", context)):
        if not text.strip():
            raise BadRecord(f"the {what} is empty")
    for text, start in told or ():
        if not text or start < 0 or context[start : start + len(text)] != text:
            raise BadRecord(f"the answer {text[:40]!r} does not stand at character {start} of the text")
    return Record(question, context, told)


def packed(raw: bytes, speller: Speller) -> np.ndarray:
    """Return a record as one row of int32: five numbers (tokens of the question, tokens of the text, first and last
    token of the answer, bytes of `raw`), both texts' ids, the characters of the tokens, and `raw`, four bytes a number.

    Raises:
        BadRecord: it cannot be read.
    """
    record = parsed(raw)
    context, spans = speller.again(record.context)
    question, _ = speller.spelled(record.question)
    if not len(question) or not len(context):
        raise BadRecord(f"the {'text' if len(question) else 'question'} has no token")
    first = last = UNKNOWN if record.answers is None else NONE
    if record.answers:
        text, start = record.answers[0]
        within = np.flatnonzero((spans[:, 1] > start) & (spans[:, 0] < start + len(text)))
        if not len(within):
            raise BadRecord(f"no token stands for the answer {text[:40]!r}")
        first, last = int(within[0]), int(within[-1])
    content = np.frombuffer(raw + b" " * (-len(raw) % 4), np.int32)
    head = np.array([len(question), len(context), first, last, len(raw)], np.int32)
    return np.concatenate([head, question, context, spans.reshape(-1), content])


def unpacked(row: np.ndarray) -> Row:
    """Return what `packed` made of a record."""
    questions, tokens, first, last, size = (int(number) for number in row[:_HEAD])
    question, context, spans, content = np.split(row[_HEAD:], np.cumsum([questions, tokens, 2 * tokens]))
    return Row(question, context, spans.reshape(-1, 2), first, last, np.ascontiguousarray(content).tobytes()[:size])
