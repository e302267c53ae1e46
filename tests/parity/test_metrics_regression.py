"""Figures of measured numbers against scikit-learn's."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics

from bodh.metrics import regression


@pytest.fixture
def numbers() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    targets = rng.normal(size=(300, 2)) * [1, 50] + [0, 1000]
    return targets + rng.normal(size=targets.shape) * [0.5, 5], targets


def test_figures(numbers: tuple[np.ndarray, np.ndarray]):
    given, targets = numbers
    found = regression.figures(given, targets)
    assert found["mae"] == pytest.approx(metrics.mean_absolute_error(targets, given))
    assert found["rmse"] == pytest.approx(metrics.root_mean_squared_error(targets, given))
    assert found["r2"] == pytest.approx(metrics.r2_score(targets, given))
    assert found["median_absolute_error"] == pytest.approx(metrics.median_absolute_error(targets, given))
    rows = regression.each(given, targets, ("कोण", "weight"))
    assert [row["value"] for row in rows] == ["कोण", "weight"]
    assert rows[1]["r2"] == pytest.approx(metrics.r2_score(targets[:, 1], given[:, 1]))


def test_scores_of_records_have_r2_as_their_mean(numbers: tuple[np.ndarray, np.ndarray]):
    given, targets = numbers
    assert regression.record_scores(given, targets).mean() == pytest.approx(metrics.r2_score(targets, given))
    own = regression.record_scores(given[:, :1], targets[:, 0])
    assert own.mean() == pytest.approx(metrics.r2_score(targets[:, 0], given[:, 0]))


def test_what_is_missing_is_left_out(numbers: tuple[np.ndarray, np.ndarray]):
    given, targets = numbers
    targets[:40, 1] = np.nan
    rows = regression.each(given, targets, ("a", "b"))
    assert (rows[0]["records"], rows[1]["records"]) == (300, 260)
    assert rows[1]["mae"] == pytest.approx(metrics.mean_absolute_error(targets[40:, 1], given[40:, 1]))
    assert np.isfinite(regression.record_scores(given, targets)).all()


def test_intervals_hold_the_figure_and_repeat(numbers: tuple[np.ndarray, np.ndarray]):
    given, targets = numbers
    found = regression.intervals(given, targets, draws=200, seed=1)
    assert found == regression.intervals(given, targets, draws=200, seed=1)
    for name, value in regression.figures(given, targets).items():
        low, high = found[name]
        assert low < value < high
    assert regression.figures(np.zeros((3, 1)), np.ones(3))["r2"] == 0.0, "a number that never varies"
