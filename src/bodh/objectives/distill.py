"""Distill: a student learns what a trained teacher sees in a record, without labels.

Papers: Romero et al. 2014, "FitNets", arXiv 1412.6550 (a projection of the student regresses the teacher's features);
Miles & Mikolajczyk 2023, "Understanding the role of the projector in knowledge distillation", arXiv 2303.11098
(features normalised over the batch first, without which the largest of them decide alone);
`objective.loss=similarity`: Tung & Mori 2019, "Similarity-preserving knowledge distillation", arXiv 1907.09682.
Published: no figure for this setting; the papers distil supervised classifiers, with labels besides.
Checked against: a plain second implementation in the test, both losses and one whole update on real images.

Not better than its teacher, as a rule: for a smaller, faster network, or for a network of another kind.

The teacher sees the very same views as the student, in evaluation mode, without gradient; it is a model folder or a
run (`objective.teacher=PATH`), or a published network (`objective.teacher=resnet18 objective.teacher_weights=FILE`),
stays as it is, and is neither in the checkpoint nor in the model. The student prepares records as the teacher does.
"""

from __future__ import annotations

from typing import Any, Literal, cast

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from bodh.config.base import Config as BaseConfig
from bodh.contracts import Backbone, Batch, Facts, Needs, Progress, StepOutput, View, ViewSpec
from bodh.errors import ConfigError
from bodh.losses.cosine import agreement
from bodh.losses.precision import full_precision

FAMILY = "predict"
NEEDS = Needs(teacher=True, smallest_batch=8)
DEFAULTS: dict[str, Any] = {"optimiser": "adamw", "learning_rate": 4e-3, "weight_decay": 0.01, "warmup": 0.05}


class Config(BaseConfig):
    """Settings of distillation."""

    teacher: str | None = Field(
        None, description="model or run folder whose features are to be learnt; or a backbone's name, with its weights"
    )
    teacher_weights: str | None = Field(
        None, description="published weights of the backbone that objective.teacher names: a file, or imagenet to fetch"
    )
    loss: Literal["regression", "similarity"] = Field(
        "regression",
        description="regression: the features themselves, projected; similarity: which records of a batch are alike",
    )
    view: Literal["weak", "crop", "strong", "plain"] = Field(
        "strong", description="variation of the records; the teacher sees it too"
    )


class Distill(nn.Module):
    """The objective: the student's features, projected, become the teacher's.

    Args:
        backbone: the student; gives pooled features.
        projector: `[n d]` to the teacher's width; None: similarities need none.
        teacher: gives pooled features; held apart from the objective's own parts, so that it is neither trained nor
            saved.
        view: kind of view asked for.
    """

    def __init__(
        self,
        backbone: Backbone,
        projector: nn.Module | None,
        teacher: nn.Module,
        *,
        view: Literal["weak", "crop", "strong", "plain"],
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.projector = projector
        self._teacher = (teacher.requires_grad_(False).eval(),)  # in a tuple: no part of this module
        self._view = view

    def views(self) -> ViewSpec:
        """Return one view, for both."""
        return (View(self._view),)

    def step(self, batch: Batch, progress: Progress) -> StepOutput:  # noqa: ARG002
        """Return how far the student is from the teacher, and the cosine between what both see."""
        x = batch.views[0]
        target = self._teach(x)  # [n e]
        own: Tensor = self.backbone(x)
        if self.projector is None:
            return StepOutput(similarity(own, target), {"agreement": _likeness(own, target)})
        told: Tensor = self.projector(own)  # [n e]
        return StepOutput(regression(told, target), {"agreement": agreement(told, standardised(target))})

    def forward(self, batch: Batch, progress: Progress) -> StepOutput:
        """Call `step`."""
        return self.step(batch, progress)

    def after_step(self, progress: Progress) -> None:
        """Do nothing: there is no state beside the weights."""

    def keep(self) -> nn.ModuleDict:
        """Return the student; the projection is thrown away."""
        return nn.ModuleDict({"backbone": cast("nn.Module", self.backbone)})

    @torch.no_grad()
    def _teach(self, x: Tensor) -> Tensor:
        teacher = self._teacher[0]
        if next(teacher.parameters()).device != x.device:
            teacher.to(x.device)
        target: Tensor = teacher(x)
        return target


def build(backbone: Backbone, config: Config, facts: Facts) -> Distill:
    """Build the objective.

    Args:
        backbone: the student.
        config: settings.
        facts: bring the teacher.

    Raises:
        ConfigError: there is no teacher.
    """
    if facts.teacher is None:
        raise ConfigError(
            "the objective 'distill' learns from a teacher, and none is given; allowed is a model or run folder; "
            "type objective.teacher=PATH, or name a network and its weights: objective.teacher_weights=FILE"
        )
    projector = None
    if config.loss == "regression":
        projector = nn.Linear(backbone.dim, int(cast("Any", facts.teacher).dim))
    return Distill(backbone, projector, facts.teacher, view=config.view)


@full_precision
def standardised(features: Tensor) -> Tensor:
    """Return `features` [n d], every dimension with mean 0 and deviation 1 over the batch; constant ones are 0."""
    return (features - features.mean(dim=0)) / (features.var(dim=0, correction=0) + 1e-5).sqrt()


@full_precision
def regression(told: Tensor, target: Tensor) -> Tensor:
    """Return the mean squared error of `told` [n e] to the standardised `target` [n e]: 1 for who tells nothing."""
    return F.mse_loss(told, standardised(target.detach()))


@full_precision
def similarity(own: Tensor, target: Tensor) -> Tensor:
    """Return how differently two networks see which records are alike: a scalar from 0.

    Source: Tung & Mori 2019, equations 1 to 4, times n: per row instead of per pair. Features are centred over the
    batch first: those after a rectifier all point one way otherwise.

    Args:
        own: [n d].
        target: [n e]; no gradient goes into it.
    """
    ours, theirs = (_rows(features) for features in (own, target.detach()))  # each [n n]
    return (ours - theirs).square().sum(dim=1).mean()


@full_precision
def _likeness(own: Tensor, target: Tensor) -> Tensor:
    """Return the mean cosine between the rows of both similarity matrices, detached: 1 where they agree."""
    return (_rows(own.detach()) * _rows(target)).sum(dim=1).mean()


def _rows(features: Tensor) -> Tensor:
    """Return the similarity of every record to every other, [n n], rows of unit length."""
    centred = features - features.mean(dim=0)
    return F.normalize(centred @ centred.T, dim=1)
