"""A decoder: writes a text token by token, looking at a memory, the tokens of any backbone: of a text, of an image.

Axis letters: `n` rows, `s` tokens of the memory, `t` tokens written, `d` width, `v` ids of the vocabulary.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar, Literal, cast

from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from bodh.config.base import Config as BaseConfig
from bodh.config.resolve import resolve
from bodh.contracts import NetworkSpec, Task
from bodh.errors import ConfigError
from bodh.heads._gru_decoder import GruLayers
from bodh.heads._transformer_decoder import TransformerLayers


class Config(BaseConfig):
    """Architecture of a decoder."""

    kind: Literal["transformer", "gru"] = Field("transformer", description="of network")
    width: int = Field(128, ge=1, le=16384, description="of its tokens; for a transformer a multiple of `heads`")
    depth: int = Field(4, ge=1, le=256, description="blocks of a transformer; a gru has one")
    heads: int = Field(4, ge=1, le=1024, description="of a transformer's attention")
    hidden: int | None = Field(None, ge=1, le=131072, description="width inside a block; None: four times `width`")
    positions: Literal["learned", "sinusoidal", "rotary"] = Field("learned", description="of a transformer's tokens")
    context: int = Field(128, ge=2, le=65536, description="most tokens of a text, begin and end included")
    attention: bool = Field(True, description="a gru looks at all of the memory, else at its last token alone, once")
    dropout: float = Field(0.1, ge=0, lt=1, description="share dropped while training, after every part")


class Decoder(nn.Module):
    """The head: an embedding of the ids, layers that read the normalised memory, and the embedding to tell the next id.

    Args:
        spec: how `build` makes it again.
        config: its architecture.
        memory: d', width of the memory's tokens.
        vocabulary: v.
    """

    task: ClassVar[Task] = "sequence"
    """What a model with this head tells."""

    def __init__(self, spec: NetworkSpec, config: Config, *, memory: int, vocabulary: int) -> None:
        super().__init__()
        self.spec = spec
        self.width = config.width
        self.whole = config.kind == "transformer" or config.attention
        """whether it looks at all of the memory, at every step"""
        self.context = config.context
        self.embedding = nn.Embedding(vocabulary, config.width)
        transformer = config.kind == "transformer"
        # sines are of size 1, so the ids' vectors are brought to it too (Vaswani et al. 2017, section 3.4)
        self.scale = math.sqrt(config.width) if transformer and config.positions == "sinusoidal" else 1.0
        # a GRU whose inputs and outputs are small stays at the frequencies of words for hundreds of steps
        small = transformer and self.scale == 1
        nn.init.normal_(self.embedding.weight, std=0.02 if small else 1 / math.sqrt(config.width))
        # networks give tokens of any size, a GRU small ones, and attention to those learns nothing for hundreds of
        # steps
        self.norm = nn.LayerNorm(memory)
        self.layers: Any
        if transformer:
            self.layers = TransformerLayers(
                width=config.width, memory=memory, depth=config.depth, heads=config.heads,
                hidden=config.hidden or 4 * config.width, dropout=config.dropout, positions=config.positions,
                context=config.context,
            )  # fmt: skip
        else:
            self.layers = GruLayers(
                width=config.width, memory=memory, dropout=config.dropout, attention=config.attention
            )

    def forward(self, ids: Tensor, memory: Tensor, seen: Tensor | None = None) -> Tensor:
        """Return logits `[n t v]` of the id that follows each of `ids` `[n t]`; see `states`."""
        return self.logits(self.states(ids, memory, seen))

    def states(self, ids: Tensor, memory: Tensor, seen: Tensor | None = None) -> Tensor:
        """Return what is known after each of `ids`, `[n t d]`, for `logits`; nothing of later ids is in it.

        Args:
            ids: `[n t]`, from the begin of each text on, filled up at the end.
            memory: `[n s d']`.
            seen: `[n s]` bool, which tokens of the memory are no padding; None: all.

        Raises:
            ConfigError: texts are longer than the context.
        """
        self._check(ids.shape[1])
        out: Tensor = self.layers(self._embed(ids), self.norm(memory), seen)
        return out

    def logits(self, states: Tensor) -> Tensor:
        """Return logits `[… v]` of `states` `[… d]`."""
        return F.linear(states, self.embedding.weight)

    def take_over(self, other: Decoder) -> None:
        """Go on from a trained decoder.

        Raises:
            ConfigError: the other one is of another kind.
        """
        differ = {
            key: (value, self.spec.arguments.get(key))
            for key, value in other.spec.arguments.items()
            if key != "dropout" and self.spec.arguments.get(key) != value
        }
        if differ:
            told = ", ".join(f"{key} {theirs} there, {ours} here" for key, (theirs, ours) in differ.items())
            raise ConfigError(
                f"the decoder of the model to start from is another one ({told}); give this objective the same settings"
            )
        self.load_state_dict(other.state_dict())

    def start(self, memory: Tensor, seen: Tensor | None, length: int) -> Any:
        """Return what `advance` needs to write up to `length` tokens after `memory` `[n s d']`.

        `state.select(rows)` keeps the rows at positions `rows` `[n']`, in that order, any of them several times.

        Raises:
            ConfigError: that is more than the context.
        """
        self._check(length)
        return self.layers.start(self.norm(memory), seen, length)

    def advance(self, ids: Tensor, state: Any) -> Tensor:
        """Return logits `[n v]` of the id after the next ids `ids` `[n]`; `state` holds them then."""
        out = self.layers.advance(self._embed(ids[:, None]), state)  # [n 1 d]
        return self.logits(out[:, 0])

    def _embed(self, ids: Tensor) -> Tensor:
        found: Tensor = self.embedding(ids) * self.scale
        return found

    def _check(self, length: int) -> None:
        if length > self.context:
            raise ConfigError(
                f"a text of {length} tokens is longer than this decoder writes; allowed are up to {self.context}"
            )


def build(*, memory: int, vocabulary: int, **settings: Any) -> Decoder:
    """Build the head.

    Args:
        memory: width of the memory's tokens.
        vocabulary: number of token ids.
        settings: see `Config`.

    Raises:
        ConfigError: a setting is unknown or out of its range.
    """
    config = cast("Config", resolve(settings, {"": Config})[""])
    wrong = []
    if memory < 1 or vocabulary < 1:
        wrong.append(f"memory={memory}, vocabulary={vocabulary} (both from 1)")
    if config.kind == "transformer" and config.width % config.heads:
        wrong.append(f"width={config.width}, heads={config.heads} (width must be a multiple of heads)")
    if config.kind == "transformer" and config.positions == "sinusoidal" and config.width % 2:
        wrong.append(f"width={config.width} (with positions=sinusoidal a multiple of 2)")
    if config.kind == "transformer" and config.positions == "rotary" and (config.width // config.heads) % 2:
        wrong.append(f"width={config.width}, heads={config.heads} (with positions=rotary width / heads must be even)")
    if config.kind == "gru" and "depth" in settings and config.depth > 1:
        wrong.append(f"depth={config.depth} (a gru decoder has one layer)")
    if wrong:
        raise ConfigError(f"a decoder cannot be built with {'; '.join(wrong)}")
    if config.kind == "gru":
        config = config.model_copy(update={"depth": 1})
    arguments = {"memory": memory, "vocabulary": vocabulary, **config.model_dump(mode="json")}
    return Decoder(NetworkSpec("heads", "decoder", arguments), config, memory=memory, vocabulary=vocabulary)
