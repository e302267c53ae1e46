"""SimSiam: two views predict each other; neither negatives nor a teacher, only a stopped gradient.

Paper: Chen & He 2021, "Exploring simple Siamese representation learning", arXiv 2011.10566; sections 3 and 4.
Published: ImageNet, ResNet-50, linear: 68.1 % after 100 epochs, 71.3 % after 800 (table 4). CIFAR-10, ResNet-18,
800 epochs, linear 91.8 % (appendix D); batch 128, 200 epochs, kNN 81.9 % (lightly's benchmark page, best epoch on
test); 1000 epochs, online linear 90.5 % (solo-learn's results page).
Checked against: a plain second implementation with lightly's heads and loss, one whole update on real images.

Not without batch normalisation in the heads: it then collapses (paper, table 3). Not for very short runs: nothing
pushes records apart, so that it starts slowly (`simclr` and `vicreg` are ahead).

As in the authors' code (facebookresearch/simsiam): every view is its own pass, so batch statistics are per view.
"""

from __future__ import annotations

from typing import Any, cast

from pydantic import Field
from torch import Tensor, nn

from bodh.config.base import Config as BaseConfig
from bodh.contracts import Backbone, Batch, Facts, Needs, Progress, StepOutput, View, ViewSpec
from bodh.heads import projection
from bodh.losses.cosine import agreement, cosine_regression, spread

FAMILY = "contrast"
NEEDS = Needs(smallest_batch=2)
# AdamW rather than SGD: in the same time it was ahead on a small network, and one rate serves every kind of backbone.
DEFAULTS: dict[str, Any] = {"optimiser": "adamw", "learning_rate": 2e-3, "weight_decay": 0.01, "warmup": 0.05}


class Config(BaseConfig):
    """Settings of SimSiam."""

    outputs: int | None = Field(
        None,
        ge=2,
        le=65536,
        description="width of projection and prediction; empty: the backbone's as in the paper (2048), at least 512",
    )
    layers: int = Field(3, ge=1, le=8, description="linear layers of the projection (paper: 3, on CIFAR-10 2)")
    bottleneck: int | None = Field(
        None,
        ge=1,
        le=65536,
        description="width of the predictor's hidden layer; empty: a quarter of the outputs as in the paper",
    )


class SimSiam(nn.Module):
    """The objective: backbone, projection, and a predictor with a bottleneck."""

    def __init__(self, backbone: Backbone, projector: nn.Module, predictor: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone
        self.projector = projector
        self.predictor = predictor

    def views(self) -> ViewSpec:
        """Return two strong views."""
        return (View("strong"), View("strong"))

    def step(self, batch: Batch, progress: Progress) -> StepOutput:  # noqa: ARG002
        """Return the loss of one batch of two views, 0 to 2: 1 - cosine, each way once, averaged.

        That is the paper's negative cosine plus 1. `spread` near 0 tells a collapse.
        """
        z0, z1 = (self._project(view) for view in batch.views)
        loss = cosine_regression(self.predictor(z0), z1) + cosine_regression(self.predictor(z1), z0)
        return StepOutput(loss / 4, {"agreement": agreement(z0, z1), "spread": spread(z0)})

    def forward(self, batch: Batch, progress: Progress) -> StepOutput:
        """Call `step`."""
        return self.step(batch, progress)

    def after_step(self, progress: Progress) -> None:
        """Do nothing: there is no state beside the weights."""

    def keep(self) -> nn.ModuleDict:
        """Return the backbone; the heads are thrown away."""
        return nn.ModuleDict({"backbone": cast("nn.Module", self.backbone)})

    def _project(self, view: Tensor) -> Tensor:
        z: Tensor = self.projector(self.backbone(view))
        return z  # [n d]


def build(backbone: Backbone, config: Config, facts: Facts) -> SimSiam:  # noqa: ARG001
    """Build the objective.

    Args:
        backbone: gives pooled features.
        config: settings.
        facts: not needed.
    """
    outputs = config.outputs or max(512, backbone.dim)
    projector = projection.build(
        inputs=backbone.dim, hidden=outputs, outputs=outputs, layers=config.layers, final_norm=True
    )
    predictor = projection.build(inputs=outputs, hidden=config.bottleneck or max(1, outputs // 4), outputs=outputs)
    return SimSiam(backbone, projector, predictor)
