"""SimCLR: pull two views of a record together, push all other records of the batch away.

Paper: Chen et al. 2020, "A simple framework for contrastive learning of visual representations", arXiv 2002.05709.
Published: ImageNet, ResNet-50, 1000 epochs, linear 69.3 % (table 6); CIFAR-10, ResNet-50, linear 94.0 % (B.9).
CIFAR-10, ResNet-18, batch 128, 200 epochs, kNN 84.7 % (lightly's benchmark page, best epoch on test).
Checked against: lightly's NT-Xent and projection head, loss and one whole update, on real images.

Not when batches must be small (below about 64: too few negatives; use `byol`), nor when many records of a
batch are near-duplicates or of very few classes: their likenesses are pushed apart.

Batch normalisation sees both views at once, as in the authors' code (google-research/simclr, tf2/model.py, joins
the views before the network). lightly passes view by view; the joined pass is also the quicker one.
"""

from __future__ import annotations

from typing import Any, Literal, cast

import torch
from pydantic import Field
from torch import Tensor, nn

from bodh.config.base import Config as BaseConfig
from bodh.contracts import Backbone, Batch, Facts, Needs, Progress, StepOutput, View, ViewSpec
from bodh.heads import projection
from bodh.losses.cosine import agreement
from bodh.losses.nt_xent import nt_xent

FAMILY = "contrast"
NEEDS = Needs(smallest_batch=2)
# AdamW rather than LARS: batches are below 1024 by default, and one rate then serves every kind of backbone.
DEFAULTS: dict[str, Any] = {"optimiser": "adamw", "learning_rate": 4e-3, "weight_decay": 0.01, "warmup": 0.05}


class Config(BaseConfig):
    """Settings of SimCLR."""

    temperature: float = Field(
        0.5,
        ge=0.01,
        le=10,
        description="divisor of similarities in the loss; smaller looks harder at the nearest negatives "
        "(paper: 0.1 on ImageNet, 0.5 on CIFAR-10; with few labels a class 0.5 was far ahead of 0.2 on digits)",
    )
    hidden: int | None = Field(
        None,
        ge=1,
        le=65536,
        description="width of the projection's hidden layer; empty: the backbone's width as in the paper, at least 512",
    )
    outputs: int = Field(128, ge=2, le=65536, description="width of the projection")
    layers: int = Field(2, ge=1, le=8, description="linear layers of the projection (SimCLR v2 takes 3)")
    head_norm: Literal["batch", "none"] = Field("batch", description="normalisation inside the projection")


class SimCLR(nn.Module):
    """The objective: backbone and projection under NT-Xent, negatives from all processes."""

    def __init__(self, backbone: Backbone, projector: nn.Module, *, temperature: float) -> None:
        super().__init__()
        self.backbone = backbone
        self.projector = projector
        self.temperature = temperature

    def views(self) -> ViewSpec:
        """Return two strong views."""
        return (View("strong"), View("strong"))

    def step(self, batch: Batch, progress: Progress) -> StepOutput:  # noqa: ARG002
        """Return the loss of one batch of two views."""
        z0, z1 = self._project(batch.views)
        loss = nt_xent(z0, z1, temperature=self.temperature)
        return StepOutput(loss, {"agreement": agreement(z0, z1)})

    def forward(self, batch: Batch, progress: Progress) -> StepOutput:
        """Call `step`."""
        return self.step(batch, progress)

    def after_step(self, progress: Progress) -> None:
        """Do nothing: there is neither teacher nor queue."""

    def keep(self) -> nn.ModuleDict:
        """Return the backbone; the projection is thrown away (paper, section 4.2)."""
        return nn.ModuleDict({"backbone": cast("nn.Module", self.backbone)})

    def _project(self, views: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        first, second = views
        z: Tensor = self.projector(self.backbone(torch.cat([first, second])))  # [2n d]
        return z[: len(first)], z[len(first) :]


def build(backbone: Backbone, config: Config, facts: Facts) -> SimCLR:  # noqa: ARG001
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
        layers=config.layers,
        norm=config.head_norm,
    )
    return SimCLR(backbone, projector, temperature=config.temperature)
