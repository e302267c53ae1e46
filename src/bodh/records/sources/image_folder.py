"""A folder of images: flat (no labels) or with class sub-folders, with or without train, val and test parts.

A `labels.csv` in it (header, then a line an image: file, class or measured numbers) says more than folders do.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bodh.contracts import Source
from bodh.errors import DataError
from bodh.records.sources._folders import Kind, open_folder

FALLBACK = True
"""Any folder can be tried as a folder of images, so this source is asked last."""
SUFFIXES = frozenset(
    ".png .jpg .jpeg .jpe .jfif .webp .bmp .tif .tiff .gif .ppm .pgm .pbm .pnm .avif .jp2 .tga".split()  # noqa: SIM905
)
KIND = Kind("image", "image", SUFFIXES)


def accepts(location: Any) -> bool:
    """Whether `location` is a folder."""
    return isinstance(location, Path) and location.is_dir()


def open_(location: Path, *, input: str | None, label: str | None, modality: str | None) -> Source:  # noqa: A002
    """List the images of a folder.

    Args:
        location: the folder.
        input: sub-folder to read instead of all.
        label: what names the class: "first" folder level (default), "parent" (the whole path of the folder that the
            image lies in), or "none"; beside a `labels.csv` its columns, by default all.
        modality: "image".

    Raises:
        DataError: no such sub-folder, or no image in it.
    """
    if modality not in (None, "image"):
        raise DataError(f"the folder {location.name!r} is read as images, not as modality={modality!r}")
    return open_folder(location, KIND, input=input, label=label)
