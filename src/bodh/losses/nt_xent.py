"""NT-Xent: tell the other view of the same record from all other views of the batch.

Source: Chen et al. 2020, "A simple framework for contrastive learning of visual representations",
arXiv 2002.05709, equation 1 and algorithm 1. Axes: `n` records, `d` feature.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from bodh.losses.gather import join, world
from bodh.losses.precision import full_precision


@full_precision
def nt_xent(z0: Tensor, z1: Tensor, *, temperature: float) -> Tensor:
    """Return the loss, a scalar: mean over the 2 n local rows, each against the 2 N - 1 others of all processes.

    Both views lie in one matrix, so that a row's own column is one diagonal and no mask is ever built; the loss is
    logsumexp minus the positive, which keeps one matrix of similarities instead of the two of a cross-entropy.

    Args:
        z0: [n d] projections of the first view; scaled to unit length here.
        z1: [n d] projections of the second view, rows in the same order.
        temperature: divisor of cosine similarities, above 0; smaller looks harder at the nearest negatives.
    """
    n = z0.shape[0]
    z = F.normalize(torch.cat([z0, z1]), dim=1)  # [2n d]
    scaled = z / temperature
    similarity = scaled @ join(z).T  # [2n 2N], process after process, each view after view
    similarity.diagonal(offset=world()[0] * 2 * n).fill_(-math.inf)  # a row is no negative of itself
    positive = (scaled * z.roll(n, dims=0)).sum(dim=1)  # [2n]; rolled by n, each row meets its other view
    return (similarity.logsumexp(dim=1) - positive).mean()
