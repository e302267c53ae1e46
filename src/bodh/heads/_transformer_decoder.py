"""Layers of a Transformer decoder: attention to what is written, attention to the memory, a hidden layer.

Paper: Vaswani et al. 2017, "Attention is all you need", arXiv 1706.03762, section 3; normalised before each part.

Axis letters: `n` rows, `s` tokens of the memory, `t` tokens written, `d` width.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor, nn

from bodh.layers.attention import Attention, Cache, CrossAttention, GrowingCache, Rotation, additive
from bodh.layers.positions import rotary, sinusoidal

Held = tuple[Tensor, Tensor]


class State:
    """What has been written so far, and the memory as every layer wants it.

    Args:
        cache: keys and values of the tokens written.
        held: of the memory, a layer each.
        mask: added to the scores of the memory, `[n 1 1 s]`, or None.
    """

    def __init__(self, cache: Cache | GrowingCache, held: list[Held], mask: Tensor | None) -> None:
        self.cache, self.held, self.mask = cache, held, mask

    def tensors(self) -> dict[str, Tensor]:
        """Return what changes while a text is written, by name."""
        return self.cache.tensors() if isinstance(self.cache, GrowingCache) else {}

    def select(self, rows: Tensor) -> None:
        """Keep the rows at positions `rows` `[n']`, in that order, any of them several times."""
        if isinstance(self.cache, Cache):
            self.cache.select(rows)
        self.held = [(keys[rows], values[rows]) for keys, values in self.held]
        self.mask = None if self.mask is None else self.mask[rows]


class Block(nn.Module):
    """One layer; what each part gives is added to what went in."""

    def __init__(self, width: int, memory: int, *, heads: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attention = Attention(width, heads, causal=True, dropout=0.0, bias=True)
        self.norm2 = nn.LayerNorm(width)
        self.cross = CrossAttention(width, memory, heads, dropout=0.0, bias=True)
        self.norm3 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width))
        self.dropout = nn.Dropout(dropout) if dropout else nn.Identity()

    def forward(self, x: Tensor, held: Held, mask: Tensor | None, rotation: Rotation | None) -> Tensor:
        """Return tokens `[n t d]` of all tokens written."""
        return self._rest(x + self.dropout(self.attention(self.norm1(x), None, rotation)), held, mask)

    def advance(self, x: Tensor, state: State, number: int, rotation: Rotation | None) -> Tensor:
        """Return the newest token `[n 1 d]`; `number` is this layer's in the cache."""
        seen = self.attention.advance(self.norm1(x), state.cache, number, None, rotation)
        return self._rest(x + seen, state.held[number], state.mask)

    def _rest(self, x: Tensor, held: Held, mask: Tensor | None) -> Tensor:
        x = x + self.dropout(self.cross(self.norm2(x), held, mask))
        out: Tensor = x + self.dropout(self.mlp(self.norm3(x)))
        return out


class TransformerLayers(nn.Module):
    """All layers, from embedded tokens to the states that tell the next.

    Args:
        width: d, of tokens.
        memory: of the memory's tokens.
        depth: layers.
        heads: of attention.
        hidden: width inside a layer.
        dropout: share dropped after every part.
        positions: how a token's place is told.
        context: places that learned positions hold.
    """

    def __init__(
        self,
        *,
        width: int,
        memory: int,
        depth: int,
        heads: int,
        hidden: int,
        dropout: float,
        positions: Literal["learned", "sinusoidal", "rotary"],
        context: int,
    ) -> None:
        super().__init__()
        self.width, self.heads, self.positions = width, heads, positions
        self.places = nn.Embedding(context, width) if positions == "learned" else None
        self.dropout = nn.Dropout(dropout) if dropout else nn.Identity()
        self.blocks = nn.ModuleList(
            Block(width, memory, heads=heads, hidden=hidden, dropout=dropout) for _ in range(depth)
        )
        self.norm = nn.LayerNorm(width)
        self._initialise()

    def forward(self, x: Tensor, memory: Tensor, seen: Tensor | None) -> Tensor:
        """Return states `[n t d]` of embedded tokens `[n t d]`, all at once."""
        mask = _mask(seen, memory)
        x, rotation = self._placed(x, torch.arange(x.shape[1], device=x.device))
        for block in self.blocks:
            x = block(x, block.cross.hold(memory), mask, rotation)  # type: ignore[union-attr,operator]
        out: Tensor = self.norm(x)
        return out

    def start(self, memory: Tensor, seen: Tensor | None, length: int) -> State:
        """Return an empty state for up to `length` tokens a row."""
        cache = Cache(
            layers=len(self.blocks), rows=len(memory), heads=self.heads, length=length,
            width=self.width // self.heads, like=self.norm.weight,
        )  # fmt: skip
        held = [block.cross.hold(memory) for block in self.blocks]  # type: ignore[union-attr,operator]
        return State(cache, held, _mask(seen, memory))

    def begun(self, memory: Tensor, seen: Tensor) -> dict[str, Tensor]:
        """Return what a text is begun with, by name; see `model.steps`."""
        found = {"mask": additive((seen | ~seen.any(dim=1, keepdim=True))[:, None, None], memory)}
        for number, block in enumerate(self.blocks):
            found[f"memory_keys.{number}"], found[f"memory_values.{number}"] = block.cross.hold(memory)  # type: ignore[union-attr,operator]
        return found

    def state_axes(self) -> dict[str, tuple[int | str, ...]]:
        """Return the axes of the tensors that `resume` takes; see `model.steps`."""
        each: tuple[int | str, ...] = ("n", self.heads, "s", self.width // self.heads)
        held = {f"memory_{what}.{number}": each for number in range(len(self.blocks)) for what in ("keys", "values")}
        grown = GrowingCache.axes(len(self.blocks), self.heads, self.width // self.heads)
        return {"mask": ("n", 1, 1, "s"), **held, **grown}

    def resume(self, tensors: Mapping[str, Tensor]) -> State:
        """Return the state of `tensors`; see `model.steps`."""
        layers = range(len(self.blocks))
        grown = {f"{what}.{number}": tensors[f"{what}.{number}"] for number in layers for what in ("keys", "values")}
        held = [(tensors[f"memory_keys.{number}"], tensors[f"memory_values.{number}"]) for number in layers]
        return State(GrowingCache(grown), held, tensors["mask"])

    def advance(self, x: Tensor, state: State) -> Tensor:
        """Return the state `[n 1 d]` after the next embedded token `[n 1 d]`."""
        place = torch.arange(state.cache.filled, state.cache.filled + 1, device=x.device)
        x, rotation = self._placed(x, place)
        for number, block in enumerate(self.blocks):
            x = block.advance(x, state, number, rotation)  # type: ignore[operator]
        state.cache.filled += 1
        out: Tensor = self.norm(x)
        return out

    def _placed(self, x: Tensor, places: Tensor) -> tuple[Tensor, Rotation | None]:
        """Return tokens with their places added, or how queries and keys are turned."""
        if self.places is not None:
            x = x + self.places(places)
        elif self.positions == "sinusoidal":
            x = x + sinusoidal(places, self.width).to(x.dtype)
        rotation = rotary(places, self.width // self.heads) if self.positions == "rotary" else None
        return self.dropout(x), rotation

    def _initialise(self) -> None:
        """Give weights as GPT-2 does: deviation 0.02, residual layers less by the root of their number, no bias."""
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.normal_(module.weight, std=0.02)
            if isinstance(module, nn.Linear):
                nn.init.zeros_(module.bias)
        for block in self.blocks:
            for last in (block.attention.out, block.cross.out, block.mlp[2]):  # type: ignore[union-attr,index]
                nn.init.normal_(last.weight, std=0.02 / math.sqrt(3 * len(self.blocks)))  # type: ignore[union-attr,arg-type]


def _mask(seen: Tensor | None, memory: Tensor) -> Tensor | None:
    """Return what is added to scores of the memory `[n 1 1 s]`; a row of padding alone is seen wholly."""
    if seen is None:
        return None
    return additive((seen | ~seen.any(dim=1, keepdim=True))[:, None, None], memory)
