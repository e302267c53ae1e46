"""Mix each record of a batch with another one of it: all over (mixup), or in a rectangle (CutMix).

Mixup: Zhang et al. 2018, arXiv 1710.09412. CutMix: Yun et al. 2019, arXiv 1905.04899, algorithm A1.
Targets are mixed in the same shares. Checked against torchvision's v2.MixUp and v2.CutMix.

Axes: `n` records, `c h w` image.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from bodh.contracts import derive_seed


@dataclass(frozen=True, slots=True)
class Mix:
    """How a batch is mixed.

    Attributes:
        partner: [n] int64, the record that each one is mixed with.
        share: what remains of the record itself, 1/2 to 1.
        box: (top, bottom, left, right), pixels, that come from the partner; None: all over.
    """

    partner: Tensor
    share: float
    box: tuple[int, int, int, int] | None = None

    def records(self, x: Tensor) -> Tensor:
        """Return the mixed records of `x` [n …]."""
        other = x[self.partner.to(x.device)]
        if self.box is None:
            return torch.lerp(other, x, self.share)
        top, bottom, left, right = self.box
        mixed = x.clone()
        mixed[..., top:bottom, left:right] = other[..., top:bottom, left:right]
        return mixed

    def targets(self, y: Tensor) -> Tensor:
        """Return the mixed float targets of `y` [n …]."""
        return torch.lerp(y[self.partner.to(y.device)], y, self.share)


def draw_mix(shape: torch.Size, *, mixup: float, cutmix: float, seed: int) -> Mix | None:
    """Draw how to mix a batch, or None where nothing is to be mixed.

    The shares of the two are drawn from a beta distribution, the larger one goes to the record itself: for the batch
    as a whole this is the same, and which class is the main one stays clear. With both kinds on, a coin decides.

    Args:
        shape: of the batch, [n …]; [n c h w] for CutMix.
        mixup: parameter of the beta distribution; 0: off.
        cutmix: likewise.
        seed: of all that is drawn.
    """
    if mixup <= 0 and cutmix <= 0:
        return None
    draw = np.random.Generator(np.random.PCG64(derive_seed("mix", seed)))
    cuts = cutmix > 0 and (mixup <= 0 or draw.random() < 0.5)
    alpha = cutmix if cuts else mixup
    share = float(draw.beta(alpha, alpha))
    share = max(share, 1 - share)
    partner = torch.from_numpy(draw.permutation(shape[0]))
    if not cuts:
        return Mix(partner, share)
    box = cut_box(shape[-2], shape[-1], share, draw.random(), draw.random())
    area = (box[1] - box[0]) * (box[3] - box[2])
    return Mix(partner, 1 - area / (shape[-2] * shape[-1]), box)


def cut_box(height: int, width: int, share: float, down: float, across: float) -> tuple[int, int, int, int]:
    """Return (top, bottom, left, right) of a rectangle with 1 - `share` of the area, cut off at the image's edge.

    Args:
        height: of the image, pixels.
        width: likewise.
        share: what remains of the image, 0 to 1.
        down: where the centre lies, share of the height.
        across: share of the width.
    """
    centre_y, centre_x = int(down * height), int(across * width)
    half = 0.5 * math.sqrt(1 - share)
    half_height, half_width = int(half * height), int(half * width)
    return (
        max(centre_y - half_height, 0), min(centre_y + half_height, height),
        max(centre_x - half_width, 0), min(centre_x + half_width, width),
    )  # fmt: skip
