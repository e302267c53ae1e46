"""A Transformer that reads token ids: encoder as in BERT, or decoder only as in GPT (`causal=true`).

Papers: Vaswani et al. 2017, "Attention is all you need", arXiv 1706.03762; Devlin et al. 2018, "BERT", arXiv
1810.04805; Radford et al. 2019, "Language models are unsupervised multitask learners" (GPT-2: normalised before
attention and before the hidden layer, residual layers started smaller by the root of their number). Weights in the
layouts of published BERT and GPT-2 models are read and written (`_layouts.py`).

Not for rows of thousands of tokens on a CPU: the work of attention grows with their square.

Axis letters: `n` rows, `t` tokens, `d` width.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, cast

import torch
from pydantic import Field
from torch import Tensor, nn

from bodh.backbones._stages import pooled_tokens, real_tokens, text_numbers, text_shape
from bodh.config.base import Config as BaseConfig
from bodh.config.resolve import resolve
from bodh.contracts import Features, NetworkSpec
from bodh.errors import ConfigError, DataError
from bodh.layers.attention import Attention, Cache, GrowingCache, additive
from bodh.layers.positions import rotary, sinusoidal, within

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "gelu": nn.GELU,
    "gelu_tanh": lambda: nn.GELU(approximate="tanh"),
    "relu": nn.ReLU,
}


class Config(BaseConfig):
    """Architecture of the network."""

    causal: bool = Field(False, description="a token sees itself and earlier ones only, as next-token learning needs")
    width: int = Field(128, ge=1, le=16384, description="of tokens and features, a multiple of `heads`")
    depth: int = Field(4, ge=1, le=256, description="blocks")
    heads: int = Field(4, ge=1, le=1024, description="of attention")
    hidden: int | None = Field(None, ge=1, le=131072, description="width inside a block; None: four times `width`")
    positions: Literal["learned", "sinusoidal", "rotary"] = Field(
        "learned", description="how a token's place is told; learned ones end at `context`, the others never"
    )
    context: int | None = Field(None, ge=1, description="places that learned positions hold; None: as rows are long")
    types: int = Field(
        0, ge=0, le=64, description="texts of a row that are told apart by a vector each, as BERT tells two; 0: none"
    )
    norm: Literal["pre", "post"] = Field("pre", description="normalise before each part of a block, or after it")
    embedding_norm: bool = Field(False, description="normalise what goes into the first block, as BERT does")
    activation: Literal["gelu", "gelu_tanh", "relu"] = Field("gelu", description="of the hidden layer")
    dropout: float = Field(0.1, ge=0, lt=1, description="share dropped while training, after every part of a block")
    attention_dropout: float = Field(0.0, ge=0, lt=1, description="share of attention weights dropped while training")
    bias: bool = Field(True, description="linear layers and normalisations have one")
    eps: float = Field(1e-5, gt=0, le=0.1, description="added to the variance in normalisations")
    pool: Literal["mean", "first", "last"] = Field("mean", description="a row's features: of all its tokens, or of one")


class Block(nn.Module):
    """Attention, then a hidden layer on every token; what each gives is added to what went in.

    Args:
        config: of the network.
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        width, hidden, bias = config.width, config.hidden or 4 * config.width, config.bias
        self.post = config.norm == "post"
        self.norm1 = nn.LayerNorm(width, eps=config.eps, bias=bias)
        self.attention = Attention(
            width, config.heads, causal=config.causal, dropout=config.attention_dropout, bias=bias
        )
        self.norm2 = nn.LayerNorm(width, eps=config.eps, bias=bias)
        self.mlp = nn.Sequential(
            nn.Linear(width, hidden, bias=bias), ACTIVATIONS[config.activation](), nn.Linear(hidden, width, bias=bias)
        )
        self.dropout = nn.Dropout(config.dropout) if config.dropout else nn.Identity()

    def forward(self, x: Tensor, attend: Callable[[Attention, Tensor], Tensor]) -> Tensor:
        """Return tokens `[n t d]`; `attend` calls the attention as the network does it, with or without a cache."""
        if self.post:
            x = self.norm1(x + self.dropout(attend(self.attention, x)))
            return cast("Tensor", self.norm2(x + self.dropout(self.mlp(x))))
        x = x + self.dropout(attend(self.attention, self.norm1(x)))
        return x + cast("Tensor", self.dropout(self.mlp(self.norm2(x))))


class Transformer(nn.Module):
    """The network: embedding, positions, blocks, final normalisation; see `Config`.

    Args:
        spec: how `build` makes this network again.
        config: its architecture.
    """

    def __init__(self, spec: NetworkSpec, config: Config) -> None:
        super().__init__()
        self.spec = spec
        self.dim = config.width
        self.vocabulary: int = spec.arguments["vocabulary"]
        self.padding: int = spec.arguments["padding"]
        self.causal = config.causal
        self.context = config.context if config.positions == "learned" else None
        self.pool = config.pool
        self.eps = config.eps
        self.positions = config.positions
        self.block_names = ("embed", *(f"block{number}" for number in range(1, config.depth + 1)))
        self.embedding = nn.Embedding(self.vocabulary, config.width)
        self.places = nn.Embedding(self.context, config.width) if self.context is not None else None
        self.types = nn.Embedding(config.types, config.width) if config.types else None
        self.separator: int | None = spec.arguments.get("separator")
        # sines are of size 1, so the ids' vectors are brought to it too (Vaswani et al. 2017, section 3.4)
        self.scale = math.sqrt(config.width) if config.positions == "sinusoidal" else 1.0
        norm = nn.LayerNorm(config.width, eps=config.eps, bias=config.bias)
        self.embedding_norm = norm if config.embedding_norm else nn.Identity()
        self.dropout = nn.Dropout(config.dropout) if config.dropout else nn.Identity()
        self.layers = nn.ModuleList(Block(config) for _ in range(config.depth))
        last = nn.LayerNorm(config.width, eps=config.eps, bias=config.bias)
        self.norm = last if config.norm == "pre" else nn.Identity()
        self._initialise()

    def forward(self, x: Tensor) -> Tensor:
        """Return pooled features `[n d]` of ids `x` `[n t]`."""
        return self.features(x).pooled

    def features(self, x: Tensor, documents: Tensor | None = None) -> Features:
        """Return pooled features and tokens of ids `x` `[n t]`; see `contracts.TextBackbone` for `documents`.

        Raises:
            DataError: rows are longer than the positions that the network has learned.
        """
        real = real_tokens(x, self.padding)
        tokens = self.norm(self._through(x, real, documents)[-1])
        return Features(pooled=pooled_tokens(tokens, real, self.pool), tokens=tokens, map=None)

    def blocks(self, x: Tensor, *, grid: int = 1) -> dict[str, Tensor]:
        """Return the pooled output `[n d]` of every block, the last one's after the final normalisation.

        Args:
            x: ids `[n t]`.
            grid: of maps, which there are none of here.
        """
        del grid
        real = real_tokens(x, self.padding)
        outputs = self._through(x, real, None)
        outputs[-1] = self.norm(outputs[-1])
        return {name: pooled_tokens(out, real, self.pool) for name, out in zip(self.block_names, outputs, strict=True)}

    def block_modules(self) -> dict[str, list[nn.Module]]:
        """Return the modules of every block: what goes before the first, and the last normalisation with the last."""
        found: dict[str, list[nn.Module]] = {"embed": [self.embedding, self.embedding_norm]}
        if self.places is not None:
            found["embed"].append(self.places)
        if self.types is not None:
            found["embed"].append(self.types)
        found |= {name: [layer] for name, layer in zip(self.block_names[1:], self.layers, strict=True)}
        found[self.block_names[-1]].append(self.norm)
        return found

    def start(self, rows: int, length: int) -> Cache | None:
        """Return an empty cache for up to `length` tokens in each of `rows` rows; None where not causal.

        Raises:
            ConfigError: that is more than the network has learned positions for.
        """
        if not self.causal:
            return None
        if self.context is not None and length > self.context:
            raise ConfigError(
                f"a text of {length} tokens is longer than the context of this model; allowed are up to {self.context}"
            )
        heads = cast("Block", self.layers[0]).attention.heads
        return Cache(
            layers=len(self.layers), rows=rows, heads=heads, length=length, width=self.dim // heads,
            like=self.embedding.weight,
        )  # fmt: skip

    def state_axes(self) -> dict[str, tuple[int | str, ...]]:
        """Return the axes of the tensors that `resume` takes; see `model.steps`."""
        heads = cast("Block", self.layers[0]).attention.heads
        return GrowingCache.axes(len(self.layers), heads, self.dim // heads)

    def resume(self, tensors: Mapping[str, Tensor]) -> GrowingCache:
        """Return a cache that holds `tensors`; see `model.steps`."""
        return GrowingCache(tensors)

    def advance(self, x: Tensor, cache: Cache | GrowingCache) -> Tensor:
        """Return tokens `[n t d]` of the next ids `x` `[n t]` after those in `cache`, which then holds them too.

        Raises:
            ConfigError: the cache is full.
        """
        before, count = cache.filled, x.shape[1]
        if cache.length is not None and before + count > cache.length:
            raise ConfigError(f"{before + count} tokens do not fit into a cache of {cache.length}; start a longer one")
        places = torch.arange(before, before + count, device=x.device)
        mask = None
        if before and count > 1:
            mask = additive(torch.arange(before + count, device=x.device) <= places[:, None], self.embedding.weight)
        rotation = rotary(places, self._head()) if self.positions == "rotary" else None
        tokens = self._embed(x, places)
        for number, layer in enumerate(self.layers):
            tokens = layer(tokens, lambda own, y, n=number: own.advance(y, cache, n, mask, rotation))
        cache.filled += count
        out: Tensor = self.norm(tokens)
        return out

    def _through(self, x: Tensor, real: Tensor | None, documents: Tensor | None) -> list[Tensor]:
        """Return what goes into the first block, and what comes out of every one."""
        self._check(x.shape[1])
        places = torch.arange(x.shape[1], device=x.device) if documents is None else within(documents)
        mask = self._mask(real, documents)
        rotation = rotary(places, self._head()) if self.positions == "rotary" else None
        outputs = [self._embed(x, places)]
        for layer in self.layers:
            outputs.append(layer(outputs[-1], lambda own, y: own(y, mask, rotation)))
        return outputs

    def _embed(self, x: Tensor, places: Tensor) -> Tensor:
        """Return what goes into the first block `[n t d]`, for positions `[t]` or `[n t]`."""
        found: Tensor = self.embedding(x)
        if self.positions == "sinusoidal":
            found = found * self.scale + sinusoidal(places, self.dim).to(found.dtype)
        elif self.places is not None:
            found = found + self.places(places)
        if self.types is not None:
            found = found + self.types(text_numbers(x, self.separator, self.types.num_embeddings))
        out: Tensor = self.dropout(self.embedding_norm(found))
        return out

    def _mask(self, real: Tensor | None, documents: Tensor | None) -> Tensor | None:
        """Return what is added to the scores, or None where the fused kernel needs no mask.

        Padding lies at the end, so that no earlier token sees it in a causal network. A row of padding alone sees
        itself: nothing attended to would give no numbers.
        """
        if documents is None:
            if real is None or self.causal:
                return None
            seen = real | ~real.any(dim=1, keepdim=True)
            return additive(seen[:, None, None], self.embedding.weight)
        seen = documents[:, :, None] == documents[:, None, :]
        if real is not None and not self.causal:
            seen = seen & real[:, None, :]
        own = torch.eye(documents.shape[1], dtype=torch.bool, device=documents.device)
        seen = seen | own
        if self.causal:
            seen = seen.tril()
        return additive(seen[:, None], self.embedding.weight)

    def _head(self) -> int:
        return self.dim // cast("Block", self.layers[0]).attention.heads

    def _check(self, length: int) -> None:
        if self.context is None or torch.compiler.is_compiling():
            return
        if length > self.context:
            raise DataError(
                f"rows of {length} tokens are longer than the context of this backbone, {self.context}; "
                f"type modality.length={self.context}, or a backbone with backbone.positions=rotary"
            )

    def _initialise(self) -> None:
        """Give weights as GPT-2 does: deviation 0.02, residual layers less by the root of their number, no bias."""
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.normal_(module.weight, std=0.02)
                if isinstance(module, nn.Linear) and module.bias is not None:
                    nn.init.zeros_(module.bias)
        if self.scale != 1:
            nn.init.normal_(self.embedding.weight, std=1 / self.scale)
        for layer in self.layers:
            for last in (cast("Block", layer).attention.out, cast("Block", layer).mlp[2]):
                nn.init.normal_(cast("nn.Linear", last).weight, std=0.02 / math.sqrt(2 * len(self.layers)))


def members() -> tuple[str, ...]:
    """Return (): the family is its only member."""
    return ()


def build(
    *, shape: Sequence[int], vocabulary: int = 0, padding: int = 0, separator: int | None = None, **settings: Any
) -> Transformer:
    """Build the network.

    Args:
        shape: (length,): most tokens of a row.
        vocabulary: number of token ids.
        padding: the id that fills rows up.
        separator: the id that ends each of the texts of a row, where `types` tells them apart; None: a row is one.
        settings: see `Config`.

    Raises:
        ConfigError: the records are no text, or a setting is unknown or out of its range.
    """
    length = text_shape(shape, vocabulary=vocabulary, padding=padding, name="transformer")
    config = cast("Config", resolve(settings, {"": Config})[""])
    wrong = []
    if config.width % config.heads:
        wrong.append(f"width={config.width}, heads={config.heads} (width must be a multiple of heads)")
    if config.positions == "sinusoidal" and config.width % 2:
        wrong.append(f"width={config.width} (with positions=sinusoidal a multiple of 2)")
    if config.positions == "rotary" and (config.width // config.heads) % 2:
        wrong.append(f"width={config.width}, heads={config.heads} (with positions=rotary width / heads must be even)")
    if config.positions == "learned" and config.context is not None and config.context < length:
        wrong.append(
            f"context={config.context} (rows have up to {length} tokens; type modality.length={config.context})"
        )
    if config.types and config.causal:
        wrong.append(f"types={config.types}, causal=true (types are for networks that see a whole row)")
    if wrong:
        raise ConfigError(f"the backbone 'transformer' cannot be built with {'; '.join(wrong)}")
    config = config.model_copy(
        update={"hidden": config.hidden or 4 * config.width, "context": config.context or length}
    )
    arguments = {"shape": [length], "vocabulary": vocabulary, "padding": padding, **config.model_dump(mode="json")}
    if not config.types:
        del arguments["types"]  # what most networks do without needs no word
    elif separator is not None:
        arguments["separator"] = separator
    return Transformer(NetworkSpec("backbones", "transformer", arguments), config)
