"""Pictures that lie in memory, as the bytes of a file."""

from __future__ import annotations

import io
from typing import Any

MODES = {"1", "L", "LA", "I;16", "P", "RGB", "RGBA"}
"""What PNG can hold of what PIL has in memory."""


def png_of(image: Any) -> bytes:
    """Return a PIL image, upright, as a PNG, so that it takes the way of every other image."""
    from PIL import ImageOps

    buffer = io.BytesIO()
    upright = ImageOps.exif_transpose(image)
    (upright if upright.mode in MODES else upright.convert("RGB")).save(buffer, format="PNG")
    return buffer.getvalue()
