"""The probe's classifier: same optimum as scikit-learn, penalty chosen without the test, edges."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

from bodh.evaluation import logistic

data = load_digits()
X = logistic.Scale.fit(data.data)(data.data)
Y = data.target.astype(np.int64)


@pytest.mark.parametrize(("records", "l2"), [(40, 1e-2), (400, 1e-3), (400, 1e-2)])
def test_same_optimum_as_scikit_learn(records: int, l2: float) -> None:
    x, y = X[:records], Y[:records]
    problem = logistic._Problem.of(x, y, 10, "cpu")
    weights = logistic._solve(problem, [l2], np.ones((1, records)), tolerance=1e-5, iterations=3000)[0]
    ours = logistic.Logistic((problem.basis @ weights[:-1]).numpy(), weights[-1].numpy(), l2, several=False)
    theirs = LogisticRegression(C=1 / (l2 * records), tol=1e-8, max_iter=5000).fit(x, y)
    np.testing.assert_allclose(ours.probabilities(X[-300:]), theirs.predict_proba(X[-300:]), atol=2e-3)


def test_several_labels_are_independent_binary_problems() -> None:
    many = np.stack([Y % 2, Y > 4, Y == 3], axis=1).astype(np.uint8)
    problem = logistic._Problem.of(X[:300], many[:300], 3, "cpu")
    weights = logistic._solve(problem, [1e-2], np.ones((1, 300)), tolerance=1e-5, iterations=3000)[0]
    ours = logistic.Logistic((problem.basis @ weights[:-1]).numpy(), weights[-1].numpy(), 1e-2, several=True)
    for label in range(3):
        theirs = LogisticRegression(C=1 / 3, tol=1e-8, max_iter=5000).fit(X[:300], many[:300, label])
        np.testing.assert_allclose(
            ours.probabilities(X[-200:])[:, label], theirs.predict_proba(X[-200:])[:, 1], atol=2e-3
        )


def test_folds_hold_out_every_record_once_and_some_of_every_class() -> None:
    members = logistic._folds(Y[:200], seed=1)
    assert members is not None
    assert (members.sum(axis=0) == 1).all()
    for fold in members:
        assert set(Y[:200][fold]) == set(range(10))


def test_one_label_a_class_takes_the_firm_penalty_and_beats_chance() -> None:
    first = np.array([np.flatnonzero(np.equal(Y, k))[0] for k in range(10)])
    fitted = logistic.fit(X[first], Y[first], 10, seed=0)
    assert fitted.l2 == logistic.FIRM
    assert (fitted.probabilities(X).argmax(axis=1) == Y).mean() > 0.5


def test_noise_gets_a_stronger_penalty_than_signal() -> None:
    rng = np.random.default_rng(0)
    noise = logistic.choose(X[:200], rng.integers(0, 10, 200), 10, seed=0)
    assert noise > logistic.choose(X[:200], Y[:200], 10, seed=0)


def test_same_seed_same_classifier_and_inputs_unchanged() -> None:
    before = X[:100].copy()
    one, two = (logistic.fit(X[:100], Y[:100], 10, seed=3) for _ in range(2))
    np.testing.assert_array_equal(one.weights, two.weights)
    np.testing.assert_array_equal(before, X[:100])


def test_classes_that_do_not_occur_are_never_likely() -> None:
    few = Y < 5
    fitted = logistic.fit(X[few][:100], Y[few][:100], 10, seed=0)
    probabilities = fitted.probabilities(X[few])
    assert probabilities.shape[1] == 10
    assert probabilities[:, 5:].max() < 0.05
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)


def test_constant_features_give_the_class_shares() -> None:
    x = logistic.Scale.fit(np.ones((60, 4), np.float32))(np.ones((60, 4), np.float32))
    fitted = logistic.fit(x, np.repeat([0, 1], [40, 20]), 2, seed=0)
    np.testing.assert_allclose(fitted.probabilities(x[:1]), [[2 / 3, 1 / 3]], atol=0.01)


def test_scale_gives_unit_mean_squared_length() -> None:
    raw = np.random.default_rng(0).normal(3, [1, 10, 100], size=(500, 3))
    for each in (False, True):
        scaled = logistic.Scale.fit(raw, each=each)(raw)
        assert (scaled**2).sum(axis=1).mean() == pytest.approx(1, rel=1e-3)
