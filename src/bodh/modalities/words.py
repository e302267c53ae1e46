"""Sentences as lists of words, each of which may have a tag: part of speech, named entity, punctuation."""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import numpy as np
from annotated_types import Ge, Le
from pydantic import BaseModel, Field

from bodh.config.base import Config
from bodh.contracts import Shard, Source, Task, ViewSpec
from bodh.errors import BadRecord, ConfigError
from bodh.modalities._codec import Codec, SpecialIds, Tokenised, sample, text_of
from bodh.modalities._tokenizers import FILE, blocks, spans

if TYPE_CHECKING:
    import torch
    from torch import Tensor

WORD, TAGS = b"\x1f", b"\x1e"
"""Between the words of a record, and between these and their tags, as sources give it: Unicode's separators."""
INSIDE, UNKNOWN, IGNORED = -1, -2, -100
"""In the place of a tag: a piece that begins no word, a word whose tag is not known, what the loss leaves out."""


LENGTH = 128
"""Most tokens of a row where neither user nor model says."""


class WordsConfig(Config):
    """How sentences of words become token ids; a tokenizer is trained on the training sentences."""

    tokenizer: str = Field(
        "bpe",
        min_length=1,
        description="bpe (byte-level), wordpiece, unigram, characters: trained on the training sentences; or a path: "
        "a tokenizer.json, or the folder of a published model that has one",
    )
    vocabulary: Annotated[int, Ge(8), Le(2**20)] = Field(8192, description="most ids of a trained tokenizer")
    length: Annotated[int, Ge(4), Le(2**16)] | None = Field(
        None,
        description=f"most tokens of a sentence, begin and end included; longer ones are cut in training; none: of the "
        f"texts of the model that is started from, else {LENGTH}",
    )
    special: SpecialIds = Field(SpecialIds(), description="ids that mean something; found when the tokenizer is")


OBJECTIVE = ("tag", "words with tags: a tag for every word from the words around it")
BACKBONE = "transformer"


class Modality(Tokenised):
    """Sentences as `contracts.Modality`: stored as int32 `[t 3]`, of every token its id, tag and word.

    The first piece of a word carries the word's tag (or UNKNOWN) and a number of 31 bits that stands for the word as
    it was written; other pieces carry INSIDE and 0. Words are read with one space between them, however they stood.
    """

    name: ClassVar[str] = "words"
    answers: ClassVar[bool] = True
    task: ClassVar[Task] = "tags"
    given: ClassVar[None] = None
    """Files that are given to be used are read as what they are: texts, or words."""
    weights: ClassVar[str] = "text"
    """Whose published weights read such records, too."""

    def __init__(self, config: BaseModel, files: Mapping[str, bytes] | None = None) -> None:
        given = config if isinstance(config, WordsConfig) else WordsConfig.model_validate(config.model_dump())
        self.config = given.model_copy(update={"length": given.length or LENGTH})
        self._length = given.length or LENGTH
        self._codec = Codec((files or {}).get(FILE), self.config.special)

    @classmethod
    def fit(cls, source: Source, config: BaseModel) -> Modality:
        """Train a tokenizer on the training sentences, words with a space between, or take a published one.

        Raises:
            ConfigError: no such tokenizer, or a vocabulary too small for it.
            DataError: no record is a readable sentence.
            MissingExtra: the package `tokenizers` is not installed.
        """
        given = cls(config).config
        texts = sample(source, lambda raw: (" ".join(_read(raw)[0]),))
        codec = Codec.fit(given.tokenizer, texts, vocabulary=given.vocabulary, length=given.length or LENGTH)
        return cls(given.model_copy(update=codec.settings()), codec.files())

    @classmethod
    def adopt(cls, other: Any, config: BaseModel, source: Source) -> Modality | None:  # noqa: ARG003
        """Return how a model that reads `other`, plain texts, reads sentences: with its tokenizer, in rows as long.

        Args:
            other: modality of the model.
            config: of sentences, as the user gave it.
            source: of sentences.

        Returns:
            None where it reads no texts.

        Raises:
            ConfigError: another tokenizer was asked for, or longer rows than the model reads.
        """
        if other.name != "text":
            return None
        given, known = WordsConfig.model_validate(config.model_dump()), other.config
        if given.tokenizer != WordsConfig().tokenizer:
            raise ConfigError(
                f"modality.tokenizer: {given.tokenizer!r} would give other ids than the model was trained with; "
                "leave it out: the model has its own"
            )
        if (given.length or 0) > known.length:
            raise ConfigError(
                f"modality.length: the model reads up to {known.length} tokens, given {given.length}; leave it out"
            )
        own = {"tokenizer": known.tokenizer, "vocabulary": known.vocabulary, "special": known.special}
        length = given.length or known.length
        return cls(given.model_copy(update={**own, "length": length}), other.files())

    def decode(self, raw: bytes | np.ndarray) -> np.ndarray:
        """Return a sentence as int32 `[t 3]`: words and tags as sources give them, or a plain text, split into words.

        Raises:
            BadRecord: with a short reason.
        """
        words, tags = _read(raw)
        ids, first = self._codec.words(words)
        row = np.zeros((len(ids), 3), np.int32)
        row[:, 0], row[:, 1] = ids, INSIDE
        row[first, 1] = UNKNOWN if tags is None else np.where(np.array(tags) < 0, UNKNOWN, tags)
        row[first, 2] = [zlib.crc32(word.encode()) >> 1 for word in words]
        return row

    def of_words(self, words: Sequence[str]) -> bytes:
        """Return words as the record that a source would give, their tags not told."""
        written = (word.replace("\x1e", " ").replace("\x1f", " ").encode("utf-8", "replace") for word in words)
        return WORD.join(written) + TAGS

    def spans(self, raw: bytes | np.ndarray, *, spaces: bool = False) -> tuple[str, list[tuple[int, int]]]:
        """Return the text of a record, in Unicode's NFC, and (start, stop) of its words in characters.

        Args:
            raw: words as sources give them, of which the text has a space between, or a plain text.
            spaces: words of a plain text are what stands between spaces; else see `_tokenizers.spans`.

        Raises:
            BadRecord: with a short reason.
        """
        if isinstance(raw, bytes) and TAGS in raw:
            words = _read(raw)[0]
            stops = np.cumsum([len(word) + 1 for word in words]).tolist()
            return " ".join(words), [(stop - 1 - len(word), stop - 1) for word, stop in zip(words, stops, strict=True)]
        text = text_of(raw)
        return text, (blocks if spaces else spans)(text)

    def encode(self, text: str) -> np.ndarray:
        """Return the ids of `text`, split into words, int32 `[t]`."""
        ids: np.ndarray = self.decode(text.encode("utf-8", "replace"))[:, 0]
        return ids

    def windows(self, row: np.ndarray) -> list[np.ndarray]:
        """Return a stored row as rows of at most `length` tokens, whole words in each; most are one.

        A word that is longer than a whole row is cut.
        """
        length = self._length
        if len(row) <= length:
            return [row]
        head = 0 if self.config.special.begin is None else 1
        room = length - head - 1
        inner = row[head:-1]
        starts = [*np.flatnonzero(inner[:, 1] != INSIDE).tolist(), len(inner)]
        parts, begin = [], 0
        for here, after in itertools.pairwise(starts):
            if after - begin > room and here > begin:
                parts.append(inner[begin:here])
                begin = here
        parts.append(inner[begin:])
        return [np.concatenate([row[:head], part[:room], row[-1:]]) for part in parts]

    def standardise(self, rows: np.ndarray | list[np.ndarray]) -> np.ndarray:
        """Return the ids of rows as int64 `[n t]`: cut to `length`, the end token last, filled up at the end."""
        return self._codec.filled([row[:, 0] for row in rows], self._length)

    def targets(self, rows: np.ndarray | list[np.ndarray]) -> np.ndarray:
        """Return the tags of rows as int64 `[n t]` beside what `standardise` gives; IGNORED where there is none."""
        width = self.standardise(rows).shape[1]
        out = np.full((len(rows), width), IGNORED, np.int64)
        for place, row in zip(out, rows, strict=True):
            known = row[: width - 1 if len(row) > width else width, 1]
            place[: len(known)] = np.where(known >= 0, known, IGNORED)
        return out

    def cut(self, lengths: np.ndarray) -> np.ndarray:
        """Return how many tokens of sentences of `lengths` [n] are read."""
        read: np.ndarray = np.minimum(lengths, self._length)
        return read

    def views(
        self, rows: np.ndarray | list[np.ndarray], spec: ViewSpec, seed: int, shard: Shard, device: torch.device
    ) -> tuple[Tensor, ...]:
        """Return ids, int64 `[n t]`, for every view of `spec`, and tags `[n t]` for a view "target". Nothing varies."""
        import torch

        del seed, shard
        found = (self.targets(rows) if view.kind == "target" else self.standardise(rows) for view in spec)
        return tuple(torch.from_numpy(array).to(device) for array in found)

    def describe(self, row: np.ndarray) -> str:
        """Return a stored sentence in words, for pages and reports."""
        return self.text(row[:, 0])

    def texts(self, rows: np.ndarray | list[np.ndarray]) -> list[str]:
        """Return stored rows as texts, for floors that count words."""
        return [self.text(row[:, 0]) for row in rows]

    def show(self, row: np.ndarray, size: int = 64) -> bytes:
        """Return a stored sentence as a PNG: a dot a token, 16 a line, darker where the id is rarer."""
        return self._codec.picture(row[:, 0], size)


def _read(raw: bytes | np.ndarray) -> tuple[list[str], list[int] | None]:
    """Return words, and the numbers of their tags where there are any."""
    if isinstance(raw, bytes) and TAGS in raw:
        said, _, numbers = raw.partition(TAGS)
        words = text_of(said).split(WORD.decode())
        tags = [int(number) for number in numbers.split()] or None
        if tags is not None and len(tags) != len(words):
            raise BadRecord(f"{len(words)} words, but {len(tags)} tags")
        return words, tags
    text = text_of(raw)
    return [text[start:stop] for start, stop in spans(text)], None
