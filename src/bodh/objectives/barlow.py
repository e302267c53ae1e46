"""Barlow Twins: two views agree in every feature, and no two features say the same; no negatives, no teacher.

Paper: Zbontar et al. 2021, "Barlow Twins: self-supervised learning via redundancy reduction", arXiv 2103.03230;
sections 2 and 3.
Published: ImageNet, ResNet-50, 1000 epochs, linear 73.2 % (table 1). CIFAR-10, ResNet-18: batch 128, 200 epochs,
kNN 84.2 % (lightly's benchmark page, best epoch on test); 1000 epochs, online linear 92.1 % (solo-learn's page).
Checked against: lightly's loss and head, loss and one whole update, on real images.

Not with small batches (below about 64: the correlations are then noise), and not with a narrow projection: it wants
many more features than the backbone has (paper, figure 4), which on a small network costs as much as the network.

As in the authors' code (facebookresearch/barlowtwins): every view is its own pass, so batch statistics are per view.
"""

from __future__ import annotations

from typing import Any, cast

from pydantic import Field
from torch import Tensor, nn

from bodh.config.base import Config as BaseConfig
from bodh.contracts import Backbone, Batch, Facts, Needs, Progress, StepOutput, View, ViewSpec
from bodh.heads import projection
from bodh.losses.cosine import agreement, spread
from bodh.losses.cross_correlation import barlow_twins

FAMILY = "contrast"
NEEDS = Needs(smallest_batch=4)
# AdamW rather than LARS: batches are below 1024 by default, and one rate then serves every kind of backbone.
DEFAULTS: dict[str, Any] = {"optimiser": "adamw", "learning_rate": 2e-3, "weight_decay": 0.01, "warmup": 0.05}


class Config(BaseConfig):
    """Settings of Barlow Twins."""

    redundancy: float = Field(
        0.005, ge=0, le=10, description="weight of the correlations of different features (paper: 0.005)"
    )
    scale: float = Field(
        0.1, gt=0, le=1000, description="factor of the whole loss (authors' code: 1 for LARS; 0.1 is usual on CIFAR-10)"
    )
    outputs: int | None = Field(
        None,
        ge=2,
        le=65536,
        description="width of the projection and its hidden layers; "
        "empty: four times the backbone's as in the paper (8192 for 2048), at least 512",
    )
    layers: int = Field(3, ge=1, le=8, description="linear layers of the projection")


class BarlowTwins(nn.Module):
    """The objective: backbone and projection under cross-correlation, over the batches of all processes."""

    def __init__(self, backbone: Backbone, projector: nn.Module, *, redundancy: float, scale: float) -> None:
        super().__init__()
        self.backbone = backbone
        self.projector = projector
        self.redundancy = redundancy
        self.scale = scale

    def views(self) -> ViewSpec:
        """Return two strong views, the second sometimes solarised (paper, section 3.1; as BYOL)."""
        return (View("strong", {"solarise": 0.0}), View("strong", {"solarise": 0.2}))

    def step(self, batch: Batch, progress: Progress) -> StepOutput:  # noqa: ARG002
        """Return the loss of one batch of two views."""
        z0, z1 = (self._project(view) for view in batch.views)
        loss = self.scale * barlow_twins(z0, z1, redundancy=self.redundancy)
        return StepOutput(loss, {"agreement": agreement(z0, z1), "spread": spread(z0)})

    def forward(self, batch: Batch, progress: Progress) -> StepOutput:
        """Call `step`."""
        return self.step(batch, progress)

    def after_step(self, progress: Progress) -> None:
        """Do nothing: there is no state beside the weights."""

    def keep(self) -> nn.ModuleDict:
        """Return the backbone; the projection is thrown away."""
        return nn.ModuleDict({"backbone": cast("nn.Module", self.backbone)})

    def _project(self, view: Tensor) -> Tensor:
        z: Tensor = self.projector(self.backbone(view))
        return z  # [n d]


def build(backbone: Backbone, config: Config, facts: Facts) -> BarlowTwins:  # noqa: ARG001
    """Build the objective.

    Args:
        backbone: gives pooled features.
        config: settings.
        facts: not needed.
    """
    width = config.outputs or max(512, 4 * backbone.dim)
    projector = projection.build(inputs=backbone.dim, hidden=width, outputs=width, layers=config.layers)
    return BarlowTwins(backbone, projector, redundancy=config.redundancy, scale=config.scale)
