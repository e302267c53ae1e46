"""The scikit-learn estimator passes scikit-learn's own checks and helps in a pipeline."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.utils.estimator_checks import estimator_checks_generator

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
