"""Questions about texts: the answer is a piece of the text, told by where it begins and ends."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, NamedTuple

import numpy as np
from annotated_types import Ge, Le
from pydantic import BaseModel, Field

from bodh.config.base import Config
from bodh.contracts import Json, Shard, Source, Task, ViewSpec, derive_seed
from bodh.errors import BadRecord, ConfigError, DataError
from bodh.modalities._codec import Codec, SpecialIds, Tokenised, sample
from bodh.modalities._spans import UNKNOWN, Row, Speller, packed, parsed, unpacked, whole_letters
from bodh.modalities._tokenizers import FILE

if TYPE_CHECKING:
    import torch
    from torch import Tensor

LENGTH = 384
"""Most tokens of a row where neither user nor model says (Devlin et al. 2018 take as many for SQuAD)."""
NUMBERS_A_TOKEN = 4
"""Numbers of a stored row that go with each of its tokens, about: id, two places, and some bytes of text."""


class QuestionsConfig(Config):
    """How a question and its text become rows of token ids: long texts in windows that overlap."""

    tokenizer: str = Field(
        "bpe",
        min_length=1,
        description="bpe (byte-level), wordpiece, unigram, characters: trained on the training questions and texts; or "
        "a path: a tokenizer.json, or the folder of a published model that has one; a model to start from has its own",
    )
    vocabulary: Annotated[int, Ge(8), Le(2**20)] = Field(8192, description="most ids of a trained tokenizer")
    length: Annotated[int, Ge(16), Le(2**16)] | None = Field(
        None,
        description=f"most tokens of a question with a window of its text; none: of the texts of the model that is "
        f"started from, else {LENGTH}",
    )
    question: Annotated[int, Ge(1), Le(2**16)] = Field(
        64, description="most tokens of a question, and never more than half a row; longer ones are cut"
    )
    stride: Annotated[int, Ge(1), Le(2**16)] | None = Field(
        None, description="tokens from the start of a window to the start of the next; none: half a window"
    )
    answered: float = Field(
        0.5,
        ge=0,
        le=1,
        description="of a text of several windows one is drawn every time in training: in this share of the draws one "
        "with the answer in it, else any",
    )
    unanswerable: bool | None = Field(
        None, description="whether a text may lack the answer, which is told then; none: as in the training records"
    )
    special: SpecialIds = Field(SpecialIds(), description="ids that mean something; found when the tokenizer is")


OBJECTIVE = ("extract", "questions about texts, answered by a piece of the text")
BACKBONE = "transformer"


class Window(NamedTuple):
    """A row that a network reads: a question and a part of its text."""

    ids: np.ndarray
    """int32 [t]: begin, question, end, part of the text, end"""
    place: int
    """in the row, of the first token of the text"""
    start: int
    """which token of the text that is"""
    stop: int
    """the token of the text after the last one"""


class Modality(Tokenised):
    """Questions as `contracts.Modality`: stored as int32 (`_spans.packed`), read as windows, int64 `[n t]`.

    The input of a model is one window, of a record alone its first.
    """

    name: ClassVar[str] = "questions"
    answers: ClassVar[bool] = True
    """Records bring their answers themselves, so some are set aside as labelled records are."""
    reads: ClassVar[str] = "text"
    task: ClassVar[Task] = "span"

    def __init__(self, config: BaseModel, files: Mapping[str, bytes] | None = None) -> None:
        given = config if isinstance(config, QuestionsConfig) else QuestionsConfig.model_validate(config.model_dump())
        self.config = given.model_copy(update={"length": given.length or LENGTH})
        definition = (files or {}).get(FILE)
        self._codec = Codec(definition, given.special)
        self._speller = Speller(definition or b"")

    @classmethod
    def fit(cls, source: Source, config: BaseModel) -> Modality:
        """Train a tokenizer on the questions and texts of the training records, or take a published one.

        Raises:
            ConfigError: no such tokenizer, or a vocabulary too small for it.
            DataError: no record is a readable question.
            MissingExtra: the package `tokenizers` is not installed.
        """
        given = cls(config).config
        codec = Codec.fit(given.tokenizer, _texts(source), vocabulary=given.vocabulary, length=given.length or LENGTH)
        return cls._fitted(given, codec, source)

    @classmethod
    def adopt(cls, other: Any, config: BaseModel, source: Source) -> Modality | None:
        """Return how a model that reads `other`, plain texts, reads questions: with its tokenizer, in rows as long.

        Args:
            other: modality of the model.
            config: of questions, as the user gave it.
            source: of questions.

        Returns:
            None where it reads no texts.

        Raises:
            ConfigError: another tokenizer was asked for.
        """
        if other.name != "text":
            return None
        given = QuestionsConfig.model_validate(config.model_dump())
        if given.tokenizer != QuestionsConfig().tokenizer:
            raise ConfigError(
                f"modality.tokenizer: {given.tokenizer!r} was asked for, but the model that is started from knows only "
                "its own tokenizer's ids; leave it out"
            )
        told = {"length": given.length or other.config.length, "vocabulary": other.config.vocabulary}
        codec = Codec(other.files()[FILE], other.config.special, name=other.config.tokenizer)
        return cls._fitted(given.model_copy(update=told), codec, source)

    @classmethod
    def _fitted(cls, given: QuestionsConfig, codec: Codec, source: Source) -> Modality:
        lacks = given.unanswerable if given.unanswerable is not None else _some_unanswered(source)
        told = {"special": codec.special, "tokenizer": codec.name, "unanswerable": lacks}
        return cls(given.model_copy(update=told), {FILE: codec.definition})

    def raw(self, record: Mapping[str, Any]) -> bytes:
        """Return {"question", "context"} as the record that a source would give, its answer not told.

        Raises:
            DataError: something is missing, or no text.
        """
        if lost := [name for name in ("question", "context") if not isinstance(record.get(name), str)]:
            raise DataError(
                f"a question without {lost[0]!r} as a text, given {', '.join(map(repr, record)) or 'nothing'}; allowed "
                'is {"question": "…", "context": "…"}'
            )
        told = {"question": record["question"], "context": record["context"], "answers": None}
        return json.dumps(told, ensure_ascii=False).encode("utf-8", "replace")  # half a surrogate pair is no character

    def decode(self, raw: bytes | np.ndarray) -> np.ndarray:
        """Return a record, JSON with question, context and answers, as a row of int32; see `_spans.packed`.

        Raises:
            BadRecord: with a short reason.
        """
        if isinstance(raw, np.ndarray):
            raise BadRecord(f"an array of {raw.dtype}, shape {list(raw.shape)}; a question is JSON in UTF-8")
        return packed(raw, self._speller)

    def row(self, stored: np.ndarray) -> Row:
        """Return what stands in a stored row."""
        return unpacked(stored)

    def windows(self, row: Row) -> list[Window]:
        """Return the rows that a network reads of a record, from the start of its text to the end.

        Every window but the last is full; each starts `stride` tokens after the one before.
        """
        special, length = self.config.special, self.config.length or LENGTH
        begin = [] if special.begin is None else [special.begin]
        ends = [special.end] * self._speller.between
        question = row.question[: min(self.config.question, length // 2)]
        head = np.array([*begin, *question, *ends], np.int32)
        room = max(1, length - len(head) - 1)
        step = min(self.config.stride or max(1, room // 2), room)
        found = []
        for start in range(0, len(row.context), step):
            stop = min(start + room, len(row.context))
            ids = np.concatenate([head, row.context[start:stop], np.array([special.end], np.int32)])
            found.append(Window(ids, len(head), start, stop))
            if stop == len(row.context):
                break
        return found

    def answer(self, record: Any, row: Row, first: int, last: int) -> tuple[str, int, int]:
        """Return the text from token `first` to token `last`, and where in the context it begins and ends.

        Args:
            record: of the row.
            row: in tokens.
            first: token of the context.
            last: likewise, not before `first`.
        """
        start, stop = whole_letters(record.context, int(row.spans[first, 0]), int(row.spans[first : last + 1, 1].max()))
        return record.context[start:stop], start, stop

    def standardise(self, rows: np.ndarray | list[np.ndarray]) -> np.ndarray:
        """Return the first windows of stored rows as int64 `[n t]`, filled up at the end."""
        return self.filled([self.windows(unpacked(row))[0].ids for row in rows])

    def filled(self, windows: list[np.ndarray]) -> np.ndarray:
        """Return the ids of windows as int64 `[n t]`, filled up at the end."""
        return self._codec.filled(windows, self.config.length or LENGTH)

    def cut(self, lengths: np.ndarray) -> np.ndarray:
        """Return how many tokens are read of rows of `lengths` [n], about."""
        read: np.ndarray = np.minimum(lengths // NUMBERS_A_TOKEN, self.config.length or LENGTH)
        return read

    def views(
        self, rows: np.ndarray | list[np.ndarray], spec: ViewSpec, seed: int, shard: Shard, device: torch.device
    ) -> tuple[Tensor, ...]:
        """Return (window int64 `[n t]`, places int64 `[n 2]`) for two views, else the window an entry of `spec`.

        Of a "weak" view one of a record's windows is drawn; else it is the one that shows most around the answer.
        Places are of the answer's first and last token in the window, both 0 where it does not hold all of it.

        Raises:
            DataError: a record does not tell its answer, and two views were asked for.
        """
        import torch

        random = np.random.Generator(np.random.PCG64(derive_seed("windows", seed)))
        drawn = random.random((shard.total, 2))[shard.start : shard.stop]
        chosen, places = [], []
        for stored, luck in zip(rows, drawn, strict=True):
            row = unpacked(stored)
            if len(spec) > 1 and row.first == UNKNOWN:
                raise DataError("a question does not tell its answer, which is to be learned; give answers")
            window = self._drawn(row, luck) if spec[0].kind == "weak" else self._best(row)
            chosen.append(window.ids)
            places.append(_places(window, row))
        ids = torch.from_numpy(self.filled(chosen)).to(device)
        if len(spec) == 2:
            return ids, torch.tensor(places, dtype=torch.int64, device=device).reshape(-1, 2)
        return (ids,) * len(spec)

    def _drawn(self, row: Row, luck: np.ndarray) -> Window:
        """Return one of a record's windows, by two numbers from 0 to 1."""
        windows = self.windows(row)
        holding = [window for window in windows if _holds(window, row)]
        among = holding if holding and luck[0] < self.config.answered else windows
        return among[int(luck[1] * len(among))]

    def _best(self, row: Row) -> Window:
        """Return the window that shows most on either side of the answer; the first where there is none."""
        windows = self.windows(row)
        holding = [window for window in windows if _holds(window, row)]
        return max(holding, key=lambda one: min(row.first - one.start, one.stop - 1 - row.last), default=windows[0])

    @property
    def weights_arguments(self) -> Json:
        """What published weights that tell the texts of a row apart must know: the id that stands between them."""
        return {"separator": self.tokens().end}

    def store_key(self) -> str:
        """Return what the stored form of a record depends on: the tokenizer."""
        digest = hashlib.sha256(self._codec.definition).hexdigest()
        return json.dumps({"version": 1, "tokenizer": digest})

    def describe(self, row: np.ndarray) -> str:
        """Return a stored record in words: the question, and the text with the answer marked in it."""
        record = unpacked(row).record
        context = record.context
        if record.answers:
            text, start = record.answers[0]
            context = f"{context[:start]}«{text}»{context[start + len(text) :]}"
        return f"{record.question} {context}"

    def show(self, row: np.ndarray, size: int = 64) -> bytes:
        """Return a stored record as a PNG: a dot a token of its first window, 16 a line."""
        return self._codec.picture(self.windows(unpacked(row))[0].ids, size)


def _holds(window: Window, row: Row) -> bool:
    """Return whether a window holds the whole answer."""
    return row.first >= 0 and window.start <= row.first and row.last < window.stop


def _places(window: Window, row: Row) -> tuple[int, int]:
    """Return where in a window the answer's first and last token stand; 0 and 0 where it is not in it."""
    if not _holds(window, row):
        return 0, 0
    return window.place + row.first - window.start, window.place + row.last - window.start


def _texts(source: Source) -> Iterator[str]:
    """Yield questions and texts of the training records; a text of many questions in a row counts once."""
    before = ""

    def texts_of(raw: bytes | np.ndarray) -> tuple[str, ...]:
        nonlocal before
        record = parsed(bytes(raw))
        known, before = record.context == before, record.context
        return (record.question,) if known else (record.question, record.context)

    return sample(source, texts_of)


def _some_unanswered(source: Source) -> bool:
    """Return whether the text of a training record lacks the answer."""
    for position in np.flatnonzero(np.asarray(source.splits) == "train").tolist():
        try:
            record = parsed(bytes(source.read(position)))
        except BadRecord:
            continue
        if record.answers == ():
            return True
    return False
