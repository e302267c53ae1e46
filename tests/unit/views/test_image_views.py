"""Image views as a whole: the same bits whatever the shards and threads; any size, shape and number of rows."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from bodh.contracts import Shard
from bodh.views.image import Target, render
from bodh.views.recipe import Recipe, preset

CPU = torch.device("cpu")
ALL = Recipe(
    crop_scale=(0.2, 1.0),
    flip=0.5,
    jitter=0.8,
    brightness=0.4,
    contrast=0.4,
    saturation=0.4,
    hue=0.2,
    grey=0.3,
    blur=0.5,
    solarise=0.3,
)
TURNING = Recipe(crop_scale=(0.5, 1.0), rotation=20.0, jitter=0.8, brightness=0.4, contrast=0.4, blur=0.4)


def target(size: int, channels: int = 3) -> Target:
    return Target(size, (0.45,) * channels, (0.25,) * channels)


def images(n: int, high: int, wide: int, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(n + high).integers(0, 256, (n, high, wide, channels), dtype=np.uint8)


def views(rows, recipe, size, *, shard=None, seed=7):
    n = len(rows)
    return render(
        rows,
        [recipe, recipe],
        [seed, seed + 1],
        shard=shard or Shard(0, n, n),
        target=target(size, rows[0].shape[-1]),
        device=CPU,
    )


@pytest.fixture
def threads():
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


CASES = [(28, 28), (32, 32), (32, 41), (96, 96), (96, 110)]  # the odd ones leave vector tails


@pytest.mark.parametrize(("size", "stored"), CASES)
@pytest.mark.parametrize("recipe", [ALL, TURNING], ids=["all", "turning"])
def test_threads_change_no_bit(threads, size, stored, recipe):
    rows = images(70 if size < 64 else 20, stored, stored)
    threads(1)
    one = views(rows, recipe, size)
    threads(3)
    many = views(rows, recipe, size)
    assert torch.get_num_threads() == 3
    for a, b in zip(one, many, strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize(("size", "stored"), CASES)
@pytest.mark.parametrize("recipe", [ALL, TURNING], ids=["all", "turning"])
def test_shards_are_the_whole_cut(size, stored, recipe):
    n = 70 if size < 64 else 20
    rows = images(n, stored, stored)
    whole = views(rows, recipe, size)
    for edges in ((0, n // 2, n), (0, 3, n - 5, n)):
        parts = [views(rows[a:b], recipe, size, shard=Shard(a, b, n)) for a, b in itertools.pairwise(edges)]
        for view, pieces in zip(whole, zip(*parts, strict=True), strict=True):
            assert torch.equal(view, torch.cat(pieces))


@pytest.mark.parametrize("recipe", [ALL, TURNING], ids=["all", "turning"])
def test_shards_of_ragged_rows(recipe):
    rows = [images(1, 20 + 7 * k, 50 - 3 * k)[0] for k in range(9)]
    whole = views(rows, recipe, 32)
    parts = [views(rows[a:b], recipe, 32, shard=Shard(a, b, 9)) for a, b in ((0, 4), (4, 9))]
    for view, pieces in zip(whole, zip(*parts, strict=True), strict=True):
        assert torch.equal(view, torch.cat(pieces))


def test_seeds_and_views_differ_and_repeat():
    rows = images(8, 32, 32)
    one, two = views(rows, ALL, 32)
    assert not torch.equal(one, two)
    assert torch.equal(one, views(rows, ALL, 32)[0])
    assert not torch.equal(one, views(rows, ALL, 32, seed=99)[0])


def test_rows_vary_independently():
    same = np.repeat(images(1, 32, 32), 16, axis=0)
    view, _ = views(same, ALL, 32)
    flat = view.flatten(1)
    assert len({tuple(row.tolist()) for row in flat}) == 16


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("high", "wide"), [(1, 1), (1, 9), (40, 2), (3, 3)])
@pytest.mark.parametrize("size", [1, 2, 32, 80])
@pytest.mark.parametrize("recipe", [ALL, TURNING], ids=["all", "turning"])
def test_degenerate_sizes(channels, high, wide, size, recipe):
    rows = images(3, high, wide, channels)
    for given in (rows, list(rows), rows[:1]):
        for view in views(given, recipe, size):
            assert view.shape == (len(given), channels, size, size)
            assert torch.isfinite(view).all()
            values = view * 0.25 + 0.45
            assert float(values.min()) >= -1e-5
            assert float(values.max()) <= 1 + 1e-5


def test_no_randomness_left_is_the_image_itself():
    rows = images(5, 32, 32)
    view, _ = views(rows, Recipe(), 32)
    expected = (torch.from_numpy(rows).permute(0, 3, 1, 2) / 255 - 0.45) / 0.25
    assert float((view - expected).abs().max()) < 1e-5


def test_whole_area_means_the_centred_square():
    row = np.zeros((1, 40, 80, 3), np.uint8)
    row[:, :, 20:60] = 200
    view, _ = views(row, Recipe(), 40)
    assert float((view * 0.25 + 0.45).min()) == pytest.approx(200 / 255, abs=1e-4)


def test_uniform_and_ragged_agree():
    rows = images(6, 40, 40)
    for recipe, within in ((ALL, None), (TURNING, 1e-4), (Recipe(crop_scale=(0.3, 1.0), flip=0.5), 1.5 / 255)):
        if within is None:
            continue
        uniform, _ = views(rows, recipe, 40)
        ragged, _ = views(list(rows), recipe, 40)
        assert float((uniform - ragged).abs().max()) * 0.25 <= within


def test_probabilities_are_kept():
    n = 2000
    rows = np.zeros((n, 4, 4, 3), np.uint8)
    rows[..., 0], rows[:, :, :2] = 250, 40
    view, _ = views(rows, Recipe(flip=0.25, grey=0.5), 4)
    colour = view * 0.25 + 0.45
    flipped = (colour[:, 0, 0, 0] > colour[:, 0, 0, 3]).float().mean()
    grey = ((colour[:, 0] - colour[:, 2]).abs().amax(dim=(1, 2)) < 1e-4).float().mean()
    assert float(flipped) == pytest.approx(0.25, abs=0.04)
    assert float(grey) == pytest.approx(0.5, abs=0.04)


def test_rows_are_left_as_they_were():
    rows = images(4, 32, 32)
    before = rows.copy()
    views(rows, ALL, 32)
    views(rows, preset("strong", size=96, channels=3), 96)
    assert (rows == before).all()


def test_an_error_in_a_thread_is_raised(threads):
    threads(2)
    with pytest.raises((RuntimeError, ValueError)):
        views([np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4, 1), np.uint8)] * 80, ALL, 32)
