"""What modalities of texts share: a tokenizer with the ids that mean something, and texts read from records."""

from __future__ import annotations

import hashlib
import io
import itertools
import json
import logging
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import numpy as np
from annotated_types import Ge
from pydantic import Field

from bodh.config.base import Config
from bodh.contracts import Json, Source, Tokens
from bodh.errors import BadRecord, ConfigError, DataError, ModelError
from bodh.modalities import _tokenizers, _train_tokenizer
from bodh.modalities._tokenizers import FILE, KINDS

if TYPE_CHECKING:
    from torch import nn

log = logging.getLogger("bodh")

SAMPLE_BYTES = 2**27
"""Bytes of training texts that a tokenizer is trained on at most, evenly spaced over the records."""
PIECE = 2**16
"""Characters of a text that a tokenizer reads at once."""
_SEARCHED = 4096
"""Of these, in how many at the end a place to cut is looked for."""
MULTIPLE = 8
"""Rows are filled up to a multiple of this many tokens: few shapes, which fit the hardware."""

LOOKED_AHEAD = 100
"""Tokens in which the start of a word is looked for, where a text is divided."""

_PROBED = 200
_PROBED_LETTERS = 2000
"""Texts by which it is judged whether a tokenizer knows them, and what is read of each."""
_UNKNOWN = 0.02
"""Share of their tokens that may be unknown to it before that is told."""

Id = Annotated[int, Ge(0)]


class SpecialIds(Config):
    """Ids that mean something; those of a trained tokenizer are 0 to 4."""

    padding: Id = Field(0, description="fills rows up")
    unknown: Id = Field(1, description="stands for what the tokenizer does not know")
    begin: Id | None = Field(2, description="starts every text; none: nothing does")
    end: Id = Field(3, description="ends every text")
    mask: Id | None = Field(4, description="stands for what is hidden; none: the tokenizer has none")


class Codec:
    """Texts to ids and back.

    Args:
        definition: the bytes of a tokenizer.json; None: not fitted yet.
        special: its ids that mean something.
        name: its kind, or where a published one came from.
    """

    def __init__(self, definition: bytes | None, special: SpecialIds, *, name: str = "") -> None:
        self.special = special
        self.name = name
        self._definition = definition

    @classmethod
    def fit(cls, tokenizer: str, texts: Iterator[str], *, vocabulary: int, length: int) -> Codec:
        """Train a tokenizer on `texts`, or take a published one, and say which.

        Args:
            tokenizer: one of `KINDS`, or a path.
            texts: of the training records; a published one does not read them.
            vocabulary: most ids of a trained one.
            length: of a row, for the message.

        Raises:
            ConfigError: no such tokenizer, or a vocabulary too small for it.
            MissingExtra: the package `tokenizers` is not installed.
        """
        first = list(itertools.islice(texts, _PROBED))
        texts = itertools.chain(first, texts)
        if tokenizer in KINDS:
            definition = _train_tokenizer.train(tokenizer, texts, vocabulary=vocabulary)
            special = SpecialIds()
        else:
            definition, ids = _tokenizers.published(Path(tokenizer).expanduser())
            special = SpecialIds.model_validate(ids)
        fitted = cls(definition, special, name=_saved_name(tokenizer))
        log.info(
            "texts: %s tokenizer of %d ids, rows of up to %d tokens",
            tokenizer if tokenizer in KINDS else "a published", fitted.tokens.vocabulary, length,
        )  # fmt: skip
        rows = [fitted.row(text[:_PROBED_LETTERS])[1:-1] for text in first]
        unknown = sum(int((row == fitted.tokens.unknown).sum()) for row in rows) / max(1, sum(map(len, rows)))
        if unknown > _UNKNOWN:
            log.warning(
                "%.0f %% of the tokens of these texts are unknown to the tokenizer, and nothing is learned of them; "
                "raise modality.vocabulary, or take modality.tokenizer=bpe, to which nothing is unknown", 100 * unknown,
            )  # fmt: skip
        return fitted

    @property
    def definition(self) -> bytes:
        """The bytes of its tokenizer.json."""
        if self._definition is None:
            raise ConfigError("this text modality has no tokenizer: it has not seen data; call fit")
        return self._definition

    def files(self) -> dict[str, bytes]:
        """Return what must lie beside model.json to build it again, by file name."""
        return {FILE: self.definition}

    def settings(self) -> Json:
        """Return what a configuration keeps of it, beside its file."""
        return {"special": self.special, "tokenizer": self.name}

    def key(self) -> Json:
        """Return what the stored form of a text depends on."""
        digest = hashlib.sha256(self.definition).hexdigest()
        return {"version": 1, "tokenizer": digest, "special": self.special.model_dump()}

    def row(self, text: str, *, marked: bool = False) -> np.ndarray:
        """Return begin + ids + end of `text`, int32 `[t]`.

        Args:
            text: any.
            marked: special tokens in it ("[MASK]") are themselves; else what looks like one is text.
        """
        tokenizer = self._marked if marked else self._literal
        begin = [] if self.special.begin is None else [self.special.begin]
        parts = [np.array(tokenizer.encode(part, add_special_tokens=False).ids, np.int32) for part in pieces(text)]
        return np.concatenate([np.array(begin, np.int32), *parts, np.array([self.special.end], np.int32)])

    def words(self, words: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Return (begin + ids + end of the words with a space between, int32 `[t]`; where each word begins, `[w]`).

        A word begins with the first of its pieces; one of which the tokenizer leaves nothing is read as unknown.
        """
        encoded = self._literal.encode(" ".join(words), add_special_tokens=False)
        owner = np.repeat(np.arange(2 * len(words)), [size for word in words for size in (len(word), 1)])
        owner = np.where(owner % 2, -1, owner // 2)  # of every letter; -1: a space
        offsets = np.array(encoded.offsets, np.int64).reshape(-1, 2)  # a space before a word may be of its first piece
        real = offsets[:, 1] > offsets[:, 0]
        pieces = np.where(real, owner[np.where(real, offsets[:, 1] - 1, 0)] if len(owner) else -1, -1)
        first = np.full(len(words), -1, np.int64)
        found, places = np.unique(pieces, return_index=True)
        first[found[found >= 0]] = places[found >= 0]
        ids = np.array(encoded.ids, np.int64)
        for word in np.flatnonzero(first < 0):
            later = first[word + 1 :][first[word + 1 :] >= 0]
            place = int(later.min()) if len(later) else len(ids)
            ids = np.insert(ids, place, self.special.unknown)
            first[first >= place] += 1
            first[word] = place
        begin = [] if self.special.begin is None else [self.special.begin]
        return np.array([*begin, *ids, self.special.end], np.int32), first + len(begin)

    def text(self, ids: np.ndarray | list[int]) -> str:
        """Return the text of `ids` `[t]`, special tokens left out; of bpe and characters exactly what was encoded."""
        kept = [int(one) for one in np.asarray(ids).reshape(-1) if not self.tokens.special[one]]
        return str(self._literal.decode(kept, skip_special_tokens=False))

    def divide(self, row: np.ndarray, share: float) -> tuple[np.ndarray, np.ndarray]:
        """Return a row `[t]` as two, each from begin to end, cut where a word starts.

        Args:
            row: begin + ids + end.
            share: of its ids that the first has, about.

        Raises:
            DataError: there are too few ids for two.
        """
        head = np.array([] if self.special.begin is None else [self.special.begin], np.int32)
        ids = row[len(head) : -1]
        if len(ids) < 2:
            raise DataError("a text of a single token cannot be divided into one to learn from and one to test on")
        cut = min(len(ids) - 1, max(1, round(share * len(ids))))
        starts = np.flatnonzero(self.tokens.word_start[ids[cut : cut + LOOKED_AHEAD]])
        cut += int(starts[0]) if len(starts) else 0
        end = np.array([self.special.end], np.int32)
        return np.concatenate([head, ids[:cut], end]), np.concatenate([head, ids[cut:], end])

    def filled(self, rows: np.ndarray | Sequence[np.ndarray], length: int) -> np.ndarray:
        """Return rows as int64 `[n t]`: cut to `length`, the end token last, and filled up at the end.

        Filled up to the longest of them, rounded up to a multiple of 8. Rows of `length` pass untouched.
        """
        if isinstance(rows, np.ndarray) and rows.ndim == 2 and rows.shape[1] == length:
            return rows.astype(np.int64)
        longest = max((len(row) for row in rows), default=0)
        width = min(length, MULTIPLE * max(1, -(-longest // MULTIPLE)))
        out = np.full((len(rows), width), self.special.padding, np.int64)
        for place, row in zip(out, rows, strict=True):
            place[: min(len(row), width)] = row[:width]
            if len(row) > width:
                place[-1] = self.special.end
        return out

    def picture(self, row: np.ndarray, size: int) -> bytes:
        """Return ids `[t]` as a PNG of this side: a dot a token, 16 a line, darker where the id is rarer."""
        from PIL import Image

        side = 16
        ids = np.asarray(row)[: side * side].astype(np.float64)
        levels = np.full(side * side, 255, np.uint8)
        levels[: len(ids)] = 200 - 160 * np.log1p(ids) / np.log1p(max(self.tokens.vocabulary, 2))
        image = Image.fromarray(levels.reshape(side, side)).resize((size, size), Image.Resampling.NEAREST)
        buffer = io.BytesIO()
        image.save(buffer, "PNG")
        return buffer.getvalue()

    @cached_property
    def tokens(self) -> Tokens:
        """What is known of the tokenizer."""
        special = self.special
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

    @cached_property
    def _literal(self) -> Any:
        """The tokenizer to which special tokens in a text are text."""
        tokenizer = _tokenizers.read(self.definition)
        tokenizer.encode_special_tokens = True
        return tokenizer

    @cached_property
    def _marked(self) -> Any:
        return _tokenizers.read(self.definition)

    def __getstate__(self) -> Json:
        # not the tokenizers: workers read them
        return {"special": self.special, "name": self.name, "_definition": self._definition}


def _saved_name(tokenizer: str) -> str:
    """Return the setting as a model keeps it: of a path its last two names, for it names no place on this machine."""
    if tokenizer in KINDS:
        return tokenizer
    place = Path(tokenizer).expanduser()
    return "/".join((place.parent if place.is_file() else place).resolve().parts[-2:])


class Spoken:
    """What modalities have in common whose records hold a text: a codec, and the file that it comes from."""

    file_names: ClassVar[tuple[str, ...]] = (FILE,)
    """What lies beside model.json; see `files`."""
    _codec: Codec

    def files(self) -> dict[str, bytes]:
        """Return what must lie beside model.json to build the modality again, by file name."""
        return self._codec.files()

    def text(self, ids: np.ndarray | list[int]) -> str:
        """Return the text of `ids` `[t]`, special tokens left out; of bpe and characters exactly what was encoded."""
        return self._codec.text(ids)

    def tokens(self) -> Tokens:
        """Return what is known of the tokenizer."""
        return self._codec.tokens


class Tokenised(Spoken):
    """What those have in common whose records are read as ids: the input of a model is int64 `[n t]`."""

    config: Any
    """with the `length` of a row"""

    def prepare(self) -> nn.Module:
        """Return the module from ids `[n t]` to the same ids, int64."""
        from bodh.views.prepare import PrepareTokens

        return PrepareTokens()

    @property
    def prepared_shape(self) -> tuple[int, ...]:
        """(length,): the most tokens that a backbone takes, without the batch."""
        return (self.config.length,)

    @property
    def network_arguments(self) -> Json:
        """What a backbone must be told beside the shape: how many ids there are, and which fills rows up."""
        return {"vocabulary": self.tokens().vocabulary, "padding": self.tokens().padding}

    def input_spec(self) -> Json:
        """Return name, type and shape of rows of ids, int64 `[n t]`."""
        return {"name": "tokens", "dtype": "int64", "shape": ["n", "t"]}

    def store_key(self) -> str:
        """Return what the stored form of a record depends on: the tokenizer."""
        return json.dumps(self._codec.key())


def shared(config: Any) -> Json:
    """Return what modalities of texts have alike in their configuration: the tokenizer, and how long rows are."""
    return {name: getattr(config, name) for name in ("tokenizer", "vocabulary", "length", "special")}


def text_of(raw: bytes | np.ndarray) -> str:
    """Return UTF-8 bytes as a text in Unicode's NFC.

    Raises:
        BadRecord: with a short reason.
    """
    if isinstance(raw, np.ndarray):
        raise BadRecord(f"an array of {raw.dtype}, shape {list(raw.shape)}; a text is UTF-8 bytes")
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadRecord(f"not UTF-8: byte {raw[error.start]:#04x} at {error.start}") from None
    text = unicodedata.normalize("NFC", text.removeprefix("\ufeff"))
    if not text.strip():
        raise BadRecord("an empty text")
    return text


def pieces(text: str, most: int = PIECE) -> Iterator[str]:
    """Yield `text` in parts: a tokenizer needs hundreds of bytes a letter of what it reads at once.

    It is cut before a space between two words, where every kind of tokenizer cuts too; far from any, before a letter.

    Args:
        text: any.
        most: characters of a part; a shorter text is one part.
    """
    start = 0
    while len(text) - start > most:
        stop = start + most
        cut = next(
            (at for at in range(stop, stop - min(most, _SEARCHED), -1) if text[at] == " " and _between_words(text, at)),
            stop,
        )
        while cut == stop and stop > start + 1 and unicodedata.category(text[cut]).startswith("M"):
            cut = stop = stop - 1  # a vowel sign stays with its letter
        yield text[start:cut]
        start = cut
    yield text[start:]


def _between_words(text: str, place: int) -> bool:
    return not text[place - 1].isspace() and not text[place + 1 : place + 2].isspace()


def sample(source: Source, texts_of: Callable[[bytes | np.ndarray], Sequence[str]]) -> Iterator[str]:
    """Yield training texts of `source`, evenly spaced where they are many.

    Args:
        source: of records.
        texts_of: the texts in a record; may raise BadRecord.

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
    found, left, first = 0, SAMPLE_BYTES, "no training records"
    for position in order.tolist():
        try:
            texts = texts_of(source.read(position))
        except BadRecord as error:
            first = f"{source.ids[position]}: {error}" if not found and first == "no training records" else first
            continue
        found += 1
        for part in itertools.chain.from_iterable(map(pieces, texts)):
            if left > 0:
                yield part
            left -= len(part.encode("utf-8", "replace"))
        if left <= 0:
            break
    if not found:
        raise DataError(f"none of {len(order)} records of {source.name} is a readable text; {first}")
