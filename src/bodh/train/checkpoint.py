"""Checkpoints: complete, atomic, verified; a damaged one falls back to the one before.

checkpoints/step-00000120/  state.pt       tensors and numbers only, loaded with weights_only=True
                            MANIFEST.json  size and sha256 of state.pt, written last
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
from pathlib import Path
from typing import Any

import torch

from bodh.contracts import Json
from bodh.errors import ModelError, OutputError

logger = logging.getLogger("bodh")


def save(folder: Path, step: int, state: Json, *, keep: int) -> Path:
    """Write `state` as the checkpoint of `step` and remove all but the newest `keep`.

    The folder appears under its name only when it is complete and on the disk.

    Raises:
        OutputError: the disk is full or the folder cannot be written; earlier checkpoints stay as they are.
    """
    final = folder / f"step-{step:08d}"
    draft = folder / f".draft-{os.getpid()}"
    try:
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(parents=True)
        target = draft / "state.pt"
        with target.open("wb") as file:
            torch.save(state, file)
            _to_disk(file)
        manifest = {"step": step, "bytes": target.stat().st_size, "sha256": _digest(target)}
        with (draft / "MANIFEST.json").open("w", encoding="utf-8") as text:
            json.dump(manifest, text)
            _to_disk(text)
        shutil.rmtree(final, ignore_errors=True)
        draft.rename(final)
        _folder_to_disk(folder)
    except (OSError, RuntimeError) as error:  # torch reports a failed write as RuntimeError
        shutil.rmtree(draft, ignore_errors=True)
        raise OutputError(f"cannot write the checkpoint {final}: {error}; free some space and type --resume") from error
    for old in _names(folder)[:-keep]:
        shutil.rmtree(folder / old, ignore_errors=True)
    return final


def newest(folder: Path) -> Json | None:
    """Return the state of the newest undamaged checkpoint, or None where there is none at all.

    Raises:
        ModelError: there are checkpoints, but every one is damaged.
    """
    names = _names(folder)
    for name in reversed(names):
        try:
            return _load(folder / name)
        except (OSError, ValueError, KeyError, RuntimeError, EOFError) as error:
            logger.warning("checkpoint %s is damaged (%s); trying the one before", folder / name, error)
    if names:
        raise ModelError(
            f"every checkpoint in {folder} is damaged ({', '.join(names)}); remove the run and start it again"
        )
    return None


def _load(path: Path) -> Json:
    manifest = json.loads((path / "MANIFEST.json").read_text(encoding="utf-8"))
    target = path / "state.pt"
    if target.stat().st_size != manifest["bytes"]:
        raise ValueError(f"state.pt has {target.stat().st_size} bytes, its manifest says {manifest['bytes']}")
    if _digest(target) != manifest["sha256"]:
        raise ValueError("the sha256 of state.pt is not the one in its manifest")
    state: Json = torch.load(target, map_location="cpu", weights_only=True)
    return state


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("step-*") if path.is_dir())


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _to_disk(file: Any) -> None:
    file.flush()
    os.fsync(file.fileno())


def _folder_to_disk(folder: Path) -> None:
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
