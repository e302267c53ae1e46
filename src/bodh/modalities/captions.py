"""Pictures and the sentences that tell of them: a model sees a picture and writes a sentence."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import numpy as np
from annotated_types import Ge, Le
from pydantic import BaseModel, Field

from bodh.config.base import Config
from bodh.contracts import Json, Shard, Source, View, ViewSpec, derive_seed
from bodh.errors import BadRecord, ConfigError, DataError
from bodh.modalities._codec import Codec, SpecialIds, Spoken, sample, text_of
from bodh.modalities._tokenizers import FILE
from bodh.modalities.image import ImageConfig
from bodh.modalities.image import Modality as Pictures

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

FRAME = b"\x1ecaptions\x1e"
"""How a record with sentences begins, as sources give it: then the bytes of the sentences as an int64, the sentences
with U+001E between, and the picture: the bytes of its file, or an array as `.npy`."""
SEPARATOR = b"\x1e"
NUMPY = b"\x93NUMPY"
HEAD = 4
"""Numbers a stored record starts with, int32: height, width, channels, sentences."""


class CaptionsConfig(Config):
    """How pictures and their sentences are prepared; the tokenizer is trained on the training sentences."""

    image: ImageConfig = Field(ImageConfig(), description="of the pictures; all of a picture is seen (frame stretch)")
    tokenizer: str = Field(
        "bpe",
        min_length=1,
        description="bpe (byte-level), wordpiece, unigram, characters: trained on the training sentences; or a path: a "
        "tokenizer.json, or the folder of a published model that has one",
    )
    vocabulary: Annotated[int, Ge(8), Le(2**20)] = Field(4096, description="most ids of a trained tokenizer")
    length: Annotated[int, Ge(4), Le(2**16)] = Field(
        64, description="most tokens of a sentence, begin and end included; longer ones are cut"
    )
    special: SpecialIds = Field(SpecialIds(), description="ids that mean something; found when the tokenizer is")


OBJECTIVE = ("seq2seq", "pictures with sentences: one is seen, the other written")


class Modality(Spoken):
    """Captions as `contracts.Modality`: stored as uint8 `[m]`, sizes and ids as int32 first, then the pixels.

    The input of a model is the picture, uint8 `[n s s c]`; a sentence is what it learns to write, of several a drawn
    one. A record without sentences, a picture alone, is what a model is asked about.
    """

    name: ClassVar[str] = "captions"
    reads: ClassVar[str] = "image"
    verb: ClassVar[str] = "caption"
    answers: ClassVar[bool] = True
    """What a model of captions writes is compared with the sentences, so some are set aside as labelled records are."""

    def __init__(self, config: BaseModel, files: Mapping[str, bytes] | None = None) -> None:
        self.config = (
            config if isinstance(config, CaptionsConfig) else CaptionsConfig.model_validate(config.model_dump())
        )
        self._pictures = Pictures(self.config.image)
        self._codec = Codec((files or {}).get(FILE), self.config.special)

    @classmethod
    def fit(cls, source: Source, config: BaseModel) -> Modality:
        """Choose how pictures are prepared, and train a tokenizer on the training sentences or take a published one.

        Raises:
            ConfigError: no such tokenizer, or a vocabulary too small for it.
            DataError: no record is a readable picture with a sentence.
            MissingExtra: the package `tokenizers` is not installed.
        """
        given = cls(config).config
        framed = given.image.model_copy(update={"frame": given.image.frame or "stretch"})
        return cls._spoken(given, Pictures.fit(_Seen(source), framed).config, source)

    @classmethod
    def adopt(cls, other: Any, config: BaseModel | None, source: Source) -> Modality | None:
        """Return the modality for a model of pictures to start from: they are prepared as it learned them.

        Args:
            other: the modality of that model.
            config: as the user gave it.
            source: of records.

        Raises:
            ConfigError: settings that contradict the model's, or see `fit`.
        """
        if other.name != cls.reads:
            return None
        given = cls(config or CaptionsConfig()).config
        return cls._spoken(given, _as_learned(other.config, given.image), source)

    @classmethod
    def _spoken(cls, given: CaptionsConfig, pictures: ImageConfig, source: Source) -> Modality:
        """Return the modality with `pictures`, and with a tokenizer for the training sentences of `source`."""
        texts = sample(source, lambda raw: [text_of(one) for one in _insist_on_sentences(raw)])
        codec = Codec.fit(given.tokenizer, texts, vocabulary=given.vocabulary, length=given.length)
        return cls(given.model_copy(update={"image": pictures, **codec.settings()}), codec.files())

    def with_pictures(self, pictures: ImageConfig) -> Modality:
        """Return the same modality, its pictures prepared as `pictures` says."""
        return Modality(self.config.model_copy(update={"image": pictures}), self.files())

    def decode(self, raw: bytes | np.ndarray) -> np.ndarray:
        """Return a picture with its sentences, or a picture alone, as uint8 `[m]`.

        Raises:
            BadRecord: with a short reason.
        """
        picture, sentences = _taken_apart(raw)
        texts = [self._row(sentence) for sentence in sentences]
        pixels = self._pictures.decode(picture)
        head = np.array([*pixels.shape, len(texts), *map(len, texts)], np.int32)
        return np.concatenate([part.view(np.uint8) for part in (head, *texts)] + [pixels.reshape(-1)])

    def _row(self, sentence: bytes) -> np.ndarray:
        """Return the ids of a sentence from begin to end, int32 `[t]`."""
        row = self._codec.row(text_of(sentence))
        if self.config.special.begin is None:  # what a decoder reads first
            row = np.concatenate([[np.int32(self.tokens().begin)], row])
        return row

    def sides(self, row: np.ndarray) -> tuple[np.ndarray, ...]:
        """Return (picture uint8 `[h w c]`, ids `[t]` of each sentence); of a picture `[h w c]` itself."""
        if row.ndim == 3:
            return (row,)
        high, wide, channels, count = row[: 4 * HEAD].view(np.int32).tolist()
        lengths = row[4 * HEAD : 4 * (HEAD + count)].view(np.int32)
        start = HEAD + count
        ids = row[4 * start : 4 * (start + int(lengths.sum()))].view(np.int32)
        pixels = row[4 * (start + len(ids)) :].reshape(high, wide, channels)
        return (pixels, *np.split(ids, np.cumsum(lengths[:-1]))) if count else (pixels,)

    def standardise(self, rows: np.ndarray | list[np.ndarray]) -> np.ndarray:
        """Return the pictures of rows as uint8 `[n s s c]`."""
        return self._pictures.standardise(self._seen(rows))

    def _seen(self, rows: np.ndarray | list[np.ndarray]) -> np.ndarray | list[np.ndarray]:
        """Return the pictures of rows, as one array where they are of one size."""
        if isinstance(rows, np.ndarray) and rows.ndim == 4:
            return rows
        pictures = [self.sides(row)[0] for row in rows]
        return np.stack(pictures) if len({picture.shape for picture in pictures}) == 1 else pictures

    def prepare(self) -> nn.Module:
        """Return the module from uint8 `[n h w c]` to normalised float `[n c s s]`."""
        return self._pictures.prepare()

    def views(
        self, rows: np.ndarray | list[np.ndarray], spec: ViewSpec, seed: int, shard: Shard, device: torch.device
    ) -> tuple[Tensor, ...]:
        """Return one view an entry of `spec`: ids int64 `[n t]` of a drawn sentence for "target", else of the picture.

        Where a sentence goes with it, a picture is not mirrored unless `image.views.flip` says so: left stays left.

        Raises:
            DataError: a record has no sentence.
        """
        written = [place for place, view in enumerate(spec) if view.kind == "target"]
        still = {"flip": 0.0} if written and self.config.image.views.flip is None else {}
        seen = [View(view.kind, {**view.options, **still}) for view in spec if view.kind != "target"]
        pictures = iter(self._pictures.views(self._seen(rows), tuple(seen), seed, shard, device) if seen else ())
        return tuple(
            self._drawn(rows, derive_seed(seed, "sentence", place), shard).to(device)
            if place in written
            else next(pictures)
            for place in range(len(spec))
        )

    def _drawn(self, rows: np.ndarray | list[np.ndarray], seed: int, shard: Shard) -> Tensor:
        """Return a sentence a row, int64 `[n t]`."""
        import torch

        share = np.random.default_rng(seed).random(shard.total)[shard.start : shard.stop]
        sentences = [self.sides(row)[1:] for row in rows]
        if not all(sentences):
            raise DataError("a record has no sentence: a picture alone, where one with a caption was expected")
        chosen = [own[int(part * len(own))] for own, part in zip(sentences, share.tolist(), strict=True)]
        return torch.from_numpy(self._codec.filled(chosen, self.config.length))

    @property
    def prepared_shape(self) -> tuple[int, ...]:
        """(c, s, s): what a backbone takes, without the batch."""
        return self._pictures.prepared_shape

    def input_spec(self) -> Json:
        """Return the input array's name, type and shape: uint8 `[n s s c]`."""
        return self._pictures.input_spec()

    def store_key(self) -> str:
        """Return what the stored form of a record depends on: the tokenizer, and how pictures are stored."""
        return json.dumps(self._codec.key() | {"pictures": self._pictures.store_key()})

    def show(self, row: np.ndarray, size: int = 64) -> bytes:
        """Return the picture of a stored record as a PNG whose longer side is `size` pixels."""
        return self._pictures.show(self.sides(row)[0], size)


class _Seen:
    """The pictures of a source of captions, as a source of images."""

    modality = "image"

    def __init__(self, source: Source) -> None:
        self._source = source
        self.name, self.ids, self.splits = source.name, source.ids, source.splits
        self.targets: np.ndarray | None = None
        self.class_names: tuple[str, ...] = ()
        self.fingerprint = source.fingerprint

    def __len__(self) -> int:
        return len(self._source)

    def read(self, index: int) -> bytes | np.ndarray:
        return _taken_apart(self._source.read(index))[0]


def _as_learned(reader: ImageConfig, given: ImageConfig) -> ImageConfig:
    """Return how the model to start from prepares its pictures; only frame and views are a matter of these data."""
    wrong = [
        f"modality.image.{name}={getattr(given, name)!r} (there {getattr(reader, name)!r})"
        for name in ("size", "channels", "mean", "std", "stored_size")
        if getattr(given, name) not in (None, getattr(reader, name))
    ]
    if wrong:
        raise ConfigError(
            f"the model to start from learned from other pictures than {', '.join(wrong)} asks for; leave it out, or "
            "start from another model"
        )
    frame = given.frame or reader.frame or "stretch"
    return reader.model_copy(update={"frame": frame, "views": given.views})


def _taken_apart(raw: bytes | np.ndarray) -> tuple[bytes | np.ndarray, Sequence[bytes]]:
    """Return (picture, its sentences in UTF-8), none where it is a picture alone."""
    if isinstance(raw, np.ndarray) or not raw.startswith(FRAME):
        return raw, ()
    start = len(FRAME) + 8
    stop = start + int.from_bytes(raw[len(FRAME) : start], "little")
    sentences, picture = raw[start:stop].split(SEPARATOR), raw[stop:]
    if not picture.startswith(NUMPY):
        return picture, sentences
    try:
        return np.load(io.BytesIO(picture), allow_pickle=False), sentences
    except (ValueError, EOFError, OSError) as error:
        raise BadRecord(f"an array that cannot be read: {error}") from error


def _insist_on_sentences(raw: bytes | np.ndarray) -> Sequence[bytes]:
    sentences = _taken_apart(raw)[1]
    if not sentences:
        raise BadRecord("a picture alone, where one with a sentence was expected")
    return sentences
