"""Unit vectors: regress one onto another, and say how they lie.

Source: Grill et al. 2020, "Bootstrap your own latent", arXiv 2006.07733, equation 2. Axes: `n` records, `d` feature.
"""

from __future__ import annotations

import math

from torch import Tensor
from torch.nn import functional as F

from bodh.losses.precision import full_precision


@full_precision
def cosine_regression(prediction: Tensor, target: Tensor) -> Tensor:
    """Return the mean squared distance of unit vectors, 2 - 2 cos: a scalar from 0 (equal) to 4 (opposite).

    Args:
        prediction: [n d]; scaled to unit length here.
        target: [n d], rows in the same order; no gradient goes into it.
    """
    return 2 - 2 * F.cosine_similarity(prediction, target.detach(), dim=1).mean()


@full_precision
def unit(z: Tensor) -> Tensor:
    """Return the rows of `z` [n d] scaled to unit length, at least in float32."""
    return F.normalize(z, dim=1)


@full_precision
def agreement(z0: Tensor, z1: Tensor) -> Tensor:
    """Return the mean cosine of paired rows of `z0` and `z1` [n d], detached: -1 to 1, 1 where views agree."""
    return F.cosine_similarity(z0.detach(), z1.detach(), dim=1).mean()


@full_precision
def spread(z: Tensor) -> Tensor:
    """Return how far unit rows of `z` [n d] spread, detached: 0 where all point one way (collapse), 1 where evenly.

    The standard deviation of every dimension of the unit vectors, averaged, times √d.
    """
    unit = F.normalize(z.detach(), dim=1)
    return unit.std(dim=0, correction=0).mean() * math.sqrt(unit.shape[1])
