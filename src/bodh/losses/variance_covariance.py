"""Invariance, variance, covariance: views agree, no feature dies, no two features say the same.

Source: Bardes, Ponce and LeCun 2021, "VICReg: variance-invariance-covariance regularization for self-supervised
learning", arXiv 2105.04906, equations 1 to 6. Axes: `n` records, `d` feature.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from bodh.losses.gather import join
from bodh.losses.precision import full_precision

EPSILON = 1e-4
"""Under the root of the variance (paper, section 4.1): a feature that has died still gets a finite gradient."""


@full_precision
def vicreg(
    z0: Tensor, z1: Tensor, *, invariance: float = 25.0, variance: float = 25.0, covariance: float = 1.0
) -> Tensor:
    """Return the loss, a scalar from 0, of the batches of all processes joined.

    The variance term is halved over the two views, as in the authors' code (facebookresearch/vicreg/main_vicreg.py);
    equation 6 of the paper has it whole.

    Args:
        z0: [n d] projections of the first view; n from 2 over all processes.
        z1: [n d] projections of the second view, rows in the same order.
        invariance: weight of the mean squared difference of paired rows, from 0.
        variance: weight of what every feature's deviation lacks to 1, from 0.
        covariance: weight of the squared covariances of different features, from 0.
    """
    a, b = join(z0), join(z1)  # [N d]
    lacking = (F.relu(1 - (z.var(dim=0) + EPSILON).sqrt()).mean() for z in (a, b))
    shared = (_covariance(z) for z in (a, b))
    return invariance * F.mse_loss(a, b) + variance * sum(lacking) / 2 + covariance * sum(shared)


def _covariance(z: Tensor) -> Tensor:
    """Return the sum of squared covariances of different features, divided by their number d."""
    z = z - z.mean(dim=0)
    c = z.T @ z / (len(z) - 1)  # [d d]
    return (c - c.diagonal().diag()).square().sum() / z.shape[1]
