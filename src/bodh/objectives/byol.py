"""BYOL: predict a slow teacher's view of the same record; no negatives.

Paper: Grill et al. 2020, "Bootstrap your own latent", arXiv 2006.07733.
Published: ImageNet, ResNet-50, 1000 epochs, linear 74.3 % (table 1). CIFAR-10, ResNet-18, batch 128, 200 epochs,
kNN 86.9 % (lightly's benchmark page, best epoch on test).
Checked against: a plain second implementation with lightly's heads, loss and momentum update, one whole update on
real images; the teacher's schedule against the authors' formula.

Not for very short runs (the teacher has nothing to say at first; `simclr` is ahead), nor with a network and head
without any batch normalisation unless watched: it then collapses more easily.

As in the authors' code (deepmind-research/byol/byol_experiment.py): every view is its own pass, so batch statistics
are per view; the teacher runs in training mode with batch statistics, only its parameters are averaged, and its
running statistics come from its own passes; teacher and student start equal.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, cast

from pydantic import Field
from torch import Tensor, nn

from bodh.config.base import Config as BaseConfig
from bodh.contracts import Backbone, Batch, Facts, Needs, Progress, StepOutput, View, ViewSpec
from bodh.heads import projection
from bodh.losses.cosine import agreement, cosine_regression, spread
from bodh.losses.teacher import Teacher, base_for

FAMILY = "contrast"
NEEDS = Needs(smallest_batch=2)
# AdamW rather than LARS: batches are below 1024 by default, and one rate then serves every kind of backbone.
DEFAULTS: dict[str, Any] = {"optimiser": "adamw", "learning_rate": 2e-3, "weight_decay": 0.01, "warmup": 0.05}

Chance = Annotated[float, Field(ge=0, le=1)]


class Config(BaseConfig):
    """Settings of BYOL."""

    momentum: float | None = Field(
        None,
        ge=0,
        le=1,
        description="the teacher's momentum at the start, rising to 1 along a cosine; "
        "empty: 0.97, 0.99 or 0.996 for up to 40, up to 300 or more epochs, as the authors",
    )
    hidden: int | None = Field(
        None,
        ge=1,
        le=65536,
        description="width of the hidden layer of projection and prediction; "
        "empty: twice the backbone's width (paper: 4096 for 2048), at least 512",
    )
    outputs: int = Field(256, ge=2, le=65536, description="width of projection and prediction")
    head_norm: Literal["batch", "none"] = Field("batch", description="normalisation inside projection and prediction")
    solarise: tuple[Chance, Chance] = Field(
        (0.0, 0.2), description="chance that view one and view two are solarised, 0 to 1 each (paper: 0 and 0.2)"
    )
    blur: tuple[Chance, Chance] | None = Field(
        None,
        description="chance that view one and view two are blurred, 0 to 1 each (paper: 1 and 0.1, on 224 pixels); "
        "empty: as the modality does for its size",
    )


class BYOL(nn.Module):
    """The objective: student with predictor, teacher by momentum, both views both ways."""

    def __init__(
        self,
        backbone: Backbone,
        projector: nn.Module,
        predictor: nn.Module,
        *,
        momentum: float,
        views: ViewSpec,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.projector = projector
        self.predictor = predictor
        self.teacher = Teacher(cast("nn.Module", backbone), projector, momentum=momentum)
        self._views = views

    def views(self) -> ViewSpec:
        """Return two strong views that are not drawn alike (paper, appendix B)."""
        return self._views

    def step(self, batch: Batch, progress: Progress) -> StepOutput:  # noqa: ARG002
        """Return the loss of one batch of two views: each predicts the teacher's other."""
        first, second = batch.views
        p0, p1 = self._predict(first), self._predict(second)
        t0, t1 = self.teacher(first), self.teacher(second)
        loss = cosine_regression(p0, t1) + cosine_regression(p1, t0)
        return StepOutput(loss, {"agreement": agreement(t0, t1), "spread": spread(t0)})

    def forward(self, batch: Batch, progress: Progress) -> StepOutput:
        """Call `step`."""
        return self.step(batch, progress)

    def after_step(self, progress: Progress) -> None:
        """Move the teacher towards the student, ever more slowly (paper, section 3.3)."""
        self.teacher.follow(cast("nn.Module", self.backbone), self.projector, progress.fraction)

    def keep(self) -> nn.ModuleDict:
        """Return the student's backbone; teacher and heads are thrown away."""
        return nn.ModuleDict({"backbone": cast("nn.Module", self.backbone)})

    def _predict(self, view: Tensor) -> Tensor:
        prediction: Tensor = self.predictor(self.projector(self.backbone(view)))
        return prediction  # [n d]


def build(backbone: Backbone, config: Config, facts: Facts) -> BYOL:
    """Build the objective.

    Args:
        backbone: gives pooled features; the teacher starts as its copy.
        config: settings.
        facts: the planned epochs choose the momentum where `config` leaves it open.
    """
    hidden = config.hidden or max(512, 2 * backbone.dim)
    projector = projection.build(inputs=backbone.dim, hidden=hidden, outputs=config.outputs, norm=config.head_norm)
    predictor = projection.build(inputs=config.outputs, hidden=hidden, outputs=config.outputs, norm=config.head_norm)
    epochs = facts.steps * facts.batch_size / max(1, facts.records)
    momentum = base_for(epochs) if config.momentum is None else config.momentum
    return BYOL(backbone, projector, predictor, momentum=momentum, views=_views(config))


def _views(config: Config) -> ViewSpec:
    options: list[dict[str, float]] = [{"solarise": chance} for chance in config.solarise]
    if config.blur is not None:
        for option, chance in zip(options, config.blur, strict=True):
            option["blur"] = chance
    return tuple(View("strong", option) for option in options)
