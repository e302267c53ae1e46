"""Multi-head attention through PyTorch's fused kernel, and the cache that generation keeps.

Paper: Vaswani et al. 2017, "Attention is all you need", arXiv 1706.03762, section 3.2. Rotary positions: Su et al.
2021, "RoFormer", arXiv 2104.09864, section 3.4.2.

Axis letters: `n` rows, `t` tokens, `s` tokens attended to, `h` heads, `d` width, `e` width of a head (d / h).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Rotation(NamedTuple):
    """Angles of rotary positions: cosines and sines, each `[t e]` or, a row of its own for every text, `[n 1 t e]`."""

    cosine: Tensor
    sine: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        """Return queries or keys `[n h t e]`, every pair (i, i + e/2) turned by its position's angle."""
        first, second = x.chunk(2, dim=-1)
        return x * self.cosine + torch.cat([-second, first], dim=-1) * self.sine


class Cache:
    """Keys and values of the tokens read so far, for every layer; its memory is taken once.

    Args:
        layers: of the network.
        rows: n.
        heads: h.
        length: most tokens.
        width: e, of a head.
        like: its device and type are the cache's.
    """

    def __init__(self, *, layers: int, rows: int, heads: int, length: int, width: int, like: Tensor) -> None:
        self.memory = torch.empty(layers, 2, rows, heads, length, width, device=like.device, dtype=like.dtype)
        self.filled = 0
        """tokens held, of every row"""

    @property
    def length(self) -> int:
        """Most tokens that fit."""
        return self.memory.shape[4]

    def put(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Add `[n h t e]` of the newest tokens; return keys and values `[n h s e]` of all so far.

        `filled` is moved on by the network, once all layers have done this.
        """
        stop = self.filled + keys.shape[2]
        own = self.memory[layer]
        own[0, :, :, self.filled : stop] = keys
        own[1, :, :, self.filled : stop] = values
        return own[0, :, :, :stop], own[1, :, :, :stop]

    def select(self, rows: Tensor) -> None:
        """Keep the rows at positions `rows` `[n']`, in that order, any of them several times: what a beam needs."""
        self.memory = self.memory.index_select(2, rows.to(self.memory.device))


class GrowingCache:
    """The same as tensors that grow, which an exported graph takes in and gives back.

    Args:
        tensors: "keys.0", "values.0", …, of every layer `[n h s e]`, s from 0.
    """

    length = None
    """any number of tokens fits"""

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        self.held = dict(tensors)
        self.filled: int = next(iter(self.held.values())).shape[2]

    def put(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """See `Cache.put`."""
        for name, newest in ((f"keys.{layer}", keys), (f"values.{layer}", values)):
            self.held[name] = torch.cat([self.held[name], newest], dim=2)
        return self.held[f"keys.{layer}"], self.held[f"values.{layer}"]

    def tensors(self) -> dict[str, Tensor]:
        """Return what is held now, by name."""
        return self.held

    @staticmethod
    def axes(layers: int, heads: int, width: int) -> dict[str, tuple[int | str, ...]]:
        """Return the axes of its tensors, "t" for the one that grows from 0."""
        each: tuple[int | str, ...] = ("n", heads, "t", width)
        return {f"{what}.{layer}": each for layer in range(layers) for what in ("keys", "values")}


class Attention(nn.Module):
    """Self-attention of several heads.

    Args:
        width: d, a multiple of `heads`.
        heads: h.
        causal: a token sees itself and earlier ones only.
        dropout: share of the attention weights dropped while training.
        bias: linear layers have one.
    """

    def __init__(self, width: int, heads: int, *, causal: bool, dropout: float, bias: bool) -> None:
        super().__init__()
        self.heads = heads
        self.causal = causal
        self.dropout = dropout
        self.qkv = nn.Linear(width, 3 * width, bias=bias)
        self.out = nn.Linear(width, width, bias=bias)

    def forward(self, x: Tensor, mask: Tensor | None = None, rotation: Rotation | None = None) -> Tensor:
        """Return tokens `[n t d]` for `[n t d]`.

        Args:
            x: tokens.
            mask: added to the scores, `[n 1 1 t]` or `[n 1 t t]`: 0 where attended, minus infinity where not; it
                holds all that may not be seen, later tokens too. None: nothing but later ones, where causal.
            rotation: of the positions.
        """
        query, key, value = self._split(x)
        if rotation is not None:
            query, key = rotation(query), rotation(key)
        dropped = self.dropout if self.training else 0.0
        causal = self.causal and mask is None
        return self._join(attend(query, key, value, mask, dropped, causal=causal))

    def advance(
        self, x: Tensor, cache: Cache | GrowingCache, layer: int, mask: Tensor | None, rotation: Rotation | None
    ) -> Tensor:
        """Return tokens `[n t d]` of the newest ones `x`, which see those in `cache` and, if causal, earlier new ones.

        Args:
            x: tokens.
            cache: their keys and values are added to it.
            layer: this one's number in the cache.
            mask: `[t s]`, for several new tokens after others; None: one token, or nothing before them.
            rotation: of their positions.
        """
        query, key, value = self._split(x)
        if rotation is not None:
            query, key = rotation(query), rotation(key)
        alone = x.shape[1] > 1 and mask is None
        keys, values = cache.put(layer, key, value)
        return self._join(F.scaled_dot_product_attention(query, keys, values, mask, is_causal=alone))

    def _split(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        n, t, d = x.shape
        query, key, value = self.qkv(x).view(n, t, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
        return query, key, value  # each [n h t e]

    def _join(self, mixed: Tensor) -> Tensor:
        n, _, t, _ = mixed.shape
        out: Tensor = self.out(mixed.transpose(1, 2).reshape(n, t, -1))
        return out


class CrossAttention(nn.Module):
    """Attention of several heads from the tokens of a text that is being written over those of a memory.

    Args:
        width: d, of the tokens, a multiple of `heads`.
        memory: d', width of the memory's tokens.
        heads: h.
        dropout: share of the attention weights dropped while training.
        bias: linear layers have one.
    """

    def __init__(self, width: int, memory: int, heads: int, *, dropout: float, bias: bool) -> None:
        super().__init__()
        self.heads = heads
        self.dropout = dropout
        self.query = nn.Linear(width, width, bias=bias)
        self.kv = nn.Linear(memory, 2 * width, bias=bias)
        self.out = nn.Linear(width, width, bias=bias)

    def forward(self, x: Tensor, held: tuple[Tensor, Tensor], mask: Tensor | None = None) -> Tensor:
        """Return tokens `[n t d]` for `[n t d]`.

        Args:
            x: tokens.
            held: what `hold` gave for the memory.
            mask: added to the scores, `[n 1 1 s]`: 0 where attended, minus infinity where not.
        """
        n, t, d = x.shape
        query = self.query(x).view(n, t, self.heads, d // self.heads).transpose(1, 2)  # [n h t e]
        dropped = self.dropout if self.training else 0.0
        mixed = attend(query, *held, mask, dropped)
        out: Tensor = self.out(mixed.transpose(1, 2).reshape(n, t, d))
        return out

    def hold(self, memory: Tensor) -> tuple[Tensor, Tensor]:
        """Return keys and values, each `[n h s e]`, of a memory `[n s d']`: the same for every token written."""
        n, s, _ = memory.shape
        keys, values = self.kv(memory).view(n, s, 2, self.heads, -1).permute(2, 0, 3, 1, 4)
        return keys, values


def attend(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None, dropped: float = 0.0, *, causal: bool = False
) -> Tensor:
    """Return attention `[n h t e]` by PyTorch's fused kernel; on a CPU in float32, whatever the network computes in.

    In bfloat16 the kernel's gradient takes several times as long there, also on CPUs with units for bfloat16
    (benchmarks/char_gpt.py times whole steps).

    Args:
        query: `[n h t e]`.
        key: `[n h s e]`.
        value: `[n h s e]`.
        mask: added to the scores, or none.
        dropped: share of the attention weights that is dropped.
        causal: a token sees itself and earlier ones only.
    """
    if query.device.type != "cpu" or query.dtype not in (torch.bfloat16, torch.float16):
        return F.scaled_dot_product_attention(query, key, value, mask, dropped, is_causal=causal)
    with torch.autocast("cpu", enabled=False):
        full = (query.float(), key.float(), value.float())
        mixed = F.scaled_dot_product_attention(*full, mask, dropped, is_causal=causal)
    return mixed.to(query.dtype)


def additive(seen: Tensor, like: Tensor) -> Tensor:
    """Return what is added to scores for `seen`, True where attended: turned once, not in every layer again."""
    return torch.zeros_like(seen, dtype=like.dtype).masked_fill(~seen, -torch.inf)
