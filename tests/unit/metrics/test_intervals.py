"""Intervals: against SciPy, against simulation, and at their edges."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from bodh.metrics.intervals import mean_interval, paired_interval


def test_mean_interval_is_scipys_t_interval() -> None:
    values = [0.71, 0.74, 0.69, 0.75, 0.72]
    low, high = stats.t.interval(0.95, 4, loc=np.mean(values), scale=stats.sem(values))
    found = mean_interval(values)
    assert (found.low, found.high) == (pytest.approx(low), pytest.approx(high))
    assert found.half == pytest.approx((high - low) / 2)


def test_one_value_has_no_interval() -> None:
    assert mean_interval([0.5]).to_json() == {"mean": 0.5, "low": None, "high": None, "number": 1}
    assert paired_interval(np.ones((1, 50)), np.zeros((1, 50))).low is None


def test_equal_scores_differ_by_nothing() -> None:
    scores = np.random.default_rng(0).random((4, 30))
    found = paired_interval(scores, scores)
    assert (found.mean, found.low, found.high) == (0, 0, 0)


def test_draws_that_agree_still_leave_the_doubt_of_few_test_records() -> None:
    rng = np.random.default_rng(0)
    for records, sure in ((20, False), (20_000, True)):
        right = (rng.random(records) < 0.8).astype(float)[None].repeat(5, axis=0)
        other = (rng.random(records) < 0.77).astype(float)[None].repeat(5, axis=0)
        found = paired_interval(right, other)
        assert found.low is not None
        assert (found.low > 0) == sure


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(1)
    covered = 0
    for _ in range(400):
        draw, record = rng.normal(0, 0.03, (5, 1)), rng.normal(0, 0.5, (1, 200))
        first = 0.1 + draw + record + rng.normal(0, 0.3, (5, 200))
        found = paired_interval(first, np.zeros((5, 200)))
        assert found.low is not None
        assert found.high is not None
        covered += found.low <= 0.1 <= found.high
    assert 0.93 <= covered / 400 <= 1.0
