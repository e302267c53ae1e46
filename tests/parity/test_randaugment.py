"""Every step of RandAugment against torchvision's function, per image; mixing against torchvision's MixUp and CutMix.

Tolerances: 2e-5 for colour; geometry 1e-4 (the same bilinear rule, matrices in another order of operations);
equalise on whole levels exact.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from bodh._optional import torchvision
from bodh.contracts import Shard
from bodh.losses.classification import cross_entropy, soft_cross_entropy
from bodh.views.draw import draw
from bodh.views.image import Target, render
from bodh.views.mix import Mix, cut_box, draw_mix
from bodh.views.randaugment import STEPS, apply_steps, draw_steps
from bodh.views.recipe import Recipe

SIZE, N = 32, 6


@pytest.fixture(scope="module")
def v2() -> Any:
    torchvision()
    from torchvision.transforms import v2

    return v2


@pytest.fixture(scope="module")
def images(shared: Path) -> torch.Tensor:
    files = sorted((shared / "clothing-small" / "train").glob("*/*.jpg"))[:: 3068 // N][:N]
    rows = [np.asarray(Image.open(file).convert("RGB").resize((SIZE, SIZE))) for file in files]
    return torch.from_numpy(np.stack(rows)).permute(0, 3, 1, 2).contiguous().float() / 255


@pytest.mark.parametrize("magnitude", [0, 9, 21, 30])
@pytest.mark.parametrize("name", list(STEPS))
def test_every_step_is_torchvisions(v2: Any, images: torch.Tensor, name: str, magnitude: int) -> None:
    sign = torch.tensor([1.0, -1.0, 1.0, -1.0, 1.0, -1.0])
    ours = STEPS[name](images.transpose(0, 1).contiguous().clone(), sign, magnitude / 30).transpose(0, 1)
    policy = v2.RandAugment(interpolation=v2.InterpolationMode.BILINEAR)
    space, signed = policy._AUGMENTATION_SPACE[name]
    strength = space(31, SIZE, SIZE)
    value = 0.0 if strength is None else float(strength[magnitude])
    expected = torch.stack([
        policy._apply_image_or_video_transform(
            image, name, value * (float(s) if signed else 1.0), interpolation=policy.interpolation, fill={}
        )
        for image, s in zip(images, sign, strict=True)
    ])  # fmt: skip
    assert float((ours - expected).abs().max()) < 1e-4


def test_equalise_spreads_as_pillow_does(images: torch.Tensor) -> None:
    from PIL import ImageOps

    ours = STEPS["Equalize"](images.transpose(0, 1).contiguous(), torch.ones(N), 0.0).transpose(0, 1)
    for image, mine in zip(images, ours, strict=True):
        picture = Image.fromarray((image * 255).round().byte().permute(1, 2, 0).numpy())
        theirs = torch.from_numpy(np.array(ImageOps.equalize(picture))).permute(2, 0, 1)
        assert torch.equal((mine * 255).round().byte(), theirs)


def test_rows_drew_their_own_steps_and_grey_images_take_all(images: torch.Tensor) -> None:
    steps = draw_steps(3, total=200, seed=5)
    assert np.bincount(steps.which.ravel(), minlength=14).min() > 20
    assert 0.4 < steps.negative.mean() < 0.6
    grey = images[:, :1].transpose(0, 1).contiguous()
    for name, step in STEPS.items():
        assert step(grey.clone(), torch.ones(N), 0.5).shape == grey.shape, name
    drawn = draw_steps(2, total=N, seed=1)
    whole = images.transpose(0, 1).contiguous()
    alone = whole[:, 2:3].clone()
    apply_steps(whole, drawn, slice(0, N), 9)
    apply_steps(alone, drawn, slice(2, 3), 9)
    assert torch.equal(whole[:, 2:3], alone)


def test_shards_see_what_the_whole_batch_sees(images: torch.Tensor) -> None:
    rows = (images * 255).byte().permute(0, 2, 3, 1).numpy()
    target, cpu = Target(SIZE, (0.5,) * 3, (0.5,) * 3), torch.device("cpu")
    recipe = [Recipe(crop_scale=(0.6, 1.0), flip=0.5, randaugment=2)]
    (whole,) = render(rows, recipe, [3], shard=Shard(0, N, N), target=target, device=cpu)
    (part,) = render(rows[2:5], recipe, [3], shard=Shard(2, 5, N), target=target, device=cpu)
    assert torch.equal(whole[2:5], part)
    assert draw(recipe[0], total=N, seed=3).steps.which.shape == (N, 2)


@pytest.mark.parametrize("kind", ["MixUp", "CutMix"])
def test_mixing_is_torchvisions(v2: Any, images: torch.Tensor, kind: str) -> None:
    torch.manual_seed(3)
    theirs = getattr(v2, kind)(alpha=1.0, num_classes=4)
    labels = torch.tensor([0, 1, 2, 3, 0, 1])
    params = theirs.make_params([images])
    params |= {"labels": labels, "batch_size": N}
    expected = theirs.transform(images, params)
    if kind == "MixUp":
        mix = Mix(torch.arange(N).roll(1), params["lam"])
    else:
        left, top, right, bottom = params["box"]
        mix = Mix(torch.arange(N).roll(1), params["lam_adjusted"], (top, bottom, left, right))
    torch.testing.assert_close(mix.records(images), expected)
    share = params["lam"] if kind == "MixUp" else params["lam_adjusted"]
    soft = theirs._mixup_label(labels, lam=share)
    torch.testing.assert_close(mix.targets(F.one_hot(labels, 4).float()), soft)


def test_cut_boxes_are_the_papers() -> None:
    assert cut_box(32, 32, 0.75, 0.5, 0.5) == (8, 24, 8, 24)
    assert cut_box(32, 32, 0.75, 0.0, 1.0) == (0, 8, 24, 32)
    assert cut_box(32, 64, 1.0, 0.5, 0.5) == (16, 16, 32, 32)


def test_what_is_drawn_depends_on_the_seed_alone() -> None:
    shape = torch.Size((64, 3, 16, 16))
    assert draw_mix(shape, mixup=0, cutmix=0, seed=1) is None
    kinds = []
    for seed in range(40):
        first, again = (draw_mix(shape, mixup=0.4, cutmix=1.0, seed=seed) for _ in range(2))
        assert first is not None
        assert again is not None
        assert torch.equal(first.partner, again.partner)
        assert (first.share, first.box) == (again.share, again.box)
        assert 0.5 <= first.share <= 1
        kinds.append(first.box is None)
    assert 8 < sum(kinds) < 32
    shares = [draw_mix(shape, mixup=0.4, cutmix=0, seed=seed).share for seed in range(2000)]  # type: ignore[union-attr]
    theirs = torch.distributions.Beta(0.4, 0.4).sample((20000,))
    assert float(np.mean(shares)) == pytest.approx(float(torch.maximum(theirs, 1 - theirs).mean()), abs=0.01)


def test_soft_cross_entropy_is_pytorchs() -> None:
    torch.manual_seed(0)
    z, weight = torch.randn(8, 4), torch.tensor([1.0, 2.0, 0.5, 1.0])
    shares = torch.rand(8, 4).softmax(1)
    torch.testing.assert_close(
        soft_cross_entropy(z, shares, label_smoothing=0.1), F.cross_entropy(z, shares, label_smoothing=0.1)
    )
    y = torch.tensor([0, 1, 2, 3, -1, 1, -1, 0])
    hard = (y[:, None] == torch.arange(4)).float()
    torch.testing.assert_close(
        soft_cross_entropy(z, hard, weight=weight), cross_entropy(z, y, weight=weight)
    )  # fmt: skip
