"""Images: photographs, scans, drawings; grey or colour, of any size and of mixed sizes."""

from __future__ import annotations

import io
import json
import logging
import math
import struct
import zlib
from functools import cache
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, NamedTuple, Self

import numpy as np
from annotated_types import Ge, Gt, Le
from PIL import Image, UnidentifiedImageError
from pydantic import BaseModel, Field, model_validator

from bodh.config.base import Config
from bodh.contracts import Json, Shard, Source, ViewSpec, derive_seed
from bodh.errors import BadRecord, ConfigError, DataError
from bodh.views.recipe import ImageViews, resolve, side_of

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

log = logging.getLogger("bodh")

FORMATS = ("AVIF", "BMP", "GIF", "ICO", "JPEG", "JPEG2000", "MPO", "PCX", "PNG", "PPM", "TGA", "TIFF", "WEBP")
"""Formats that are opened. Others (EPS, for one) would start programs or read other files."""

LADDER = (32, 64, 96, 128, 160, 224)
"""Sides to choose from where records differ in size."""
SMALLEST = 16
"""Smallest side chosen for tiny images: two halvings still leave a map of 4×4."""
KEPT = 64
"""Up to this side, records of one common size keep it."""
MARGIN = 8 / 7
"""Stored side over the model's, as 256 for 224: crops find detail to grow into."""
ASPECT = 4
"""The longer side is cut about the centre to at most this many times the shorter."""
SAMPLE = 512
"""Training records looked at to choose settings …"""
SAMPLE_LEAST, SAMPLE_BYTES = 64, 2**28
"""… fewer where they are huge: at least the first number, then up to this many encoded bytes."""
MOST_PIXELS = 89_478_485
"""Larger pictures are refused as decompression bombs: the point from which Pillow warns of them."""

UNREADABLE = (
    OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error, ArithmeticError, LookupError, TypeError,
    AttributeError, MemoryError, NotImplementedError, Image.DecompressionBombError, Warning,
)  # fmt: skip
"""What Pillow's decoders raise on damaged files (warnings: where they are made errors)."""

Mean = Annotated[float, Ge(0.0), Le(1.0)]
Deviation = Annotated[float, Gt(0.0), Le(1.0)]


class ImageConfig(Config):
    """How images are stored, prepared and varied; what is left open is chosen from the training records."""

    size: Annotated[int, Ge(1), Le(2048)] | None = Field(
        default=None, description="side of the square that the model takes, pixels"
    )
    channels: Literal[1, 3] | None = Field(default=None, description="1: grey, 3: colour")
    mean: tuple[Mean, ...] | None = Field(default=None, description="mean of each channel, of values from 0 to 1")
    std: tuple[Deviation, ...] | None = Field(default=None, description="standard deviation of each channel")
    stored_size: Annotated[int, Ge(1), Le(4096)] | None = Field(
        default=None, description="stored images are shrunk to this shorter side, pixels; never enlarged"
    )
    frame: Literal["crop", "stretch"] | None = Field(
        default=None,
        description="what a model sees of a picture that is no square: crop (its middle), or stretch (all of it, made "
        "square); None: crop, for captions stretch",
    )
    views: ImageViews = Field(default=ImageViews(), description="how views may vary")

    @model_validator(mode="after")
    def _channels_agree(self) -> Self:
        for name in ("mean", "std"):
            values = getattr(self, name)
            if values is not None and self.channels is not None and len(values) != self.channels:
                raise ValueError(f"{name} has {len(values)} values for {self.channels} channels")
        return self


class Modality:
    """Images as `contracts.Modality`: stored as uint8 `[h w c]`, prepared to float `[n c s s]`."""

    name: ClassVar[str] = "image"

    def __init__(self, config: BaseModel) -> None:
        self.config = config if isinstance(config, ImageConfig) else ImageConfig.model_validate(config.model_dump())

    @classmethod
    def fit(cls, source: Source, config: BaseModel) -> Modality:
        """Choose size, channels, mean and deviation from up to 512 training records of `source`, evenly spaced.

        Raises:
            DataError: no record of the sample is a readable image.
        """
        given = cls(config).config
        images = _sample(source, given)
        channels = given.channels or (1 if all(_is_grey(image) for image in images) else 3)
        size = given.size or _choose_size(images)
        stored = given.stored_size or max(size, round(size * MARGIN))
        chosen = given.model_copy(update={"size": size, "channels": channels, "stored_size": stored})
        if given.mean is None or given.std is None:
            open_ = {"mean": (0.0,) * channels, "std": (1.0,) * channels}
            measuring = cls(chosen.model_copy(update=open_))
            mean, std = _moments(measuring.standardise([measuring.decode(image) for image in images]))
            chosen = chosen.model_copy(update={"mean": given.mean or mean, "std": given.std or std})
        log.info(
            "images: %d×%d, %s, stored up to %d px, from %d records",
            size, size, "grey" if channels == 1 else "colour", stored, len(images),
        )  # fmt: skip
        return cls(ImageConfig.model_validate(chosen.model_dump()))

    def decode(self, raw: bytes | np.ndarray) -> np.ndarray:
        """Return an image in stored form: uint8 `[h w c]`, upright, shrunk to the stored size, never enlarged.

        Bytes: any of `FORMATS`; the first frame of several. Transparent parts lie on white, the paper that cut-outs,
        logos and scans are made for. 16-bit grey is divided by 257, whatever range a file really uses.

        Arrays: `[h w]`, `[h w c]` or `[c h w]` with 1, 3 or 4 channels; uint8, bool, uint16 (divided by 257), other
        integers from 0 to 255, floats from 0 to 1.

        Raises:
            BadRecord: with a short reason.
        """
        image = _from_array(raw) if isinstance(raw, np.ndarray) else _open(raw, self.config.stored_size)
        try:
            turn = _orientation(image)
            plain = _plain(image, self.config.channels)
            stored = self.config.stored_size
            image = _stretch(plain, stored) if self.config.frame == "stretch" else _shrink(plain, stored)
            if turn is not None:
                image = image.transpose(turn)
        except UNREADABLE as error:
            raise BadRecord(_reason(error)) from error
        pixels = np.array(image)
        return pixels[:, :, None] if pixels.ndim == 2 else pixels

    def standardise(self, rows: np.ndarray | list[np.ndarray]) -> np.ndarray:
        """Return stored images as uint8 `[n s s c]`: the centred square, resized; rows of that size pass untouched."""
        size = self._fitted().size
        if isinstance(rows, np.ndarray) and rows.shape[1:3] == (size, size):
            return rows
        out = np.empty((len(rows), size, size, self._fitted().channels), np.uint8)
        for place, row in zip(out, rows, strict=True):
            high, wide, channels = row.shape
            if (high, wide) == (size, size):
                place[:] = row
                continue
            side = min(high, wide)
            left, top = (wide - side) // 2, (high - side) // 2
            # Cut first: Pillow's own `box` lets pixels from outside it into the edges.
            square = row[top : top + side, left : left + side]
            image = Image.fromarray(np.ascontiguousarray(square[:, :, 0] if channels == 1 else square))
            resized = image.resize((size, size), Image.Resampling.BILINEAR)
            place[:] = np.asarray(resized).reshape(size, size, channels)
        return out

    def prepare(self) -> nn.Module:
        """Return the module from uint8 `[n h w c]` to normalised float `[n c s s]`; it resizes where it must."""
        from bodh.views.prepare import PrepareImage

        fitted = self._fitted()
        return PrepareImage(size=fitted.size, mean=fitted.mean, std=fitted.std)

    def views(
        self, rows: np.ndarray | list[np.ndarray], spec: ViewSpec, seed: int, shard: Shard, device: torch.device
    ) -> tuple[Tensor, ...]:
        """Return one view an entry of `spec`; see `contracts.Modality.views` and `views.image`.

        A "plain" view is `[n c s s]`; every other one too, unless `views.size` gives them a side of their own, or
        the view's option "side" a share of that. Views of one side are rendered together.
        """
        from bodh.views.crop import to_tensor
        from bodh.views.image import Target, render

        fitted = self._fitted()
        side = self.config.views.size or fitted.size
        # presets are those of the whole view: a small crop shows a small part, not a small picture
        resolved = [
            resolve(view.kind, self.config.views, view.options, size=side, channels=fitted.channels) for view in spec
        ]
        recipes = {place: recipe for place, recipe in enumerate(resolved) if recipe is not None}
        by_side: dict[int, list[int]] = {}
        for place in recipes:
            by_side.setdefault(side_of(spec[place].options, size=side), []).append(place)
        drawn: dict[int, Tensor] = {}
        for pixels, places in by_side.items():
            rendered = render(
                rows, [recipes[place] for place in places], [derive_seed(seed, place) for place in places],
                shard=shard, target=Target(pixels, fitted.mean, fitted.std), device=device,
            )  # fmt: skip
            drawn |= zip(places, rendered, strict=True)
        if len(drawn) < len(spec):
            batch = to_tensor(self.standardise(rows)).to(device)
            plain = self.prepare().to(device)(batch)
            drawn |= {place: plain for place in range(len(spec)) if place not in recipes}
        return tuple(drawn[place] for place in range(len(spec)))

    @property
    def prepared_shape(self) -> tuple[int, ...]:
        """(c, s, s): what a backbone takes, without the batch."""
        fitted = self._fitted()
        return (fitted.channels, fitted.size, fitted.size)

    def input_spec(self) -> Json:
        """Return the input array's name, type and shape: uint8 `[n s s c]`, as `standardise` gives it."""
        fitted = self._fitted()
        return {"name": "image", "dtype": "uint8", "shape": ["n", fitted.size, fitted.size, fitted.channels]}

    def store_key(self) -> str:
        """Return what the stored form of a record depends on."""
        key = {"version": 1, "channels": self.config.channels, "stored_size": self.config.stored_size}
        return json.dumps(key | ({"frame": "stretch"} if self.config.frame == "stretch" else {}))

    def show(self, row: np.ndarray, size: int = 64) -> bytes:
        """Return a stored image as a PNG whose longer side is `size` pixels."""
        high, wide, channels = row.shape
        image = Image.fromarray(row[:, :, 0] if channels == 1 else row)
        scale = size / max(high, wide)
        kind = Image.Resampling.NEAREST if scale > 1 else Image.Resampling.BILINEAR
        image = image.resize((max(1, round(wide * scale)), max(1, round(high * scale))), kind)
        buffer = io.BytesIO()
        image.save(buffer, "PNG")
        return buffer.getvalue()

    def _fitted(self) -> _Fitted:
        config = self.config
        if config.size is None or config.channels is None or config.mean is None or config.std is None:
            raise ConfigError("this image modality has not seen data: size, channels, mean and std are open; call fit")
        return _Fitted(config.size, config.channels, config.mean, config.std)


class _Fitted(NamedTuple):
    size: int
    channels: int
    mean: tuple[float, ...]
    std: tuple[float, ...]


# --------------------------------------------------------------------------------------------- decoding


@cache
def _formats() -> tuple[str, ...]:
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def _open(raw: bytes, stored_size: int | None) -> Image.Image:
    """Open encoded bytes; a JPEG far larger than needed is decoded at 1/2, 1/4 or 1/8 of its size."""
    if not raw:
        raise BadRecord("empty file")
    try:
        image = Image.open(io.BytesIO(raw), formats=_formats())
    except UnidentifiedImageError:
        raise BadRecord("not an image, or of a format that is not read") from None
    except UNREADABLE as error:
        raise BadRecord(_reason(error)) from error
    wide, high = image.size
    if wide * high > MOST_PIXELS:
        raise BadRecord(f"{wide}×{high} pixels, more than {MOST_PIXELS:,} allowed: a decompression bomb?")
    if stored_size is not None:
        # Twice the size asked for, so that the resize that follows still has something to average.
        scale = 2 * stored_size / min(wide, high)
        if scale < 1:
            image.draft(None, (math.ceil(wide * scale), math.ceil(high * scale)))
    return image


def _from_array(array: np.ndarray) -> Image.Image:
    if array.ndim == 3 and array.shape[2] not in {1, 3, 4} and array.shape[0] in {1, 3, 4}:
        array = array.transpose(1, 2, 0)
    if array.ndim not in {2, 3} or (array.ndim == 3 and array.shape[2] not in {1, 3, 4}) or 0 in array.shape:
        raise BadRecord(f"an array of shape {list(array.shape)}; images are [h w], [h w c] or [c h w], c of 1, 3 or 4")
    levels = _levels(array)
    return Image.fromarray(np.ascontiguousarray(levels[:, :, 0] if levels.shape[2:] == (1,) else levels))


def _levels(array: np.ndarray) -> np.ndarray:
    """Return numbers as uint8 levels."""
    kind = array.dtype
    if kind == np.uint8:
        return array
    if kind == np.bool_:
        return array.astype(np.uint8) * 255
    if kind == np.uint16:
        return (array // 257).astype(np.uint8)
    if kind.kind not in "iuf":
        raise BadRecord(f"an array of {kind}; images are numbers")
    low, high = float(array.min()), float(array.max())
    most = 1 if kind.kind == "f" else 255
    if not (low >= 0 and high <= most):  # also where not a number
        raise BadRecord(f"{kind} values from {low:g} to {high:g}; images are uint8, or {kind} from 0 to {most}")
    return np.rint(array * (255 / most)).astype(np.uint8)


def _plain(image: Image.Image, channels: int | None) -> Image.Image:
    """Return the image as mode "L" or "RGB", transparency laid on white."""
    if image.mode == "F" or image.mode.startswith("I"):
        array = np.asarray(image)
        image = Image.fromarray(_levels(array if image.mode == "F" else np.clip(array, 0, 65535).astype(np.uint16)))
    if image.has_transparency_data:
        clear = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", clear.size, "white"), clear).convert(
            "L" if image.mode in {"LA", "La"} else "RGB"
        )
    grey = image.mode in {"1", "L"}
    mode = {None: "L" if grey else "RGB", 1: "L", 3: "RGB"}[channels]
    image.load()
    return image if image.mode == mode else image.convert(mode)


def _shrink(image: Image.Image, stored_size: int | None) -> Image.Image:
    """Cut an extreme aspect about the centre, then shrink to the stored size; never enlarge."""
    wide, high = image.size
    shorter = min(wide, high)
    kept_wide, kept_high = min(wide, ASPECT * shorter), min(high, ASPECT * shorter)
    left, top = (wide - kept_wide) // 2, (high - kept_high) // 2
    box = (left, top, left + kept_wide, top + kept_high)
    if stored_size is None or shorter <= stored_size:
        return image if (kept_wide, kept_high) == (wide, high) else image.crop(box)
    scale = stored_size / shorter
    size = (max(1, round(kept_wide * scale)), max(1, round(kept_high * scale)))
    return image.resize(size, Image.Resampling.BICUBIC, box=box, reducing_gap=3.0)


def _stretch(image: Image.Image, stored_size: int | None) -> Image.Image:
    """Return all of the image as a square, of the stored size or as long as its longer side."""
    side = min(stored_size or max(image.size), max(image.size))
    if image.size == (side, side):
        return image
    return image.resize((side, side), Image.Resampling.BICUBIC, reducing_gap=3.0)


TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What makes an image upright, by its EXIF orientation."""


def _orientation(image: Image.Image) -> Image.Transpose | None:
    try:
        return TURNS.get(image.getexif().get(0x0112, 1))
    except UNREADABLE:
        return None  # damaged metadata around a picture that may be whole


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split())[:120]
    return f"cannot be decoded: {text or type(error).__name__}"


# ---------------------------------------------------------------------------------------------- fitting


def _sample(source: Source, given: ImageConfig) -> list[np.ndarray]:
    positions = np.flatnonzero(np.asarray(source.splits) == "train")
    if not len(positions):
        raise DataError(f"{source.name} has no training records to choose image settings from")
    order = np.random.default_rng(derive_seed("image settings", len(positions))).permutation(len(positions))
    looking = Modality(
        ImageConfig(channels=given.channels, stored_size=given.stored_size or round(LADDER[-1] * MARGIN))
    )
    images, first, size = [], "", 0
    for position in positions[order[:SAMPLE]].tolist():
        try:
            raw = source.read(position)
            images.append(looking.decode(raw))
        except BadRecord as error:
            first = first or f"{source.ids[position]}: {error}"
            continue
        size += raw.nbytes if isinstance(raw, np.ndarray) else len(raw)
        if len(images) >= SAMPLE_LEAST and size > SAMPLE_BYTES:
            break
    if not images:
        raise DataError(f"none of {min(SAMPLE, len(positions))} records of {source.name} is a readable image; {first}")
    return images


def _is_grey(image: np.ndarray) -> bool:
    return image.shape[2] == 1 or bool((image == image[:, :, :1]).all())


def _choose_size(images: list[np.ndarray]) -> int:
    shorter: list[int] = [min(image.shape[:2]) for image in images]
    if len({image.shape[:2] for image in images}) == 1 and shorter[0] <= KEPT:
        return max(SMALLEST, 4 * math.ceil(shorter[0] / 4))
    middle = float(np.median(shorter))
    return max((side for side in LADDER if side <= middle), default=LADDER[0])


def _moments(rows: np.ndarray) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and deviation of each channel of uint8 `[n s s c]`, of values from 0 to 1."""
    levels = np.arange(256) / 255
    mean, std = [], []
    for channel in range(rows.shape[3]):
        share = np.bincount(rows[..., channel].ravel(), minlength=256) / rows[..., channel].size
        centre = float(share @ levels)
        mean.append(round(centre, 4))
        std.append(round(max(float(share @ (levels - centre) ** 2) ** 0.5, 1 / 255), 4))
    return tuple(mean), tuple(std)
