"""The smallest modality that decodes images, so that records are tested without the real one."""

from __future__ import annotations

import io
import time

import numpy as np
from PIL import Image, UnidentifiedImageError

from bodh.errors import BadRecord


class FakeImages:
    """Decodes to uint8 [h w 3]; `side` makes all of one size, `pause` makes it slow."""

    name = "image"

    def __init__(self, side: int | None = None, pause: float = 0.0) -> None:
        self.side, self.pause = side, pause

    def store_key(self) -> str:
        return f"fake-{self.side}"

    def decode(self, raw: bytes | np.ndarray) -> np.ndarray:
        if self.pause:
            time.sleep(self.pause)
        if isinstance(raw, np.ndarray):
            return raw[:, :, None] if raw.ndim == 2 else raw
        try:
            image = Image.open(io.BytesIO(raw)).convert("RGB")
        except (UnidentifiedImageError, OSError, Image.DecompressionBombError) as error:
            raise BadRecord(str(error)) from error
        return np.asarray(image if self.side is None else image.resize((self.side, self.side)))
