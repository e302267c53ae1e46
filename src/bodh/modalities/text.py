"""Texts: sentences, messages, documents, in any script; read as token ids."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import numpy as np
from annotated_types import Ge, Le
from pydantic import BaseModel, Field

from bodh.config.base import Config
from bodh.contracts import Shard, Source, ViewSpec, derive_seed
from bodh.modalities._codec import Codec, SpecialIds, Tokenised, sample, shared, text_of
from bodh.modalities._tokenizers import FILE
from bodh.views.text import Marks, TextViews, settings_of, vary

if TYPE_CHECKING:
    import torch
    from torch import Tensor


class TextConfig(Config):
    """How texts become token ids and how they may vary; a tokenizer is trained on the training records."""

    tokenizer: str = Field(
        "bpe",
        min_length=1,
        description="bpe (byte-level), wordpiece, unigram, characters: trained on the training texts; or a path: "
        "a tokenizer.json, or the folder of a published model that has one",
    )
    vocabulary: Annotated[int, Ge(8), Le(2**20)] = Field(8192, description="most ids of a trained tokenizer")
    length: Annotated[int, Ge(4), Le(2**16)] = Field(
        128, description="most tokens of a row, begin and end included; longer texts are cut"
    )
    special: SpecialIds = Field(SpecialIds(), description="ids that mean something; found when the tokenizer is")
    views: TextViews = Field(TextViews(), description="how views may vary")


OBJECTIVE = ("masked_lm", "a word from the words around it, what texts teach best")
BACKBONE = "transformer"


class Modality(Tokenised):
    """Texts as `contracts.Modality`: stored as int32 `[t]`, begin + ids + end, whole; prepared to int64 `[n t]`."""

    name: ClassVar[str] = "text"

    def __init__(self, config: BaseModel, files: Mapping[str, bytes] | None = None) -> None:
        self.config = config if isinstance(config, TextConfig) else TextConfig.model_validate(config.model_dump())
        self._codec = Codec((files or {}).get(FILE), self.config.special)

    @classmethod
    def fit(cls, source: Source, config: BaseModel) -> Modality:
        """Train the tokenizer on the training texts of `source`, at most 128 MiB of them, or take a published one.

        Raises:
            ConfigError: no such tokenizer, or a vocabulary too small for it.
            DataError: no record is a readable text.
            MissingExtra: the package `tokenizers` is not installed.
        """
        given = cls(config).config
        texts = sample(source, lambda raw: (text_of(raw),))
        codec = Codec.fit(given.tokenizer, texts, vocabulary=given.vocabulary, length=given.length)
        return cls(given.model_copy(update=codec.settings()), codec.files())

    @classmethod
    def adopt(cls, other: Any, config: BaseModel | None, source: Source | None) -> Modality | None:  # noqa: ARG003
        """Return how a model of `other`, pairs of texts, reads a text alone: as a source; None: it reads none."""
        reads_texts = getattr(other, "reads", "") == cls.name
        return cls(TextConfig(**shared(other.config)), other.files()) if reads_texts else None

    def decode(self, raw: bytes | np.ndarray) -> np.ndarray:
        """Return a text, UTF-8, as int32 `[t]`: begin + ids + end, whole. What looks like a special token is text.

        Raises:
            BadRecord: with a short reason.
        """
        return self._codec.row(text_of(raw))

    def encode(self, text: str) -> np.ndarray:
        """Return the ids of `text`, int32 `[t]`, with begin and end; special tokens in it ("[MASK]") are themselves."""
        return self._codec.row(text, marked=True)

    def standardise(self, rows: np.ndarray | list[np.ndarray]) -> np.ndarray:
        """Return rows as int64 `[n t]`: cut to `length`, the end token last, and filled up at the end.

        Filled up to the longest of them, rounded up to a multiple of 8. Rows of `length` pass untouched.
        """
        return self._codec.filled(rows, self.config.length)

    def divide(self, row: np.ndarray, share: float) -> tuple[np.ndarray, np.ndarray]:
        """Return a stored text as two, cut where a word starts; the first has about this share of its tokens.

        Raises:
            DataError: it is a single token.
        """
        return self._codec.divide(row, share)

    def cut(self, lengths: np.ndarray) -> np.ndarray:
        """Return how many tokens of texts of `lengths` [n] are read."""
        read: np.ndarray = np.minimum(lengths, self.config.length)
        return read

    def views(
        self, rows: np.ndarray | list[np.ndarray], spec: ViewSpec, seed: int, shard: Shard, device: torch.device
    ) -> tuple[Tensor, ...]:
        """Return one view, int64 `[n t]`, an entry of `spec`; see `contracts.Modality.views` and `views.text`.

        All views have the t of the longest of them, so that they can be joined.

        Raises:
            ConfigError: a view's options are out of range.
        """
        import torch

        special = self.config.special
        marks = Marks(special.padding, special.begin, special.end, special.mask)
        drawn: dict[int, list[np.ndarray]] = {}
        for place, view in enumerate(spec):
            settings = settings_of(view, self.config.views)
            if settings is not None:
                own = derive_seed(seed, place)
                drawn[place] = vary(rows, settings, marks, length=self.config.length, seed=own, shard=shard)
        whole = self.standardise(rows if not drawn else [*rows, *itertools.chain(*drawn.values())])
        plain, *varied = (torch.from_numpy(part).to(device) for part in np.split(whole, 1 + len(drawn)))
        views = dict(zip(drawn, varied, strict=True))
        return tuple(views.get(place, plain) for place in range(len(spec)))

    def describe(self, row: np.ndarray) -> str:
        """Return a stored text as a text, for pages and reports."""
        return self.text(row)

    def texts(self, rows: np.ndarray | list[np.ndarray]) -> list[str]:
        """Return stored rows as texts, whole, for floors that count words."""
        return [self.text(row) for row in rows]

    def show(self, row: np.ndarray, size: int = 64) -> bytes:
        """Return a stored text as a PNG: a dot a token, 16 a line, darker where the id is rarer."""
        return self._codec.picture(row, size)
