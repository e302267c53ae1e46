"""SimCSE: a sentence read twice with other neurons dropped is near itself, and far from all others of the batch.

Paper: Gao et al. 2021, "SimCSE: simple contrastive learning of sentence embeddings", arXiv 2104.08821, section 3.
Published: mean Spearman correlation over seven STS tasks, BERT base: 76.3 without labels (table 5; BERT's own mean of
tokens: 56.7), from 10^6 sentences of Wikipedia and a network that was pretrained on much more.
Checked against: a plain second implementation in the test, loss and one whole update.

Not from scratch with much hope: dropout changes little of what a sentence says, so it sorts what a network has learned
elsewhere. Start from one that has (--from a model of masked_lm, or a published one). Nor with batches of a few.

As in the paper: temperature 0.05; negatives are the second readings of the others, of all processes; a linear layer
and tanh lie over the sentence vector in training and are thrown away after. The vector is the backbone's own, by
default the mean of its tokens (the paper: BERT's first token, table 6: 1 to 2 points apart).
"""

from __future__ import annotations

from typing import Any, cast

import torch
from pydantic import Field
from torch import Tensor, nn

from bodh.config.base import Config as BaseConfig
from bodh.contracts import Backbone, Batch, Facts, Needs, Progress, StepOutput, View, ViewSpec
from bodh.errors import ConfigError
from bodh.heads.language import reader
from bodh.losses.cosine import agreement
from bodh.losses.info_nce import pair_contrast

FAMILY = "contrast"
NEEDS = Needs(modalities=("text",), smallest_batch=2)
DEFAULTS: dict[str, Any] = {
    "optimiser": "adamw", "learning_rate": 1e-3, "weight_decay": 0.01, "warmup": 0.05, "clip": 1.0,
}  # fmt: skip


class Config(BaseConfig):
    """Settings of SimCSE."""

    temperature: float = Field(0.05, ge=0.005, le=10, description="divisor of similarities in the loss (paper: 0.05)")
    head: bool = Field(True, description="a linear layer and tanh over the sentence vector, in training only")


class SimCSE(nn.Module):
    """The objective: one backbone that reads every sentence twice.

    Args:
        backbone: reads ids, with dropout.
        head: over its pooled features.
        temperature: of the loss.
    """

    def __init__(self, backbone: Backbone, head: nn.Module, *, temperature: float) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head
        self.temperature = temperature

    def views(self) -> ViewSpec:
        """Return two views, both the sentence as it is: what differs is what dropout leaves out."""
        return (View("plain"), View("plain"))

    def step(self, batch: Batch, progress: Progress) -> StepOutput:  # noqa: ARG002
        """Return the loss of one batch."""
        z: Tensor = self.head(self.backbone(torch.cat(batch.views)))  # [2n d], reading after reading
        z0, z1 = z.chunk(2)
        return StepOutput(pair_contrast(z0, z1, temperature=self.temperature), {"agreement": agreement(z0, z1)})

    def forward(self, batch: Batch, progress: Progress) -> StepOutput:
        """Call `step`."""
        return self.step(batch, progress)

    def after_step(self, progress: Progress) -> None:
        """Do nothing: there is neither teacher nor queue."""

    def keep(self) -> nn.ModuleDict:
        """Return the backbone; the head is thrown away (paper, section 6.3)."""
        return nn.ModuleDict({"backbone": cast("nn.Module", self.backbone)})


def build(backbone: Backbone, config: Config, facts: Facts) -> SimCSE:
    """Build the objective.

    Args:
        backbone: reads ids.
        config: settings.
        facts: tell the tokenizer.

    Raises:
        ConfigError: a backbone of another kind, or without dropout.
    """
    read = reader(backbone, facts.tokens, objective="simcse", causal=None)
    if not _drops(cast("nn.Module", read)):
        raise ConfigError(
            "the objective 'simcse' compares two readings that differ by dropout, and this backbone drops nothing; "
            "type backbone.dropout=0.1"
        )
    head = nn.Sequential(nn.Linear(read.dim, read.dim), nn.Tanh()) if config.head else nn.Identity()
    return SimCSE(read, head, temperature=config.temperature)


def _drops(network: nn.Module) -> bool:
    """Return whether anything in `network` drops: layers of dropout, or a share of a recurrent or attention layer."""
    for module in network.modules():
        share = module.p if isinstance(module, nn.Dropout) else getattr(module, "dropout", 0)
        if isinstance(share, int | float) and share > 0:
            return True
    return False
