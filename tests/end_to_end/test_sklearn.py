"""The scikit-learn estimator passes scikit-learn's own checks and helps in a pipeline."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import estimator_checks_generator

from bodh.errors import DataError
from bodh.sklearn import SelfSupervisedEncoder

CHECKS = list(estimator_checks_generator(SelfSupervisedEncoder(epochs=1, batch=16), mark=None))


@pytest.mark.filterwarnings("default::UserWarning")
@pytest.mark.parametrize("index", range(len(CHECKS)), ids=[check.func.__name__ for _, check in CHECKS])
def test_scikit_learn_check(index: int) -> None:
    from sklearn.utils._testing import SkipTest

    estimator, check = CHECKS[index]
    try:
        check(estimator)
    except SkipTest as reason:
        pytest.skip(str(reason))
    assert check.func.__name__.startswith("check_")


def test_images_and_the_same_seed() -> None:
    images = load_digits().images[:64].astype(np.uint8) * 15
    first = SelfSupervisedEncoder(epochs=1, batch=32, random_state=3).fit(images)
    second = SelfSupervisedEncoder(epochs=1, batch=32, random_state=3).fit(images)
    features = first.transform(images)
    assert features.shape == (64, first.n_features_out_)
    np.testing.assert_array_equal(features, second.transform(images))


ANIMALS, THINGS = ("cat", "dog", "हाथी", "horse"), ("car", "lamp", "किताब", "spoon")
TEXTS = [f"the {word} is {how}" for word in (*ANIMALS, *THINGS) for how in ("big", "small", "red", "old", "here")]
KINDS = ["animal"] * 20 + ["thing"] * 20


def _texts(**given: object) -> SelfSupervisedEncoder:
    settings = {"backbone.width": 32, "backbone.depth": 1, "modality.length": 16, "modality.vocabulary": 300}
    return SelfSupervisedEncoder(epochs=20, batch=16, settings=settings, **given)  # type: ignore[arg-type]


def test_texts_in_a_pipeline() -> None:
    pytest.importorskip("tokenizers", reason="the extra 'text' is not installed")
    pipeline = make_pipeline(_texts(), LogisticRegression(C=100, max_iter=1000)).fit(TEXTS, KINDS)
    assert pipeline.score(TEXTS, KINDS) > 0.9
    encoder = clone(pipeline[0]).fit(np.array(TEXTS))
    assert encoder.modality_.name == "text"
    features = encoder.transform(np.array(TEXTS, object))
    assert features.shape == (40, encoder.n_features_out_) == (40, 32)
    np.testing.assert_allclose(features, pipeline[0].transform(TEXTS), atol=1e-5)
    np.testing.assert_allclose(features[::-1], encoder.transform(TEXTS[::-1]), atol=1e-5)
    assert np.isfinite(encoder.transform(["", "a much longer text than all of those before, as it happens"])).all()


@pytest.mark.parametrize("objective", ["causal_lm", "simcse", "simclr"])
def test_texts_and_other_objectives(objective: str) -> None:
    pytest.importorskip("tokenizers", reason="the extra 'text' is not installed")
    encoder = _texts(objective=objective).set_params(epochs=1).fit(TEXTS)
    assert encoder.transform(TEXTS[:3]).shape == (3, 32)


def test_texts_that_are_none() -> None:
    pytest.importorskip("tokenizers", reason="the extra 'text' is not installed")
    with pytest.raises(ValueError, match="a text is of type float"):
        _texts().fit(["a", "b", float("nan")])
    with pytest.raises(ValueError, match="1 text is too few"):
        _texts().fit(["a"])
    encoder = _texts().set_params(epochs=1).fit(TEXTS)
    with pytest.raises(ValueError, match="fitted on texts, given something else"):
        encoder.transform(np.zeros((2, 3)))
    numbers = SelfSupervisedEncoder(epochs=1, batch=16).fit(np.random.default_rng(0).normal(size=(32, 3)))
    with pytest.raises(DataError, match="fitted on arrays, given texts"):
        numbers.transform(TEXTS)
