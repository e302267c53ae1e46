"""Temperature against a plain second way: a fine grid over temperatures with scikit-learn's log loss."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit, softmax
from sklearn.metrics import log_loss as theirs

from bodh.metrics.temperature import fit_temperature, log_loss

GRID = np.exp(np.linspace(np.log(0.2), np.log(8), 800))


def logits(n: int = 400, k: int = 4, *, sharp: float = 3.0) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(0)
    honest = draw.normal(size=(n, k)) * 1.5
    targets = (honest + draw.gumbel(size=(n, k))).argmax(axis=1)  # their true probabilities are softmax(honest)
    return honest * sharp, targets


def test_one_of_many() -> None:
    z, y = logits()
    assert log_loss(z, y) == pytest.approx(theirs(y, softmax(z, axis=1)))
    best = GRID[np.argmin([theirs(y, softmax(z / t, axis=1)) for t in GRID])]
    assert fit_temperature(z, y) == pytest.approx(best, rel=0.01)
    assert fit_temperature(z, y) == pytest.approx(3.0, rel=0.2)


def test_yes_or_no_by_one_logit_and_several_labels() -> None:
    draw = np.random.default_rng(1)
    honest = draw.normal(size=(500, 3)) * 2
    y = (draw.random((500, 3)) < expit(honest)).astype(np.uint8)
    z = honest * 0.5
    several = np.mean([theirs(y[:, k], expit(z[:, k])) for k in range(3)])
    assert log_loss(z, y) == pytest.approx(several)
    assert fit_temperature(z, y) == pytest.approx(0.5, rel=0.2)
    assert log_loss(z[:, :1], y[:, 0]) == pytest.approx(theirs(y[:, 0], expit(z[:, 0])))
    best = GRID[np.argmin([theirs(y[:, 0], expit(z[:, 0] / t)) for t in GRID])]
    assert fit_temperature(z[:, :1], y[:, 0]) == pytest.approx(best, rel=0.01)


def test_what_is_separated_stays_within_bounds() -> None:
    assert 0.05 <= fit_temperature(np.array([[5.0, -5.0], [-5.0, 5.0]]), np.array([0, 1])) <= 20
