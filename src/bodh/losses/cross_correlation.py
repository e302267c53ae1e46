"""Cross-correlation towards the identity: two views agree in every feature, and no two features say the same.

Source: Zbontar et al. 2021, "Barlow Twins: self-supervised learning via redundancy reduction", arXiv 2103.03230,
equations 1 and 2, algorithm 1. Axes: `n` records, `d` feature.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from bodh.losses.gather import join
from bodh.losses.precision import full_precision


@full_precision
def barlow_twins(z0: Tensor, z1: Tensor, *, redundancy: float) -> Tensor:
    """Return the loss, a scalar from 0: Σ (1 - c_ii)² + redundancy · Σ c_ij², of the batches of all processes joined.

    c is the cross-correlation [d d] of the two views, every feature of mean 0 and deviation 1 over the batch. The
    squares are of the whole batch's c: the mean of every process's own loss would be another (and larger) one.

    Args:
        z0: [n d] projections of the first view.
        z1: [n d] projections of the second view, rows in the same order.
        redundancy: weight of the off-diagonal part, from 0.
    """
    a, b = _normalised(join(z0)), _normalised(join(z1))  # [N d]
    c = a.T @ b / len(a)
    same = c.diagonal()
    # The off-diagonal sum as a difference would lose digits once the diagonal is near 1.
    others = c - same.diag()
    return (1 - same).square().sum() + redundancy * others.square().sum()


def _normalised(z: Tensor) -> Tensor:
    return F.batch_norm(z, None, None, training=True)
