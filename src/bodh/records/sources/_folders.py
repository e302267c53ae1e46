"""Folders of files, a record a file: flat (no labels) or with class sub-folders, with or without train, val and test.

A `labels.csv` in it (header, then a line a file: its path, and a class or measured numbers) says more than folders do.

Listing reads directory entries only, never a file. Hidden files are ignored. Symbolic links are followed, loops are
cut and said. The order is natural ("2" before "10") and the same on every machine.
"""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np

from bodh.errors import BadRecord, DataError
from bodh.records.ids import natural_key, readable
from bodh.records.sources._labels_file import LABELS_FILE, read_labels_file
from bodh.records.sources._parts import SPLIT_WORDS, file_digest

_log = logging.getLogger("bodh")

LABEL_CHOICES = ("first", "parent", "none")


@dataclass(frozen=True)
class Kind:
    """Which files of a folder are records, and of what.

    Attributes:
        modality: of the records.
        noun: what one is called.
        suffixes: of their files, lower case.
        convert: what a file's bytes become, where not themselves; may raise BadRecord.
        aside: stems of files at the top that are about the data, not of it; lower case.
    """

    modality: str
    noun: str
    suffixes: frozenset[str]
    convert: Callable[[bytes], bytes] | None = None
    aside: frozenset[str] = frozenset()


def open_folder(location: Path, kind: Kind, *, input: str | None, label: str | None) -> FileFolder:  # noqa: A002
    """List the files of a folder.

    Args:
        location: the folder.
        kind: which files.
        input: sub-folder to read instead of all.
        label: what names the class: "first" folder level (default), "parent" (the whole path of the folder that the
            file lies in), or "none"; beside a `labels.csv` its columns, by default all.

    Raises:
        DataError: no such sub-folder, or no such file in it.
    """
    folder = location / input if input else location
    file = folder / LABELS_FILE
    if label is not None and label not in LABEL_CHOICES and not file.is_file():
        raise DataError(
            f"label={label!r} is unknown for a folder of {kind.noun}s; allowed are: {', '.join(LABEL_CHOICES)}"
        )
    if not folder.is_dir():
        raise DataError(f"no folder input={input!r} in {str(location)!r}")
    listing = _Listing(kind)
    _walk(folder, listing)
    if not listing.paths:
        raise DataError(_nothing(folder, listing))
    if file.is_file() and label not in LABEL_CHOICES:
        return FileFolder(folder, listing, "none", file, label)
    return FileFolder(folder, listing, label or "first")


@dataclass
class _Listing:
    kind: Kind
    paths: list[str] = field(default_factory=list)
    """relative, with "/" """
    digest: Any = field(default_factory=lambda: blake2b(digest_size=16))
    others: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)
    bytes: int = 0

    def add(self, path: str, entry: os.DirEntry[str]) -> None:
        try:
            stat = entry.stat()
            size, time = stat.st_size, stat.st_mtime_ns
        except OSError:  # a link to nothing: listed, and told as broken when it is read
            size, time = 0, 0
        self.bytes += size
        self.digest.update(os.fsencode(path) + f"\0{size}\0{time}\n".encode())
        self.paths.append(path)

    def note(self, text: str) -> None:
        _log.warning("%s", text)
        self.notes.append(text)


def _walk(root: Path, listing: _Listing) -> None:
    """Fill `listing` depth first, in natural order."""
    stat = root.stat()
    stack: list[Iterator[tuple[str, os.DirEntry[str] | None]]] = [_entries(str(root), "", listing)]
    above: list[tuple[int, int]] = [(stat.st_dev, stat.st_ino)]
    while stack:
        item = next(stack[-1], None)
        if item is None:
            stack.pop()
            above.pop()
            continue
        path, entry = item
        if entry is None:
            continue
        if not _is_folder(entry):
            stem, suffix = os.path.splitext(entry.name)  # noqa: PTH122 - a million times
            about = len(stack) == 1 and stem.lower() in listing.kind.aside
            if suffix.lower() in listing.kind.suffixes and not about:
                listing.add(path, entry)
            else:
                listing.others[suffix.lower()] += 1
            continue
        try:
            stat = entry.stat()
        except OSError as error:
            listing.note(f"{readable(path)}: cannot be entered ({error.strerror}); left out")
            continue
        identity = (stat.st_dev, stat.st_ino)
        if identity in above:
            listing.note(f"{readable(path)} is a link back to a folder above it; left out")
            continue
        stack.append(_entries(entry.path, path + "/", listing))
        above.append(identity)


def _entries(folder: str, prefix: str, listing: _Listing) -> Iterator[tuple[str, os.DirEntry[str] | None]]:
    try:
        with os.scandir(folder) as found:
            entries = [entry for entry in found if not entry.name.startswith(".") and entry.name != "__MACOSX"]
    except OSError as error:
        listing.note(f"{readable(prefix) or folder}: cannot be listed ({error.strerror}); left out")
        return
    entries.sort(key=lambda entry: natural_key(entry.name))
    for entry in entries:
        yield prefix + entry.name, entry


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself
        return False


class FileFolder:
    """The files of a folder, read one by one as their bytes."""

    in_memory = False

    def __init__(
        self, folder: Path, listing: _Listing, label: str, file: Path | None = None, column: str | None = None
    ) -> None:
        self.root = os.fspath(folder.resolve())
        self.kind, self.modality = listing.kind, listing.kind.modality
        self.name = folder.resolve().name or f"{self.kind.noun}s"
        self.origin = self.root
        self.notes = listing.notes
        self.bytes = listing.bytes
        self._paths = listing.paths
        odd = any("\udc80" <= max(path) <= "\udcff" for path in listing.paths)
        self.ids: Sequence[str] = [readable(path) for path in listing.paths] if odd else listing.paths
        listing.digest.update(os.fsencode(self.root))
        if file is not None:
            listing.digest.update(file_digest([file]).encode())
            listing.others[file.suffix] -= 1
        self.fingerprint: str = listing.digest.hexdigest()
        layout = _Layout([path.split("/") for path in listing.paths], label, f"{self.kind.noun}s")
        self.splits, self.targets, self.class_names = layout.splits, layout.targets, layout.class_names
        self.reading = layout.reading
        if file is not None:
            labels, columns = read_labels_file(file, listing.paths, column, noun=self.kind.noun)
            self.targets, self.class_names = labels
            self.reading = self.reading.replace("labels left out", f"labels from {file.name}: {', '.join(columns)}")
        for text in layout.notes:
            _log.info("%s: %s", self.name, text)
        self.notes += layout.notes
        listing.others = +listing.others
        if listing.others:
            rest = ", ".join(f"{count} {suffix or 'without suffix'}" for suffix, count in listing.others.most_common(3))
            self.notes.append(f"{sum(listing.others.values())} other files are ignored ({rest})")

    def __len__(self) -> int:
        return len(self._paths)

    def __getstate__(self) -> dict[str, Any]:
        """Keep what reading needs: a worker gets the paths, not the labels."""
        return self.__dict__ | {"ids": [], "targets": None, "splits": np.empty(0, "<U5"), "notes": []}

    def read(self, index: int) -> bytes:
        """Return the bytes of the record's file, converted where its kind says so.

        Raises:
            BadRecord: the file is gone, empty or may not be read, or cannot be converted.
        """
        data = self.raw(index)
        return data if self.kind.convert is None else self.kind.convert(data)

    def raw(self, index: int) -> bytes:
        """Return the bytes of the record's file as they lie there.

        Raises:
            BadRecord: the file is gone, empty or may not be read.
        """
        try:
            data = Path(self.root, self._paths[index]).read_bytes()
        except OSError as error:
            raise BadRecord(f"cannot be read: {error.strerror or error}") from error
        if not data:
            raise BadRecord("the file is empty")
        return data


class _Layout:
    """What the folder levels mean."""

    def __init__(self, pieces: list[list[str]], label: str, nouns: str) -> None:
        self.notes: list[str] = []
        skip = _wrappers(pieces)
        if skip:
            self.notes.append(f"read from its only folder, {'/'.join(pieces[0][:skip])}")
        tops = {piece[skip] for piece in pieces if len(piece) > skip + 1}
        words = {
            top: SPLIT_WORDS[top.casefold()]
            for top in tops
            if top.casefold() in SPLIT_WORDS and top.casefold() != "t10k"
        }
        has_train = "train" in words.values()
        # "train" alone among other folders is a class (bus, car, train), not a part
        honoured = bool(words) and has_train and (len(set(words.values())) > 1 or len(words) == len(tops))
        self.splits, classes = self._assign(pieces, skip, words if honoured else {}, label)
        beside = ", ".join(sorted(tops - set(words)))
        if honoured and beside:
            self.notes.append(f"folders beside the parts are read as unlabelled training {nouns}: {beside}")
        kinds = sorted({name for name in classes if name}, key=natural_key)
        place = {name: number for number, name in enumerate(kinds)} | {"": -1}
        self.class_names = tuple(readable(name) for name in kinds)
        self.targets = np.array([place[name] for name in classes], dtype=np.int64) if kinds else None
        what = {"first": "folder", "parent": "path of folders"}.get(label, "")
        parts = f"parts {', '.join(sorted(set(words.values())))}; " if honoured else ""
        self.reading = f"a folder of {nouns}; {parts}" + (
            f"the {what} names one of {len(kinds)} classes"
            if kinds
            else f"no labels (all {nouns} lie side by side)"
            if label != "none"
            else "labels left out"
        )

    def _assign(
        self, pieces: list[list[str]], skip: int, words: dict[str, str], label: str
    ) -> tuple[np.ndarray, list[str]]:
        splits: list[str] = []
        classes: list[str] = []
        for piece in pieces:
            inner = piece[skip:-1]
            split = words.get(inner[0]) if words and inner else None
            beside = bool(words) and split is None
            levels = inner[1:] if split else inner
            splits.append(split or "train")
            named = bool(levels) and label != "none" and not beside
            classes.append(("/".join(levels) if label == "parent" else levels[0]) if named else "")
        return np.array(splits), classes


def _wrappers(pieces: list[list[str]]) -> int:
    """Return how many outer folders hold nothing but one folder of folders ("dataset/train/…" unpacked from a zip)."""
    first, skip = pieces[0], 0
    # a folder is a wrapper where every file lies at least two folders below it, in the same one
    while all(len(piece) > skip + 2 and piece[skip] == first[skip] for piece in pieces):
        if first[skip].casefold() in SPLIT_WORDS:
            break
        skip += 1
    return skip


def _nothing(folder: Path, listing: _Listing) -> str:
    found = ", ".join(f"{count} {suffix or 'without suffix'}" for suffix, count in listing.others.most_common(3))
    what = f"it holds {found}" if found else "it holds no files"
    note = f" ({listing.notes[0]})" if listing.notes else ""
    kind = listing.kind
    return f"no {kind.noun} in {str(folder)!r}: {what}{note}; bodh reads {', '.join(sorted(kind.suffixes))}"
