"""Distances of numbers that leave out what has no label, and average alike on one process and on many.

Axes: `n` records, `k` numbers a record.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from bodh.losses.gather import average
from bodh.losses.precision import full_precision


@full_precision
def huber(given: Tensor, targets: Tensor, *, beta: float) -> Tensor:
    """Return the mean smooth L1 distance over labelled numbers, a scalar; 0 where nothing has a label.

    Half the square below `beta`, divided by it, and linear above (Girshick 2015, arXiv 1504.08083, eq. 3): a few wild
    labels pull less than with squares. Checked against `torch.nn.SmoothL1Loss`.

    Args:
        given: [n k].
        targets: [n k], not-a-number where unlabelled.
        beta: where squares end, in the unit of the numbers; above 0.
    """
    return _mean(F.smooth_l1_loss(given, _filled(given, targets), reduction="none", beta=beta), targets)


@full_precision
def squared_error(given: Tensor, targets: Tensor) -> Tensor:
    """Return the mean squared error over labelled numbers, a scalar; 0 where nothing has a label.

    Args:
        given: [n k].
        targets: [n k], not-a-number where unlabelled.
    """
    return _mean(F.mse_loss(given, _filled(given, targets), reduction="none"), targets)


def _filled(given: Tensor, targets: Tensor) -> Tensor:
    """Return `targets` with the given value where there is no label: neither loss nor gradient comes from there."""
    return targets.to(given.dtype).where(~targets.isnan(), given.detach())


def _mean(losses: Tensor, targets: Tensor) -> Tensor:
    total = average((~targets.isnan()).sum().to(losses.dtype))
    return losses.sum() / total.clamp(min=1)
