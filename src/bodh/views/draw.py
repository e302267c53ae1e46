"""Draw the parameters of a view for every row of the global batch.

All numbers of one view come from one block of uniform draws `[n, columns]`, so that a row's parameters depend on
the seed and its place in the global batch alone. What depends on a row's height and width (crop boxes) is computed
later, from exactly rounded operations only, and so does not depend on which rows are computed together.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from bodh.views.colour import turns
from bodh.views.randaugment import Steps, draw_steps
from bodh.views.recipe import Recipe

ATTEMPTS = 10
"""Crops tried before the whole image is taken, as in torchvision's `RandomResizedCrop`."""


@dataclass(frozen=True, slots=True)
class Parameters:
    """One view's parameters for n rows; all on the CPU."""

    recipe: Recipe
    area: np.ndarray
    """[n attempts] float64 share of the area"""
    ratio: np.ndarray
    """[n attempts] float64 width / height"""
    place: np.ndarray
    """[n 2] float64 in [0, 1): where the crop lies, down and right"""
    flip: np.ndarray
    """[n] bool"""
    angle: np.ndarray
    """[n] float64 degrees, counter-clockwise"""
    jitter: np.ndarray
    """[n] bool"""
    factors: Tensor
    """[6 n] float: brightness, contrast, saturation factors (0 and above), and three for the hue (`colour.turns`)"""
    grey: np.ndarray
    """[n] bool"""
    blur: np.ndarray
    """[n] bool"""
    sigma: np.ndarray
    """[n] float64 pixels"""
    solarise: np.ndarray
    """[n] bool"""
    steps: Steps
    """of RandAugment"""

    def boxes(self, start: int, heights: np.ndarray, widths: np.ndarray) -> np.ndarray:
        """Return crops `[m 4]` int64 (top, left, height, width), pixels of the source, of the rows from `start` on.

        Same rule as torchvision's `RandomResizedCrop.get_params`: the first of ten tries that fits, else the
        largest centred crop within the ratios. Where the recipe keeps the whole area there is no crop: the
        largest centred square, which is what evaluation sees.

        Args:
            start: position of the first row in the global batch.
            heights: [m] int64.
            widths: [m] int64.
        """
        if self.recipe.crop_scale == (1.0, 1.0):
            side = np.minimum(heights, widths)
            return np.stack([(heights - side) // 2, (widths - side) // 2, side, side], axis=1)
        rows = slice(start, start + len(heights))
        h, w = heights.astype(np.float64)[:, None], widths.astype(np.float64)[:, None]
        target = h * w * self.area[rows]
        wide = np.rint(np.sqrt(target * self.ratio[rows]))
        high = np.rint(np.sqrt(target / self.ratio[rows]))
        fits = (wide > 0) & (wide <= w) & (high > 0) & (high <= h)
        first = fits.argmax(axis=1)[:, None]
        least, most = self.recipe.crop_ratio
        shape = w / h
        fallback_high = np.where(shape < least, np.minimum(np.rint(w / least), h), h)
        fallback_wide = np.where(shape > most, np.minimum(np.rint(h * most), w), w)
        any_fits = fits.any(axis=1, keepdims=True)
        high = np.where(any_fits, np.take_along_axis(high, first, 1), np.maximum(fallback_high, 1))
        wide = np.where(any_fits, np.take_along_axis(wide, first, 1), np.maximum(fallback_wide, 1))
        place = self.place[rows]
        top = np.where(any_fits, np.floor(place[:, :1] * (h - high + 1)), np.floor((h - high) / 2))
        left = np.where(any_fits, np.floor(place[:, 1:] * (w - wide + 1)), np.floor((w - wide) / 2))
        return np.concatenate([top, left, high, wide], axis=1).astype(np.int64)


def draw(recipe: Recipe, *, total: int, seed: int) -> Parameters:
    """Draw one view's parameters for all `total` rows of the global batch.

    Args:
        recipe: the view's settings.
        total: n, rows in the global batch.
        seed: of this view (63 bits).
    """
    generator = torch.Generator().manual_seed(seed)
    u = torch.rand((total, 2 * ATTEMPTS + 13), generator=generator, dtype=torch.float64).numpy()
    crops, u = u[:, : 2 * ATTEMPTS], u[:, 2 * ATTEMPTS :]
    low, high = (math.log(edge) for edge in recipe.crop_ratio)
    factors = [
        _between(max(0.0, 1 - strength), 1 + strength, u[:, column])
        for column, strength in enumerate((recipe.brightness, recipe.contrast, recipe.saturation))
    ]
    shift = torch.from_numpy(_between(-recipe.hue, recipe.hue, u[:, 3]))
    return Parameters(
        recipe=recipe,
        area=_between(*recipe.crop_scale, crops[:, :ATTEMPTS]),
        ratio=np.exp(_between(low, high, crops[:, ATTEMPTS:])),
        place=u[:, 4:6],
        flip=u[:, 6] < recipe.flip,
        angle=_between(-recipe.rotation, recipe.rotation, u[:, 7]),
        jitter=u[:, 8] < recipe.jitter,
        factors=torch.cat([torch.from_numpy(np.stack(factors)), turns(shift)]).to(torch.float32),
        grey=u[:, 9] < recipe.grey,
        blur=u[:, 10] < recipe.blur,
        sigma=_between(*recipe.blur_sigma, u[:, 11]),
        solarise=u[:, 12] < recipe.solarise,
        steps=draw_steps(recipe.randaugment, total=total, seed=seed),
    )


def _between(low: float, high: float, u: np.ndarray) -> np.ndarray:
    return low + (high - low) * u
