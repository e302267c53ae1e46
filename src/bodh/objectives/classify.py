"""Classify: learn classes from labels, one of two, one of many, or any number at once.

Cross-entropy with label smoothing (Szegedy et al. 2015, arXiv 1512.00567, section 7); binary and multi-label as
independent yes-or-no questions with logits. Records without a label are left out. Mixup (arXiv 1710.09412) and CutMix
(arXiv 1905.04899) mix records and targets alike; RandAugment (arXiv 1909.13719) is asked for as a view.
Published: CIFAR-10 at full labels, ResNet-18, about 95 % with a long schedule; MNIST, a small convolutional network,
99.2 % and more. These say what the recipe can reach, not what this file alone decides.
Checked against: torch.nn.CrossEntropyLoss and BCEWithLogitsLoss, loss and one whole update, on real images.

Not when labels are few and unlabelled records many: learn without labels first (`simclr`), then fit this on top.

Works with a backbone that is frozen wholly or in part: parameters without gradient stay as they are.
"""

from __future__ import annotations

from typing import Any, Literal, cast

import torch
from pydantic import Field
from torch import Tensor, nn

from bodh.config.base import Config as BaseConfig
from bodh.contracts import Backbone, Batch, Facts, Needs, Progress, StepOutput, Task, View, ViewSpec
from bodh.errors import ConfigError, DataError
from bodh.heads import linear
from bodh.losses.class_weights import Asked, balanced, insist_on_counts, insist_on_weights
from bodh.losses.classification import binary_cross_entropy, cross_entropy, soft_cross_entropy
from bodh.views.mix import draw_mix

FAMILY = "supervise"
NEEDS = Needs(labels=True, smallest_batch=2)
DEFAULTS: dict[str, Any] = {"optimiser": "adamw", "learning_rate": 4e-3, "weight_decay": 0.01, "warmup": 0.05}

RANDAUGMENT = 2
"""Steps a record, as the paper takes them."""


class Config(BaseConfig):
    """Settings of supervised classification."""

    label_smoothing: float = Field(
        0.0, ge=0, lt=1, description="share of the target spread over all classes (yes-or-no labels: moved to one half)"
    )
    class_weights: Literal["balanced"] | tuple[float, ...] | None = Field(
        None,
        description="weight of every class in the loss: a list in the order of the class names, "
        "or balanced: n / (k · count), every class counts alike however rare. Empty: every record counts alike",
    )
    dropout: float = Field(0.0, ge=0, lt=1, description="share of the features dropped before the head in training")
    mixup: float = Field(
        0.0, ge=0, le=8, description="mix pairs of records and their labels, shares from a beta distribution; 0: off"
    )
    cutmix: float = Field(
        0.0, ge=0, le=8, description="put a rectangle of another image into each, likewise; with mixup: in turn"
    )
    view: Literal["plain", "weak", "strong", "randaugment"] = Field(
        "weak",
        description="variation of the records: weak keeps the class for sure; randaugment: weak, then two steps of "
        "RandAugment (for another number leave this at weak and set modality.views.randaugment)",
    )


class Classify(nn.Module):
    """The objective: backbone and linear head under cross-entropy.

    Args:
        backbone: gives pooled features.
        head: `[n d]` to logits: `[n k]`, or `[n 1]` for a binary task.
        task: what the targets mean.
        weight: [k] of the classes, or [2 k] of "no" and "yes" for yes-or-no labels; None: all alike.
        config: settings that change the batches and the loss.
    """

    weight: Tensor | None

    def __init__(
        self,
        backbone: Backbone,
        head: nn.Module,
        *,
        task: Task,
        weight: Tensor | None,
        config: Config,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head
        self.task = task
        self.config = config
        self.register_buffer("weight", weight)

    def views(self) -> ViewSpec:
        """Return one view, by default a weak one."""
        if self.config.view == "randaugment":
            return (View("weak", {"randaugment": RANDAUGMENT}),)
        return (View(self.config.view),)

    def step(self, batch: Batch, progress: Progress) -> StepOutput:  # noqa: ARG002
        """Return the loss and the accuracy over the labelled records of one batch.

        Raises:
            DataError: the batch has no targets.
        """
        if batch.targets is None:
            raise DataError("the objective 'classify' was given records without labels; name them with label=COLUMN")
        x, targets, smoothing = batch.views[0], batch.targets, self.config.label_smoothing
        mix = None
        if self.training:
            mix = draw_mix(x.shape, mixup=self.config.mixup, cutmix=self.config.cutmix, seed=batch.seed)
        logits: Tensor = self.head(self._drop(self.backbone(x if mix is None else mix.records(x)), batch.seed))
        if self.task == "single":
            right = logits.argmax(dim=1) == targets  # [n]; never for the unlabelled -1; of a mixture, the larger share
            if mix is None:
                loss = cross_entropy(logits, targets, weight=self.weight, label_smoothing=smoothing)
            else:
                whole = (targets[:, None] == torch.arange(logits.shape[1], device=targets.device)).to(x.dtype)  # [n k]
                loss = soft_cross_entropy(logits, mix.targets(whole), weight=self.weight, label_smoothing=smoothing)
        else:
            wanted = targets.reshape(logits.shape)  # a binary task's [n] becomes [n 1]
            right = ((logits > 0) == (wanted > 0.5)) & (wanted >= 0)  # [n k]
            if mix is not None:
                known = (wanted >= 0) & (wanted[mix.partner.to(wanted.device)] >= 0)
                wanted = torch.where(known, mix.targets(wanted.to(x.dtype)), -1.0)
            loss = binary_cross_entropy(logits, wanted, weight=self.weight, label_smoothing=smoothing)
        labelled = (targets >= 0).sum().clamp(min=1)
        return StepOutput(loss, {"accuracy": (right.sum() / labelled).detach()})

    def forward(self, batch: Batch, progress: Progress) -> StepOutput:
        """Call `step`."""
        return self.step(batch, progress)

    def after_step(self, progress: Progress) -> None:
        """Do nothing: there is no state beside the weights."""

    def keep(self) -> nn.ModuleDict:
        """Return backbone and head."""
        return nn.ModuleDict({"backbone": cast("nn.Module", self.backbone), "head": self.head})

    def _drop(self, features: Tensor, seed: int) -> Tensor:
        """Return `features` [n d] with some dropped, drawn from the batch's own seed."""
        dropout = self.config.dropout
        if not self.training or dropout == 0:
            return features
        generator = torch.Generator(features.device).manual_seed(seed)
        drawn = torch.rand(features.shape, generator=generator, device=features.device)
        return features * (drawn >= dropout) / (1 - dropout)


def build(backbone: Backbone, config: Config, facts: Facts) -> Classify:
    """Build the objective.

    Args:
        backbone: gives pooled features.
        config: settings.
        facts: task, class names and counts.

    Raises:
        DataError: the data has no labels, or fewer than two classes.
        ConfigError: `class_weights` does not fit the classes.
    """
    k = len(facts.class_names)
    if facts.task is None or k < (1 if facts.task == "multi" else 2):
        raise DataError(
            f"the objective 'classify' needs labels of at least two classes, given {k}: {list(facts.class_names)}; "
            "sort the records into one folder a class, name the column with label=COLUMN, "
            "or learn without labels: bodh pretrain"
        )
    if config.cutmix > 0 and facts.shape and len(facts.shape) != 3:
        raise ConfigError(
            f"cutmix={config.cutmix} cuts rectangles out of images, given records of shape {facts.shape}; "
            "for these type objective.mixup=0.2"
        )
    head = linear.build(inputs=backbone.dim, outputs=1 if facts.task == "binary" else k)
    return Classify(
        backbone,
        head,
        task=facts.task,
        weight=_weight(config.class_weights, facts),
        config=config,
    )


def _weight(asked: Asked, facts: Facts) -> Tensor | None:
    """Return the weights in the form that the task's loss takes, or None."""
    if asked is None:
        return None
    names, several = facts.class_names, facts.task == "multi"
    if asked == "balanced":
        counts = insist_on_counts(facts.class_counts, names)
        weights = _balanced_answers(counts, facts.records) if several else balanced(counts)
    else:
        weights = insist_on_weights(asked, names)
        weights = torch.stack([torch.ones(len(names)), weights]) if several else weights
    return weights.reshape(2, 1) if facts.task == "binary" else weights


def _balanced_answers(counts: Tensor, records: int) -> Tensor:
    """Return [2 k] for several labels at once: every class is a question of its own, its "no" as good as its "yes"."""
    present = torch.stack([records - counts, counts])  # [2 k]
    return torch.where(present > 0, records / (2 * present.clamp(min=1)), 0)
