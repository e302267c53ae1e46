"""Supervised contrast: all views of a class together, away from the views of all other classes.

Source: Khosla et al. 2020, "Supervised contrastive learning", arXiv 2004.11362, equation 2 (the mean over positives
outside the logarithm, which the paper found better). Axes: `n` records, `d` feature.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from bodh.losses.gather import average, join, join_values, world
from bodh.losses.precision import full_precision


@full_precision
def supervised_contrast(z0: Tensor, z1: Tensor, targets: Tensor, *, temperature: float) -> Tensor:
    """Return the loss, a scalar: mean over all labelled views, each against the labelled views of all processes.

    Records without a label contribute nothing: neither as anchors, for what is alike them is not known, nor as
    negatives, for they may be of the anchor's class. Without any labelled record the loss is 0, with gradient 0.

    Args:
        z0: [n d] projections of the first view; scaled to unit length here.
        z1: [n d] projections of the second view, rows in the same order.
        targets: [n] int64 class, negative where unlabelled.
        temperature: divisor of cosine similarities, above 0.
    """
    n = z0.shape[0]
    z = F.normalize(torch.cat([z0, z1]), dim=1)  # [2n d]
    labels = torch.cat([targets, targets])  # [2n]
    everyone, all_labels = join(z), join_values(labels)  # [2N d], [2N]
    similarity = z @ everyone.T / temperature  # [2n 2N], process after process, each view after view
    own = torch.arange(2 * n, device=z.device)[:, None] + world()[0] * 2 * n
    compared = (all_labels >= 0) & (torch.arange(len(all_labels), device=z.device) != own)  # [2n 2N]
    positive = compared & (all_labels == labels[:, None])
    # A finite floor instead of -∞: a row that has nothing to compare with must stay free of NaN in the gradient.
    normaliser = similarity.masked_fill(~compared, torch.finfo(similarity.dtype).min / 2).logsumexp(dim=1)
    pulled = torch.where(positive, similarity, 0).sum(dim=1) / positive.sum(dim=1).clamp(min=1)
    anchors = (labels >= 0).to(z.dtype)
    losses = torch.where(labels >= 0, normaliser - pulled, 0)
    # All processes' anchors, so that the average over processes is the loss of the joined batch.
    return losses.sum() / average(anchors.sum()).clamp(min=1e-12)
