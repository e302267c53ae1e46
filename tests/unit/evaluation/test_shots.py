"""Few-shot: the three methods against scikit-learn, the choice between them, and how honest the estimate is."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import Ridge
from sklearn.neighbors import KNeighborsClassifier

from bodh.errors import ConfigError
from bodh.evaluation import ridge, shots

K, D = 5, 16


def draw(each: int, seed: int, *, noise: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Clouds around five fixed centres."""
    centres = np.random.default_rng(0).normal(size=(K, D))
    targets = np.repeat(np.arange(K), each)
    return centres[targets] + noise * np.random.default_rng(seed).normal(size=(len(targets), D)), targets


def unit(x: np.ndarray) -> np.ndarray:
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def test_nearest_class_mean_is_that_of_scikit_learn_on_features_of_length_one() -> None:
    x, y = draw(4, 1)
    new, _ = draw(40, 2)
    means = np.stack([unit(x)[y == k].mean(axis=0) for k in range(K)])
    plain = KNeighborsClassifier(1).fit(unit(means), np.arange(K))  # on a sphere, the largest cosine is the nearest
    np.testing.assert_array_equal(shots.fit(x, y, K, method="mean")(new).argmax(1), plain.predict(unit(new)))


def test_nearest_examples_are_those_of_scikit_learn() -> None:
    x, y = draw(6, 1, noise=2)
    new, _ = draw(40, 2, noise=2)
    plain = KNeighborsClassifier(
        shots.NEIGHBOURS,
        metric="euclidean",
        weights=lambda d: np.exp((1 - d**2 / 2) / 0.1),  # cosine from distance
    ).fit(unit(x), y)
    np.testing.assert_array_equal(shots.fit(x, y, K, method="knn")(new).argmax(1), plain.predict(unit(new)))


def test_ridge_is_that_of_scikit_learn_with_the_penalty_of_leave_one_out() -> None:
    x, y = draw(6, 1, noise=2)
    new, _ = draw(40, 2, noise=2)
    table = np.eye(K)[y]
    strengths = ridge.fit(unit(x), table).l2
    plain = np.stack(
        [Ridge(alpha=len(x) * l2).fit(unit(x), table[:, k]).predict(unit(new)) for k, l2 in enumerate(strengths)],
        axis=1,
    )
    np.testing.assert_allclose(shots.fit(x, y, K, method="ridge").scores(new), plain, atol=1e-5)


def test_probabilities_are_some() -> None:
    for each in (1, 3):
        for method in ("auto", *shots.METHODS):
            told = shots.fit(*draw(each, 1), K, method=method)(draw(3, 2)[0])
            assert told.shape == (15, K)
            np.testing.assert_allclose(told.sum(axis=1), 1)
            assert (told >= 0).all()


def test_from_one_example_a_class_nothing_is_estimated() -> None:
    found = shots.fit(*draw(1, 1), K)
    assert found.method == "mean"
    assert found.estimate.accuracy is None
    assert "cannot be estimated" in found.estimate.how
    x, y = draw(2, 1)
    some = shots.fit(x[1:], y[1:], K, method="mean")
    assert some.estimate.tested == 2 * (K - 1)
    assert "without 1 classes of one example" in some.estimate.how


def test_the_estimate_is_honest_with_and_without_the_choice() -> None:
    """Where labels mean nothing it never promises more than chance; else the truth lies in most of its intervals."""
    told, covered = [], 0
    for seed in range(6):
        x, y = draw(8, seed, noise=1.5)
        noise = shots.fit(np.random.default_rng(seed).normal(size=x.shape), y, K, seed=seed)
        told.append(noise.estimate.accuracy)
        found = shots.fit(x, y, K, seed=seed)
        new, truth = draw(100, 100 + seed, noise=1.5)
        share = float((found(new).argmax(axis=1) == truth).mean())
        assert found.estimate.accuracy is not None
        covered += found.estimate.low - 0.02 <= share <= found.estimate.high + 0.02
        assert found.tried[found.method] == max(found.tried.values())
    assert np.mean(told) < 1 / K + 0.04
    assert covered >= 5


def test_leave_one_out_leaves_one_out() -> None:
    x, y = draw(3, 4, noise=1.5)
    right = []
    for i in range(len(x)):
        others = np.arange(len(x)) != i
        right.append(shots.fit(x[others], y[others], K, method="mean")(x[i : i + 1]).argmax() == y[i])
    found = shots.fit(x, y, K, method="mean").estimate
    assert found.how == "leave-one-out"
    assert found.accuracy == pytest.approx(np.mean(right))


def test_an_unknown_method_is_told() -> None:
    with pytest.raises(ConfigError, match="method: 'tree' is not one of: auto, mean, ridge, knn"):
        shots.fit(*draw(2, 0), K, method="tree")
