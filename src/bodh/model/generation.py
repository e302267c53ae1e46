"""How a causal language model goes on with a text: token by token, sampled, the likeliest, or by beam search.

Temperature and top-k: Fan et al. 2018, arXiv 1805.04833; top-p: Holtzman et al. 2020, arXiv 1904.09751; repetition
penalty: Keskar et al. 2019 (CTRL), arXiv 1909.05858, section 4.1. Applied in this order: penalty, temperature, top-k,
top-p, as the library transformers does.

A text that outgrows the context is read on from its latest half: what came before is forgotten.

Axis letters: `n` texts, `t` tokens, `v` ids.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from pydantic import Field, model_validator

from bodh.config.base import Config
from bodh.contracts import Tokens, derive_seed
from bodh.model.beam import search

if TYPE_CHECKING:
    from torch import Tensor

    from bodh.model.loaded import LoadedModel

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
    cache: bool = Field(
        True, description="keep what was computed of earlier tokens; without, all is computed again at every token"
    )

    @model_validator(mode="after")
    def _beams_give_several(self) -> Generation:
        if 1 < self.beams < self.number:
            raise ValueError(f"number ({self.number}) must not be above beams ({self.beams}), which is all they find")
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


def continued(model: LoadedModel, prompts: Sequence[Sequence[int]], options: Generation) -> list[list[Continuation]]:
    """Return `options.number` continuations of each prompt.

    What is written depends on the prompt, the options and how often the same prompt came before, but not on the
    prompts beside it (up to rounding: arithmetic on many rows may differ in the last digit from that on one).

    Args:
        model: of task "tokens", causal.
        prompts: [n] ids, each with its begin and without its end; none is empty.
        options: how to go on.
    """
    import torch

    found: list[list[Continuation]] = [[] for _ in prompts]
    copies = 1 if options.beams > 1 else options.number
    asked = [place for place in range(len(prompts)) for _ in range(copies)]
    seeds = seeds_of([tuple(prompts[place]) for place in asked], options.seed)
    lengths = [len(prompts[place]) for place in asked]
    order = sorted(range(len(asked)), key=lambda one: lengths[one])  # stable: copies stay in their order
    for chosen in _alike(order, lengths):
        ids = torch.tensor([list(prompts[asked[one]]) for one in chosen], device=model.device)
        written = (
            _searched(model, ids, options) if options.beams > 1
            else [[one] for one in _drawn(model, ids, options, [seeds[one] for one in chosen])]
        )  # fmt: skip
        for one, texts in zip(chosen, written, strict=True):
            found[asked[one]].extend(texts)
    return found


def tokens_of(
    model: LoadedModel, prompts: Tensor, options: Generation, seeds: Sequence[int]
) -> Iterator[list[tuple[int, int]]]:
    """Yield what is written at every step: (row, id) of each text that goes on, its end token the last of it.

    Args:
        model: of task "tokens", causal.
        prompts: `[n t]` ids on the model's device, t from 1.
        options: how to go on, without beams.
        seeds: [n] of what is drawn.
    """
    import torch

    tokens = _tokens(model)
    place = "cpu" if prompts.device.type == "mps" else prompts.device  # mps knows no float64
    drawn = torch.stack(
        [
            torch.rand(options.length, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
            for seed in seeds
        ]
    ).to(place)  # [n length]: what a row draws does not depend on the others, nor on when they end
    reader = Reader(model, prompts[:, :-1], options)
    forbidden, last = unspeakable(tokens).to(prompts.device), prompts[:, -1]
    rows = torch.arange(len(prompts), device=prompts.device)
    for step in range(options.length):
        logits = reader.advance(last).masked_fill(forbidden, -torch.inf)
        last = choose(logits.to(place), options, drawn[rows.to(place), step]).to(prompts.device)
        yield list(zip(rows.tolist(), last.tolist(), strict=True))
        going = (last != tokens.end).nonzero()[:, 0]
        if not len(going):
            return
        if len(going) < len(rows):
            reader.select(going)
            rows, last = rows[going], last[going]


class Reader:
    """A causal language model and the texts that it has read; a `beam.Writer`.

    Args:
        model: of task "tokens", causal.
        ids: `[n t]` what the texts begin with, maybe nothing.
        options: `cache`, `repetition_penalty` and `length` count.
    """

    def __init__(self, model: LoadedModel, ids: Tensor, options: Generation) -> None:
        self.backbone, self.head = cast("Any", model.network["backbone"]), model.network["head"]
        self.ids = ids
        self.options = options
        self.context: int | None = self.backbone.context
        self.longest = ids.shape[1] + 1 + options.length
        self.begin = 0 if self.context is None else max(0, ids.shape[1] + 1 - self.context)
        self.read = self.begin
        self.cache: Any = None
        if options.cache and ids.shape[1] > self.begin:
            self._tokens()  # once for all beams of a text

    def advance(self, ids: Tensor) -> Tensor:
        """Return logits `[n v]` of the id after the next ids `ids` `[n]`; the repetition penalty is in them."""
        import torch

        self.ids = torch.cat([self.ids, ids[:, None]], dim=1)
        total = self.ids.shape[1]
        if self.context is not None and total - self.begin > self.context:
            self.begin = self.read = total - max(1, self.context // 2)
            self.cache = None
        with torch.inference_mode():
            logits = self.head(self._tokens()[:, -1]).float()
            return penalised(logits, self.ids, self.options.repetition_penalty)

    def select(self, rows: Tensor) -> None:
        """Keep the rows at positions `rows` `[n]`, in that order, any of them several times."""
        import torch

        self.ids = self.ids[rows]
        if self.cache is not None:
            with torch.inference_mode():
                self.cache.select(rows)

    def _tokens(self) -> Tensor:
        """Return tokens `[n t d]` of what has not been read yet (without a cache: of all that the network may see)."""
        import torch

        with torch.inference_mode():
            if not self.options.cache:
                return cast("Tensor", self.backbone.features(self.ids[:, self.begin :]).tokens)
            if self.cache is None:
                room = self.longest - self.begin
                self.cache = self.backbone.start(len(self.ids), min(room, self.context or room))
            unread = self.ids[:, self.read :]
            self.read = self.ids.shape[1]
            return cast("Tensor", self.backbone.advance(unread, self.cache))


def penalised(logits: Tensor, before: Tensor, penalty: float) -> Tensor:
    """Return `logits` `[n v]` with those of ids in `before` `[n t]` divided by `penalty`, multiplied where negative."""
    import torch

    if penalty == 1:
        return logits
    told = logits.gather(1, before)
    return logits.scatter(1, before, torch.where(told < 0, told * penalty, told / penalty))


def choose(logits: Tensor, options: Generation, drawn: Tensor) -> Tensor:
    """Return the ids `[n]` that are next: the likeliest, or those at which the numbers drawn fall.

    Args:
        logits: `[n v]`, penalties applied.
        options: temperature, top-k and top-p count.
        drawn: `[n]` from 0 to below 1.
    """
    import torch

    if options.temperature == 0:
        return logits.argmax(dim=1)
    share = probabilities(logits, options).cumsum(dim=1)  # [n v]
    place = torch.searchsorted(share, (drawn.to(share.dtype) * share[:, -1])[:, None], right=True)[:, 0]
    return place.clamp(max=logits.shape[1] - 1)


def probabilities(logits: Tensor, options: Generation) -> Tensor:
    """Return what tokens are drawn with, float64 `[n v]`, 0 for those that may not be drawn.

    Args:
        logits: `[n v]`.
        options: temperature (above 0), top-k and top-p count.
    """
    import torch

    logits = logits.double() / options.temperature
    if options.top_k is not None and options.top_k < logits.shape[1]:
        least = logits.topk(options.top_k, dim=1).values[:, -1:]
        logits = logits.masked_fill(logits < least, -torch.inf)
    found = logits.softmax(dim=1)
    if options.top_p is not None and options.top_p < 1:
        ranked, order = found.sort(dim=1, descending=True, stable=True)
        kept = ranked.cumsum(dim=1) - ranked < options.top_p  # what is likelier does not suffice by itself
        found = torch.zeros_like(found).scatter(1, order, ranked * kept)
        found = found / found.sum(dim=1, keepdim=True)
    return found


def unspeakable(tokens: Tokens) -> Tensor:
    """Return which ids are never written, bool `[v]`: padding, begin, mask, the unknown; the end may be."""
    import torch

    found = torch.from_numpy(tokens.special.copy())
    found[tokens.unknown] = True
    found[tokens.end] = False
    return found


def _tokens(model: LoadedModel) -> Tokens:
    return cast("Tokens", cast("Any", model.modality).tokens())


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


def _drawn(model: LoadedModel, prompts: Tensor, options: Generation, seeds: Sequence[int]) -> list[Continuation]:
    """Return one continuation of each prompt `[n t]`, token by token."""
    end = _tokens(model).end
    ids: list[list[int]] = [[] for _ in prompts]
    for step in tokens_of(model, prompts, options, seeds):
        for row, one in step:
            ids[row].append(one)
    return [Continuation(own[:-1], True) if own[-1] == end else Continuation(own, False) for own in ids]


def _searched(model: LoadedModel, prompts: Tensor, options: Generation) -> list[list[Continuation]]:
    """Return the likeliest continuations of each prompt `[n t]` that beam search finds, the best first."""
    import torch

    tokens = _tokens(model)
    reader = Reader(model, prompts[:, :-1], options)
    with torch.inference_mode():
        found = search(
            reader, prompts[:, -1], end=tokens.end, forbidden=unspeakable(tokens).to(prompts.device),
            beams=options.beams, length=options.length, penalty=options.length_penalty,
        )  # fmt: skip
    return [[Continuation(one.ids, one.ended, one.score) for one in texts[: options.number]] for texts in found]
