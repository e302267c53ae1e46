"""Pairs of texts: a sentence and its translation, a question and its answer; a model reads one and writes the other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import numpy as np
from annotated_types import Ge, Le
from pydantic import BaseModel, Field

from bodh.config.base import Config
from bodh.contracts import Shard, Source, ViewSpec
from bodh.errors import BadRecord, DataError
from bodh.modalities._codec import Codec, SpecialIds, Tokenised, sample, shared, text_of
from bodh.modalities._tokenizers import FILE

if TYPE_CHECKING:
    import torch
    from torch import Tensor

SEPARATOR = b"\x1e"
"""Between the two texts of a record, as sources give it: Unicode's record separator."""


class PairsConfig(Config):
    """How pairs of texts become token ids; one tokenizer is trained on both sides of the training records."""

    tokenizer: str = Field(
        "bpe",
        min_length=1,
        description="bpe (byte-level), wordpiece, unigram, characters: trained on both sides of the training pairs; or "
        "a path: a tokenizer.json, or the folder of a published model that has one",
    )
    vocabulary: Annotated[int, Ge(8), Le(2**20)] = Field(8192, description="most ids of a trained tokenizer")
    length: Annotated[int, Ge(4), Le(2**16)] = Field(
        128, description="most tokens of either text, begin and end included; longer ones are cut"
    )
    special: SpecialIds = Field(SpecialIds(), description="ids that mean something; found when the tokenizer is")


OBJECTIVE = ("seq2seq", "pairs of texts: one is read, the other written")
BACKBONE = "transformer"


class Modality(Tokenised):
    """Pairs as `contracts.Modality`: stored as int32 `[s + t]`, source and target, each from begin to end, whole.

    The input of a model is the source, int64 `[n s]`; the target is what it learns to write. A record without a
    target, one text alone, is a source.
    """

    name: ClassVar[str] = "pairs"
    verb: ClassVar[str] = "translate"
    reads: ClassVar[str] = "text"
    answers: ClassVar[bool] = True
    """What a model of pairs writes is compared with the target, so some are set aside as labelled records are."""

    def __init__(self, config: BaseModel, files: Mapping[str, bytes] | None = None) -> None:
        self.config = config if isinstance(config, PairsConfig) else PairsConfig.model_validate(config.model_dump())
        self._codec = Codec((files or {}).get(FILE), self.config.special)

    @classmethod
    def fit(cls, source: Source, config: BaseModel) -> Modality:
        """Train one tokenizer on both texts of the training pairs, or take a published one.

        Raises:
            ConfigError: no such tokenizer, or a vocabulary too small for it.
            DataError: no record is a readable pair.
            MissingExtra: the package `tokenizers` is not installed.
        """
        given = cls(config).config
        texts = sample(source, _insist_on_two)
        codec = Codec.fit(given.tokenizer, texts, vocabulary=given.vocabulary, length=given.length)
        return cls(given.model_copy(update=codec.settings()), codec.files())

    @classmethod
    def adopt(cls, other: Any, config: BaseModel | None, source: Source | None) -> Modality | None:  # noqa: ARG003
        """Return how a model that reads texts, `other`, reads pairs: with its tokenizer; None: it reads none."""
        return cls(PairsConfig(**shared(other.config)), other.files()) if other.name == "text" else None

    def decode(self, raw: bytes | np.ndarray) -> np.ndarray:
        """Return a pair, UTF-8 with U+001E between, as int32 `[s + t]`; one text alone as its source, int32 `[s]`.

        A third text, a hard negative, may come after them.

        Raises:
            BadRecord: with a short reason.
        """
        texts = _texts(raw)
        rows = [self._codec.row(text) for text in texts]
        if self.config.special.begin is None:  # what a decoder reads first
            rows[1:] = [np.concatenate([[np.int32(self.tokens().begin)], row]) for row in rows[1:]]
        return np.concatenate(rows)

    def encode(self, text: str) -> np.ndarray:
        """Return the ids of `text` as a source, int32 `[s]`."""
        return self._codec.row(text)

    def sides(self, row: np.ndarray) -> tuple[np.ndarray, ...]:
        """Return the ids of the source `[s]`, of the target `[t]` and of a hard negative, as many as a row has."""
        found = []
        while len(row):
            ends = np.flatnonzero(row[1:] == self.config.special.end)  # what stands first may be the same id
            cut = int(ends[0]) + 2 if len(ends) else len(row)
            found.append(row[:cut])
            row = row[cut:]
        return tuple(found)

    def standardise(self, rows: np.ndarray | list[np.ndarray]) -> np.ndarray:
        """Return the sources of rows as int64 `[n s]`: cut to `length`, the end token last, filled up at the end."""
        return self._codec.filled([self.sides(row)[0] for row in rows], self.config.length)

    def cut(self, lengths: np.ndarray) -> np.ndarray:
        """Return how many tokens of pairs of `lengths` [n] are read, at most `length` of either text."""
        read: np.ndarray = np.minimum(lengths, 2 * self.config.length)
        return read

    def views(
        self, rows: np.ndarray | list[np.ndarray], spec: ViewSpec, seed: int, shard: Shard, device: torch.device
    ) -> tuple[Tensor, ...]:
        """Return one view an entry of `spec`: the target int64 `[n t]` for "target", else the source int64 `[n s]`.

        With the option "negative" a target is the third text of a record. Nothing varies.

        Raises:
            DataError: a record has no such text.
        """
        import torch

        del seed, shard
        sides = [self.sides(row) for row in rows]
        wanted = [0 if view.kind != "target" else 2 if view.options.get("negative") else 1 for view in spec]
        if min(map(len, sides)) <= max(wanted):
            what = "target: one text, where a pair was expected" if max(wanted) == 1 else "hard negative"
            raise DataError(f"a record has no {what}; give pairs of texts")
        filled = {
            place: torch.from_numpy(self._codec.filled([one[place] for one in sides], self.config.length)).to(device)
            for place in set(wanted)
        }
        return tuple(filled[place] for place in wanted)

    def describe(self, row: np.ndarray) -> str:
        """Return a stored pair in words, for pages and reports."""
        source, *others = map(self.text, self.sides(row))
        return " → ".join([source, *others[:1]]) + "".join(f" (not: {other})" for other in others[1:])

    def texts(self, rows: np.ndarray | list[np.ndarray]) -> list[str]:
        """Return the sources of stored rows as texts, for floors that count words."""
        return [self.text(self.sides(row)[0]) for row in rows]

    def show(self, row: np.ndarray, size: int = 64) -> bytes:
        """Return a stored pair as a PNG: a dot a token, 16 a line, darker where the id is rarer."""
        return self._codec.picture(row, size)


def _texts(raw: bytes | np.ndarray) -> list[str]:
    """Return source and target, or one text alone."""
    if isinstance(raw, np.ndarray):
        raise BadRecord(f"an array of {raw.dtype}, shape {list(raw.shape)}; a pair is UTF-8 bytes")
    parts = raw.split(SEPARATOR)
    if len(parts) > 3:
        raise BadRecord(f"{len(parts)} texts, with U+001E between them; a pair is two, or three with a hard negative")
    found = []
    for part, what in zip(parts, ("source", "target", "hard negative"), strict=False):
        if len(parts) > 1 and not part.strip():
            raise BadRecord(f"the {what} is empty")
        found.append(text_of(part))
    return found


def _insist_on_two(raw: bytes | np.ndarray) -> list[str]:
    found = _texts(raw)
    if len(found) < 2:
        raise BadRecord("one text, where a pair was expected")
    return found
