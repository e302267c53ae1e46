"""InfoNCE with a teacher: tell the teacher's key of the same record from other keys.

Sources: He et al. 2019, "Momentum contrast for unsupervised visual representation learning", arXiv 1911.05722,
equation 1 (queue); Chen, Xie and He 2021, "An empirical study of training self-supervised vision transformers",
arXiv 2104.02057, algorithm 1 (batch). Axes: `n` records, `m` queue, `d` feature.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from bodh.losses.gather import join, join_values, world
from bodh.losses.precision import full_precision


@full_precision
def queue_contrast(queries: Tensor, keys: Tensor, queue: Tensor, *, temperature: float) -> Tensor:
    """Return the loss, a scalar: every query against its key and the keys of earlier batches.

    Args:
        queries: [n d]; scaled to unit length here.
        keys: [n d], rows in the same order; no gradient goes into them.
        queue: [m d] unit-length keys of earlier batches, the negatives.
        temperature: divisor of cosine similarities, above 0.
    """
    q = F.normalize(queries, dim=1) / temperature
    positive = (q * F.normalize(keys.detach(), dim=1)).sum(dim=1)  # [n]
    negatives = (q @ queue.detach().T).logsumexp(dim=1)  # [n]
    # -log(e^p / (e^p + Σ e^s)) without writing the [n 1+m] matrix of the original
    return (torch.logaddexp(positive, negatives) - positive).mean()


@full_precision
def pair_contrast(z0: Tensor, z1: Tensor, hard: Tensor | None = None, *, temperature: float) -> Tensor:
    """Return the loss, a scalar: every row of `z0` against the rows of `z1` of all processes, with gradient into all.

    Source: Gao et al. 2021, "SimCSE", arXiv 2104.08821, equation 4; with `hard` equation 5.

    Args:
        z0: [n d]; scaled to unit length here.
        z1: [n d], rows in the same order.
        hard: [n d] rows that are alike and yet wrong; each is a negative of every row. None: there are none.
        temperature: divisor of cosine similarities, above 0.
    """
    q = F.normalize(z0, dim=1) / temperature
    own = F.normalize(z1, dim=1)
    similarity = q @ join(own).T  # [n N]
    positive = similarity.diagonal(offset=world()[0] * own.shape[0])  # [n]
    if hard is not None:
        similarity = torch.cat([similarity, q @ join(F.normalize(hard, dim=1)).T], dim=1)  # [n 2N]
    return (similarity.logsumexp(dim=1) - positive).mean()


@full_precision
def batch_contrast(queries: Tensor, keys: Tensor, *, temperature: float) -> Tensor:
    """Return the loss, a scalar: every query against the keys of all processes' batches, times 2 · temperature.

    The factor keeps the size of the gradient when the temperature changes (algorithm 1 of the source). Keys get no
    gradient, so they are gathered without one, and averaging over processes is exact.

    Args:
        queries: [n d] predictions; scaled to unit length here.
        keys: [n d] the teacher's projections of the other view, rows in the same order.
        temperature: divisor of cosine similarities, above 0.
    """
    q = F.normalize(queries, dim=1) / temperature
    own = F.normalize(keys.detach(), dim=1)
    similarity = q @ join_values(own).T  # [n N]
    positive = similarity.diagonal(offset=world()[0] * own.shape[0])  # [n]
    return 2 * temperature * (similarity.logsumexp(dim=1) - positive).mean()
