"""Pictures inside the file: small enough together, shown crisp when they are tiny."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass

LARGEST_SIDE = 192
"""Pixels of a gallery picture: twice what is shown, for dense screens."""
GALLERY_BYTES = 2_200_000
"""All gallery pictures of one report together, before base64."""
SPRITE_TILE = 40
SPRITE_COLUMNS = 40


@dataclass(frozen=True, slots=True)
class Sprite:
    """Many thumbnails as one picture."""

    uri: str
    tile: int
    columns: int
    rows: int


def data_uri(content: bytes) -> str:
    """Return picture bytes as a data URI; the type is told from the first bytes."""
    kind = "image/webp" if content[:4] == b"RIFF" else "image/jpeg" if content[:2] == b"\xff\xd8" else "image/png"
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def shrink(content: bytes, *, side: int = LARGEST_SIDE) -> bytes:
    """Return the picture no larger than `side` pixels; pictures that are small already stay as they are."""
    from PIL import Image

    with Image.open(io.BytesIO(content)) as picture:
        if max(picture.size) <= side and len(content) <= 24_000:
            return content
        small = picture.convert("RGB")
        small.thumbnail((side, side))
        return _webp(small, quality=80)


def fit(contents: Sequence[bytes], budget: int = GALLERY_BYTES) -> list[bytes]:
    """Return all pictures shrunk so that together they stay within `budget` bytes, each as large as that allows."""
    for side in (LARGEST_SIDE, 128, 96, 64):
        shrunk = [shrink(content, side=side) for content in contents]
        if sum(map(len, shrunk)) <= budget:
            return shrunk
    return [_tiny(content) for content in contents]


def sprite(thumbnails: Sequence[bytes]) -> Sprite:
    """Return all thumbnails in one WebP picture of `SPRITE_TILE` pixel tiles, row by row."""
    from PIL import Image

    rows = max(1, -(-len(thumbnails) // SPRITE_COLUMNS))
    sheet = Image.new("RGB", (SPRITE_COLUMNS * SPRITE_TILE, rows * SPRITE_TILE), (128, 128, 128))
    for place, content in enumerate(thumbnails):
        with Image.open(io.BytesIO(content)) as picture:
            tile = picture.convert("RGB")
            # Tiny pictures (digits of 8 pixels) stay crisp; larger ones are averaged down.
            enlarge = max(tile.size) <= SPRITE_TILE // 2
            scale = SPRITE_TILE / max(tile.size)
            size = (max(1, round(tile.width * scale)), max(1, round(tile.height * scale)))
            tile = tile.resize(size, Image.Resampling.NEAREST if enlarge else Image.Resampling.LANCZOS)
        left = place % SPRITE_COLUMNS * SPRITE_TILE + (SPRITE_TILE - tile.width) // 2
        top = place // SPRITE_COLUMNS * SPRITE_TILE + (SPRITE_TILE - tile.height) // 2
        sheet.paste(tile, (left, top))
    return Sprite(data_uri(_webp(sheet, quality=72)), SPRITE_TILE, SPRITE_COLUMNS, rows)


def pixelated(content: bytes) -> bool:
    """Return True where a picture is so small that it should be shown with hard pixel edges."""
    from PIL import Image

    with Image.open(io.BytesIO(content)) as picture:
        return max(picture.size) <= 48


def _tiny(content: bytes) -> bytes:
    from PIL import Image

    with Image.open(io.BytesIO(content)) as picture:
        small = picture.convert("RGB")
        small.thumbnail((56, 56))
        return _webp(small, quality=55)


def _webp(picture: object, *, quality: int) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "WEBP", quality=quality, method=4)  # type: ignore[attr-defined]
    return buffer.getvalue()
