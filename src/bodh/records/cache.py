"""The folder for what can be made again: decoded records and downloaded data sets."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bodh.errors import OutputError

STORES = "stores"
LABEL = "source.json"
"""In every store and every half-packed one: what it was made from."""


def cache_root() -> Path:
    """Return the cache folder (not created): $BODH_CACHE, or "bodh" in the platform's place for caches."""
    chosen = os.environ.get("BODH_CACHE")
    if chosen:
        return Path(chosen).expanduser().absolute()
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "bodh"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "bodh" / "Cache"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "bodh"


@dataclass(frozen=True)
class Entry:
    """One store under the cache folder."""

    folder: Path
    name: str
    origin: str
    fingerprint: str
    bytes: int
    complete: bool


def entries(root: Path | None = None) -> list[Entry]:
    """Return every store, finished or half packed."""
    return list(_entries(root or cache_root()))


def size(root: Path | None = None) -> int:
    """Return the bytes that the cache folder takes, downloads included."""
    return _bytes(root or cache_root())


def forget(source: Any, root: Path | None = None) -> int:
    """Delete every store of `source`, also those of its earlier states, and return the bytes set free.

    Raises:
        OutputError: the folder cannot be deleted.
    """
    freed = 0
    origin = getattr(source, "origin", "")
    for entry in _entries(root or cache_root()):
        if entry.fingerprint == source.fingerprint or (origin and entry.origin == origin):
            try:
                shutil.rmtree(entry.folder)
            except OSError as error:
                raise OutputError(f"cannot delete {str(entry.folder)!r}: {error.strerror or error}") from error
            freed += entry.bytes
    return freed


def free_bytes(folder: Path) -> int:
    """Return the bytes free on the disk of `folder`, or of the nearest folder above it that exists."""
    here = folder
    while not here.exists() and here != here.parent:
        here = here.parent
    return shutil.disk_usage(here).free


def _entries(root: Path) -> Iterator[Entry]:
    stores = root / STORES
    for folder in sorted(stores.iterdir()) if stores.is_dir() else ():
        try:
            label = json.loads((folder / LABEL).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue  # not a store, or one that was begun this very moment
        yield Entry(
            folder, str(label.get("name")), str(label.get("origin")), str(label.get("fingerprint")),
            _bytes(folder), not folder.name.endswith(".partial"),
        )  # fmt: skip


def _bytes(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*") if folder.is_dir() else ():
        try:
            total += path.stat().st_size if path.is_file() and not path.is_symlink() else 0
        except OSError:
            continue  # deleted meanwhile by another process
    return total
