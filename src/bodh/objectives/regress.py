"""Regress: learn measured numbers from labels, one or several a record.

Huber's loss (smooth L1, Girshick 2015, arXiv 1504.08083, eq. 3) or squared error on targets of mean 0 and deviation 1;
mean and deviation of the training labels lie behind the head, so that the model answers in the labels' unit. Records
without a label are left out, and of several numbers those that are missing.
Published: no one figure; for networks that regress, Lathuilière et al. 2020, "A comprehensive analysis of deep
regression", arXiv 1803.08450: a plain network with squared or Huber's loss is level with special methods.
Checked against: torch.nn.SmoothL1Loss and MSELoss on standardised targets, loss and one whole update, on real images.

Not for ranks or counts of few different values: those are classes. Flips and turns are left out of the views, for they
change what angles and sides are; switch them on (`turns`) where the number survives them.
"""

from __future__ import annotations

from typing import Any, Literal, cast

from pydantic import Field
from torch import Tensor, nn

from bodh.config.base import Config as BaseConfig
from bodh.contracts import Backbone, Batch, Facts, Needs, Progress, StepOutput, Task, View, ViewSpec
from bodh.errors import DataError
from bodh.heads import scaled
from bodh.losses.regression import huber, squared_error

FAMILY = "supervise"
NEEDS = Needs(labels=True, smallest_batch=2)
TASKS: tuple[Task, ...] = ("regress",)
DEFAULTS: dict[str, Any] = {"optimiser": "adamw", "learning_rate": 4e-3, "weight_decay": 0.01, "warmup": 0.05}

UNTURNED = {"flip": 0.0, "rotation": 0.0, "crop_scale": (0.85, 1.0), "crop_ratio": (1.0, 1.0)}
"""What the views of numbers leave out or hold back: sides, angles and sizes are numbers that people measure."""


class Config(BaseConfig):
    """Settings of supervised regression."""

    loss: Literal["huber", "squared"] = Field("huber", description="huber: a few wild labels pull less; squared: MSE")
    beta: float = Field(1.0, gt=0, description="where huber turns from squared to linear, in deviations of the labels")
    view: Literal["plain", "weak", "strong"] = Field("weak", description="variation of the records")
    turns: bool = Field(
        False, description="flips, rotations and close crops among the variations: only where they change no number"
    )


class Regress(nn.Module):
    """The objective: backbone and a linear head in the labels' unit.

    Args:
        backbone: gives pooled features.
        head: `[n d]` to numbers `[n k]`; knows mean and deviation of the labels.
        config: settings.
    """

    def __init__(self, backbone: Backbone, head: scaled.ScaledHead, config: Config) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head
        self.config = config

    def views(self) -> ViewSpec:
        """Return one view, by default a weak one that turns nothing."""
        return (View(self.config.view, {} if self.config.turns else UNTURNED),)

    def step(self, batch: Batch, progress: Progress) -> StepOutput:  # noqa: ARG002
        """Return the loss, and the root of the mean squared error in deviations of the labels.

        Raises:
            DataError: the batch has no targets.
        """
        if batch.targets is None:
            raise DataError("the objective 'regress' was given records without labels; name them with label=COLUMN")
        given: Tensor = self.head.linear(self.backbone(batch.views[0]))  # [n k]
        wanted = self.head.standard(batch.targets.reshape(given.shape))
        if self.config.loss == "huber":
            loss = huber(given, wanted, beta=self.config.beta)
        else:
            loss = squared_error(given, wanted)
        return StepOutput(loss, {"rmse": squared_error(given.detach(), wanted).sqrt()})

    def forward(self, batch: Batch, progress: Progress) -> StepOutput:
        """Call `step`."""
        return self.step(batch, progress)

    def after_step(self, progress: Progress) -> None:
        """Do nothing: there is no state beside the weights."""

    def keep(self) -> nn.ModuleDict:
        """Return backbone and head."""
        return nn.ModuleDict({"backbone": cast("nn.Module", self.backbone), "head": self.head})


def build(backbone: Backbone, config: Config, facts: Facts) -> Regress:
    """Build the objective.

    Args:
        backbone: gives pooled features.
        config: settings.
        facts: names, mean and deviation of the numbers.

    Raises:
        DataError: the labels are no measured numbers.
    """
    if facts.task != "regress" or not facts.target_mean:
        raise DataError(
            "the objective 'regress' needs labels that are measured numbers; give a column of floats, "
            "type data.task=regress where whole numbers are measured ones, or learn classes: --task classify"
        )
    head = scaled.build(inputs=backbone.dim, outputs=len(facts.target_mean))
    head.set_unit(facts.target_mean, facts.target_deviation)
    return Regress(backbone, head, config)
