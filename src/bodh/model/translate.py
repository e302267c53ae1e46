"""From texts, or pictures, to the texts that a model of task "sequence" writes for them.

Imports no torch: servers use it.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from bodh import _catalog
from bodh.contracts import Json
from bodh.errors import ConfigError, ModelError
from bodh.model.beam import Found, finished, search
from bodh.model.writing import unspeakable

if TYPE_CHECKING:
    from bodh.contracts import Modality
    from bodh.model.loaded import LoadedModel
    from bodh.model.manifest import Manifest
    from bodh.model.on_arrays import Arithmetic
    from bodh.model.writing import State, Translates

BATCH = 64
"""Texts at a time, of similar length."""
LONGER, MORE = 2, 16
"""Where nobody says how long a text may become: so many times as long as what was read, and so many tokens more."""


@dataclass(frozen=True, slots=True)
class Written:
    """What was written for one text.

    Attributes:
        text: the likeliest.
        score: its log-probability a token.
        ended: whether it came to its end; else it was as long as it may be.
    """

    text: str
    score: float
    ended: bool

    def to_json(self, called: str = "translation") -> Json:
        """Return it as JSON values, as the command line and servers tell it.

        Args:
            called: what the text is.
        """
        return {called: self.text, "score": round(self.score, 4), "ended": self.ended}


def insist_on_writer(manifest: Manifest, verb: str | None = None) -> None:
    """Raise ModelError unless the model writes texts.

    Args:
        manifest: of the model.
        verb: "translate" or "caption": it does that with them; None: either.
    """
    if manifest.task != "sequence":
        learned = "pictures with sentences" if verb == "caption" else "pairs of texts"
        raise ModelError(
            f"this model does not {verb or 'write'}: it has no decoder; train one on {learned}: "
            "bodh pretrain DATA --objective seq2seq data.input=NAME data.target=NAME"
        )
    own = verb_of(manifest)
    if verb not in (None, own):
        raise ModelError(f"this model does not {verb}; it learned from {manifest.modality.name}: type bodh {own}")


def verb_of(manifest: Manifest) -> str:
    """Return what a model does that writes texts: "translate" those that it reads, "caption" pictures."""
    return str(getattr(_catalog.get("modalities", manifest.modality.name).Modality, "verb", "translate"))


def translate_rows(
    model: LoadedModel,
    rows: Sequence[np.ndarray],
    *,
    beams: int = 1,
    length: int | None = None,
    penalty: float = 1.0,
    batch: int = BATCH,
) -> list[Written]:
    """Return what `model` writes for each of `rows`, in their order; see `translating`.

    Args:
        model: of task "sequence".
        rows: [n] as the modality decodes them.
        beams: beginnings that are kept at each step; 1: the likeliest next token always.
        length: most tokens that are written; None: twice as many as were read and 16 more, of pictures any number.
        penalty: power of the length by which scores are divided.
        batch: rows at a time.

    Raises:
        ModelError: the model does not write texts.
        ConfigError: beams or length are out of their range.
    """
    from bodh.model.on_torch import TorchTranslator

    insist_on_writer(model.manifest)
    options: Json = {"beams": beams, "length": length, "penalty": penalty, "batch": batch}
    return finished(translating(TorchTranslator(model), model.modality, rows, **options))


def translating(
    model: Translates,
    modality: Modality,
    rows: Sequence[np.ndarray],
    *,
    beams: int,
    length: int | None,
    penalty: float,
    batch: int = BATCH,
) -> Generator[None, None, list[Written]]:
    """Return what `model` writes for each of `rows`, in their order; yields after every token.

    Args:
        model: what reads and writes.
        modality: of pairs, or captions.
        rows: see `translate_rows`, as the other arguments.
        beams: from 1.
        length: most tokens.
        penalty: power of the length.
        batch: rows at a time.

    Raises:
        ConfigError: beams or length are out of their range.
    """
    if length is not None and not 1 <= length < model.context:
        raise ConfigError(
            f"length={length}: this model writes texts of 1 to {model.context - 1} tokens; choose one of these"
        )
    if not 1 <= beams <= 256:
        raise ConfigError(f"beams={beams}: allowed are 1 (greedy) to 256")
    known = cast("Any", modality)
    texts = len(modality.input_spec()["shape"]) == 2  # else what is read has no length to go by
    found: list[Written | None] = [None] * len(rows)
    sources = [known.sides(row)[0] for row in rows]
    for chosen in _alike([len(one) if texts else 0 for one in sources], batch):
        read = modality.standardise([sources[place] for place in chosen])
        most = min(model.context - 1, LONGER * read.shape[1] + MORE if texts else model.context)
        written = yield from writing(model, read, beams, most if length is None else length, penalty)
        for place, own in zip(chosen, written, strict=True):
            found[place] = Written(known.text(own[0].ids), own[0].score, own[0].ended)
    return cast("list[Written]", found)


def _alike(lengths: Sequence[int], batch: int) -> Iterator[list[int]]:
    """Yield the positions of rows that are filled up to one length, at most `batch` at a time.

    How long a text may become follows from that length, and so does not depend on the rows beside it.
    """
    widths = np.array([-(-one // 8) for one in lengths], np.int64)
    for width in np.unique(widths):
        places = np.flatnonzero(widths == width).tolist()
        for start in range(0, len(places), batch):
            yield places[start : start + batch]


def writing(
    model: Translates, source: np.ndarray, beams: int, length: int, penalty: float
) -> Generator[None, None, list[list[Found]]]:
    """Return the ids that `model` writes for a standardised `source`, each row's best first.

    Args:
        model: what reads and writes.
        source: ids `[n s]`, or pictures `[n s s c]`.
        beams: see `translate_rows`.
        length: most tokens.
        penalty: see `translate_rows`.
    """
    first = np.full(len(source), model.tokens.begin, np.int64)
    return (
        yield from search(
            _Writer(model.on, model.read(source, length)), first, end=model.tokens.end,
            forbidden=unspeakable(model.tokens), beams=beams, length=length, penalty=penalty,
        )
    )  # fmt: skip


class _Writer:
    """A decoder and what it has written so far; see `beam.Writer`."""

    def __init__(self, on: Arithmetic, state: State) -> None:
        self.on, self.state = on, state

    def advance(self, ids: np.ndarray) -> Any:
        return self.state.advance(ids[:, None])

    def select(self, rows: np.ndarray) -> None:
        self.state.select(rows)
