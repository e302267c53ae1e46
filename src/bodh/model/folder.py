"""A model folder on disk: verified before use, written in one step. Imports no torch, executes nothing.

Layout: `model.json` (see `model.manifest`), `model.safetensors`, `records.safetensors`, `README.md`.
A file is opened once without following links, and what is used are the bytes that were hashed.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import secrets
import shutil
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from bodh.errors import ModelError, OutputError
from bodh.model.manifest import LARGEST_MANIFEST, FileEntry, Manifest, parse

MANIFEST = "model.json"
WEIGHTS = "model.safetensors"
RECORDS = "records.safetensors"
CARD = "README.md"
_CHUNK = 2**20


@dataclass(frozen=True, slots=True)
class Folder:
    """A model folder whose names, sizes and hashes have been checked."""

    path: Path
    manifest: Manifest

    @property
    def digest(self) -> str:
        """The sha256 of the weights: what the model is known by."""
        return self.manifest.files[WEIGHTS].sha256

    def read(self, name: str) -> bytes:
        """Return the content of a listed file; it is hashed again, so the bytes are the promised ones.

        Raises:
            ModelError: not listed, or changed since the folder was opened.
        """
        if name not in self.manifest.files:
            raise ModelError(f"{self.path}: model.json lists no file {name!r}; there are: {_listed(self.manifest)}")
        entry = self.manifest.files[name]
        with _opened(self.path, name) as file:
            _check_size(self.path, name, file, entry)
            content = file.read(entry.bytes + 1)
        if len(content) != entry.bytes or hashlib.sha256(content).hexdigest() != entry.sha256:
            raise _wrong_hash(self.path, name)
        return content


def find(path: str | Path) -> Path:
    """Return the model folder that `path` means: itself, or the `model/` inside a run folder.

    Raises:
        ModelError: there is none; the message says what lies there instead.
    """
    folder = Path(path)
    for candidate in (folder, folder / "model"):
        if (candidate / MANIFEST).is_file():
            return candidate
    if not folder.exists():
        raise ModelError(f"no model at {str(path)!r}: no such folder; give a model folder or a run folder")
    what = "a file" if folder.is_file() else "a folder without model.json"
    hint = "; the run has not finished: type bodh pretrain … --resume" if (folder / "checkpoints").is_dir() else ""
    if (folder / "config.json").is_file():
        hint = f"; published weights are named beside their network: --from transformer weights={folder}"
    raise ModelError(f"no model at {str(path)!r}: it is {what}; give a model folder or a run folder{hint}")


def read_folder(path: str | Path) -> Folder:
    """Return the model folder at `path` (or in the run folder `path`) after checking all of it.

    Memory stays constant whatever the files weigh: sizes first, then hashes by pieces.

    Raises:
        ModelError: `model.json` is not valid, or a file is missing, a link, of another size or another content.
    """
    folder = find(path)
    with _opened(folder, MANIFEST) as file:
        size = os.fstat(file.fileno()).st_size
        if size > LARGEST_MANIFEST:
            raise ModelError(f"{folder / MANIFEST} has {size} bytes; at most {LARGEST_MANIFEST} are read")
        content = file.read(LARGEST_MANIFEST + 1)
    try:
        manifest = parse(content)
    except ModelError as error:
        raise ModelError(f"{folder}: {error}") from None
    for name, entry in manifest.files.items():
        with _opened(folder, name) as file:
            _check_size(folder, name, file, entry)
    for name, entry in manifest.files.items():
        with _opened(folder, name) as file:
            if _digest(file) != entry.sha256:
                raise _wrong_hash(folder, name)
    return Folder(folder, manifest)


def write_folder(path: Path, manifest: Manifest, files: Mapping[str, bytes], *, overwrite: bool = False) -> Folder:
    """Write a model folder in one step: complete under another name beside it, synced, then renamed.

    Args:
        path: the folder to be.
        manifest: what it says; its `files` are replaced by what `files` really holds.
        files: content by bare file name.
        overwrite: replace a model folder that is there already.

    Raises:
        OutputError: something is there already, or the disk is full or not writable; nothing is left behind.
    """
    entries = {
        name: FileEntry(bytes=len(content), sha256=hashlib.sha256(content).hexdigest())
        for name, content in files.items()
    }
    manifest = Manifest.model_validate({**manifest.model_dump(), "files": entries})
    text = json.dumps(manifest.to_json(), ensure_ascii=False, indent=2) + "\n"
    check_free(path, overwrite=overwrite)
    partial = path.parent / f".{path.name}.{secrets.token_hex(4)}.partial"
    try:
        partial.mkdir(parents=True)
        for name, content in {**files, MANIFEST: text.encode()}.items():
            write_synced(partial / name, content)
        sync_folder(partial)
        _swap(partial, path)
        sync_folder(path.parent)
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return Folder(path, manifest)


def check_free(path: Path, *, overwrite: bool) -> None:
    """Raise OutputError where a model folder cannot be put at `path`; only a model folder is ever replaced."""
    if not os.path.lexists(path) or (path.is_dir() and not path.is_symlink() and not any(path.iterdir())):
        return
    if not overwrite:
        raise OutputError(f"{str(path)!r} exists already; choose another name or remove it first")
    if path.is_symlink() or not (path / MANIFEST).is_file():
        raise OutputError(f"{str(path)!r} is not a model folder and is not overwritten; choose another name")


def cannot_write(path: Path, error: OSError) -> OutputError:
    """Return the error that tells the user why `path` could not be written."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return OutputError(f"the disk is full: {str(path)!r} was not written; free some space or choose another place")
    return OutputError(f"cannot write {str(path)!r}: {error.strerror or error}; choose a place you may write to")


def write_synced(path: Path, content: bytes) -> None:
    """Write `content` to the new file `path` and wait until the disk has it."""
    with path.open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def sync_folder(path: Path) -> None:
    """Make names in folder `path` durable, where the system can (Windows has no such call)."""
    if os.name != "posix":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _swap(partial: Path, path: Path) -> None:
    """Put `partial` at `path`; an old folder there is moved aside first and removed after."""
    old = path.parent / f"{partial.name}.old"
    if path.is_dir() and any(path.iterdir()):
        path.rename(old)
    try:
        partial.rename(path)
    except OSError:
        if old.exists():
            old.rename(path)
        raise
    shutil.rmtree(old, ignore_errors=True)


@contextmanager
def _opened(folder: Path, name: str) -> Iterator[BinaryIO]:
    """Open `name` in `folder` for reading: a regular file, not a link, not a device or pipe."""
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    path = folder / name
    if path.is_symlink():
        raise ModelError(f"{path} is a link; a model folder holds files only: put the file itself there")
    try:
        descriptor = os.open(path, flags)
    except FileNotFoundError:
        raise ModelError(f"{folder}: {name!r} is missing, though model.json lists it; copy the whole folder") from None
    except OSError as error:
        raise ModelError(f"cannot read {path}: {error.strerror or error}") from None
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise ModelError(f"{path} is not a regular file")
        yield file


def _check_size(folder: Path, name: str, file: BinaryIO, entry: FileEntry) -> None:
    size = os.fstat(file.fileno()).st_size
    if size != entry.bytes:
        raise ModelError(
            f"{folder}: {name!r} has {size} bytes, model.json says {entry.bytes}; it was cut short or changed: "
            "copy the whole folder again"
        )


def _digest(file: BinaryIO) -> str:
    digest = hashlib.sha256()
    while piece := file.read(_CHUNK):
        digest.update(piece)
    return digest.hexdigest()


def _wrong_hash(folder: Path, name: str) -> ModelError:
    return ModelError(
        f"{folder}: the sha256 of {name!r} is not the one in model.json; it was damaged or changed: "
        "copy the whole folder again"
    )


def _listed(manifest: Manifest) -> str:
    return ", ".join(sorted(manifest.files))
