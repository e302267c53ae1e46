"""Label-free scores against independent plain NumPy implementations, written from the papers' formulas."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from bodh.metrics import label_free as scores

rng = np.random.default_rng(0)
CASES = {
    "tall": rng.normal(size=(300, 24)) @ np.diag(np.arange(1, 25) ** -0.7) + 0.2,
    "wide": rng.normal(size=(20, 64)) + 1.0,
    "positive": np.maximum(rng.normal(size=(128, 48)), 0),
}


@pytest.mark.parametrize("case", CASES)
def test_rankme(case: str) -> None:
    z = CASES[case]
    singular = np.linalg.svd(z, compute_uv=False)
    p = singular / np.abs(singular).sum() + 1e-7
    assert scores.rankme(torch.tensor(z)) == pytest.approx(np.exp(-(p * np.log(p)).sum()), rel=1e-5)


@pytest.mark.parametrize("case", CASES)
def test_lidar(case: str) -> None:
    z = CASES[case]
    views = z[:, None] + 0.3 * np.random.default_rng(1).normal(size=(z.shape[0], 5, z.shape[1]))
    d = z.shape[1]
    mean = views.mean(axis=1)
    between, within = np.zeros((d, d)), np.zeros((d, d))
    for record in range(len(views)):
        away = mean[record] - mean.mean(axis=0)
        between += np.outer(away, away) / len(views)
        for view in range(5):
            away = views[record, view] - mean[record]
            within += np.outer(away, away) / (len(views) * 5)
    values, vectors = np.linalg.eigh(within + 1e-4 * np.eye(d))
    root = vectors @ np.diag(values**-0.5) @ vectors.T
    spectrum = np.abs(np.linalg.eigvalsh(root @ between @ root))
    p = spectrum / spectrum.sum() + 1e-8
    assert scores.lidar(torch.tensor(views)) == pytest.approx(np.exp(-(p * np.log(p)).sum()), rel=1e-5)


def test_alpha_req() -> None:
    z = CASES["tall"]
    spectrum = np.linalg.eigvalsh(np.cov(z.T))[::-1]
    ranks = np.arange(11, 25)
    slope = np.polyfit(np.log(ranks), np.log(spectrum[10:24]), 1)[0]
    assert scores.alpha_req(torch.tensor(z)) == pytest.approx(-slope, rel=1e-6)


@pytest.mark.parametrize("case", CASES)
def test_spread_alignment_uniformity(case: str) -> None:
    z = CASES[case]
    unit = z / np.linalg.norm(z, axis=1, keepdims=True)
    other = np.roll(unit, 1, axis=0)
    pairs = [np.exp(-2 * ((a - b) ** 2).sum()) for i, a in enumerate(unit) for b in unit[i + 1 :]]
    assert scores.feature_std(torch.tensor(z)) == pytest.approx(unit.std(axis=0).mean() * z.shape[1] ** 0.5)
    assert scores.alignment(torch.tensor(z), torch.tensor(np.roll(z, 1, axis=0))) == pytest.approx(
        ((unit - other) ** 2).sum(axis=1).mean()
    )
    assert scores.uniformity(torch.tensor(z)) == pytest.approx(np.log(np.mean(pairs)))
