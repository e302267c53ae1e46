"""What a causal language model writes, as text and as records; the command line and servers tell the same.

Imports no torch: servers use it.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from typing import Any, cast

import numpy as np

from bodh.contracts import Json, Modality
from bodh.model.generation import Continuation, Generation, continuing, seeds_of, tokens_of
from bodh.model.pieces import Until, after, closes_up, each
from bodh.model.writing import Writes


class Telling(Iterator[str]):
    """A text while it is written: a piece at every token, maybe empty; joined they are what follows the prompt.

    No piece ends in the middle of a character, nor between a letter and a sign that belongs to it.

    Args:
        model: what writes.
        modality: of texts.
        row: ids of the prompt, see `begun`.
        options: how to go on, without beams.
    """

    def __init__(self, model: Writes, modality: Modality, row: Sequence[int], options: Generation) -> None:
        self.tokens, self.ended = 0, False
        self._model, self._row, self._options = model, list(row), options
        self._parts = _parts(modality, row, self._ids(), options)
        self._iterator = iter(self._parts)

    def __next__(self) -> str:
        try:
            return next(self._iterator)
        finally:
            self.ended = self.ended or self._parts.stopped

    def _ids(self) -> Iterator[int]:
        seeds = seeds_of([tuple(self._row)], self._options.seed)
        for step in tokens_of(self._model, np.array([self._row], np.int64), self._options, seeds):
            if step[0][1] == self._model.tokens.end:
                self.ended = True
                return
            self.tokens += 1
            yield step[0][1]


def begun(modality: Modality, prompt: str) -> list[int]:
    """Return the ids of a prompt, its begin among them and no end: at least one."""
    texts = cast("Any", modality)
    ids: list[int] = texts.encode(prompt).tolist()[:-1]
    return ids or [texts.tokens().begin]


def telling(
    model: Writes, modality: Modality, prompts: Sequence[str], options: Generation
) -> Generator[None, None, list[Json]]:
    """Return `options.number` records of each prompt; yields after every token.

    A record: "prompt", "text" (what follows it), "tokens" (how many were written), "ended" (whether the text came to
    its end, or to one of `options.stop`), and of beams "score", the log-probability a token.

    Args:
        model: what writes.
        modality: of texts.
        prompts: beginnings, maybe empty.
        options: how to go on.
    """
    rows = [begun(modality, prompt) for prompt in prompts]
    found = yield from continuing(model, rows, options)
    return [
        _record(modality, prompt, row, one, options)
        for prompt, row, own in zip(prompts, rows, found, strict=True)
        for one in own
    ]


def record(prompt: str, text: str, *, tokens: int, ended: bool, score: float | None = None) -> Json:
    """Return what is told of one text; see `telling`."""
    told: Json = {"prompt": prompt, "text": text, "tokens": tokens, "ended": ended}
    return told if score is None else told | {"score": round(score, 4)}


def _record(modality: Modality, prompt: str, row: Sequence[int], one: Continuation, options: Generation) -> Json:
    if not options.stop:
        text = after(cast("Any", modality).text, row, one.ids)
        return record(prompt, text, tokens=len(one.ids), ended=one.ended, score=one.score)
    ids = iter(one.ids)
    parts = _parts(modality, row, ids, options)
    text = "".join(parts)
    tokens = len(one.ids) - len(list(ids))  # what came after the stop does not count
    return record(prompt, text, tokens=tokens, ended=one.ended or parts.stopped, score=one.score)


def _parts(modality: Modality, row: Sequence[int], ids: Iterator[int], options: Generation) -> Until:
    texts = cast("Any", modality)
    closing = closes_up(texts.files()["tokenizer.json"])
    return Until(each(texts.text, row, ids, closing=closing), options.stop)
