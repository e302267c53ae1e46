"""Temperature: one number that logits are divided by, so that probabilities say how often they are right.

Paper: Guo et al. 2017, "On calibration of modern neural networks", arXiv 1706.04599, section 4.2.
No decision changes: the order of a record's logits, and the sign of each, stay as they are.

Axes: `n` records, `k` classes.
"""

from __future__ import annotations

import math

import numpy as np

LOWEST, HIGHEST = 0.05, 20.0


def log_loss(logits: np.ndarray, targets: np.ndarray) -> float:
    """Return the mean negative log likelihood, in nats.

    Args:
        logits: [n k]; with one column, of "yes" against "no".
        targets: [n] class index; or [n k] 0 or 1, each a question of its own.
    """
    z = logits.astype(np.float64)
    if targets.ndim == 2 or z.shape[1] == 1:
        yes = targets.reshape(z.shape)
        return float((np.logaddexp(0, z) - yes * z).mean())
    return float((np.logaddexp.reduce(z, axis=1) - z[np.arange(len(z)), targets]).mean())


def fit_temperature(logits: np.ndarray, targets: np.ndarray) -> float:
    """Return the temperature between 0.05 and 20 with the least log loss.

    In the inverse of the temperature the loss is convex, so a bounded search finds the one minimum.

    Args:
        logits: as in `log_loss`, of records that did not train.
        targets: likewise.
    """
    from scipy.optimize import minimize_scalar

    found = minimize_scalar(
        lambda log: log_loss(logits / math.exp(log), targets),
        bounds=(math.log(LOWEST), math.log(HIGHEST)), method="bounded", options={"xatol": 1e-4},
    )  # fmt: skip
    return float(math.exp(found.x))
