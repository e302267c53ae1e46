"""VICReg: two views agree, every feature keeps its variance, no two features covary; no negatives, no teacher.

Paper: Bardes, Ponce & LeCun 2021, "VICReg: variance-invariance-covariance regularization for self-supervised
learning", arXiv 2105.04906; section 4.
Published: ImageNet, ResNet-50, 1000 epochs, linear 73.2 % (table 1). CIFAR-10, ResNet-18, 1000 epochs, online linear
92.1 % (solo-learn's results page).
Checked against: lightly's loss and head, loss and one whole update, on real images.

Not with small batches (below about 64: variances and covariances are then noise), and not with a narrow projection:
it wants many more features than the backbone has.

As in the authors' code (facebookresearch/vicreg): every view is its own pass, so batch statistics are per view.
"""

from __future__ import annotations

from typing import Any, cast

from pydantic import Field
from torch import Tensor, nn

from bodh.config.base import Config as BaseConfig
from bodh.contracts import Backbone, Batch, Facts, Needs, Progress, StepOutput, View, ViewSpec
from bodh.heads import projection
from bodh.losses.cosine import agreement, spread
from bodh.losses.variance_covariance import vicreg

FAMILY = "contrast"
NEEDS = Needs(smallest_batch=4)
# AdamW rather than LARS: batches are below 1024 by default, and one rate then serves every kind of backbone.
DEFAULTS: dict[str, Any] = {"optimiser": "adamw", "learning_rate": 2e-3, "weight_decay": 0.01, "warmup": 0.05}


class Config(BaseConfig):
    """Settings of VICReg."""

    invariance: float = Field(25.0, ge=0, le=1000, description="weight of the difference of two views")
    variance: float = Field(25.0, ge=0, le=1000, description="weight of what a feature's deviation lacks to 1")
    covariance: float = Field(1.0, ge=0, le=1000, description="weight of the covariances of different features")
    outputs: int | None = Field(
        None,
        ge=2,
        le=65536,
        description="width of the projection and its hidden layers; "
        "empty: four times the backbone's as in the paper (8192 for 2048), at least 512",
    )
    layers: int = Field(3, ge=1, le=8, description="linear layers of the projection")


class VICReg(nn.Module):
    """The objective: backbone and projection under three terms, over the batches of all processes."""

    def __init__(
        self, backbone: Backbone, projector: nn.Module, *, invariance: float, variance: float, covariance: float
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.projector = projector
        self.weights = {"invariance": invariance, "variance": variance, "covariance": covariance}

    def views(self) -> ViewSpec:
        """Return two strong views, both sometimes solarised (as the paper)."""
        return (View("strong", {"solarise": 0.1}), View("strong", {"solarise": 0.1}))

    def step(self, batch: Batch, progress: Progress) -> StepOutput:  # noqa: ARG002
        """Return the loss of one batch of two views."""
        z0, z1 = (self._project(view) for view in batch.views)
        return StepOutput(vicreg(z0, z1, **self.weights), {"agreement": agreement(z0, z1), "spread": spread(z0)})

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


def build(backbone: Backbone, config: Config, facts: Facts) -> VICReg:  # noqa: ARG001
    """Build the objective.

    Args:
        backbone: gives pooled features.
        config: settings.
        facts: not needed.
    """
    width = config.outputs or max(512, 4 * backbone.dim)
    projector = projection.build(inputs=backbone.dim, hidden=width, outputs=width, layers=config.layers)
    return VICReg(
        backbone,
        projector,
        invariance=config.invariance,
        variance=config.variance,
        covariance=config.covariance,
    )
