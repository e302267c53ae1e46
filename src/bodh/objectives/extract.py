"""Extract: answer a question by a piece of a text, told by where it begins and where it ends.

Paper: Devlin et al. 2018, "BERT: pre-training of deep bidirectional transformers for language understanding", arXiv
1810.04805, section 4.2 (and 4.3 for questions that the text does not answer: their span is the first token).
Published: SQuAD 1.1, development part, one network without other data: BERT base F1 88.5, exact match 80.8; large
90.9 and 84.1 (table 2). SQuAD 2.0, large: F1 81.9, exact match 78.7 (table 3).
Checked against: transformers' BertForQuestionAnswering on the same weights, loss and one whole update.

A row is the question and a window of the text. The loss is the mean of two cross-entropies, of the first and of the
last token of the answer, over all tokens that are no padding. A window that does not hold the answer counts as one
without.

Not for answers that do not stand in the text word for word: use `seq2seq`. Not for a network that has read little: a
thousand questions teach nobody to read; start from a published model.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from pydantic import Field
from torch import Tensor, nn

from bodh.backbones._stages import real_tokens
from bodh.config.base import Config as BaseConfig
from bodh.contracts import Backbone, Batch, Facts, Needs, Progress, StepOutput, View, ViewSpec, reads_tokens
from bodh.errors import ConfigError, DataError
from bodh.heads import span
from bodh.heads.span import SpanHead
from bodh.losses.classification import cross_entropy

FAMILY = "supervise"
NEEDS = Needs(modalities=("questions",), features="tokens")
BACKBONE: dict[str, Any] = {"bidirectional": True}
DEFAULTS: dict[str, Any] = {
    "optimiser": "adamw", "batch": 16, "weight_decay": 0.01, "warmup": 0.1, "clip": 1.0, "monitor_records": 0,
}  # fmt: skip
RATE = 2.0
"""The rate for a batch of 256 is this by the network's width, and a fifth of it from weights that have learned."""
LENGTH = (600, 2, 20)
"""Steps that a short training takes about, and its least and most epochs; the paper has 2 to 4 of 88,000 questions."""


class Config(BaseConfig):
    """Settings of learning to answer from a text."""

    dropout: float = Field(0.0, ge=0, lt=1, description="share of the tokens' features dropped before the head")


class Extract(nn.Module):
    """The objective: backbone and span head under the cross-entropy of start and end.

    Args:
        backbone: reads tokens.
        head: of spans.
        dropout: before the head.
    """

    def __init__(self, backbone: Backbone, head: SpanHead, *, dropout: float) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head
        self.dropout = dropout

    def views(self) -> ViewSpec:
        """Return a window of each record, another one every time, and where the answer stands in it."""
        return (View("weak"), View("target"))

    def step(self, batch: Batch, progress: Progress) -> StepOutput:  # noqa: ARG002
        """Return the loss and the share of windows whose answer was told right, start and end."""
        ids, places = batch.views  # [n t], [n 2]
        tokens = cast("Tensor", self.backbone.features(ids).tokens)
        told = self.head(self._drop(tokens, batch.seed))
        real = real_tokens(ids, cast("Any", self.backbone).padding)
        if real is not None:
            told = told.masked_fill(~real[..., None], torch.finfo(told.dtype).min)
        wanted = [_within(places[:, side], ids.shape[1], real) for side in (0, 1)]  # [n] each
        scores = span.scores(told)
        losses = [cross_entropy(score, place) for score, place in zip(scores, wanted, strict=True)]
        right = [score.argmax(dim=1) == place for score, place in zip(scores, wanted, strict=True)]
        return StepOutput((losses[0] + losses[1]) / 2, {"accuracy": (right[0] & right[1]).float().mean().detach()})

    def forward(self, batch: Batch, progress: Progress) -> StepOutput:
        """Call `step`."""
        return self.step(batch, progress)

    def after_step(self, progress: Progress) -> None:
        """Do nothing: there is no state beside the weights."""

    def keep(self) -> nn.ModuleDict:
        """Return backbone and head."""
        return nn.ModuleDict({"backbone": cast("nn.Module", self.backbone), "head": self.head})

    def _drop(self, tokens: Tensor, seed: int) -> Tensor:
        """Return `tokens` [n t d] with some features dropped, drawn from the batch's own seed."""
        if not self.training or self.dropout == 0:
            return tokens
        generator = torch.Generator(tokens.device).manual_seed(seed)
        drawn = torch.rand(tokens.shape, generator=generator, device=tokens.device)
        return tokens * (drawn >= self.dropout) / (1 - self.dropout)


def _within(places: Tensor, tokens: int, real: Tensor | None) -> Tensor:
    """Return places `[n]`, -1 where one lies beyond the row's text: it counts for nothing.

    Args:
        places: in a row.
        tokens: of a row.
        real: `[n t]` which tokens are no padding; None: all.
    """
    beyond = (places < 0) | (places >= tokens)
    if real is not None:
        beyond = beyond | ~real.gather(1, places.clamp(0, tokens - 1)[:, None])[:, 0]
    return places.masked_fill(beyond, -1)


def build(backbone: Backbone, config: Config, facts: Facts) -> Extract:
    """Build the objective on `backbone`.

    Args:
        backbone: reads tokens, and both sides of each.
        config: settings.
        facts: tell the tokenizer.

    Raises:
        DataError: the records are no questions.
        ConfigError: the backbone reads no texts, or sees no later tokens.
    """
    if facts.tokens is None or len(facts.shape) != 1:
        raise DataError("the objective 'extract' learns from questions about texts, and these records are none")
    if not reads_tokens(backbone):
        raise ConfigError(
            f"the objective 'extract' needs a backbone that reads texts, given {backbone.spec.name!r}; allowed are "
            "transformer, recurrent and huggingface; type: --backbone transformer"
        )
    if cast("Any", backbone).causal:
        raise ConfigError(
            "the objective 'extract' needs a network that reads a text from both sides, and in this one no token sees "
            "later ones (backbone.causal=true); start from a model of masked_lm, or another that is not causal"
        )
    return Extract(backbone, span.build(inputs=backbone.dim), dropout=config.dropout)
