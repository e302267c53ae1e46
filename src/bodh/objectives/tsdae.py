"""TSDAE: write a sentence again from one vector, read from the sentence with most of its words deleted.

Paper: Wang, Reimers and Gurevych 2021, "TSDAE: using Transformer-based sequential denoising auto-encoder for
unsupervised sentence embedding learning", arXiv 2104.06979, section 3. Published: mean average precision over
AskUbuntu, CQADupStack, TwitterPara and SciDocs, BERT base, no labels: 55.2 (table 1; SimCSE 52.0 there).
Checked against: a plain second implementation in the test, with PyTorch's attention across to the one vector.

Not for telling topics apart only, where `simcse` is several times cheaper a step, nor from scratch with little text:
the paper starts from BERT. Words are weighed by how hard they are to guess, not by how much they matter.

As in the paper: 60 % of the tokens are deleted; the decoder sees the sentence vector alone, across, and the words
before. The decoder here is one block of its own (the paper's is as deep as the encoder and shares its weights), with
the encoder's embedding. Attention over one vector gives that vector's value, whatever the query: it is computed so.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from pydantic import Field
from torch import Tensor, nn

from bodh.config.base import Config as BaseConfig
from bodh.contracts import Backbone, Batch, Facts, Needs, Progress, StepOutput, TextBackbone, View, ViewSpec
from bodh.errors import ConfigError
from bodh.heads.language import LanguageHead, perplexity, reader
from bodh.heads.language import build as language
from bodh.layers.attention import Attention

FAMILY = "reconstruct"
NEEDS = Needs(modalities=("text",))
DEFAULTS: dict[str, Any] = {
    "optimiser": "adamw", "learning_rate": 1e-3, "weight_decay": 0.01, "warmup": 0.05, "clip": 1.0,
}  # fmt: skip


class Config(BaseConfig):
    """Settings of TSDAE."""

    delete: float = Field(0.6, ge=0, le=0.99, description="share of the tokens that the encoder does not see")
    depth: int = Field(1, ge=1, le=32, description="blocks of the decoder (paper: as the encoder)")
    heads: int = Field(4, ge=1, le=64, description="attention heads of the decoder; they share its width evenly")


class Block(nn.Module):
    """A block of the decoder: attention to earlier tokens, the sentence vector, a hidden layer; normalised before.

    Args:
        width: d.
        heads: of attention.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attention = Attention(width, heads, causal=True, dropout=0.0, bias=True)
        self.value = nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: Tensor, vector: Tensor) -> Tensor:
        """Return tokens `[n t d]` of tokens `x`, under the sentence vectors `[n d]`."""
        x = x + cast("Tensor", self.attention(self.norm1(x)))
        x = x + self.value(vector)[:, None]
        return x + cast("Tensor", self.mlp(self.norm2(x)))


class Decoder(nn.Module):
    """From a sentence vector and the tokens before each place to the token there, in the encoder's own words.

    Args:
        embedding: of the encoder, shared.
        length: most tokens of a sentence.
        depth, heads: of the blocks.
    """

    def __init__(self, embedding: nn.Embedding, *, length: int, depth: int, heads: int) -> None:
        super().__init__()
        vocabulary, width = embedding.weight.shape
        self.embedding = embedding
        self.places = nn.Embedding(length, width)
        self.layers = nn.ModuleList(Block(width, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.head: LanguageHead = language(dim=width, vocabulary=vocabulary, transform=False)
        self.head.tie(embedding)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)
        nn.init.normal_(self.places.weight, std=0.02)

    def forward(self, vector: Tensor, ids: Tensor) -> Tensor:
        """Return what guesses the token after each of `ids` `[n t]`, `[n t d]`, given vectors `[n d]`."""
        tokens = self.embedding(ids) + self.places(torch.arange(ids.shape[1], device=ids.device))
        for layer in self.layers:
            tokens = layer(tokens, vector)
        out: Tensor = self.norm(tokens)
        return out


class TSDAE(nn.Module):
    """The objective: the backbone on what is left of a sentence, a decoder that writes all of it.

    Args:
        backbone: reads ids.
        decoder: see `Decoder`.
        delete: share of tokens that are deleted.
        padding: the id that fills rows up.
    """

    def __init__(self, backbone: TextBackbone, decoder: Decoder, *, delete: float, padding: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.decoder = decoder
        self.delete = delete
        self.padding = padding

    def views(self) -> ViewSpec:
        """Return what is left of a sentence, and the sentence."""
        left = {"delete": self.delete, "crop": 1.0, "span": 0.0, "shuffle": 0, "mask": 0.0}
        return (View("strong", left), View("plain"))

    def step(self, batch: Batch, progress: Progress) -> StepOutput:  # noqa: ARG002
        """Return the loss of writing the sentences of one batch."""
        left, whole = batch.views
        tokens = self.decoder(self.backbone(left), whole[:, :-1])  # [n t-1 d]
        wanted = whole[:, 1:]
        counts = wanted != self.padding
        loss = self.decoder.head.loss(tokens[counts], wanted[counts])
        return StepOutput(loss, perplexity(loss))

    def forward(self, batch: Batch, progress: Progress) -> StepOutput:
        """Call `step`."""
        return self.step(batch, progress)

    def after_step(self, progress: Progress) -> None:
        """Do nothing: there is no state beside the weights."""

    def keep(self) -> nn.ModuleDict:
        """Return the backbone; the decoder is thrown away."""
        return nn.ModuleDict({"backbone": cast("nn.Module", self.backbone)})


def build(backbone: Backbone, config: Config, facts: Facts) -> TSDAE:
    """Build the objective.

    Args:
        backbone: reads ids.
        config: settings.
        facts: tell the tokenizer and the length of rows.

    Raises:
        ConfigError: a backbone of another kind, or the decoder's heads do not share its width.
    """
    read = reader(backbone, facts.tokens, objective="tsdae", causal=None)
    if read.dim % config.heads:
        fitting = next(heads for heads in range(config.heads, 0, -1) if read.dim % heads == 0)
        raise ConfigError(
            f"objective.heads={config.heads} cannot share the backbone's width of {read.dim} evenly; "
            f"type objective.heads={fitting}"
        )
    decoder = Decoder(read.embedding, length=facts.shape[0], depth=config.depth, heads=config.heads)
    return TSDAE(
        read, decoder, delete=config.delete, padding=read.padding
    )  # fmt: skip
