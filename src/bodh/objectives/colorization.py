"""Colorization: paint the colours of an image from its lightness alone.

Paper: Zhang et al. 2016, "Colorful image colorization", arXiv 1603.08511.
Published: ImageNet, ResNet-50, 105 epochs, linear: 40.1 % (VISSL's model zoo).
Checked against: a plain second implementation in NumPy and torch in the test: Lab, bins, soft encoding, weights, loss
and one whole update on real images.

Not for grey data, nor where colour is arbitrary (clothes, charts). Middle blocks are often the best; probe all of
them: bodh evaluate … --blocks all.

As in the paper: the target is a distribution over bins of 10 by 10 in the plane of a and b, the five nearest bins
under a Gaussian of 5 (section 2.1); rare colours weigh more, by the inverse of the bins' frequency mixed with even
frequencies (λ = 0.5, section 2.2). Frequencies are counted on up to 2,048 of the training images, when the objective
is built. Unlike the paper's: the bins are those that some sRGB colour falls into (theirs, 313, reach a little
beyond), and the network sees the grey of that lightness in all its channels, normalised as colour images are, so
that the images that it meets later look alike to its first layer. `objective.target=regression` is the plain form
that the paper argues against: a and b themselves, under a smooth absolute error.
"""

from __future__ import annotations

from typing import Any, Literal, cast

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from bodh.backbones._modes import evaluating
from bodh.config.base import Config as BaseConfig
from bodh.contracts import Backbone, Batch, Facts, Needs, Progress, StepOutput, View, ViewSpec
from bodh.errors import ConfigError
from bodh.losses.precision import full_precision
from bodh.views.lab import grey_of, lab

FAMILY = "pretext"
NEEDS = Needs(modalities=("image",), features="map", channels=3)
DEFAULTS: dict[str, Any] = {"optimiser": "adamw", "learning_rate": 2e-3, "weight_decay": 0.01, "warmup": 0.05}

STEP = 10
"""Side of a bin in a and b."""
NEAREST = 5
"""Bins that share one colour."""
WIDTH = 5.0
"""Standard deviation of the Gaussian that they share it by."""
SCALE = 20.0
"""a and b are divided by this before they are regressed: about their deviation in photographs."""
SAMPLE = 2048
"""Training images on which the frequencies of bins are counted."""
REDUCTION = 4
"""Targets have about a fourth of the image's side, as in the paper."""


class Config(BaseConfig):
    """Settings of colorization."""

    target: Literal["bins", "regression"] = Field(
        "bins", description="bins: a distribution over colours (paper); regression: a and b themselves"
    )
    rebalance: float = Field(
        0.5, ge=0, le=1,
        description="bins: how even the frequencies are made before rare colours are weighed by their inverse, "
        "0 to 1; 1: all weigh alike (paper: 0.5)",
    )  # fmt: skip
    hidden: int = Field(128, ge=1, le=65536, description="channels between the backbone's map and the answer")
    view: Literal["crop", "plain"] = Field("crop", description="variation of the records; never of their colours")


class Colorization(nn.Module):
    """The objective: the backbone's map of the grey image, a light head, colours of a coarser grid.

    Args:
        backbone: gives a map.
        head: `[n d h w]` to `[n k h' w']`: bins, or a and b.
        bins: [q 2] centres of the bins; None: regression.
        weights: [q] of the bins.
        mean: [3] that images were shifted by.
        std: [3] that they were divided by.
        view: kind of view asked for.
    """

    mean: Tensor
    std: Tensor
    bins: Tensor | None
    weights: Tensor | None

    def __init__(
        self,
        backbone: Backbone,
        head: nn.Module,
        *,
        bins: Tensor | None,
        weights: Tensor | None,
        mean: Tensor,
        std: Tensor,
        view: Literal["crop", "plain"],
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head
        self.register_buffer("bins", bins)
        self.register_buffer("weights", weights)
        self.register_buffer("mean", mean.reshape(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", std.reshape(1, 3, 1, 1), persistent=False)
        self._view = view

    def views(self) -> ViewSpec:
        """Return one view, cropped and mirrored only."""
        return (View(self._view),)

    def step(self, batch: Batch, progress: Progress) -> StepOutput:  # noqa: ARG002
        """Return the loss of the colours painted, and how far they are off on the average (in a and b)."""
        grey, colours = parted(batch.views[0], self.mean, self.std)
        seen = self.backbone.features(grey).map
        if seen is None:
            raise ConfigError(_NO_MAP.format(self.backbone.spec.name))
        answer: Tensor = self.head(seen)
        wanted = F.adaptive_avg_pool2d(colours, (answer.shape[2], answer.shape[3]))  # [n 2 h' w']
        if self.bins is None or self.weights is None:
            loss = regression(answer, wanted)
            painted = answer.detach().float() * SCALE
        else:
            loss = distribution(answer, wanted, self.bins, self.weights)
            chance = answer.detach().float().softmax(dim=1)
            painted = torch.einsum("nqhw,qk->nkhw", chance, self.bins.to(chance))
        off = (painted - wanted).square().sum(dim=1).sqrt().mean()
        return StepOutput(loss, {"colour_error": off.detach()})

    def forward(self, batch: Batch, progress: Progress) -> StepOutput:
        """Call `step`."""
        return self.step(batch, progress)

    def after_step(self, progress: Progress) -> None:
        """Do nothing: there is no state beside the weights."""

    def keep(self) -> nn.ModuleDict:
        """Return the backbone; the head is thrown away."""
        return nn.ModuleDict({"backbone": cast("nn.Module", self.backbone)})


_NO_MAP = "the objective 'colorization' needs a backbone that gives a map of positions, given {!r}; type --backbone cnn"


def build(backbone: Backbone, config: Config, facts: Facts) -> Colorization:
    """Build the objective.

    Args:
        backbone: gives a map.
        config: settings.
        facts: shape, mean and deviation of the records; a sample of them for the frequencies of colours.

    Raises:
        ConfigError: the records are no colour images, or the backbone gives no map.
    """
    if len(facts.mean) != 3 or len(facts.shape) != 3:
        raise ConfigError(
            f"the objective 'colorization' needs colour images of 3 channels, given records of shape {facts.shape}; "
            "choose another with --objective"
        )
    channels, side = _map_of(backbone, facts.shape)
    bins = weights = None
    mean, std = torch.tensor(facts.mean), torch.tensor(facts.std)
    if config.target == "bins":
        bins = possible_bins()
        weights = torch.ones(len(bins))
        if facts.sample is not None and config.rebalance < 1:
            weights = rebalanced(_frequencies(facts.sample(SAMPLE), mean, std, bins), config.rebalance)
    factor = max(1, round(facts.shape[1] / REDUCTION / side))
    outputs = 2 if bins is None else len(bins)
    head = nn.Sequential(
        nn.Conv2d(channels, config.hidden * factor**2, 1),
        nn.PixelShuffle(factor),
        nn.ReLU(),
        nn.Conv2d(config.hidden, outputs, 1),
    )
    return Colorization(backbone, head, bins=bins, weights=weights, mean=mean, std=std, view=config.view)


def parted(x: Tensor, mean: Tensor, std: Tensor) -> tuple[Tensor, Tensor]:
    """Return the grey images `[n 3 h w]`, normalised as `x` is, and the colours a and b `[n 2 h w]`.

    Args:
        x: normalised colour images `[n 3 h w]`.
        mean: `[1 3 1 1]` that they were shifted by.
        std: `[1 3 1 1]` that they were divided by.
    """
    split = lab((x * std + mean).clamp(0, 1))
    grey = (grey_of(split[:, :1]) - mean) / std  # [n 3 h w]
    return grey, split[:, 1:]


def possible_bins() -> Tensor:
    """Return the centres [q 2] of the bins of a and b that hold some sRGB colour, in order of a, then b."""
    values = torch.linspace(0, 1, 52)
    colours = torch.cartesian_prod(values, values, values).T.reshape(1, 3, 1, -1)
    plane = lab(colours)[0, 1:, 0].T  # [m 2]
    found: Tensor = torch.unique((plane / STEP).round() * STEP, dim=0)
    return found


def soft_bins(colours: Tensor, bins: Tensor) -> tuple[Tensor, Tensor]:
    """Return the nearest bins of `colours`, nearest first, and how they share each: both `[m 5]`, shares sum to 1.

    Args:
        colours: a and b, `[m 2]`.
        bins: `[q 2]`.
    """
    distance, place = torch.cdist(colours, bins.to(colours)).topk(NEAREST, dim=1, largest=False)
    return place, (-(distance**2) / (2 * WIDTH**2)).softmax(dim=1)


def rebalanced(frequencies: Tensor, even: float) -> Tensor:
    """Return the weights [q] of bins, whose mean over colours as frequent as `frequencies` [q] is 1.

    Source: Zhang et al. 2016, equation 4.

    Args:
        frequencies: [q], sum to 1.
        even: λ, the share of even frequencies that is mixed in.
    """
    raw = 1 / ((1 - even) * frequencies + even / len(frequencies)).clamp(min=1e-12)
    return raw / (frequencies * raw).sum()


@full_precision
def distribution(answer: Tensor, wanted: Tensor, bins: Tensor, weights: Tensor) -> Tensor:
    """Return the weighted cross-entropy of colours as distributions over bins: a scalar from 0.

    Source: Zhang et al. 2016, equation 2; the weight of a place is that of its nearest bin.

    Args:
        answer: logits `[n q h w]`.
        wanted: a and b, `[n 2 h w]`.
        bins: `[q 2]`.
        weights: `[q]`.
    """
    place, share = soft_bins(wanted.permute(0, 2, 3, 1).reshape(-1, 2), bins)  # each [m 5]
    told = answer.permute(0, 2, 3, 1).reshape(-1, len(bins)).log_softmax(dim=1).gather(1, place)
    return (-(share * told).sum(dim=1) * weights.to(told)[place[:, 0]]).mean()


@full_precision
def regression(answer: Tensor, wanted: Tensor) -> Tensor:
    """Return the smooth absolute error of a and b over `SCALE`: a scalar from 0.

    Args:
        answer: `[n 2 h w]`, already so scaled.
        wanted: a and b, `[n 2 h w]`.
    """
    return F.smooth_l1_loss(answer, wanted / SCALE)


def _frequencies(x: Tensor, mean: Tensor, std: Tensor, bins: Tensor) -> Tensor:
    """Return how frequent every bin is [q] among the colours of normalised images `x`, at the grid of the targets."""
    counts = torch.zeros(len(bins), dtype=torch.float64)
    for part in torch.split(x, 256):
        colours = F.avg_pool2d(parted(part, mean.reshape(1, 3, 1, 1), std.reshape(1, 3, 1, 1))[1], REDUCTION)
        place, share = soft_bins(colours.permute(0, 2, 3, 1).reshape(-1, 2), bins)
        counts.index_add_(0, place.reshape(-1), share.reshape(-1).double())
    return (counts / counts.sum().clamp(min=1e-12)).float()


def _map_of(backbone: Backbone, shape: tuple[int, ...]) -> tuple[int, int]:
    """Return channels and height of the map that `backbone` gives for records of `shape`."""
    module = cast("nn.Module", backbone)
    first = next(module.parameters())
    with evaluating(module), torch.no_grad():
        seen = backbone.features(torch.zeros(1, *shape, device=first.device, dtype=first.dtype)).map
    if seen is None:
        raise ConfigError(_NO_MAP.format(backbone.spec.name))
    return int(seen.shape[1]), int(seen.shape[2])
