"""SupCon: pull all views of a class together, push those of other classes away; learns from labels.

Paper: Khosla et al. 2020, "Supervised contrastive learning", arXiv 2004.11362; section 3.2.2, equation 2.
Published: ImageNet, ResNet-50, 78.7 %; CIFAR-10, ResNet-50, linear 96.0 %, cross-entropy 95.0 % (table 2). CIFAR-10,
ResNet-18, 1000 epochs, online linear 93.8 % (solo-learn's results page).
Checked against: a plain second implementation of equation 2, loss and one whole update, on real images.

Not for learning without labels (use `simclr`), and not where records have several labels at once or measured
numbers: which records then count as alike is not defined. Not when batches are small against the number of classes:
a record that is alone of its class has but its own other view to be pulled to.

Batch normalisation sees both views at once, as in the authors' code (HobbitLong/SupContrast/main_supcon.py), which
also multiplies the loss by temperature / 0.07; here it is as in the paper.
"""

from __future__ import annotations

from typing import Any, Literal, cast

import torch
from pydantic import Field
from torch import Tensor, nn

from bodh.config.base import Config as BaseConfig
from bodh.contracts import Backbone, Batch, Facts, Needs, Progress, StepOutput, View, ViewSpec
from bodh.errors import DataError
from bodh.heads import projection
from bodh.losses.cosine import agreement, spread
from bodh.losses.supervised_contrast import supervised_contrast

FAMILY = "contrast"
NEEDS = Needs(labels=True, tasks=("single", "binary"), smallest_batch=2)
# AdamW rather than LARS: batches are below 1024 by default, and one rate then serves every kind of backbone.
DEFAULTS: dict[str, Any] = {"optimiser": "adamw", "learning_rate": 4e-3, "weight_decay": 0.01, "warmup": 0.05}


class Config(BaseConfig):
    """Settings of SupCon."""

    temperature: float = Field(0.1, ge=0.01, le=10, description="divisor of similarities in the loss (paper: 0.1)")
    hidden: int | None = Field(
        None,
        ge=1,
        le=65536,
        description="width of the projection's hidden layer; empty: the backbone's width as in the paper, at least 512",
    )
    outputs: int = Field(128, ge=2, le=65536, description="width of the projection")
    head_norm: Literal["batch", "none"] = Field(
        "batch",
        description="normalisation inside the projection (paper: none; without it a short run learned more slowly)",
    )


class SupCon(nn.Module):
    """The objective: backbone and projection; all views of a class are positives, over all processes."""

    def __init__(self, backbone: Backbone, projector: nn.Module, *, temperature: float) -> None:
        super().__init__()
        self.backbone = backbone
        self.projector = projector
        self.temperature = temperature

    def views(self) -> ViewSpec:
        """Return two strong views."""
        return (View("strong"), View("strong"))

    def step(self, batch: Batch, progress: Progress) -> StepOutput:  # noqa: ARG002
        """Return the loss of one batch of two views; records without a label contribute nothing.

        Raises:
            DataError: the batch has no labels, or several a record.
        """
        if batch.targets is None or batch.targets.ndim != 1:
            raise DataError("supcon learns from one class a record, but the batch has none; choose simclr")
        z0, z1 = self._project(batch.views)
        loss = supervised_contrast(z0, z1, batch.targets, temperature=self.temperature)
        return StepOutput(loss, {"agreement": agreement(z0, z1), "spread": spread(z0)})

    def forward(self, batch: Batch, progress: Progress) -> StepOutput:
        """Call `step`."""
        return self.step(batch, progress)

    def after_step(self, progress: Progress) -> None:
        """Do nothing: there is no state beside the weights."""

    def keep(self) -> nn.ModuleDict:
        """Return the backbone; the projection is thrown away (paper, section 3.1)."""
        return nn.ModuleDict({"backbone": cast("nn.Module", self.backbone)})

    def _project(self, views: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        first, second = views
        z: Tensor = self.projector(self.backbone(torch.cat([first, second])))  # [2n d]
        return z[: len(first)], z[len(first) :]


def build(backbone: Backbone, config: Config, facts: Facts) -> SupCon:  # noqa: ARG001
    """Build the objective.

    Args:
        backbone: gives pooled features.
        config: settings.
        facts: not needed.
    """
    projector = projection.build(
        inputs=backbone.dim,
        hidden=config.hidden or max(512, backbone.dim),
        outputs=config.outputs,
        norm=config.head_norm,
    )
    return SupCon(backbone, projector, temperature=config.temperature)
