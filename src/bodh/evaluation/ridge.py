"""Ridge regression on frozen features: the one fit that every arm of a comparison of measured numbers gets.

The penalty with the least squared error of records left out one by one is taken: exact and without folds (Allen 1974,
"The relationship between variable selection and data augmentation", PRESS; Golub, Heath & Wahba 1979). No test record
takes part. Agrees with scikit-learn's RidgeCV (tests/parity).

Axes: `n` records, `d` features, `k` numbers a record.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

STRENGTHS = tuple(float(10.0**power) for power in np.arange(-6, 2.01, 0.5))
"""L2 penalties tried, of the mean squared error, for features whose mean squared length is 1 (`logistic.Scale`)."""


@dataclass(frozen=True, slots=True)
class Ridge:
    """A fitted regression: weights [d k], bias [k], and the penalty [k] of every number."""

    weights: np.ndarray
    bias: np.ndarray
    l2: tuple[float, ...]

    def __call__(self, features: np.ndarray) -> np.ndarray:
        """Return numbers [n k] for `features` [n d], float32."""
        numbers: np.ndarray = features @ self.weights + self.bias
        return numbers


def fit(features: np.ndarray, targets: np.ndarray) -> Ridge:
    """Choose the penalty within the given labels alone, then fit on all of them.

    Args:
        features: [n d], scaled by `logistic.Scale`.
        targets: [n] or [n k], not-a-number where unlabelled; every column has a label.
    """
    columns = targets.reshape(len(targets), -1)
    found: dict[bytes, _Spectrum] = {}
    weights, bias, chosen = [], [], []
    for column in columns.T:
        known = ~np.isnan(column)
        key = known.tobytes()
        if key not in found:  # columns that lack the same records share the work
            found[key] = _Spectrum.of(features[known])
        w, b, l2 = found[key].solve(column[known].astype(np.float64))
        weights.append(w)
        bias.append(b)
        chosen.append(l2)
    return Ridge(np.stack(weights, axis=1).astype(np.float32), np.array(bias, np.float32), tuple(chosen))


@dataclass(frozen=True, slots=True)
class _Spectrum:
    """Centred features taken apart, so that every penalty is solved at the cost of a few products."""

    mean: np.ndarray
    """[d]"""
    left: np.ndarray
    """[n r] orthonormal columns"""
    size: np.ndarray
    """[r] singular values"""
    right: np.ndarray
    """[d r] orthonormal columns"""

    @classmethod
    def of(cls, features: np.ndarray) -> _Spectrum:
        x = features.astype(np.float64)
        mean = x.mean(axis=0)
        x -= mean
        wide = x.shape[1] > len(x)
        squares, basis = np.linalg.eigh(x @ x.T if wide else x.T @ x)  # the smaller of the two: quick for many records
        kept = squares > max(squares[-1], 0.0) * 1e-10
        size, basis = np.sqrt(squares[kept]), basis[:, kept]
        other = (x.T @ basis if wide else x @ basis) / size
        return cls(mean, basis if wide else other, size, other if wide else basis)

    def solve(self, y: np.ndarray) -> tuple[np.ndarray, float, float]:
        """Return weights [d], bias and penalty for `y` [n]."""
        n, middle = len(y), float(y.mean())
        turned = self.left.T @ (y - middle)  # [r]
        best, l2, kept = float("inf"), STRENGTHS[-1], np.zeros_like(turned)
        for strength in reversed(STRENGTHS):  # the firmest of equals
            shrunk = self.size**2 / (self.size**2 + n * strength)  # [r]
            leverage = 1 / n + (self.left**2) @ shrunk  # [n]; 1 / n is the bias's
            error = (y - middle - self.left @ (shrunk * turned)) / np.maximum(1 - leverage, 1e-9)
            press = float(np.square(error).mean())
            if press < best * (1 - 1e-9):
                best, l2, kept = press, strength, shrunk
        weights = self.right @ (kept * turned / self.size)
        return weights, middle - float(self.mean @ weights), l2
