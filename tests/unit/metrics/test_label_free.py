"""Label-free scores: known values, edge cases and what counts as collapsed."""

from __future__ import annotations

import math

import pytest
import torch

from bodh.metrics import label_free as scores


def gaussian(n: int, d: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed))


def test_rankme_of_an_orthonormal_frame_is_its_dimension() -> None:
    assert scores.rankme(torch.eye(16).repeat(4, 1)) == pytest.approx(16, abs=1e-3)


def test_rankme_of_one_direction_is_one() -> None:
    assert scores.rankme(gaussian(50, 1) @ gaussian(1, 20)) == pytest.approx(1, abs=0.01)


def test_lidar_grows_when_views_agree_and_records_differ() -> None:
    centres = gaussian(64, 1, 1)[:, :, None] * torch.eye(8)[torch.arange(64) % 8][:, None]
    noise = torch.randn(64, 6, 8, generator=torch.Generator().manual_seed(2))
    assert scores.lidar(centres * 5 + 0.1 * noise) > scores.lidar(centres[:, :, :1] * 5 + noise) + 2


def test_alpha_of_a_power_law_spectrum_is_its_exponent() -> None:
    left, _ = torch.linalg.qr(gaussian(400, 200).double() - gaussian(400, 200).double().mean(0))
    left = left - left.mean(0)
    left, _ = torch.linalg.qr(left)
    spectrum = torch.arange(1, 201, dtype=torch.float64) ** -1.3
    assert scores.alpha_req(left * spectrum.sqrt()) == pytest.approx(1.3, abs=1e-6)


def test_spread_is_one_for_an_even_spread_and_zero_for_constants() -> None:
    assert scores.feature_std(gaussian(4000, 64)) == pytest.approx(1, abs=0.01)
    assert scores.feature_std(torch.ones(20, 8)) == pytest.approx(0, abs=1e-12)


def test_alignment_and_uniformity_reach_their_ends() -> None:
    z = gaussian(100, 8)
    assert scores.alignment(z, 3 * z) == pytest.approx(0, abs=1e-12)
    assert scores.alignment(z, -z) == pytest.approx(4)
    assert scores.uniformity(torch.ones(10, 4)) == pytest.approx(0, abs=1e-9)
    assert scores.uniformity(gaussian(1000, 256)) == pytest.approx(-4, abs=0.1)


def test_uniformity_does_not_depend_on_the_block() -> None:
    z = gaussian(77, 5)
    assert scores.uniformity(z, block=10) == pytest.approx(scores.uniformity(z), rel=1e-12)


EDGES = {
    "fewer records than dimensions": gaussian(5, 40),
    "constant": torch.full((30, 12), 0.7),
    "zero": torch.zeros(30, 12),
    "two records": gaussian(2, 16),
    "one record": gaussian(1, 16),
    "one dimension": gaussian(30, 1),
    "half precision": gaussian(30, 12).half(),
    "huge": gaussian(30, 12) * 1e18,
    "tiny": gaussian(30, 12) * 1e-18,
}


@pytest.mark.parametrize("case", EDGES)
def test_edges_are_finite_and_inputs_unchanged(case: str) -> None:
    features = EDGES[case].clone()
    views = torch.stack([features, features + 0.01], dim=1)
    figures = [
        scores.rankme(features),
        scores.lidar(views),
        scores.alpha_req(features),
        scores.feature_std(features),
        scores.alignment(features, features.flip(0)),
        scores.uniformity(features),
    ]
    assert all(math.isfinite(figure) for figure in figures), figures
    assert torch.equal(features, EDGES[case])


def test_not_a_number_is_said_not_hidden() -> None:
    features = gaussian(10, 4)
    features[3, 2] = math.nan
    assert math.isnan(scores.rankme(features))
    assert math.isnan(scores.feature_std(features))
    assert scores.collapsed(std=math.nan, rank=5.0)


def test_constant_features_fall_far_steeper_than_random_ones() -> None:
    assert scores.alpha_req(EDGES["constant"]) > 10 > scores.alpha_req(gaussian(300, 64))


def test_collapse_is_told_from_health() -> None:
    healthy = gaussian(256, 32)
    one_line = gaussian(256, 1).sign() * gaussian(1, 32, 1) + 1e-3 * healthy
    constant = gaussian(1, 32) + 1e-3 * healthy
    for features, reason in ((healthy, ""), (one_line, "one direction"), (constant, "nearly the same")):
        figures = {"std": scores.feature_std(features), "rank": scores.rankme(features)}
        assert scores.collapsed(**figures) == bool(reason)
        assert reason in scores.collapse_reason(**figures)
