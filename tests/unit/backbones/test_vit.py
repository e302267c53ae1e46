"""The small Vision Transformer, and the seam by which patches are left out."""

from __future__ import annotations

import pytest
import torch

from bodh import _catalog
from bodh.backbones import vit
from bodh.backbones._stages import as_patches, whole_patches
from bodh.contracts import can_mask
from bodh.errors import ConfigError
from bodh.testing.backbones import build_seeded, check_backbone

TIMM = _catalog.get("backbones", "timm")


@pytest.mark.parametrize(
    ("side", "patch", "grid"),
    [(8, 1, 8), (28, 4, 7), (32, 4, 8), (37, 4, 10), (48, 6, 8), (64, 8, 8), (96, 16, 6), (100, 16, 7)],
)
def test_patches_suit_the_side(side: int, patch: int, grid: int) -> None:
    backbone = vit.build(shape=(3, side, side), width=16, depth=1, heads=2)
    assert (backbone.patch, backbone.grid) == (patch, (grid, grid))
    assert backbone.features(torch.zeros(2, 3, side, side)).map.shape == (2, 16, grid, grid)


def test_every_form_keeps_the_contract() -> None:
    check_backbone(vit, shape=(3, 16, 16), width=16, depth=2, heads=2, pool="token", positions="learned", patch=4)


def test_another_size_than_built_for_works() -> None:
    for positions in ("fixed", "learned"):
        backbone = vit.build(shape=(3, 32, 32), width=16, depth=1, heads=2, positions=positions)
        assert backbone(torch.zeros(2, 3, 24, 40)).shape == (2, 16)


@pytest.mark.parametrize("pool", ["mean", "token"])
def test_all_tokens_encoded_are_the_features(pool: str) -> None:
    backbone = build_seeded(vit, shape=(3, 16, 16), width=16, depth=2, heads=2, pool=pool).eval()
    x = torch.randn(2, 3, 16, 16)
    tokens = backbone.embed(x)
    torch.testing.assert_close(backbone.encode(tokens), backbone.features(x).tokens)
    order = torch.randperm(tokens.shape[1])
    torch.testing.assert_close(backbone.encode(tokens[:, order]), backbone.encode(tokens)[:, order])
    assert backbone.encode(tokens[:, :5]).shape == (2, 5, 16)


@pytest.mark.parametrize("model", ["vit_tiny_patch16_224", "deit_tiny_patch16_224"])
def test_plain_transformers_of_timm_can_leave_patches_out(model: str) -> None:
    backbone = build_seeded(TIMM, shape=(3, 32, 32), model=model).eval()
    x = torch.randn(2, 3, 32, 32)
    assert can_mask(backbone)
    assert (backbone.patch, backbone.grid) == (4, (8, 8))
    with torch.no_grad():
        assert torch.equal(backbone.encode(backbone.embed(x)), backbone.features(x).tokens)


@pytest.mark.parametrize("model", ["resnet18", "swin_tiny_patch4_window7_224", "vit_small_patch14_reg4_dinov2"])
def test_others_say_that_they_cannot(model: str) -> None:
    assert not can_mask(build_seeded(TIMM, shape=(3, 32, 32), model=model))


def test_patches_are_cut_row_by_row_and_padded() -> None:
    x = torch.arange(2 * 3 * 6 * 6, dtype=torch.float32).reshape(2, 3, 6, 6)
    patches = as_patches(whole_patches(x, 4), 4)
    assert patches.shape == (2, 4, 48)
    assert torch.equal(patches[1, 0].reshape(4, 4, 3), x[1, :, :4, :4].permute(1, 2, 0))
    assert torch.equal(patches[0, 1].reshape(4, 4, 3)[:, :2], x[0, :, :4, 4:].permute(1, 2, 0))
    assert float(patches[0, 3].reshape(4, 4, 3)[2:].abs().sum()) == 0


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"heads": 5}, r"heads=5 \(allowed: from 1, width a multiple of heads\)"),
        ({"width": 9, "heads": 3}, r"width=9 \(with positions=fixed a multiple of 4\)"),
        ({"patch": 64}, r"patch=64 \(allowed: 1 to 32"),
        ({"pool": "max", "positions": "none"}, r"positions='none' .*; pool='max' \(allowed: mean, token\)"),
    ],
)
def test_wrong_settings_are_told(given: dict, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        vit.build(shape=(3, 32, 32), **given)
