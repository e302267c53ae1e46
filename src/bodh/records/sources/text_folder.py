"""A folder of `.txt` files, a document each: flat or with class sub-folders, with or without train, val, test parts.

A `labels.csv` in it (header, then a line a file: its path, class or measured numbers) says more than folders do.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bodh.contracts import Source
from bodh.errors import DataError
from bodh.records.sources import text_lines
from bodh.records.sources._encoding import as_utf8
from bodh.records.sources._folders import Kind, open_folder
from bodh.records.sources._groups import count_files, holds_images

SUFFIXES = frozenset((".txt", ".text"))
KIND = Kind(
    "text", "text", SUFFIXES, as_utf8,
    frozenset(("readme", "license", "licence", "copying", "notice", "classes", "changelog")),
)  # fmt: skip


def accepts(location: Any) -> bool:
    """Whether `location` is a folder with such files below it, and not one of images."""
    if not isinstance(location, Path) or not location.is_dir():
        return False
    if text_lines.accepts(location) or holds_images(location):
        return False
    return count_files(location, _is_text) > 0


def _is_text(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES and path.stem.lower() not in KIND.aside and path.is_file()


def open_(location: Path, *, input: str | None, label: str | None, modality: str | None) -> Source:  # noqa: A002
    """List the texts of a folder.

    Args:
        location: the folder.
        input: sub-folder to read instead of all.
        label: what names the class: "first" folder level (default), "parent" (the whole path of the folder that the
            text lies in), or "none"; beside a `labels.csv` its columns, by default all.
        modality: "text".

    Raises:
        DataError: no such sub-folder, or no text in it.
    """
    if modality not in (None, "text"):
        raise DataError(f"the folder {location.name!r} is read as texts, not as modality={modality!r}")
    return open_folder(location, KIND, input=input, label=label)
