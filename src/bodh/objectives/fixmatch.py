"""FixMatch: what the network is sure of on a weak view of an unlabelled record, it must say of a strong view too.

Paper: Sohn et al. 2020, "FixMatch: simplifying semi-supervised learning with consistency and confidence", arXiv
2001.07685, equations 3 and 4, table 4 (threshold 0.95, weight 1, 7 unlabelled records beside each labelled one).
Published: CIFAR-10, WRN-28-2, 4 labels a class 86.2 ± 3.4 %, 25 a class 94.9 ± 0.7 % (table 2, RandAugment), each after
about a million steps of 64 + 448 records. Minutes on a CPU are a thousandth of that.
Checked against: a plain second implementation, loss and one whole update, on real images.
Otherwise than in the paper: no moving average of the weights, and the head of a pretrained model is fitted first.

Not when the first guesses are bad: what is wrong and sure is then learned as if it were true. Start from a model that
was pretrained on the same kind of records, and compare with plain fine-tuning on validation data.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from bodh.config.base import Config as BaseConfig
from bodh.contracts import Backbone, Batch, Facts, Needs, Progress, StepOutput, Task, View, ViewSpec
from bodh.errors import ConfigError, DataError
from bodh.heads import linear
from bodh.losses.classification import cross_entropy
from bodh.losses.gather import average
from bodh.losses.precision import full_precision

FAMILY = "supervise"
NEEDS = Needs(labels=True, unlabelled=True, smallest_batch=16)
TASKS: tuple[Task, ...] = ("single", "binary")
DEFAULTS: dict[str, Any] = {"optimiser": "adamw", "learning_rate": 2e-3, "weight_decay": 0.01, "warmup": 0.05}


class Config(BaseConfig):
    """Settings of FixMatch."""

    threshold: float = Field(0.95, gt=0, lt=1, description="probability from which a guess counts")
    weight: float = Field(1.0, ge=0, description="weight of the unlabelled records' loss")
    ratio: int = Field(7, ge=1, le=64, description="unlabelled records in a batch beside each labelled one")
    randaugment: int = Field(2, ge=0, le=8, description="operations of RandAugment in a strong view")


class FixMatch(nn.Module):
    """The objective: backbone and linear head.

    Args:
        backbone: gives pooled features.
        head: `[n d]` to class scores `[n k]`.
        config: settings.
    """

    def __init__(self, backbone: Backbone, head: nn.Module, config: Config) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head
        self.config = config

    def views(self) -> ViewSpec:
        """Return a weak view, and a strong one for the unlabelled records."""
        return (View("weak"), View("weak", {"randaugment": self.config.randaugment}))

    def step(self, batch: Batch, progress: Progress) -> StepOutput:  # noqa: ARG002
        """Return the loss on labelled and unlabelled records, and how many guesses counted.

        Raises:
            DataError: the batch has no targets.
        """
        if batch.targets is None:
            raise DataError("the objective 'fixmatch' was given records without labels; name them with label=COLUMN")
        weak, strong = batch.views
        labels = batch.targets
        unlabelled = labels < 0
        scores: Tensor = self.head(self.backbone(torch.cat([weak, strong[unlabelled]])))  # one pass, as in the paper
        own, told = scores[: len(weak)], scores[len(weak) :]
        supervised = cross_entropy(own, labels)
        consistency, counted = consistent(own[unlabelled].detach(), told, threshold=self.config.threshold)
        right = (own.argmax(dim=1) == labels).sum() / (~unlabelled).sum().clamp(min=1)
        figures = {"accuracy": right.detach(), "supervised": supervised.detach(), "counted": counted}
        return StepOutput(supervised + self.config.weight * consistency, figures)

    def forward(self, batch: Batch, progress: Progress) -> StepOutput:
        """Call `step`."""
        return self.step(batch, progress)

    def after_step(self, progress: Progress) -> None:
        """Do nothing: there is no state beside the weights."""

    def keep(self) -> nn.ModuleDict:
        """Return backbone and head."""
        return nn.ModuleDict({"backbone": cast("nn.Module", self.backbone), "head": self.head})


@full_precision
def consistent(weak: Tensor, strong: Tensor, *, threshold: float) -> tuple[Tensor, Tensor]:
    """Return the mean over all unlabelled records of the cross-entropy where the guess counts (equation 4), and the
    share of them where it does.

    Args:
        weak: [u k] scores of weak views, without gradient.
        strong: [u k] scores of strong views of the same records.
        threshold: probability from which a guess counts.
    """
    sure, guess = weak.softmax(dim=1).max(dim=1) if len(weak) else (weak.new_zeros(0), weak.new_zeros(0).long())
    counts = (sure >= threshold).to(strong.dtype)  # [u]
    losses = F.cross_entropy(strong, guess, reduction="none") * counts
    total = average(strong.new_tensor(float(len(strong)))).clamp(min=1)  # of all processes' records
    return losses.sum() / total, counts.sum() / max(1, len(counts))


def build(backbone: Backbone, config: Config, facts: Facts) -> FixMatch:
    """Build the objective.

    Args:
        backbone: gives pooled features.
        config: settings.
        facts: task, class names, batch.

    Raises:
        DataError: the labels are not one of two classes or more.
        ConfigError: the batch is too small to hold two labelled records.
    """
    if facts.task not in TASKS or len(facts.class_names) < 2:
        raise DataError(
            "the objective 'fixmatch' needs records of one of two classes or more; leave method=fixmatch out"
        )
    if facts.batch_size < 2 * (config.ratio + 1):
        raise ConfigError(
            f"batch: {facts.batch_size} holds fewer than two labelled records with {config.ratio} unlabelled ones "
            f"beside each; type batch={2 * (config.ratio + 1)} or more, or objective.ratio=1"
        )
    return FixMatch(backbone, linear.build(inputs=backbone.dim, outputs=len(facts.class_names)), config)
