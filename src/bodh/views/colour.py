"""Colour steps on planes `[c m h w]` of 0 to 1, in place, a factor a row.

Each step computes what torchvision's function of the same name computes on one float image, clamping included, to
within rounding. They work on planes because every pass then runs over contiguous memory, and in place because
memory, not arithmetic, sets the pace.
"""

from __future__ import annotations

import torch
from torch import Tensor

from bodh.views.recipe import Recipe

LUMA = (0.2989, 0.587, 0.114)
"""Weights of red, green and blue in grey (ITU-R 601, as torchvision and Pillow have them)."""


def luma(x: Tensor) -> Tensor:
    """Return the grey plane `[m h w]`."""
    if len(x) == 1:
        return x[0].clone()
    return torch.mul(x[0], LUMA[0]).add_(x[1], alpha=LUMA[1]).add_(x[2], alpha=LUMA[2])


def brightness(x: Tensor, factor: Tensor) -> Tensor:
    """Scale all values by `factor` `[m]`, 0 and above."""
    return x.mul_(_each(factor)).clamp_(max=1.0)


def contrast(x: Tensor, factor: Tensor) -> Tensor:
    """Scale the distance from the image's mean grey by `factor` `[m]`, 0 and above."""
    means = x.mean(dim=(2, 3))  # [c m]; the mean of the grey plane is the grey of the means
    grey = means[0] if len(x) == 1 else luma(means)
    return x.mul_(_each(factor)).add_(_each(grey * (1 - factor))).clamp_(0.0, 1.0)


def saturation(x: Tensor, factor: Tensor) -> Tensor:
    """Scale the distance from each pixel's grey by `factor` `[m]`, 0 and above."""
    return torch.lerp(luma(x), x, _each(factor), out=x).clamp_(0.0, 1.0)


def turns(shift: Tensor) -> Tensor:
    """Return how far `shift` `[m]` turns of hue (-0.5 to 0.5) carry from each channel's own hue, `[3 m]` in sixths."""
    own = torch.tensor((0.0, 2.0, -2.0), device=shift.device)
    away = 6 * shift[None] - own[:, None]
    return away - 6 * torch.round(away / 6)


def hue(x: Tensor, away: Tensor) -> Tensor:
    """Shift the hue, keeping value and chroma, by what `turns` made `away` `[3 m]` of.

    The same map as through HSV and back, without its branches. With chroma C = max - min, a pixel's signed hue in
    sixths of a turn from red is ±(1 + (g + b - r - min) / C), with the sign of g - b; and a channel whose
    own hue lies d sixths away has the value min + C·clamp(2 - d, 0, 1).
    """
    r, g, b = x
    low = torch.minimum(g, b)
    chroma = torch.maximum(g, b)
    torch.minimum(low, r, out=low)
    torch.maximum(chroma, r, out=chroma).sub_(low)
    angle = torch.add(g, b).sub_(r).sub_(low).div_(chroma.clamp(min=1e-6)).add_(1.0)
    angle.copysign_(g - b)
    # For |p| up to 7 (here 6 at most), clamp(2 - d, 0, 1) is clamp(||p| - 3| - 1, 0, 1).
    turned = torch.add(angle, away[:, :, None, None], out=x)
    turned.abs_().sub_(3.0).abs_().clamp_(1.0, 2.0)
    return torch.addcmul(low.sub_(chroma), chroma, turned, out=x)


def grey(x: Tensor) -> Tensor:
    """Set all channels to the grey plane."""
    return x.copy_(luma(x))


def solarise(x: Tensor, threshold: float = 0.5) -> Tensor:
    """Invert all values of `threshold` and above."""
    return torch.where(x >= threshold, 1 - x, x, out=x)


def jitter(x: Tensor, factors: Tensor, recipe: Recipe) -> Tensor:
    """Apply brightness, contrast, saturation and hue, in this order; steps of no strength are left out.

    torchvision shuffles the order for every image; a fixed one lets a whole chunk take each step together.

    Args:
        x: planes.
        factors: [6 m], as in `draw.Parameters`.
        recipe: the strengths that the factors were drawn with.
    """
    if recipe.brightness:
        brightness(x, factors[0])
    if recipe.contrast:
        contrast(x, factors[1])
    if recipe.saturation and len(x) == 3:
        saturation(x, factors[2])
    if recipe.hue and len(x) == 3:
        hue(x, factors[3:6])
    return x


def _each(factor: Tensor) -> Tensor:
    return factor[:, None, None]
