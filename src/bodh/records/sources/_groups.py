"""Which files of a folder make up one data set, and which part of it each of them is."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Generic, NamedTuple, TypeVar

from bodh import _catalog
from bodh.errors import DataError
from bodh.records.ids import natural_key
from bodh.records.sources._parts import SPLIT_WORDS

_ORDER = {"train": 0, None: 0, "val": 1, "test": 2}
_ABOUT = frozenset(("readme", "license", "licence", "copying", "notice", "classes", "labels", "changelog"))
"""First words of the names of files that are about the data."""
_LOOK = 2000
"""Entries of a folder that are looked at to find out what it holds."""
_FEW_IMAGES = 3
"""Figures that may lie beside texts."""

T = TypeVar("T")


class Piece(NamedTuple, Generic[T]):
    """Something with records: a file, or a list in one."""

    what: T
    name: str
    """from the folder, for messages and ids"""
    part: str | None
    """"train", "val", "test", or None where its name does not tell"""
    group: str
    """what its name says beside the part: pieces of one group are one data set"""


def suffix_of(path: Path) -> str:
    """Return the suffix, lower case, that tells the format: the one before ".gz"."""
    name = path.name.lower().removesuffix(".gz")
    return Path(name).suffix


def part_and_group(stem: str) -> tuple[str | None, str]:
    """Return what a name says: ("train", "") of "train-00000-of-00002", ("test", "wiki") of "wiki.test"."""
    words = [word for word in re.split(r"[\s._\-]+", stem) if word]
    parts = [SPLIT_WORDS[word.casefold()] for word in words if word.casefold() in SPLIT_WORDS]
    rest = [word for word in words if word.casefold() not in SPLIT_WORDS and not word.isdigit()]
    if "of" in rest and re.search(r"\d+[\s._\-]+of[\s._\-]+\d+", stem):
        rest.remove("of")
    return (parts[0] if parts else None), "_".join(rest)


def files_of(folder: Path, suffixes: Iterable[str]) -> list[Piece[Path]]:
    """Return the data files of a folder: in itself, in `data/`, or in folders called train, val and test.

    Args:
        folder: where to look.
        suffixes: of the format, lower case; see `suffix_of`.
    """
    wanted = set(suffixes)
    inner = sorted(path for path in folder.iterdir() if path.is_dir() and path.name.casefold() in SPLIT_WORDS)
    for places, by_folder in (([folder], False), ([folder / "data"], False), (inner, True)):
        found = []
        for place in places:
            for path in sorted(place.iterdir() if place.is_dir() else (), key=lambda one: natural_key(one.name)):
                if suffix_of(path) not in wanted or path.name.startswith((".", "_")) or not path.is_file():
                    continue
                stem = path.name[: path.name.lower().removesuffix(".gz").rindex(".")]
                if re.split(r"[\s._\-]+", stem.casefold())[0] in _ABOUT:
                    continue
                part, group = part_and_group(stem)
                if by_folder:
                    part, group = SPLIT_WORDS[place.name.casefold()], ""
                found.append(Piece(path, path.relative_to(folder).as_posix(), part, group))
        if found:
            return found
    return []


def choose(
    pieces: Sequence[Piece[T]], wanted: str | None, *, owner: str, notes: list[str]
) -> tuple[list[Piece[T]], str | None]:
    """Return the pieces of one data set, training first, and what is left of `wanted`: the column.

    Without a choice it is the group without a name of its own ("train", "test"), the only one that has parts
    ("wiki.train", "wiki.test"), or the only one there is.

    Args:
        pieces: at least one.
        wanted: "GROUP", "GROUP:COLUMN", or "COLUMN".
        owner: whose pieces they are, for messages.
        notes: takes what should be said.

    Raises:
        DataError: there are several; the message names them.
    """
    groups: dict[str, list[Piece[T]]] = {}
    for piece in pieces:
        groups.setdefault(piece.group, []).append(piece)
    head, _, column = (wanted or "").partition(":")
    if wanted and head in groups:
        return _ordered(groups[head]), column or None
    several = [name for name, own in groups.items() if len({piece.part for piece in own}) > 1]
    if "" in groups:
        name = ""
    elif len(several) == 1:
        name = several[0]
    elif len(groups) == 1:
        name = next(iter(groups))
    else:
        known = sorted(groups, key=natural_key)
        raise DataError(
            f"{owner} holds several data sets: {', '.join(known)}; choose one with data.input=NAME "
            f"(and its column with data.input=NAME:COLUMN), for example data.input={known[0]}"
        )
    others = [other for other in groups if other != name]
    if others:
        notes.append(f"also there, and left out: {', '.join(others)}; choose with data.input=NAME")
    return _ordered(groups[name]), wanted


def _ordered(pieces: list[Piece[T]]) -> list[Piece[T]]:
    """Return pieces with those for training first; where only one part is named, that name means nothing."""
    if len({piece.part for piece in pieces if piece.part}) < 2:
        pieces = [piece._replace(part=None) for piece in pieces]
    return sorted(pieces, key=lambda piece: _ORDER[piece.part])


def holds_images(folder: Path) -> bool:
    """Whether more than a few images lie in a folder: then tables and texts in it are about them."""
    suffixes = _catalog.get("records/sources", "image_folder").SUFFIXES
    return count_files(folder, lambda path: path.suffix.lower() in suffixes) > _FEW_IMAGES


def count_files(folder: Path, holds: Callable[[Path], bool]) -> int:
    """Return of how many files among the first entries of a folder `holds` is true."""
    return sum(holds(path) for path in itertools.islice(_entries(folder), _LOOK))


def _entries(folder: Path, depth: int = 0) -> Iterator[Path]:
    """Yield entries, those of the folder itself first, at most four levels deep."""
    try:
        found = list(itertools.islice(folder.iterdir(), _LOOK))
    except OSError:
        return  # what may not be listed is told where it is read
    yield from found
    if depth < 4:
        for path in found:
            if not path.name.startswith(".") and path.is_dir() and not path.is_symlink():
                yield from _entries(path, depth + 1)
