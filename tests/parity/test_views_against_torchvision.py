"""Every step of an image view against torchvision's function of the same name, on real photographs.

Tolerances: colour, blur and solarise compute the same formula in floats: 2e-5 (hue: 1e-4, another route through HSV).
Crops: float matrices against torchvision on floats 1e-5; uint8 slices against torchvision on uint8 exact. Between the
two ways: 1.5/255 (uint8 rounds to levels after either axis). Rotation: interior within 1e-4; its corners differ on
purpose (real surroundings instead of black).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from bodh._optional import torchvision
from bodh.views import affine, colour, crop
from bodh.views.blur import blur, radius
from bodh.views.draw import draw
from bodh.views.recipe import Recipe

SIZES = (32, 96)
N = 6


@pytest.fixture(scope="module")
def functional():
    torchvision()
    from torchvision.transforms.v2 import functional as f

    return f


@pytest.fixture(scope="module")
def photographs(shared: Path) -> list[np.ndarray]:
    files = sorted((shared / "clothing-small" / "train").glob("*/*.jpg"))[:: 3068 // N][:N]
    return [np.asarray(Image.open(file).convert("RGB")) for file in files]


def squares(photographs: list[np.ndarray], size: int) -> torch.Tensor:
    """[n c s s] of 0 to 1"""
    rows = [np.asarray(Image.fromarray(photo).resize((size, size))) for photo in photographs]
    return torch.from_numpy(np.stack(rows)).permute(0, 3, 1, 2).contiguous().float() / 255


def as_planes(images: torch.Tensor) -> torch.Tensor:
    return images.transpose(0, 1).contiguous()


def largest(x: torch.Tensor, expected: list[torch.Tensor]) -> float:
    return float((x.transpose(0, 1) - torch.stack(expected)).abs().max())


FACTORS = torch.tensor([0.0, 0.2, 0.7, 1.0, 1.3, 1.8])


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", ["brightness", "contrast", "saturation"])
def test_jitter_steps(photographs, functional, name, size):
    images = squares(photographs, size)
    theirs = getattr(functional, f"adjust_{name}")
    expected = [theirs(image, float(factor)) for image, factor in zip(images, FACTORS, strict=True)]
    assert largest(getattr(colour, name)(as_planes(images), FACTORS), expected) < 2e-5


@pytest.mark.parametrize("shifts", [(-0.5, -0.34, -0.1, 0.0, 0.05, 0.2), (0.5, 0.4, 1 / 3, 0.3, -0.2, -1 / 3)])
def test_hue(photographs, functional, shifts):
    images = squares(photographs, 96)
    images[0, :, :4] = 0.0  # black, white, grey and pure colours have no hue, or one on a branch's edge
    images[1, :, :4] = 1.0
    images[2, :, :4] = 0.3
    images[3, 0, :4], images[3, 1:, :4] = 1.0, 0.0
    expected = [functional.adjust_hue(image, shift) for image, shift in zip(images, shifts, strict=True)]
    assert largest(colour.hue(as_planes(images), colour.turns(torch.tensor(shifts))), expected) < 1e-4


def test_hue_of_every_colour(functional):
    levels = torch.linspace(0, 1, 18)
    cube = torch.stack(torch.meshgrid(levels, levels, levels, indexing="ij")).reshape(3, 1, 18, -1)
    for shift in (-0.45, -0.2, -0.05, 0.1, 0.33, 0.5):
        expected = functional.adjust_hue(cube[:, 0], shift)
        assert largest(colour.hue(cube.clone(), colour.turns(torch.tensor([shift]))), [expected]) < 1e-4


def test_whole_jitter_in_its_order(photographs, functional):
    images = squares(photographs, 32)
    shifts = (FACTORS - 0.9) / 3
    drawn = torch.stack([FACTORS, FACTORS.flip(0), FACTORS.roll(2), shifts])
    factors = torch.cat([drawn[:3], colour.turns(shifts)])
    recipe = Recipe(brightness=1, contrast=1, saturation=1, hue=0.3)
    expected = []
    for image, (b, c, s, h) in zip(images, drawn.T.tolist(), strict=True):
        image = functional.adjust_contrast(functional.adjust_brightness(image, b), c)
        expected.append(functional.adjust_hue(functional.adjust_saturation(image, s), h))
    assert largest(colour.jitter(as_planes(images), factors, recipe), expected) < 1 / 255


@pytest.mark.parametrize("size", SIZES)
def test_grey_and_solarise(photographs, functional, size):
    images = squares(photographs, size)
    expected = [functional.rgb_to_grayscale(image, num_output_channels=3) for image in images]
    assert largest(colour.grey(as_planes(images)), expected) < 1e-6
    expected = [functional.solarize(image, 0.5) for image in images]
    assert largest(colour.solarise(as_planes(images)), expected) < 1e-6


@pytest.mark.parametrize("size", [32, 96])
def test_blur(photographs, functional, size):
    images = squares(photographs, size)
    sigma = torch.tensor([0.1, 0.3, 0.8, 1.2, 1.7, 2.0])
    expected = [
        functional.gaussian_blur(image, [2 * radius(value, size) + 1] * 2, [value] * 2)
        for image, value in zip(images, sigma.tolist(), strict=True)
    ]
    assert largest(blur(as_planes(images), sigma), expected) < 2e-5


def boxes_and_flips(photographs: list[np.ndarray], recipe: Recipe) -> tuple[np.ndarray, np.ndarray]:
    parameters = draw(recipe, total=N, seed=3)
    shapes = np.array([photo.shape[:2] for photo in photographs])
    return parameters.boxes(0, shapes[:, 0], shapes[:, 1]), parameters.flip


@pytest.mark.parametrize("size", [8, 32, 96, 160])
@pytest.mark.parametrize("scale", [(0.02, 0.1), (0.3, 1.0)])
def test_crop_and_flip(photographs, functional, size, scale):
    """8 px shrinks sixteen times (antialiased), 160 px enlarges."""
    alike = [photo[:128, :128] for photo in photographs]
    boxes, flips = boxes_and_flips(alike, Recipe(crop_scale=scale, flip=0.5))
    assert 0 < flips.sum() < N
    expected = []
    for photo, (top, left, high, wide), flip in zip(alike, boxes.tolist(), flips, strict=True):
        image = torch.from_numpy(photo.copy()).permute(2, 0, 1)
        result = functional.resized_crop(image, top, left, high, wide, [size, size], antialias=True)
        expected.append(functional.horizontal_flip(result) if flip else result)
    sliced = crop.by_slices(alike, boxes, flips, size)
    assert largest((sliced * 255).round(), [image.float() for image in expected]) == 0
    source = crop.planes(torch.from_numpy(np.stack(alike)))
    matrices = crop.by_matrices(source, torch.from_numpy(boxes).float(), torch.from_numpy(flips), size)
    assert float((matrices - sliced).abs().max()) <= 1.5 / 255
    floats = []
    for photo, (top, left, high, wide), flip in zip(alike, boxes.tolist(), flips, strict=True):
        image = torch.from_numpy(photo.copy()).permute(2, 0, 1).float() / 255
        result = functional.resized_crop(image, top, left, high, wide, [size, size], antialias=True)
        floats.append(functional.horizontal_flip(result) if flip else result)
    assert largest(matrices, floats) < 1e-5


def test_ragged_rows(photographs, functional):
    assert len({photo.shape for photo in photographs}) > 1
    boxes, flips = boxes_and_flips(photographs, Recipe(crop_scale=(0.2, 1.0), flip=0.5))
    expected = []
    for photo, (top, left, high, wide), flip in zip(photographs, boxes.tolist(), flips, strict=True):
        image = torch.from_numpy(photo.copy()).permute(2, 0, 1)
        result = functional.resized_crop(image, top, left, high, wide, [48, 48], antialias=True)
        expected.append((functional.horizontal_flip(result) if flip else result).float())
    assert largest((crop.by_slices(photographs, boxes, flips, 48) * 255).round(), expected) == 0


def test_rotation(photographs, functional):
    """A rotation alone is torchvision's; the corners that it opens are not compared (theirs are black)."""
    images = squares(photographs, 96)
    angles = torch.tensor([0.0, 5.0, -15.0, 30.0, 90.0, -180.0])
    boxes = torch.tensor([[0.0, 0.0, 96.0, 96.0]]).expand(N, 4)
    ours = affine.by_affine(as_planes(images) * 255, boxes, torch.zeros(N, dtype=torch.bool), angles, 96)
    at = torch.arange(96) - 47.5
    disc = at[:, None] ** 2 + at[None] ** 2 < 46**2
    for k, (image, angle) in enumerate(zip(images, angles.tolist(), strict=True)):
        theirs = functional.rotate(image, angle, interpolation=functional.InterpolationMode.BILINEAR)
        assert float((ours[:, k] - theirs)[:, disc].abs().max()) < 1e-4


def test_crop_flip_rotation_together(photographs, functional):
    """Against the three in a row on a smooth image, where interpolating once or three times is the same."""
    y, x = torch.meshgrid(torch.linspace(0, 1, 64), torch.linspace(0, 1, 64), indexing="ij")
    image = torch.stack([0.3 * x + 0.6 * y, x * 0.9, 1 - y])
    top, left, high, wide, angle = 10, 20, 30, 40, 12.0
    theirs = functional.resized_crop(image, top, left, high, wide, [32, 32], antialias=True)
    theirs = functional.rotate(
        functional.horizontal_flip(theirs), angle, interpolation=functional.InterpolationMode.BILINEAR
    )
    box = torch.tensor([[top, left, high, wide]], dtype=torch.float32)
    ours = affine.by_affine(image[:, None] * 255, box, torch.tensor([True]), torch.tensor([angle]), 32)[:, 0]
    at = torch.arange(32) - 15.5
    disc = at[:, None] ** 2 + at[None] ** 2 < 13**2
    assert float((ours - theirs)[:, disc].abs().max()) < 1 / 255
