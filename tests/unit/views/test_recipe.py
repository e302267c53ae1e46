"""What a view's settings become: preset, the user's settings over it, the objective's options over both."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from bodh.errors import ConfigError
from bodh.views.recipe import ImageViews, preset, resolve


def test_small_images_are_not_blurred_and_jittered_half():
    small, large = (preset("strong", size=size, channels=3) for size in (64, 65))
    assert (small.blur, large.blur) == (0.0, 0.5)
    assert (small.brightness, large.brightness) == (0.4, 0.8)
    assert (small.hue, large.hue) == (0.1, 0.2)


@pytest.mark.parametrize("kind", ["strong", "weak", "crop"])
@pytest.mark.parametrize("size", [16, 96])
def test_grey_images_are_turned_not_flipped(kind, size):
    recipe = preset(kind, size=size, channels=1)
    assert recipe.flip == 0
    assert recipe.rotation > 0
    assert recipe.saturation == recipe.hue == recipe.grey == 0


def test_crop_has_no_colour():
    recipe = resolve("crop", ImageViews(brightness=0.5, flip=0.0), {}, size=32, channels=3)
    assert recipe is not None
    assert recipe.brightness == recipe.jitter == recipe.grey == recipe.blur == 0
    assert recipe.flip == 0


def test_plain_has_no_randomness():
    assert resolve("plain", ImageViews(flip=1.0), {"blur": 1.0}, size=32, channels=3) is None


def test_options_over_settings_over_preset():
    settings = ImageViews(blur=0.3, flip=0.1)
    recipe = resolve("strong", settings, {"blur": 1.0, "solarise": 0.2, "corruption": 0.6}, size=96, channels=3)
    assert recipe is not None
    assert (recipe.blur, recipe.solarise, recipe.flip, recipe.grey) == (1.0, 0.2, 0.1, 0.2)


def test_an_option_out_of_range_is_told():
    with pytest.raises(ConfigError, match=r"blur.*given 3"):
        resolve("strong", ImageViews(), {"blur": 3}, size=96, channels=3)


@pytest.mark.parametrize(
    "wrong", [{"crop_scale": (0.9, 0.2)}, {"crop_scale": (0.5, 1.5)}, {"flip": -0.1}, {"hue": 0.6}, {"flips": 0.5}]
)
def test_wrong_settings_are_refused(wrong):
    with pytest.raises(ValidationError):
        ImageViews(**wrong)
