"""Small real files for tests: every picture differs from every other."""

from __future__ import annotations

import io
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image


def picture(number: int, *, width: int = 12, height: int = 10) -> np.ndarray:
    """A smooth uint8 [h w 3] picture that depends on `number`, as photographs are smooth."""
    rows, columns = np.mgrid[0:height, 0:width]
    rng = np.random.default_rng(number)
    bend = rng.uniform(0.2, 1.5, (3, 2))
    waves = [np.sin(a * rows + b * columns + number) for a, b in bend]
    return np.asarray((np.stack(waves, -1) * 100 + 128).clip(0, 255), np.uint8)


def encoded(number: int, kind: str = "PNG", **size: int) -> bytes:
    """Such a picture as a file."""
    buffer = io.BytesIO()
    Image.fromarray(picture(number, **size)).save(buffer, kind)
    return buffer.getvalue()


def fill(folder: Path, names: Iterable[str], *, first: int = 0, **size: int) -> Path:
    """Write one picture a name, of the format of its suffix."""
    kinds = {".jpg": "JPEG", ".tif": "TIFF"}
    for number, name in enumerate(names, first):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        suffix = path.suffix.lower()
        path.write_bytes(encoded(number, kinds.get(suffix, suffix[1:].upper()), **size))
    return folder
