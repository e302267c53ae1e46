"""Cross-entropy that leaves out what has no label, and averages alike on one process and on many.

Axes: `n` records, `k` classes.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from bodh.losses.gather import average
from bodh.losses.precision import full_precision


@full_precision
def cross_entropy(
    logits: Tensor, targets: Tensor, *, weight: Tensor | None = None, label_smoothing: float = 0.0
) -> Tensor:
    """Return the weighted mean cross-entropy over labelled rows, a scalar; 0 where no row has a label.

    The mean divides by the weights of the targets, as `torch.nn.CrossEntropyLoss` does, but of all processes'
    rows: with unlabelled rows or weights, averages of averages would not be the average of the joined batch.

    Args:
        logits: [n k].
        targets: [n] int64 class, negative where unlabelled.
        weight: [k] of the classes, each at least 0.
        label_smoothing: share of the target spread evenly over all classes, from 0 to below 1.
    """
    losses = F.cross_entropy(
        logits,
        targets.clamp(min=0),
        weight=None if weight is None else weight.to(logits.dtype),
        reduction="none",
        label_smoothing=label_smoothing,
    )  # [n]
    labelled = (targets >= 0).to(logits.dtype)
    shares = labelled if weight is None else labelled * weight.to(logits.dtype)[targets.clamp(min=0)]
    return _mean(losses * labelled, shares)


@full_precision
def soft_cross_entropy(
    logits: Tensor, targets: Tensor, *, weight: Tensor | None = None, label_smoothing: float = 0.0
) -> Tensor:
    """Return the weighted mean cross-entropy with shares of classes, a scalar; the same as above for whole ones.

    Args:
        logits: [n k].
        targets: [n k] shares of the classes, each at least 0; a row of noughts has no label, and a row counts as
            much as its shares sum up to.
        weight: [k] of the classes, each at least 0.
        label_smoothing: share of the target spread evenly over all classes, from 0 to below 1.
    """
    wanted = targets.to(logits.dtype)
    smooth = wanted * (1 - label_smoothing) + wanted.sum(dim=1, keepdim=True) * label_smoothing / logits.shape[1]
    if weight is not None:
        wanted, smooth = wanted * weight.to(logits.dtype), smooth * weight.to(logits.dtype)
    losses = -(smooth * F.log_softmax(logits, dim=1)).sum(dim=1)  # [n]
    return _mean(losses, wanted.sum(dim=1))


@full_precision
def binary_cross_entropy(
    logits: Tensor, targets: Tensor, *, weight: Tensor | None = None, label_smoothing: float = 0.0
) -> Tensor:
    """Return the weighted mean of independent yes-or-no cross-entropies, a scalar; 0 where nothing has a label.

    Args:
        logits: [n k].
        targets: [n k] 0 or 1 (or between), negative where unlabelled.
        weight: [2 k] of "no" and of "yes" a class, each at least 0.
        label_smoothing: share of the target moved to one half, from 0 to below 1.
    """
    labelled = (targets >= 0).to(logits.dtype)
    wanted = targets.clamp(min=0).to(logits.dtype)
    smooth = wanted * (1 - label_smoothing) + label_smoothing / 2
    losses = F.binary_cross_entropy_with_logits(logits, smooth, reduction="none")  # [n k]
    shares = labelled
    if weight is not None:
        no, yes = weight.to(logits.dtype)
        shares = labelled * (no + (yes - no) * wanted)
    return _mean(losses * shares, shares)


def _mean(losses: Tensor, shares: Tensor) -> Tensor:
    """Return Σ losses / Σ shares over all processes, as this process's part of an average over processes."""
    total = average(shares.sum())
    return losses.sum() / total.clamp(min=1e-12)
