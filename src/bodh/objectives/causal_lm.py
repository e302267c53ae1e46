"""Causal language modelling: guess every next token from those before it, as GPT does; the model can then write.

Papers: Radford et al. 2018, "Improving language understanding by generative pre-training"; 2019, "Language models are
unsupervised multitask learners" (GPT-2). Published: WikiText-103, GPT-2 of 1.5 billion weights, perplexity 17.5
(2019, table 3); characters of tiny Shakespeare, 4 layers of width 128, context 64, 2,000 steps: validation loss 1.88
(github.com/karpathy/nanoGPT, README).
Checked against: transformers' GPT-2 with its language head on the same weights, loss and one whole update.

Not where the model is to classify or to embed and never to write: a network that sees a text from both sides
(`masked_lm`) learns more of it from as many tokens.

Rows are windows over all texts, one after the other (`Needs.packed`): no token is padding. No token sees another
document, and the first token of a document is nobody's to guess.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn

from bodh.config.base import Config as BaseConfig
from bodh.contracts import Backbone, Batch, Facts, Needs, Progress, StepOutput, TextBackbone, Tokens, View, ViewSpec
from bodh.heads.language import LanguageHead, documents_of, perplexity, reader
from bodh.heads.language import build as language

FAMILY = "predict"
NEEDS = Needs(modalities=("text",), features="tokens", packed=True)
BACKBONE: dict[str, Any] = {"causal": True}
DEFAULTS: dict[str, Any] = {
    "optimiser": "adamw", "learning_rate": 2e-3, "weight_decay": 0.1, "warmup": 0.05, "clip": 1.0, "beta2": 0.99,
}  # fmt: skip


class Config(BaseConfig):
    """Settings of causal language modelling: there are none."""


class CausalLM(nn.Module):
    """The objective: a causal backbone and a language head whose output weight is the embedding.

    Args:
        backbone: reads ids, causal.
        head: see `heads.language`; it is tied here.
        tokens: of the tokenizer.
        bytes_per_token: on average; 0: not known.
    """

    def __init__(self, backbone: TextBackbone, head: LanguageHead, *, tokens: Tokens, bytes_per_token: float) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head
        self.head.tie(backbone.embedding)
        self.tokens = tokens
        self.padding = tokens.padding
        self.bytes_per_token = bytes_per_token

    def views(self) -> ViewSpec:
        """Return one view, the ids as they are."""
        return (View("plain"),)

    def step(self, batch: Batch, progress: Progress) -> StepOutput:  # noqa: ARG002
        """Return the loss of guessing every token of the batch but the first ones of rows and documents."""
        ids = batch.views[0]  # [n t+1]
        x, y = ids[:, :-1], ids[:, 1:]
        tokens = cast("Tensor", self.backbone.features(x, documents_of(x, self.tokens)).tokens)
        counts = self._to_be_guessed(ids)
        if bool(counts.all()):
            loss = self.head.loss(tokens.flatten(0, 1), y.flatten())
        else:
            loss = self.head.loss(tokens[counts], y[counts])
        return StepOutput(loss, perplexity(loss, self.bytes_per_token))

    def _to_be_guessed(self, ids: Tensor) -> Tensor:
        """Return which tokens after the first are guessed, bool `[n t]`: those of the document of the one before."""
        # the end of a text is guessed, also where the same token fills rows up: packed rows hold none that does
        told = ids[:, 1:] != self.padding if self.padding != self.tokens.end else torch.ones_like(ids[:, 1:]).bool()
        documents = documents_of(ids, self.tokens)  # [n t+1]
        return told if documents is None else told & (documents[:, 1:] == documents[:, :-1])

    def forward(self, batch: Batch, progress: Progress) -> StepOutput:
        """Call `step`."""
        return self.step(batch, progress)

    def after_step(self, progress: Progress) -> None:
        """Do nothing: there is no state beside the weights."""

    def keep(self) -> nn.ModuleDict:
        """Return the backbone and the language head, with which the model writes."""
        return nn.ModuleDict({"backbone": cast("nn.Module", self.backbone), "head": self.head})


def build(backbone: Backbone, config: Config, facts: Facts) -> CausalLM:  # noqa: ARG001
    """Build the objective.

    Args:
        backbone: reads ids, causal.
        config: there are no settings.
        facts: tell the tokenizer.

    Raises:
        ConfigError: another kind of backbone.
    """
    read = reader(backbone, facts.tokens, objective="causal_lm", causal=True)
    head = language(dim=read.dim, vocabulary=read.vocabulary, transform=False)
    return CausalLM(read, head, tokens=cast("Tokens", facts.tokens), bytes_per_token=facts.bytes_per_token)
