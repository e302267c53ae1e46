"""How a causal language model goes on with a text: token by token, sampled, the likeliest, or by beam search.

Temperature and top-k: Fan et al. 2018, arXiv 1805.04833; top-p: Holtzman et al. 2020, arXiv 1904.09751; repetition
penalty: Keskar et al. 2019 (CTRL), arXiv 1909.05858, section 4.1. Applied in this order: penalty, temperature, top-k,
top-p, as the library transformers does.

A text that outgrows the context is read on from its latest half: what came before is forgotten. Imports no torch:
servers use it.

Axis letters: `n` texts, `t` tokens, `v` ids.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from pydantic import Field, field_validator, model_validator

from bodh.config.base import Config
from bodh.contracts import derive_seed
from bodh.model.beam import finished, search
from bodh.model.on_arrays import Arithmetic
from bodh.model.writing import State, Writes, unspeakable

AT_ONCE = 64
"""Texts that are written side by side; all of them have prompts of one length, so none is filled up."""


class Generation(Config):
    """How a text goes on."""

    length: int = Field(128, ge=1, le=2**20, description="most tokens that are written; it may end before")
    temperature: float = Field(
        0.8, ge=0, le=100, description="divides logits before a token is drawn; 0: always the likeliest token (greedy)"
    )
    top_k: int | None = Field(None, ge=1, description="draw among this many likeliest tokens only")
    top_p: float | None = Field(
        None, gt=0, le=1, description="draw among the fewest tokens only that are this likely together"
    )
    repetition_penalty: float = Field(
        1.0, gt=0, le=100, description="makes tokens of the text so far less likely, prompt included; 1: not at all"
    )
    beams: int = Field(
        1, ge=1, le=256, description="beginnings that are kept at every step to find the likeliest text; 1: no search"
    )
    length_penalty: float = Field(
        1.0, ge=0, le=4, description="of beams: scores are divided by the length to this power; 0: not at all"
    )
    number: int = Field(1, ge=1, le=10_000, description="texts that are written for each prompt")
    seed: int = Field(0, ge=0, description="the same seed gives the same text")
    stop: tuple[str, ...] = Field(
        (), max_length=16, description="texts at which writing ends; the first of them that comes is left out"
    )
    cache: bool = Field(
        True, description="keep what was computed of earlier tokens; without, all is computed again at every token"
    )

    @field_validator("stop", mode="before")
    @classmethod
    def _one_stop_is_a_list(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else tuple(value) if isinstance(value, list) else value

    @model_validator(mode="after")
    def _beams_give_several(self) -> Generation:
        if 1 < self.beams < self.number:
            raise ValueError(f"number ({self.number}) must not be above beams ({self.beams}), which is all they find")
        if "" in self.stop:
            raise ValueError("stop: an empty text ends nothing; leave it out")
        return self


@dataclass(frozen=True, slots=True)
class Continuation:
    """How one text goes on.

    Attributes:
        ids: what was written, without begin and end.
        ended: whether it came to its end; else it was as long as it may be.
        score: of beam search, the log-probability a token (see `Generation.length_penalty`); else None.
    """

    ids: list[int]
    ended: bool
    score: float | None = None


def continued(model: Writes, prompts: Sequence[Sequence[int]], options: Generation) -> list[list[Continuation]]:
    """Return `options.number` continuations of each prompt; see `continuing`."""
    return finished(continuing(model, prompts, options))


def continuing(
    model: Writes, prompts: Sequence[Sequence[int]], options: Generation
) -> Generator[None, None, list[list[Continuation]]]:
    """Return `options.number` continuations of each prompt; yields after every token, so that others have their turn.

    What is written depends on the prompt, the options and how often the same prompt came before, but not on the
    prompts beside it (up to rounding: arithmetic on many rows may differ in the last digit from that on one).

    Args:
        model: what writes.
        prompts: [n] ids, each with its begin and without its end; none is empty.
        options: how to go on.
    """
    found: list[list[Continuation]] = [[] for _ in prompts]
    copies = 1 if options.beams > 1 else options.number
    asked = [place for place in range(len(prompts)) for _ in range(copies)]
    seeds = seeds_of([tuple(prompts[place]) for place in asked], options.seed)
    lengths = [len(prompts[place]) for place in asked]
    order = sorted(range(len(asked)), key=lambda one: lengths[one])  # stable: copies stay in their order
    for chosen in _alike(order, lengths):
        ids = np.array([list(prompts[asked[one]]) for one in chosen], np.int64)
        if options.beams > 1:
            written = yield from _searched(model, ids, options)
        else:
            written = yield from _drawn(model, ids, options, [seeds[one] for one in chosen])
        for one, texts in zip(chosen, written, strict=True):
            found[asked[one]].extend(texts)
    return found


def tokens_of(
    model: Writes, prompts: np.ndarray, options: Generation, seeds: Sequence[int]
) -> Iterator[list[tuple[int, int]]]:
    """Yield what is written at every step: (row, id) of each text that goes on, its end token the last of it.

    Args:
        model: what writes.
        prompts: `[n t]` ids, t from 1.
        options: how to go on, without beams.
        seeds: [n] of what is drawn.
    """
    drawn = np.stack([draws(seed, options.length) for seed in seeds])
    reader = Reader(model, prompts[:, :-1], options)
    forbidden, last, rows = unspeakable(model.tokens), prompts[:, -1], np.arange(len(prompts))
    for step in range(options.length):
        last = model.on.choose(reader.advance(last), options, drawn[rows, step], forbidden)
        yield list(zip(rows.tolist(), last.tolist(), strict=True))
        going = np.flatnonzero(last != model.tokens.end)
        if not len(going):
            return
        if len(going) < len(rows):
            reader.select(going)
            rows, last = rows[going], last[going]


def draws(seed: int, count: int) -> np.ndarray:
    """Return numbers from 0 to below 1, float64 [count]; the first ones do not depend on the count.

    They are those of `torch.rand` with a generator of this seed on a CPU, which NumPy's frozen generator gives too.
    """
    frozen = np.random.RandomState(seed & 0xFFFFFFFF)
    halves = frozen.randint(0, 2**32, 2 * count, dtype=np.uint32).astype(np.uint64)
    whole = (halves[0::2] << np.uint64(32)) | halves[1::2]
    found: np.ndarray = (whole & np.uint64(2**53 - 1)) * 2.0**-53
    return found


class Reader:
    """A causal language model and the texts that it has read; a `beam.Writer`.

    Args:
        model: what writes.
        ids: `[n t]` what the texts begin with, maybe nothing.
        options: `repetition_penalty` and `length` count.
    """

    def __init__(self, model: Writes, ids: np.ndarray, options: Generation) -> None:
        self.model, self.ids, self.options = model, ids, options
        self.on: Arithmetic = model.on
        self.longest = ids.shape[1] + 1 + options.length
        self.begin = 0 if model.context is None else max(0, ids.shape[1] + 1 - model.context)
        self.state = self._started()
        if ids.shape[1] > self.begin:
            self.state.advance(ids[:, self.begin :])  # once for all beams of a text
        self.read = max(self.begin, ids.shape[1])

    def advance(self, ids: np.ndarray) -> Any:
        """Return logits `[n v]` of the id after the next ids `ids` `[n]`; the repetition penalty is in them."""
        self.ids = np.concatenate([self.ids, ids[:, None]], axis=1)
        total, context = self.ids.shape[1], self.model.context
        if context is not None and total - self.begin > context:
            self.begin = self.read = total - max(1, context // 2)
            self.state = self._started()
        logits = self.state.advance(self.ids[:, self.read :])
        self.read = total
        return self.on.penalised(logits, self.ids, self.options.repetition_penalty)

    def select(self, rows: np.ndarray) -> None:
        """Keep the rows at positions `rows` `[n]`, in that order, any of them several times."""
        self.ids = self.ids[rows]
        self.state.select(rows)

    def _started(self) -> State:
        room = self.longest - self.begin
        return self.model.start(len(self.ids), min(room, self.model.context or room))


def seeds_of(prompts: Sequence[tuple[int, ...]], seed: int) -> list[int]:
    """Return a seed for each prompt: of the same prompt, the first has the same one always, the second another."""
    seen: dict[tuple[int, ...], int] = {}
    found = []
    for prompt in prompts:
        seen[prompt] = seen.get(prompt, -1) + 1
        found.append(derive_seed("generate", seed, seen[prompt], *prompt))
    return found


def _alike(order: Sequence[int], lengths: Sequence[int]) -> Iterator[list[int]]:
    """Yield `order` in parts of equal `lengths`, at most `AT_ONCE` long."""
    part: list[int] = []
    for one in order:
        if part and (lengths[one] != lengths[part[0]] or len(part) == AT_ONCE):
            yield part
            part = []
        part.append(one)
    if part:
        yield part


def _drawn(
    model: Writes, prompts: np.ndarray, options: Generation, seeds: Sequence[int]
) -> Generator[None, None, list[list[Continuation]]]:
    """Return one continuation of each prompt `[n t]`, token by token."""
    end = model.tokens.end
    ids: list[list[int]] = [[] for _ in prompts]
    for step in tokens_of(model, prompts, options, seeds):
        for row, one in step:
            ids[row].append(one)
        yield
    return [[Continuation(own[:-1], True) if own[-1] == end else Continuation(own, False)] for own in ids]


def _searched(
    model: Writes, prompts: np.ndarray, options: Generation
) -> Generator[None, None, list[list[Continuation]]]:
    """Return the likeliest continuations of each prompt `[n t]` that beam search finds, the best first."""
    found = yield from search(
        Reader(model, prompts[:, :-1], options), prompts[:, -1], end=model.tokens.end,
        forbidden=unspeakable(model.tokens), beams=options.beams, length=options.length,
        penalty=options.length_penalty,
    )  # fmt: skip
    return [[Continuation(one.ids, one.ended, one.score) for one in texts[: options.number]] for texts in found]
