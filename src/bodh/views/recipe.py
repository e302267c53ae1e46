"""What image views may do, as settings, and the presets that stand where a setting is left open.

No torch here: a server reads these settings with the rest of a model's configuration.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Annotated, Any, Self

from annotated_types import Ge, Gt, Le
from pydantic import Field, ValidationError, model_validator

from bodh.config.base import Config
from bodh.errors import ConfigError

Chance = Annotated[float, Ge(0.0), Le(1.0)]
Strength = Annotated[float, Ge(0.0), Le(2.0)]
Positive = Annotated[float, Gt(0.0), Le(100.0)]

SMALL = 64
"""Up to this side (pixels) images get the presets for small images: half the jitter, no blur."""


class ImageViews(Config):
    """How images may vary; what is left open (None) follows the preset of each view's kind.

    A value given here holds for every kind of view but "plain"; "crop" views read the geometry only.
    """

    size: Annotated[int, Ge(1), Le(2048)] | None = Field(
        default=None,
        description="side of training views, pixels, where it is not the model's own; smaller ones cost less",
    )
    crop_scale: tuple[Positive, Positive] | None = Field(
        default=None, description="share of the image's area that a crop keeps, (least, most), 0 to 1; (1, 1): no crop"
    )
    crop_ratio: tuple[Positive, Positive] | None = Field(
        default=None, description="width / height of a crop, (least, most)"
    )
    flip: Chance | None = Field(default=None, description="probability of a horizontal flip")
    rotation: Annotated[float, Ge(0.0), Le(180.0)] | None = Field(
        default=None, description="largest rotation to either side, degrees"
    )
    brightness: Strength | None = Field(default=None, description="factor is drawn from 1 ± this, not below 0")
    contrast: Strength | None = Field(default=None, description="factor is drawn from 1 ± this, not below 0")
    saturation: Strength | None = Field(default=None, description="factor is drawn from 1 ± this, not below 0")
    hue: Annotated[float, Ge(0.0), Le(0.5)] | None = Field(
        default=None, description="largest shift of the hue to either side, in turns of the colour circle"
    )
    jitter: Chance | None = Field(
        default=None, description="probability of brightness, contrast, saturation and hue (together)"
    )
    grey: Chance | None = Field(default=None, description="probability of a grey view")
    blur: Chance | None = Field(default=None, description="probability of a Gaussian blur")
    blur_sigma: tuple[Positive, Positive] | None = Field(
        default=None, description="standard deviation of the blur, pixels, (least, most)"
    )
    solarise: Chance | None = Field(default=None, description="probability of inverting all values above one half")
    randaugment: Annotated[int, Ge(0), Le(8)] | None = Field(
        default=None, description="steps of RandAugment a view, after crop and flip; 0: none"
    )
    magnitude: Annotated[int, Ge(0), Le(30)] | None = Field(default=None, description="strength of those steps")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        for name in ("crop_scale", "crop_ratio", "blur_sigma"):
            pair = getattr(self, name)
            if pair is not None and pair[0] > pair[1]:
                raise ValueError(f"{name} must be (least, most), got {pair}")
        if self.crop_scale is not None and self.crop_scale[1] > 1:
            raise ValueError(f"crop_scale must lie in 0 to 1, got {self.crop_scale}")
        return self


@dataclass(frozen=True, slots=True)
class Recipe:
    """One view's settings with nothing left open; meanings and units as in `ImageViews`."""

    crop_scale: tuple[float, float] = (1.0, 1.0)
    crop_ratio: tuple[float, float] = (3 / 4, 4 / 3)
    flip: float = 0.0
    rotation: float = 0.0
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0
    jitter: float = 0.0
    grey: float = 0.0
    blur: float = 0.0
    blur_sigma: tuple[float, float] = (0.1, 2.0)
    solarise: float = 0.0
    randaugment: int = 0
    magnitude: int = 9


GEOMETRY = ("crop_scale", "crop_ratio", "flip", "rotation")


def preset(kind: str, *, size: int, channels: int) -> Recipe:
    """Return the preset for a kind of view ("strong", "weak", "crop"; see `contracts.View`).

    Colour images, strong: SimCLR (Chen et al. 2020, arXiv 2002.05709, appendix A; up to 64 px appendix B.9: jitter
    strength 0.5, no blur). Grey images are not flipped (a mirrored digit or letter is another thing) but
    turned a little, and cropped less: a quarter of a digit does not tell which one it was.

    Args:
        kind: "strong", "weak" or "crop".
        size: side of the view, pixels.
        channels: 1 or 3.
    """
    small, colour = size <= SMALL, channels == 3
    if kind == "weak":
        if colour:
            return Recipe(crop_scale=(0.6, 1.0), flip=0.5)
        return Recipe(crop_scale=(0.7, 1.0), crop_ratio=(0.9, 1.1), rotation=10.0)
    least = 0.2 if small else 0.08  # of a small picture, a twelfth is a few pixels
    geometry = Recipe(crop_scale=(least, 1.0), flip=0.5) if colour else Recipe(crop_scale=(0.35, 1.0), rotation=15.0)
    if kind == "crop":
        return geometry
    strength = 0.5 if small or not colour else 1.0
    return replace(
        geometry,
        jitter=0.8,
        brightness=0.8 * strength,
        contrast=0.8 * strength,
        saturation=0.8 * strength if colour else 0.0,
        hue=0.2 * strength if colour else 0.0,
        grey=0.2 if colour else 0.0,
        blur=0.0 if small else 0.5,
    )


def side_of(options: Mapping[str, Any], *, size: int) -> int:
    """Return the side of a view in pixels: `size`, or the share of it that the view's option "side" asks for.

    Raises:
        ConfigError: the share is no number above 0 up to 1.
    """
    share = options.get("side")
    if share is None:
        return size
    if isinstance(share, bool) or not isinstance(share, int | float) or not 0 < share <= 1:
        raise ConfigError(f"view setting side: a share of the training views' side, above 0 to 1; given {share!r}")
    return max(1, round(share * size))


def resolve(kind: str, settings: ImageViews, options: Mapping[str, Any], *, size: int, channels: int) -> Recipe | None:
    """Return the recipe of one view: preset, then the user's settings, then the objective's options.

    Args:
        kind: as in `contracts.View`; "plain" gives None (no randomness, whatever the settings).
        settings: the modality's view settings.
        options: the view's overrides; names that images have no setting for are ignored.
        size: side of the view, pixels.
        channels: 1 or 3.

    Raises:
        ConfigError: an option's value is outside its range.
    """
    if kind == "plain":
        return None
    given = settings.model_dump(exclude_none=True, exclude={"size"})
    if kind == "crop":
        given = {name: value for name, value in given.items() if name in GEOMETRY}
    known = {field.name for field in fields(Recipe)}
    given |= {name: value for name, value in options.items() if name in known and value is not None}
    try:
        checked = ImageViews(**given).model_dump(exclude_none=True)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "views"
        raise ConfigError(f"view setting {where}: {first['msg']}; given {first['input']!r}") from error
    return replace(preset(kind, size=size, channels=channels), **checked)
