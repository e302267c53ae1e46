"""A file that writes texts is proven as one that classifies is: real texts go through it and through the model.

First the tokens of real texts are given to both one by one, and every logit is compared; then both go on with real
beginnings, or translate real texts, by beam search, and the texts are compared.

Axis letters: `n` texts, `t` tokens, `v` ids.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import numpy as np

from bodh.errors import DataError
from bodh.exporters.contract import Parity
from bodh.model.beam import Found, finished, search
from bodh.model.generation import Generation, Reader
from bodh.model.writing import unspeakable

if TYPE_CHECKING:
    from bodh.model.loaded import LoadedModel
    from bodh.model.writing import State, Translates, Writes

SIZES = (1, 3, 8)
"""Texts side by side that every file is replayed with."""
LENGTH = 24
"""Tokens that are written at most."""
BEAMS = 3
WORSE = 1e-3
"""A text whose log-probability a token is lower by more is another text; nearer ones are ties: rounding decides."""


def compare_writing(
    model: LoadedModel, replay: Writes | Translates, rows: np.ndarray, *, capability: str, tolerance: float
) -> list[Parity]:
    """Return how `replay`, an exported file, compares with `model` on real texts.

    Args:
        model: on the CPU.
        replay: the file on its runtime.
        rows: standardised ids `[n t]`.
        capability: "generate" or "translate".
        tolerance: see `export.TOLERANCE`.

    Raises:
        DataError: no row holds a text.
    """
    padding = replay.tokens.padding
    rows = rows[(rows != padding).sum(axis=1) >= 2]
    if not len(rows):
        raise DataError("no records with a text in them to replay through the export; give some: --data DATA")
    chosen = [np.arange(sum(SIZES[:place]), sum(SIZES[: place + 1])) % len(rows) for place in range(len(SIZES))]
    differences, scales, texts = [], [1.0], []
    for index in chosen:
        given, wanted = _step_by_step(model, replay, rows[index])
        fits = given.shape == wanted.shape and bool(np.isfinite(given).all())
        differences.append(float(np.abs(wanted.astype(np.float64) - given).max()) if fits else np.inf)
        scales.append(float(np.abs(wanted).max()))
        texts += _texts(model, replay, rows[index])
    apart = [abs(said - told) for said, told, _ in texts]
    worse = sum(best - told > WORSE for _, told, best in texts)
    return [
        Parity(capability, "logits", sum(SIZES), SIZES, max(differences), tolerance * max(scales), None),
        Parity(capability, "texts", len(texts), SIZES, max(apart), tolerance * max(scales), worse),
    ]


def _step_by_step(model: LoadedModel, replay: Writes | Translates, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return logits `[n k v]` of the file and of the model after each token of real texts, half of them read at once.

    In the middle the texts change places, as the beginnings of a search do.
    """
    count = int((rows != replay.tokens.padding).sum(axis=1).min())
    written = rows[:, : min(count, LENGTH, replay.context or count)]
    state = _begun(replay, rows, LENGTH)
    first = 1 if hasattr(replay, "read") else max(1, written.shape[1] // 2)
    given = [state.advance(written[:, :first])]
    turned = np.arange(len(rows))[::-1].copy()
    state.select(turned)
    given[0] = given[0][turned]
    given += [state.advance(written[turned, place : place + 1]) for place in range(first, written.shape[1])]
    wanted = _reference(model, rows, written)[turned, first - 1 :]
    return np.stack(given, axis=1), wanted


def _texts(model: LoadedModel, replay: Writes | Translates, rows: np.ndarray) -> list[tuple[float, float, float]]:
    """Return of every text that the file writes: its score by the file, by the model, and that of the model's own."""
    from bodh.model.on_torch import TorchTranslator, TorchWriter

    kind = TorchTranslator if hasattr(replay, "read") else TorchWriter
    ours, theirs = (_search(one, rows) for one in (cast("Any", kind(model)), replay))
    found = []
    for place, (own, said) in enumerate(zip(ours, theirs, strict=True)):
        start = _prompt(replay, rows)[place]
        ids = [*said.ids, *([replay.tokens.end] if said.ended else [])]
        whole = np.array([[*start, *ids]], np.int64)
        logits = _reference(model, rows[place : place + 1], whole[:, :-1])[0, len(start) - 1 :].astype(np.float64)
        told = logits - logits.max(axis=1, keepdims=True)
        told -= np.log(np.exp(told).sum(axis=1, keepdims=True))
        score = float(told[np.arange(len(ids)), ids].mean())
        found.append((said.score, said.score if whole.shape[1] > _longest(replay) else score, own.score))
    return found


def _search(replay: Any, rows: np.ndarray) -> list[Found]:
    """Return the likeliest text that goes on from the prompts of `rows`, or that is written for them."""
    start = _prompt(replay, rows)
    length = min(LENGTH, _longest(replay) - start.shape[1])
    if hasattr(replay, "read"):
        writer: Any = _Alone(replay, rows, length)
    else:
        writer = Reader(replay, start[:, :-1], Generation(length=length))
    forbidden = unspeakable(replay.tokens)
    work = search(
        writer, start[:, -1], end=replay.tokens.end, forbidden=forbidden, beams=BEAMS, length=length, penalty=1.0
    )
    return [texts[0] for texts in finished(work)]


class _Alone:
    """A translator and what it has written; a `beam.Writer`."""

    def __init__(self, replay: Translates, rows: np.ndarray, length: int) -> None:
        self.on, self.state = replay.on, replay.read(rows, length)

    def advance(self, ids: np.ndarray) -> Any:
        return self.state.advance(ids[:, None])

    def select(self, rows: np.ndarray) -> None:
        self.state.select(rows)


def _prompt(replay: Writes | Translates, rows: np.ndarray) -> np.ndarray:
    """Return ids `[n t]` that texts begin with: half of the shortest row, or the begin alone."""
    if hasattr(replay, "read"):
        return np.full((len(rows), 1), replay.tokens.begin, np.int64)
    count = int((rows != replay.tokens.padding).sum(axis=1).min())
    return rows[:, : max(1, min(count // 2, _longest(replay) - 1))]


def _longest(replay: Writes | Translates) -> int:
    return replay.context or 2**31


def _begun(replay: Writes | Translates, rows: np.ndarray, length: int) -> State:
    if hasattr(replay, "read"):
        return replay.read(rows, length)
    return replay.start(len(rows), length)


def _reference(model: LoadedModel, rows: np.ndarray, written: np.ndarray) -> np.ndarray:
    """Return the model's logits `[n t v]` after each of the ids `written` `[n t]`, all at once and without a cache."""
    import torch

    backbone, head = cast("Any", model.network["backbone"]), model.network["head"]
    ids = torch.from_numpy(np.ascontiguousarray(written))
    with torch.inference_mode():
        if model.manifest.task != "sequence":
            return cast("np.ndarray", head(backbone.features(ids).tokens).numpy())
        source = torch.from_numpy(np.ascontiguousarray(rows))
        padding = cast("Any", model.modality).tokens().padding
        return cast("np.ndarray", head(ids, backbone.features(source).tokens, source != padding).numpy())
