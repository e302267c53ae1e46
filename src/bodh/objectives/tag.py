"""Tag: a class for every word of a sentence: part of speech, named entity, the punctuation that follows.

Paper: Devlin et al. 2018, "BERT", arXiv 1810.04805, section 5.3: a linear layer on the first piece of every word, the
other pieces are left out of the loss; no layer that looks at neighbouring tags. Before: Collobert et al. 2011,
"Natural language processing (almost) from scratch", arXiv 1103.0398; Huang et al. 2015, "Bidirectional LSTM-CRF models
for sequence tagging", arXiv 1508.01991.
Published: CoNLL-2003 English, entity F1 on test: BERT base 92.4, large 92.8 (Devlin et al. 2018, table 7).
Checked against: torch.nn.CrossEntropyLoss with ignore_index=-100 over all tokens, loss and one whole update; entity F1
against a second implementation of the CoNLL rule and the figures that seqeval documents (tests/parity/test_tag.py).

Not for one class a text: use `classify`. Not where the answer to a question is a piece of the text: use `extract`.

Works with a backbone that is frozen wholly or in part: parameters without gradient stay as they are.
"""

from __future__ import annotations

from typing import Any, Literal, cast

import torch
from pydantic import Field
from torch import Tensor, nn

from bodh.config.base import Config as BaseConfig
from bodh.contracts import Backbone, Batch, Facts, Needs, Progress, StepOutput, Task, View, ViewSpec
from bodh.errors import DataError
from bodh.heads import linear
from bodh.losses.class_weights import Asked, balanced, insist_on_counts, insist_on_weights
from bodh.losses.classification import cross_entropy

FAMILY = "supervise"
NEEDS = Needs(modalities=("words",), features="tokens", labels=True, tasks=("tags",), target=True)
TASKS: tuple[Task, ...] = ("tags",)
BACKBONE: dict[str, Any] = {"bidirectional": True}
RATE = 0.128
"""Learning rate times the width of the backbone, as of classes of texts (`api._settings.default_rate`)."""
DEFAULTS: dict[str, Any] = {
    "optimiser": "adamw", "learning_rate": 4e-3, "weight_decay": 0.01, "warmup": 0.1, "clip": 1.0, "monitor_records": 0,
}  # fmt: skip


class Config(BaseConfig):
    """Settings of tagging words."""

    label_smoothing: float = Field(0.0, ge=0, lt=1, description="share of each target spread over all tags")
    class_weights: Literal["balanced"] | tuple[float, ...] | None = Field(
        None,
        description="weight of every tag in the loss: a list in the order of the tags, or balanced: n / (k · count), "
        "every tag counts alike however rare. Empty: every word counts alike",
    )
    dropout: float = Field(0.1, ge=0, lt=1, description="share of the features dropped before the head in training")


class Tag(nn.Module):
    """The objective: backbone and linear head under cross-entropy of the words' tags.

    Args:
        backbone: gives tokens.
        head: `[m d]` to logits `[m k]`.
        weight: [k] of the tags; None: all alike.
        config: settings of the loss.
    """

    weight: Tensor | None

    def __init__(self, backbone: Backbone, head: nn.Module, *, weight: Tensor | None, config: Config) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head
        self.config = config
        self.register_buffer("weight", weight)

    def views(self) -> ViewSpec:
        """Return a plain view, and what is to be told of it: the tags."""
        return (View("plain"), View("target"))

    def step(self, batch: Batch, progress: Progress) -> StepOutput:  # noqa: ARG002
        """Return the loss and the accuracy over the words of one batch; pieces without a tag are left out of both."""
        ids, tags = batch.views  # [n t], [n t]; negative: no first piece of a word whose tag is known
        known = tags >= 0
        tokens = cast("Tensor", self.backbone.features(ids).tokens)[known]  # [m d]: other pieces cost nothing here
        logits: Tensor = self.head(self._drop(tokens, batch.seed))
        wanted = tags[known]
        smoothing = self.config.label_smoothing if self.training else 0.0
        loss = cross_entropy(logits, wanted, weight=self.weight, label_smoothing=smoothing)
        right = (logits.argmax(dim=1) == wanted).sum()
        return StepOutput(loss, {"accuracy": (right / known.sum().clamp(min=1)).detach()})

    def forward(self, batch: Batch, progress: Progress) -> StepOutput:
        """Call `step`."""
        return self.step(batch, progress)

    def after_step(self, progress: Progress) -> None:
        """Do nothing: there is no state beside the weights."""

    def keep(self) -> nn.ModuleDict:
        """Return backbone and head."""
        return nn.ModuleDict({"backbone": cast("nn.Module", self.backbone), "head": self.head})

    def _drop(self, tokens: Tensor, seed: int) -> Tensor:
        """Return `tokens` [m d] with some features dropped, drawn from the batch's own seed."""
        dropout = self.config.dropout
        if not self.training or dropout == 0:
            return tokens
        generator = torch.Generator(tokens.device).manual_seed(seed)
        drawn = torch.rand(tokens.shape, generator=generator, device=tokens.device)
        return tokens * (drawn >= dropout) / (1 - dropout)


def build(backbone: Backbone, config: Config, facts: Facts) -> Tag:
    """Build the objective.

    Args:
        backbone: gives tokens.
        config: settings.
        facts: the tags, and how often each occurs.

    Raises:
        DataError: the records are no words with tags, or there are fewer than two tags.
        ConfigError: `class_weights` does not fit the tags.
    """
    k = len(facts.class_names)
    if facts.task != "tags" or k < 2:
        raise DataError(
            f"the objective 'tag' needs words with at least two tags, given {k}: {list(facts.class_names)}; allowed "
            "are CoNLL files, tables with lists (tokens, tags), and in Python [(words, tags), …]"
        )
    return Tag(
        backbone, linear.build(inputs=backbone.dim, outputs=k), weight=_weight(config.class_weights, facts),
        config=config,
    )  # fmt: skip


def _weight(asked: Asked, facts: Facts) -> Tensor | None:
    """Return the weights of the tags [k], or None."""
    if asked is None:
        return None
    names = facts.class_names
    return (
        balanced(insist_on_counts(facts.class_counts, names))
        if asked == "balanced"
        else insist_on_weights(asked, names)
    )
