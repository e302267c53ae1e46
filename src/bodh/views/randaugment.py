"""RandAugment: a few steps a record, drawn from fourteen, all of one strength.

Paper: Cubuk et al. 2020, arXiv 1909.13719; steps and their ranges as in torchvision's `RandAugment`, which each step is
checked against. Positions between pixels are interpolated bilinearly; what a move opens is black.

Works on planes `[c m h w]` of 0 to 1, h = w: the rows that drew a step go through it together.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from bodh.contracts import derive_seed
from bodh.views import colour

LARGEST = 30
"""Magnitudes run from 0 to this."""


@dataclass(frozen=True, slots=True)
class Steps:
    """What n rows drew.

    Attributes:
        which: [n s] int64, places in `STEPS`.
        negative: [n s] bool, for steps that go either way.
    """

    which: np.ndarray
    negative: np.ndarray


def draw_steps(count: int, *, total: int, seed: int) -> Steps:
    """Draw `count` steps for each of `total` rows of the global batch from `seed`."""
    generator = torch.Generator().manual_seed(derive_seed("randaugment", seed))
    u = torch.rand((total, 2 * count), generator=generator, dtype=torch.float64).numpy()
    which = np.floor(u[:, :count] * len(STEPS)).astype(np.int64)
    return Steps(which, u[:, count:] < 0.5)


def apply_steps(x: Tensor, steps: Steps, here: slice, magnitude: int) -> None:
    """Change planes `x` in place as their rows drew it.

    Args:
        x: planes.
        steps: of the global batch.
        here: which rows of it `x` holds.
        magnitude: strength of every step, 0 to 30.
    """
    which, negative = steps.which[here], steps.negative[here]
    for column in range(which.shape[1]):
        for number in np.unique(which[:, column]).tolist():
            rows = np.flatnonzero(which[:, column] == number)
            sign = torch.from_numpy(np.where(negative[rows, column], -1.0, 1.0)).to(x.device, torch.float32)
            index = torch.from_numpy(rows).to(x.device)
            step = list(STEPS.values())[number]
            x.index_copy_(1, index, step(x.index_select(1, index), sign, magnitude / LARGEST))


def warp(x: Tensor, theta: Tensor) -> Tensor:
    """Return planes resampled by matrices [m 2 3] from places in the result to places in `x`, both -1 to 1 across."""
    images = x.transpose(0, 1)
    grid = torch.nn.functional.affine_grid(theta, list(images.shape), align_corners=False)
    return torch.nn.functional.grid_sample(images, grid, mode="bilinear", align_corners=False).transpose(0, 1)


def _theta(*rows: tuple[Tensor, ...]) -> Tensor:
    """Return matrices [m 2 3] of two rows of three entries [m]."""
    return torch.stack([torch.stack(row, dim=1) for row in rows], dim=1)


def _shear_x(x: Tensor, sign: Tensor, part: float) -> Tensor:
    t, one, none = sign * 0.3 * part, torch.ones_like(sign), torch.zeros_like(sign)
    return warp(x, _theta((one, t, t), (none, one, none)))  # about the corner, as torchvision does


def _shear_y(x: Tensor, sign: Tensor, part: float) -> Tensor:
    t, one, none = sign * 0.3 * part, torch.ones_like(sign), torch.zeros_like(sign)
    return warp(x, _theta((one, none, none), (t, one, t)))


def _moved(x: Tensor, sign: Tensor, part: float) -> Tensor:
    """Return how far a translation goes, whole pixels, as a share of half the side."""
    side = x.shape[-1]
    return sign * (2 * int(150 / 331 * side * part) / side)


def _translate_x(x: Tensor, sign: Tensor, part: float) -> Tensor:
    t, one, none = _moved(x, sign, part), torch.ones_like(sign), torch.zeros_like(sign)
    return warp(x, _theta((one, none, -t), (none, one, none)))


def _translate_y(x: Tensor, sign: Tensor, part: float) -> Tensor:
    t, one, none = _moved(x, sign, part), torch.ones_like(sign), torch.zeros_like(sign)
    return warp(x, _theta((one, none, none), (none, one, -t)))


def _rotate(x: Tensor, sign: Tensor, part: float) -> Tensor:
    turn, none = sign * math.radians(30 * part), torch.zeros_like(sign)
    cos, sin = torch.cos(turn), torch.sin(turn)
    return warp(x, _theta((cos, -sin, none), (sin, cos, none)))


def _brightness(x: Tensor, sign: Tensor, part: float) -> Tensor:
    return colour.brightness(x, 1 + sign * 0.9 * part)


def _colour(x: Tensor, sign: Tensor, part: float) -> Tensor:
    return colour.saturation(x, 1 + sign * 0.9 * part) if len(x) == 3 else x


def _contrast(x: Tensor, sign: Tensor, part: float) -> Tensor:
    return colour.contrast(x, 1 + sign * 0.9 * part)


def _sharpness(x: Tensor, sign: Tensor, part: float) -> Tensor:
    """Blend with a 3x3 smoothing of the inner pixels; those at the edge stay."""
    factor = (1 + sign * 0.9 * part)[:, None, None]
    c, m, h, w = x.shape
    kernel = x.new_tensor([[1.0, 1, 1], [1, 5, 1], [1, 1, 1]]) / 13
    smooth = x.clone()
    smooth[..., 1:-1, 1:-1] = torch.nn.functional.conv2d(
        x.reshape(c * m, 1, h, w), kernel[None, None]
    ).reshape(c, m, h - 2, w - 2)  # fmt: skip
    return torch.lerp(smooth, x, factor).clamp_(0.0, 1.0)


def _posterise(x: Tensor, _sign: Tensor, part: float) -> Tensor:
    levels = 1 << (8 - round(4 * part))
    return x.mul_(levels).floor_().clamp_(0, levels - 1).mul_(1 / levels)


def _solarise(x: Tensor, _sign: Tensor, part: float) -> Tensor:
    return colour.solarise(x, 1 - part)


def _auto_contrast(x: Tensor, _sign: Tensor, _part: float) -> Tensor:
    """Stretch every channel to 0 to 1; one of a single value stays."""
    low, high = x.amin(dim=(2, 3), keepdim=True), x.amax(dim=(2, 3), keepdim=True)
    flat = low == high
    span = torch.where(flat, 1.0, high - low)
    return x.sub_(torch.where(flat, 0.0, low)).div_(span).clamp_(0.0, 1.0)


def _equalise(x: Tensor, _sign: Tensor, _part: float) -> Tensor:
    """Spread the values of every channel evenly, in 256 steps; the rule is Pillow's."""
    c, m, h, w = x.shape
    values = (x * 255.999).long().reshape(c * m, h * w)
    counts = values.new_zeros(c * m, 256).scatter_add_(1, values, torch.ones_like(values))
    top = counts.gather(1, values.amax(dim=1, keepdim=True))
    step = torch.div(h * w - top, 255, rounding_mode="floor")
    below = counts.cumsum(dim=1) - counts
    table = torch.div(below + torch.div(step, 2, rounding_mode="floor"), step.clamp(min=1), rounding_mode="floor")
    even = table.clamp(0, 255).gather(1, values)
    return torch.where(step > 0, even, values).to(x.dtype).div_(255).reshape(c, m, h, w)


STEPS: dict[str, Callable[[Tensor, Tensor, float], Tensor]] = {
    "Identity": lambda x, _sign, _part: x,
    "ShearX": _shear_x,
    "ShearY": _shear_y,
    "TranslateX": _translate_x,
    "TranslateY": _translate_y,
    "Rotate": _rotate,
    "Brightness": _brightness,
    "Color": _colour,
    "Contrast": _contrast,
    "Sharpness": _sharpness,
    "Posterize": _posterise,
    "Solarize": _solarise,
    "AutoContrast": _auto_contrast,
    "Equalize": _equalise,
}
"""torchvision's names; the order is part of what a seed means."""
