"""Curves, calibration, bootstrap and McNemar against scikit-learn, SciPy and plain second computations."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from sklearn import calibration, metrics

from bodh.metrics import bootstrap, classification, curves
from bodh.metrics.paired import mcnemar

rng = np.random.default_rng(1)
N, K = 400, 3
targets = rng.choice(K, N, p=[0.6, 0.3, 0.1])
logits = rng.normal(size=(N, K)) + 1.2 * np.eye(K)[targets]
probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
predicted = probabilities.argmax(axis=1)
many = (rng.random((N, K)) < 0.4).astype(np.uint8)
each = 1 / (1 + np.exp(-(rng.normal(size=(N, K)) + 2 * many - 1)))


def test_roc_and_precision_recall_are_those_of_scikit_learn() -> None:
    together, *classes = curves.roc(probabilities, targets)
    assert together.area == pytest.approx(metrics.roc_auc_score(np.eye(K)[targets], probabilities, average="micro"))
    for curve in classes:
        assert curve.area == pytest.approx(metrics.roc_auc_score(targets == curve.label, probabilities[:, curve.label]))
    together, *classes = curves.precision_recall(probabilities, targets)
    assert together.area == pytest.approx(
        metrics.average_precision_score(np.eye(K)[targets], probabilities, average="micro")
    )
    y, x, _ = metrics.precision_recall_curve(targets == 1, probabilities[:, 1])
    np.testing.assert_allclose(classes[1].x, x[::-1])
    np.testing.assert_allclose(classes[1].y, y[::-1])
    assert curves.roc(each, many)[0].area == pytest.approx(metrics.roc_auc_score(many, each, average="micro"))


def test_a_curve_at_a_position_is_its_upper_corner() -> None:
    curve = curves.ClassCurve(0, np.array([0.0, 0.0, 0.5, 0.5, 1.0]), np.array([0.0, 0.4, 0.4, 0.9, 1.0]), 0.0)
    np.testing.assert_allclose(curves.at(curve, np.array([0.0, 0.25, 0.5, 1.0])), [0.4, 0.65, 0.9, 1.0])


def test_reliability_is_that_of_scikit_learn() -> None:
    found = curves.reliability(probabilities, targets)
    right = predicted == targets
    accuracy, confidence = calibration.calibration_curve(right, probabilities.max(axis=1), n_bins=15)
    np.testing.assert_allclose(found.accuracy, accuracy)
    np.testing.assert_allclose(found.confidence, confidence)
    weighted = np.abs(accuracy - confidence) @ found.records / N
    assert classification.calibration_error(probabilities, targets) == pytest.approx(weighted)


def test_brier_is_that_of_scikit_learn() -> None:
    figures = classification.single_label(probabilities, targets)
    assert figures["brier"] == pytest.approx(metrics.brier_score_loss(targets, probabilities, scale_by_half=False))
    two = np.stack([1 - each[:, 0], each[:, 0]], axis=1)
    assert classification.squared_error(two, many[:, 0].astype(int)).mean() == pytest.approx(
        2 * metrics.brier_score_loss(many[:, 0], each[:, 0])
    )


def test_micro_averages_are_those_of_scikit_learn() -> None:
    figures = classification.single_label(probabilities, targets)
    assert figures["f1_micro"] == pytest.approx(metrics.f1_score(targets, predicted, average="micro"))
    assert figures["precision_micro"] == pytest.approx(metrics.precision_score(targets, predicted, average="micro"))


def test_bootstrap_recomputes_each_figure_with_scikit_learn_on_the_same_draws() -> None:
    found, classes = bootstrap.single_label(probabilities, targets, draws=40, seed=3)
    seen: dict[str, list[float]] = {name: [] for name in found}
    of_class = []
    for index in bootstrap.draws_of(targets, N, draws=40, seed=3):
        np.testing.assert_array_equal(np.bincount(targets[index]), np.bincount(targets))  # stratified
        figures = classification.single_label(probabilities[index], targets[index])
        for name in found:
            seen[name].append(figures[name])
        of_class.append(metrics.f1_score(targets[index], predicted[index], average=None))
    for name, ends in found.items():
        assert ends == pytest.approx(bootstrap.percentile(np.array(seen[name]))), name
    np.testing.assert_allclose(classes["f1"].T, np.quantile(of_class, [0.025, 0.975], axis=0))


def test_bootstrap_of_several_labels() -> None:
    found, _ = bootstrap.several_labels(each, many, draws=20, seed=5)
    seen: dict[str, list[float]] = {name: [] for name in found}
    for index in bootstrap.draws_of(None, N, draws=20, seed=5):
        figures = classification.several_labels(each[index], many[index])
        for name in found:
            seen[name].append(figures[name])
    for name, ends in found.items():
        assert ends == pytest.approx(bootstrap.percentile(np.array(seen[name]))), name


def test_the_interval_of_the_accuracy_is_near_the_one_of_theory() -> None:
    (low, high) = bootstrap.single_label(probabilities, targets, draws=1000, seed=0)[0]["accuracy"]
    share = float((predicted == targets).mean())
    half = 1.96 * np.sqrt(share * (1 - share) / N)
    assert low == pytest.approx(share - half, abs=0.01)
    assert high == pytest.approx(share + half, abs=0.01)


def pairs(both: int, first: int, second: int, neither: int) -> tuple[np.ndarray, np.ndarray]:
    one = [True] * both + [True] * first + [False] * second + [False] * neither
    other = [True] * both + [False] * first + [True] * second + [False] * neither
    return np.array(one), np.array(other)


def test_mcnemar_exact_where_few_differ() -> None:
    found = mcnemar(*pairs(50, 3, 12, 9))
    assert (found.both, found.first_only, found.second_only, found.neither) == (50, 3, 12, 9)
    assert found.test == "exact binomial"
    assert found.p == pytest.approx(2 * stats.binom.cdf(3, 15, 0.5))
    assert mcnemar(*pairs(5, 0, 0, 5)).p == 1.0


def test_mcnemar_chi_square_with_continuity_correction() -> None:
    found = mcnemar(*pairs(794, 86, 150, 570))  # Agresti 1990, table 10.1: approval of the prime minister
    assert found.test == "chi-square"
    assert found.statistic == pytest.approx((abs(86 - 150) - 1) ** 2 / 236)
    assert found.p == pytest.approx(1 - stats.chi2.cdf(found.statistic, 1), rel=1e-6)
    assert mcnemar(*pairs(1, 15, 15, 1)).p == 1.0


def test_the_paired_bootstrap_sees_what_two_separate_intervals_do_not() -> None:
    one, other = pairs(300, 30, 10, 60)
    low, high = bootstrap.paired(one, other, None, draws=2000, seed=0)
    difference = 20 / 400
    half = 1.96 * np.sqrt((40 / 400 - difference**2) / 400)
    assert low == pytest.approx(difference - half, abs=0.004)
    assert high == pytest.approx(difference + half, abs=0.004)
    strata = np.arange(400) % 2
    assert bootstrap.paired(one, one, strata, draws=10, seed=0) == (0.0, 0.0)
