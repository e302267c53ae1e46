"""Recurrent networks that read token ids: plain, LSTM or GRU (`kind`), in one direction or both.

Papers: see `layers/recurrent.py`; both directions: Schuster and Paliwal 1997, "Bidirectional recurrent neural
networks"; pooling by attention: Yang et al. 2016, "Hierarchical attention networks for document classification",
equations 5 to 7; connections past the layers: Wu et al. 2016, arXiv 1609.08144, section 3.1.

Small, and cheap for long rows: work grows with the number of tokens, not with its square; but token after token, so
that a GPU has little to do. Not for memories over hundreds of tokens: gradients vanish (plain) or fade.

Axis letters: `n` rows, `t` tokens, `d` width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, cast

import torch
from pydantic import Field
from torch import Tensor, nn

from bodh.backbones._stages import pooled_tokens, real_tokens, text_shape
from bodh.config.base import Config as BaseConfig
from bodh.config.resolve import resolve
from bodh.contracts import Features, NetworkSpec
from bodh.errors import ConfigError
from bodh.layers.recurrent import Pieces, Recurrence, pieces

EMBEDDING = 0.1
"""Ids' vectors start uniform between minus and plus this (Merity et al. 2018, arXiv 1708.02182, section 5)."""


class Config(BaseConfig):
    """Architecture of the network."""

    kind: Literal["rnn", "lstm", "gru"] = Field("gru", description="the cell: plain, long short-term memory, gated")
    width: int = Field(128, ge=1, le=16384, description="of tokens and features; of each direction half, where both")
    layers: int = Field(1, ge=1, le=64, description="one over the other")
    bidirectional: bool = Field(False, description="read from both ends; a token then sees later ones too")
    pool: Literal["mean", "last", "attention"] = Field(
        "mean", description="a row's features: of all its tokens, the last state, or weighed by what a layer learns"
    )
    dropout: float = Field(0.1, ge=0, lt=1, description="share dropped while training, before and after every layer")
    orthogonal: bool = Field(True, description="recurrent weights start orthogonal; false: uniform, as in PyTorch")
    residual: bool = Field(False, description="add to what every layer gives what went in")


class State:
    """What has been read, for every layer.

    Args:
        layers: of the network.
    """

    def __init__(self, layers: int) -> None:
        self.layers: list[Any] = [None] * layers
        """of every layer `[1 n d]`, of an LSTM two such; None before the first token"""
        self.filled = 0
        """tokens read, of every row"""

    def tensors(self) -> dict[str, Tensor]:
        """Return every layer's state `[n d]` by name; an LSTM has two."""
        return {
            f"state.{number}{'.cell' * place}": one[0]
            for number, state in enumerate(self.layers)
            for place, one in enumerate(state if isinstance(state, tuple) else (state,))
        }

    def select(self, rows: Tensor) -> None:
        """Keep the rows at positions `rows` `[n']`, in that order, any of them several times: what a beam needs."""
        self.layers = [
            None if state is None
            else tuple(one[:, rows] for one in state) if isinstance(state, tuple)
            else state[:, rows]
            for state in self.layers
        ]  # fmt: skip


class Layer(nn.Module):
    """One layer, in one direction or both; what these give lies side by side.

    Args:
        config: of the network.
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        width = config.width // 2 if config.bidirectional else config.width
        self.forth = Recurrence(config.kind, config.width, width, orthogonal=config.orthogonal)
        self.back = (
            Recurrence(config.kind, config.width, width, orthogonal=config.orthogonal) if config.bidirectional else None
        )
        self.dropout = nn.Dropout(config.dropout) if config.dropout else nn.Identity()
        self.residual = config.residual

    def forward(self, x: Tensor, turned: Tensor | None) -> Tensor:
        """Return tokens `[n t d]` of tokens `[n t d]`.

        Args:
            x: tokens, padding at the end.
            turned: `[n t]` places that put every row's tokens in reverse order, and back; None: in one direction.
        """
        out = self.forth(x)[0]
        if self.back is not None and turned is not None:
            other = self.back(_taken(x, turned))[0]
            out = torch.cat([out, _taken(other, turned)], dim=-1)
        return self._joined(x, out)

    def in_pieces(self, x: Tensor, layouts: Sequence[Pieces]) -> Tensor:
        """Return tokens `[n t d]` of tokens `[n t d]`, every document on its own; a layout for each direction."""
        out = self.forth.in_pieces(x, layouts[0])
        if self.back is not None:
            out = torch.cat([out, self.back.in_pieces(x, layouts[1])], dim=-1)
        return self._joined(x, out)

    def advance(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        """Return tokens `[n t d]` of the next tokens `[n t d]`, and the state after them."""
        out, state = self.forth(x, state)
        return self._joined(x, out), state

    def _joined(self, x: Tensor, out: Tensor) -> Tensor:
        out = self.dropout(out)
        return x + out if self.residual else out


class Recurrent(nn.Module):
    """The network: embedding, layers, pooling; see `Config`.

    Args:
        spec: how `build` makes this network again.
        config: its architecture.
    """

    context: int | None = None
    pace = 4.0
    """How many times the learning rate of a Transformer of the same width suits it, by a few short trials on
    two sets of sentences; no benchmark stands behind it."""
    clip = 1.0
    """Largest norm of the gradient where nothing is said: over many tokens it may explode (Pascanu et al. 2013)."""

    def __init__(self, spec: NetworkSpec, config: Config) -> None:
        super().__init__()
        self.spec = spec
        self.dim = config.width
        self.vocabulary: int = spec.arguments["vocabulary"]
        self.padding: int = spec.arguments["padding"]
        self.causal = not config.bidirectional
        self.kind = config.kind
        self.pool = config.pool
        self.block_names = ("embed", *(f"layer{number}" for number in range(1, config.layers + 1)))
        self.embedding = nn.Embedding(self.vocabulary, config.width)
        nn.init.uniform_(self.embedding.weight, -EMBEDDING, EMBEDDING)
        self.dropout = nn.Dropout(config.dropout) if config.dropout else nn.Identity()
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.layers))
        self.attention: nn.Module | None = None
        if config.pool == "attention":
            self.attention = nn.Sequential(
                nn.Linear(config.width, config.width), nn.Tanh(), nn.Linear(config.width, 1, bias=False)
            )

    def forward(self, x: Tensor) -> Tensor:
        """Return pooled features `[n d]` of ids `x` `[n t]`."""
        return self.features(x).pooled

    def features(self, x: Tensor, documents: Tensor | None = None) -> Features:
        """Return pooled features and tokens of ids `x` `[n t]`; see `contracts.TextBackbone` for `documents`."""
        real = real_tokens(x, self.padding)
        tokens = self._through(x, real, documents)[-1]
        return Features(pooled=self._pool(tokens, real, self.pool), tokens=tokens, map=None)

    def blocks(self, x: Tensor, *, grid: int = 1) -> dict[str, Tensor]:
        """Return the pooled output `[n d]` of every block; attention weighs the last one's tokens only.

        Args:
            x: ids `[n t]`.
            grid: of maps, which there are none of here.
        """
        del grid
        real = real_tokens(x, self.padding)
        before = "mean" if self.pool == "attention" else self.pool
        pools = [before] * len(self.layers) + [self.pool]
        outputs = zip(self.block_names, self._through(x, real, None), pools, strict=True)
        return {name: self._pool(out, real, pool) for name, out, pool in outputs}

    def block_modules(self) -> dict[str, list[nn.Module]]:
        """Return the modules of every block; the pooling's belong to the last."""
        found: dict[str, list[nn.Module]] = {"embed": [self.embedding]}
        found |= {name: [layer] for name, layer in zip(self.block_names[1:], self.layers, strict=True)}
        if self.attention is not None:
            found[self.block_names[-1]].append(self.attention)
        return found

    def start(self, rows: int, length: int) -> State | None:
        """Return the state before anything is read, for any number of rows and tokens; None where not causal."""
        del rows, length
        return State(len(self.layers)) if self.causal else None

    def state_axes(self) -> dict[str, tuple[int | str, ...]]:
        """Return the axes of the tensors that `resume` takes; see `model.steps`."""
        axes: tuple[int | str, ...] = ("n", self.dim)
        cells = ("", ".cell") if self.kind == "lstm" else ("",)
        return {f"state.{number}{cell}": axes for number in range(len(self.layers)) for cell in cells}

    def resume(self, tensors: Mapping[str, Tensor]) -> State:
        """Return the state of `tensors`; see `model.steps`."""
        state = State(len(self.layers))
        for number in range(len(self.layers)):
            own = [
                tensors[f"state.{number}{cell}"][None] for cell in ("", ".cell") if f"state.{number}{cell}" in tensors
            ]
            state.layers[number] = tuple(own) if len(own) > 1 else own[0]
        return state

    def advance(self, x: Tensor, cache: State) -> Tensor:
        """Return tokens `[n t d]` of the next ids `x` `[n t]` after those in `cache`, which then holds them too."""
        tokens: Tensor = self.dropout(self.embedding(x))
        for number, layer in enumerate(self.layers):
            tokens, cache.layers[number] = cast("Layer", layer).advance(tokens, cache.layers[number])
        cache.filled += x.shape[1]
        return tokens

    def _through(self, x: Tensor, real: Tensor | None, documents: Tensor | None) -> list[Tensor]:
        """Return what goes into the first layer, and what comes out of every one."""
        outputs: list[Tensor] = [self.dropout(self.embedding(x))]
        if documents is not None:
            ways = (False,) if self.causal else (False, True)
            layouts = [pieces(documents, real, backward=backward) for backward in ways]
            for layer in self.layers:
                outputs.append(cast("Layer", layer).in_pieces(outputs[-1], layouts))
            return outputs
        turned = None if self.causal else _turned(x, real)
        for layer in self.layers:
            outputs.append(layer(outputs[-1], turned))
        return outputs

    def _pool(self, tokens: Tensor, real: Tensor | None, pool: str) -> Tensor:
        """Return `[n d]` of tokens `[n t d]`, padding left out."""
        if pool == "attention":
            fit = cast("nn.Module", self.attention)(tokens).squeeze(-1)  # [n t]
            if real is not None:  # a row of padding alone is weighed wholly: nothing would give no numbers
                fit = fit.masked_fill(~(real | ~real.any(dim=1, keepdim=True)), -torch.inf)
            return torch.einsum("nt,ntd->nd", fit.softmax(dim=1), tokens)
        found = pooled_tokens(tokens, real, pool)
        if pool == "last" and not self.causal:  # the other direction ends where the text begins
            half = self.dim // 2
            found = torch.cat([found[:, :half], tokens[:, 0, half:]], dim=-1)
        return found


def _turned(x: Tensor, real: Tensor | None) -> Tensor:
    """Return `[n t]` places of every row's tokens in reverse order, what follows the last real one left in place."""
    place = torch.arange(x.shape[1], device=x.device).expand(x.shape)
    if real is None:
        return place.flip(1)
    length = (real * (place + 1)).amax(dim=1, keepdim=True)
    return torch.where(place < length, length - 1 - place, place)


def _taken(x: Tensor, place: Tensor) -> Tensor:
    """Return tokens `[n t d]` at places `[n t]`."""
    return x.gather(1, place[..., None].expand(-1, -1, x.shape[2]))


def members() -> tuple[str, ...]:
    """Return (): the family is its only member."""
    return ()


def build(*, shape: Sequence[int], vocabulary: int = 0, padding: int = 0, **settings: Any) -> Recurrent:
    """Build the network.

    Args:
        shape: (length,): most tokens of a row; any number can be read.
        vocabulary: number of token ids.
        padding: the id that fills rows up.
        settings: see `Config`.

    Raises:
        ConfigError: the records are no text, or a setting is unknown or out of its range.
    """
    length = text_shape(shape, vocabulary=vocabulary, padding=padding, name="recurrent")
    config = cast("Config", resolve(settings, {"": Config})[""])
    if config.bidirectional and config.width % 2:
        raise ConfigError(
            f"the backbone 'recurrent' cannot be built with width={config.width} and bidirectional=true: each "
            f"direction has half of it; type backbone.width={config.width + 1}"
        )
    arguments = {"shape": [length], "vocabulary": vocabulary, "padding": padding, **config.model_dump(mode="json")}
    return Recurrent(NetworkSpec("backbones", "recurrent", arguments), config)
