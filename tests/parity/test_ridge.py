"""Ridge regression and the regression objective against scikit-learn's and torch's own."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn

from bodh.contracts import Batch, Facts, Progress
from bodh.evaluation import ridge
from bodh.evaluation.logistic import Scale
from bodh.objectives import regress
from bodh.testing.objectives import TinyBackbone


def digits() -> tuple[np.ndarray, np.ndarray]:
    """Real digits [n 64], and of each its ink and where the ink lies from top to bottom."""
    from sklearn.datasets import load_digits

    images = load_digits().images
    ink = images.sum(axis=(1, 2))
    height = (images.sum(axis=2) * np.arange(8)).sum(axis=1) / ink
    return images.reshape(len(images), -1), np.stack([height, images[:, 2:5, 3] @ np.array([1, 2, 1.0])], axis=1)


@pytest.mark.parametrize("records", [30, 400])  # fewer and more than features
def test_ridge_against_scikit_learn(records: int):
    from sklearn.linear_model import RidgeCV

    features, targets = digits()
    features, targets = features[:records, 1::2], targets[:records]
    x = Scale.fit(features)(features)
    ours = ridge.fit(x, targets.astype(np.float32))
    strengths = np.array(ridge.STRENGTHS) * records
    for column in range(2):
        theirs = RidgeCV(alphas=strengths).fit(x.astype(np.float64), targets[:, column].astype(np.float32))
        assert ours.l2[column] * records == pytest.approx(theirs.alpha_)
        np.testing.assert_allclose(ours(x)[:, column], theirs.predict(x), rtol=1e-3, atol=1e-3)


def test_ridge_leaves_out_what_is_missing():
    features, targets = digits()
    x = Scale.fit(features[:200])(features[:200])
    y = targets[:200].astype(np.float32)
    y[:50, 1] = np.nan
    both = ridge.fit(x, y)
    np.testing.assert_allclose(both.weights[:, 0], ridge.fit(x, y[:, 0]).weights[:, 0])
    np.testing.assert_allclose(both.weights[:, 1], ridge.fit(x[50:], y[50:, 1]).weights[:, 0])


@pytest.mark.parametrize("loss", ["huber", "squared"])
def test_regress_against_torch(loss: str):
    features, targets = digits()
    images = torch.tensor(features[:32].reshape(-1, 1, 8, 8) / 16)
    wanted = torch.tensor(targets[:32])
    wanted[5:9, 0] = float("nan")
    mean, deviation = (3.5, 20.0), (0.5, 9.0)
    facts = Facts(1000, 10, 32, task="regress", class_names=("a", "b"), target_mean=mean, target_deviation=deviation)
    torch.manual_seed(0)
    ours = regress.build(TinyBackbone((1, 8, 8)), regress.Config(loss=loss, beta=0.7), facts).double()
    backbone, linear = copy.deepcopy(ours.backbone), copy.deepcopy(ours.head.linear)
    optimiser = torch.optim.SGD(ours.parameters(), lr=0.1)
    other = torch.optim.SGD([*backbone.parameters(), *linear.parameters()], lr=0.1)
    criterion = nn.SmoothL1Loss(beta=0.7) if loss == "huber" else nn.MSELoss()
    for step in range(2):
        result = ours(Batch((images,), torch.arange(32), wanted, seed=step), Progress(step, 10, 0, 1)).loss
        optimiser.zero_grad()
        result.backward()
        optimiser.step()
        known = ~wanted.isnan()
        standard = (wanted - torch.tensor(mean)) / torch.tensor(deviation)
        expected = criterion(linear(backbone(images))[known], standard[known])
        other.zero_grad()
        expected.backward()
        other.step()
        assert result.item() == pytest.approx(expected.item(), rel=1e-6)
    for mine, theirs in zip(ours.backbone.parameters(), backbone.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-6, atol=1e-8)
    ours.eval(), backbone.eval()
    said = ours.head(ours.backbone(images))
    unit = linear(backbone(images)) * torch.tensor(deviation) + torch.tensor(mean)
    torch.testing.assert_close(said, unit, rtol=1e-6, atol=1e-6)
