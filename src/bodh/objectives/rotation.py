"""RotNet: turn every image by 0, 90, 180 and 270 degrees and let the network tell by how much.

Paper: Gidaris et al. 2018, "Unsupervised representation learning by predicting image rotations", arXiv 1803.07728.
Published: CIFAR-10, NIN of 4 blocks, 200 epochs: a classifier of three convolutional layers on the features of
block 2 stays within 1.64 points of the same network supervised (section 4.1).
Checked against: a plain second implementation in the test, loss and one whole update on real images.

The last block is seldom the best: it tells turns, not things. Probe all of them: bodh evaluate … --blocks all.
Not for images that have no upright: cells, satellite pictures, textures, round things.

All four turns of an image stand in one batch, as in the paper (section 3.1, it learnt markedly better so): a step of
`batch` records costs four passes each. Only square images are turned by transposing and flipping, exactly.
"""

from __future__ import annotations

from typing import Any, Literal, cast

import torch
from pydantic import Field
from torch import Tensor, nn

from bodh.config.base import Config as BaseConfig
from bodh.contracts import Backbone, Batch, Facts, Needs, Progress, StepOutput, View, ViewSpec
from bodh.errors import DataError
from bodh.heads import linear, projection
from bodh.losses.classification import cross_entropy

FAMILY = "pretext"
NEEDS = Needs(modalities=("image",))
DEFAULTS: dict[str, Any] = {"optimiser": "adamw", "learning_rate": 4e-3, "weight_decay": 0.01, "warmup": 0.05}

TURNS = 4


class Config(BaseConfig):
    """Settings of RotNet."""

    hidden: int = Field(0, ge=0, le=65536, description="width of a hidden layer before the answer; 0: none (paper)")
    view: Literal["weak", "crop", "strong", "plain"] = Field(
        "weak", description="variation of the records before they are turned"
    )


class RotNet(nn.Module):
    """The objective: backbone and head tell which of four turns an image was given.

    Args:
        backbone: gives pooled features.
        head: `[n d]` to `[n 4]`.
        view: kind of view asked for.
    """

    def __init__(
        self, backbone: Backbone, head: nn.Module, *, view: Literal["weak", "crop", "strong", "plain"]
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head
        self._view = view

    def views(self) -> ViewSpec:
        """Return one view; it is turned here."""
        return (View(self._view),)

    def step(self, batch: Batch, progress: Progress) -> StepOutput:  # noqa: ARG002
        """Return the loss over all four turns of every image, and the share told rightly (a guess: 0.25).

        Raises:
            DataError: the images are not square.
        """
        turned, turn = turns(batch.views[0])
        logits: Tensor = self.head(self.backbone(turned))
        right = (logits.argmax(dim=1) == turn).float().mean()
        return StepOutput(cross_entropy(logits, turn), {"rotation_accuracy": right.detach()})

    def forward(self, batch: Batch, progress: Progress) -> StepOutput:
        """Call `step`."""
        return self.step(batch, progress)

    def after_step(self, progress: Progress) -> None:
        """Do nothing: there is no state beside the weights."""

    def keep(self) -> nn.ModuleDict:
        """Return the backbone; the head is thrown away."""
        return nn.ModuleDict({"backbone": cast("nn.Module", self.backbone)})


def build(backbone: Backbone, config: Config, facts: Facts) -> RotNet:
    """Build the objective.

    Args:
        backbone: gives pooled features.
        config: settings.
        facts: the shape of the records.

    Raises:
        DataError: the images are not square.
    """
    _check_square(facts.shape)
    head: nn.Module = linear.build(inputs=backbone.dim, outputs=TURNS)
    if config.hidden:
        head = projection.build(inputs=backbone.dim, hidden=config.hidden, outputs=TURNS)
    return RotNet(backbone, head, view=config.view)


def turns(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return images `[4n c s s]`, turned anticlockwise by 0, 90, 180 and 270 degrees, and how often each was `[4n]`.

    Args:
        x: images `[n c s s]`.

    Raises:
        DataError: they are not square.
    """
    _check_square(tuple(x.shape[1:]))
    turned = torch.cat([x.rot90(number, dims=(2, 3)) for number in range(TURNS)])
    if x.is_contiguous(memory_format=torch.channels_last):
        turned = turned.contiguous(memory_format=torch.channels_last)
    return turned, torch.arange(TURNS, device=x.device).repeat_interleave(len(x))


def _check_square(shape: tuple[int, ...]) -> None:
    if len(shape) == 3 and shape[1] != shape[2]:
        raise DataError(
            f"the objective 'rotation' needs square images, given {shape[1]} by {shape[2]} px; "
            "allowed is one side, to which images are cut: type modality.size=N"
        )
