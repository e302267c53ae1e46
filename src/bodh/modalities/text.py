"""Texts: sentences, messages, documents, in any script; read as token ids."""

from __future__ import annotations

import hashlib
import io
import itertools
import json
import logging
import unicodedata
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import numpy as np
from annotated_types import Ge, Le
from pydantic import BaseModel, Field

from bodh.config.base import Config
from bodh.contracts import Json, Shard, Source, Tokens, ViewSpec, derive_seed
from bodh.errors import BadRecord, ConfigError, DataError, ModelError
from bodh.modalities import _tokenizers, _train_tokenizer
from bodh.modalities._tokenizers import FILE, KINDS
from bodh.views.text import Marks, TextViews, settings_of, vary

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

log = logging.getLogger("bodh")

SAMPLE_BYTES = 2**27
"""Bytes of training texts that a tokenizer is trained on at most, evenly spaced over the records."""
MULTIPLE = 8
"""Rows are filled up to a multiple of this many tokens: few shapes, which fit the hardware."""

Id = Annotated[int, Ge(0)]


class SpecialIds(Config):
    """Ids that mean something; those of a trained tokenizer are 0 to 4."""

    padding: Id = Field(0, description="fills rows up")
    unknown: Id = Field(1, description="stands for what the tokenizer does not know")
    begin: Id | None = Field(2, description="starts every text; none: nothing does")
    end: Id = Field(3, description="ends every text")
    mask: Id | None = Field(4, description="stands for what is hidden; none: the tokenizer has none")


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


class Modality:
    """Texts as `contracts.Modality`: stored as int32 `[t]`, begin + ids + end, whole; prepared to int64 `[n t]`."""

    name: ClassVar[str] = "text"
    file_names: ClassVar[tuple[str, ...]] = (FILE,)
    """What lies beside model.json; see `files`."""

    def __init__(self, config: BaseModel, files: Mapping[str, bytes] | None = None) -> None:
        self.config = config if isinstance(config, TextConfig) else TextConfig.model_validate(config.model_dump())
        self._definition = (files or {}).get(FILE)

    @classmethod
    def fit(cls, source: Source, config: BaseModel) -> Modality:
        """Train the tokenizer on the training texts of `source`, at most 128 MiB of them, or take a published one.

        Raises:
            ConfigError: no such tokenizer, or a vocabulary too small for it.
            DataError: no record is a readable text.
            MissingExtra: the package `tokenizers` is not installed.
        """
        given = cls(config).config
        if given.tokenizer in KINDS:
            texts = _sample(source)
            definition = _train_tokenizer.train(given.tokenizer, texts, vocabulary=given.vocabulary)
            special = SpecialIds()
        else:
            place = Path(given.tokenizer).expanduser()
            definition, ids = _tokenizers.published(place)
            special = SpecialIds.model_validate(ids)
            # what is saved names no place on this machine
            parts = (place.parent if place.is_file() else place).resolve().parts
            given = given.model_copy(update={"tokenizer": "/".join(parts[-2:])})
        fitted = cls(given.model_copy(update={"special": special}), {FILE: definition})
        log.info(
            "texts: %s tokenizer of %d ids, rows of up to %d tokens",
            given.tokenizer if given.tokenizer in KINDS else "a published", fitted.tokens().vocabulary, given.length,
        )  # fmt: skip
        return fitted

    def files(self) -> dict[str, bytes]:
        """Return what must lie beside model.json to build the modality again, by file name."""
        return {FILE: self._fitted()}

    def decode(self, raw: bytes | np.ndarray) -> np.ndarray:
        """Return a text, UTF-8, as int32 `[t]`: begin + ids + end, whole. What looks like a special token is text.

        Raises:
            BadRecord: with a short reason.
        """
        if isinstance(raw, np.ndarray):
            raise BadRecord(f"an array of {raw.dtype}, shape {list(raw.shape)}; a text is UTF-8 bytes")
        return self._row(self._literal.encode(_text(raw), add_special_tokens=False).ids)

    def encode(self, text: str) -> np.ndarray:
        """Return the ids of `text`, int32 `[t]`, with begin and end; special tokens in it ("[MASK]") are themselves."""
        return self._row(self._marked.encode(text, add_special_tokens=False).ids)

    def text(self, ids: np.ndarray | list[int]) -> str:
        """Return the text of `ids` `[t]`, special tokens left out; of bpe and characters exactly what was encoded."""
        tokens = self.tokens()
        kept = [int(one) for one in np.asarray(ids).reshape(-1) if not tokens.special[one]]
        return str(self._literal.decode(kept, skip_special_tokens=False))

    def tokens(self) -> Tokens:
        """Return what is known of the tokenizer."""
        return self._tokens

    def standardise(self, rows: np.ndarray | list[np.ndarray]) -> np.ndarray:
        """Return rows as int64 `[n t]`: cut to `length`, the end token last, and filled up at the end.

        Filled up to the longest of them, rounded up to a multiple of 8. Rows of `length` pass untouched.
        """
        length, special = self.config.length, self.config.special
        if isinstance(rows, np.ndarray) and rows.ndim == 2 and rows.shape[1] == length:
            return rows.astype(np.int64)
        longest = max((len(row) for row in rows), default=0)
        width = min(length, MULTIPLE * max(1, -(-longest // MULTIPLE)))
        out = np.full((len(rows), width), special.padding, np.int64)
        for place, row in zip(out, rows, strict=True):
            place[: min(len(row), width)] = row[:width]
            if len(row) > width:
                place[-1] = special.end
        return out

    def prepare(self) -> nn.Module:
        """Return the module from ids `[n t]` to the same ids, int64."""
        from bodh.views.prepare import PrepareTokens

        return PrepareTokens()

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

    @property
    def prepared_shape(self) -> tuple[int, ...]:
        """(length,): the most tokens that a backbone takes, without the batch."""
        return (self.config.length,)

    @property
    def network_arguments(self) -> Json:
        """What a backbone must be told beside the shape: how many ids there are, and which fills rows up."""
        tokens = self.tokens()
        return {"vocabulary": tokens.vocabulary, "padding": tokens.padding}

    def input_spec(self) -> Json:
        """Return the input array's name, type and shape: int64 `[n t]`."""
        return {"name": "tokens", "dtype": "int64", "shape": ["n", "t"]}

    def store_key(self) -> str:
        """Return what the stored form of a record depends on: the tokenizer."""
        digest = hashlib.sha256(self._fitted()).hexdigest()
        return json.dumps({"version": 1, "tokenizer": digest, "special": self.config.special.model_dump()})

    def describe(self, row: np.ndarray) -> str:
        """Return a stored text as a text, for pages and reports."""
        return self.text(row)

    def show(self, row: np.ndarray, size: int = 64) -> bytes:
        """Return a stored text as a PNG: a dot a token, 16 a line, darker where the id is rarer."""
        from PIL import Image

        side = 16
        ids = np.asarray(row)[: side * side].astype(np.float64)
        levels = np.full(side * side, 255, np.uint8)
        levels[: len(ids)] = 200 - 160 * np.log1p(ids) / np.log1p(max(self.tokens().vocabulary, 2))
        image = Image.fromarray(levels.reshape(side, side)).resize((size, size), Image.Resampling.NEAREST)
        buffer = io.BytesIO()
        image.save(buffer, "PNG")
        return buffer.getvalue()

    def __getstate__(self) -> Json:
        return {"config": self.config, "_definition": self._definition}  # workers read the tokenizer themselves

    def _row(self, ids: list[int]) -> np.ndarray:
        special = self.config.special
        begin = [] if special.begin is None else [special.begin]
        return np.array([*begin, *ids, special.end], np.int32)

    @cached_property
    def _literal(self) -> Any:
        """The tokenizer to which special tokens in a text are text."""
        tokenizer = _tokenizers.read(self._fitted())
        tokenizer.encode_special_tokens = True
        return tokenizer

    @cached_property
    def _marked(self) -> Any:
        return _tokenizers.read(self._fitted())

    @cached_property
    def _tokens(self) -> Tokens:
        special = self.config.special
        ids = {name: place for name, place in special if place is not None}
        starts, marked = _tokenizers.kinds_of_tokens(self._literal)
        if (largest := max(ids.values())) >= len(starts):
            raise ModelError(
                f"{FILE} has {len(starts)} ids, but modality.special names id {largest}; they do not belong together"
            )
        marked[list(ids.values())] = True
        starts |= marked
        begin = special.begin
        return Tokens(
            vocabulary=len(starts), padding=special.padding, unknown=special.unknown,
            begin=special.padding if begin is None else begin,
            end=special.end, mask=special.mask, word_start=starts, special=marked,
        )  # fmt: skip

    def _fitted(self) -> bytes:
        if self._definition is None:
            raise ConfigError("this text modality has no tokenizer: it has not seen data; call fit")
        return self._definition


def _text(raw: bytes) -> str:
    """Return UTF-8 bytes as a text in Unicode's NFC."""
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadRecord(f"not UTF-8: byte {raw[error.start]:#04x} at {error.start}") from None
    text = unicodedata.normalize("NFC", text.removeprefix("\ufeff"))
    if not text.strip():
        raise BadRecord("an empty text")
    return text


def _sample(source: Source) -> Iterator[str]:
    """Yield training texts of `source`, evenly spaced where they are many.

    Raises:
        DataError: not one of them can be read.
    """
    positions = np.flatnonzero(np.asarray(source.splits) == "train")
    order = positions
    if len(positions) > 1000:
        probe = positions[np.linspace(0, len(positions) - 1, 100).astype(np.int64)]
        size = sum(len(source.read(int(one))) for one in probe) / len(probe) * len(positions)
        if size > SAMPLE_BYTES:
            count = max(100, int(len(positions) * SAMPLE_BYTES / size))
            order = positions[np.linspace(0, len(positions) - 1, count).astype(np.int64)]
    found, first = 0, "no training records"
    for position in order.tolist():
        try:
            raw = source.read(position)
            if isinstance(raw, np.ndarray):
                raise BadRecord(f"an array of {raw.dtype}; a text is UTF-8 bytes")
            text = _text(raw)
        except BadRecord as error:
            first = f"{source.ids[position]}: {error}" if not found and first == "no training records" else first
            continue
        found += 1
        yield text
    if not found:
        raise DataError(f"none of {len(order)} records of {source.name} is a readable text; {first}")
