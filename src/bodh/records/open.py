"""Names, paths and arrays become sources."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bodh import _catalog
from bodh.contracts import Source
from bodh.errors import DataError, suggestion
from bodh.records.labels import as_numbers, relabelled
from bodh.records.sources._asked import Asked

ROOM = "records/sources"
_NAMED = re.compile(r"^(?P<scheme>[A-Za-z][A-Za-z0-9_]+):(?!//)")  # one letter is a Windows drive
_FOR = {
    "split_lines": "plain text in one file (.txt)",
    "where": "tables of pairs (data.target=NAME)",
    "negative": "tables of pairs of texts (data.target=NAME)",
}
_PACKED = (".zip", ".tar", ".tgz", ".gz", ".7z", ".rar", ".xz", ".bz2")


def open_source(
    data: Any,
    *,
    input: str | None = None,  # noqa: A002
    label: str | None = None,
    modality: str | None = None,
    task: str = "auto",
    split_lines: bool | None = None,
    target: str | None = None,
    where: str | None = None,
    negative: str | None = None,
) -> Source:
    """Open whatever the user calls data. Nothing is decoded.

    Args:
        data: a folder of images or of `.txt`; a path to `.csv`, `.tsv`, `.jsonl`, `.txt`, `.parquet`, `.npz`, `.npy`
            or idx files, or a folder of those; a name (`sklearn:digits`, `torchvision:CIFAR10`); an array, a pair
            (X, y), a list of images or of strings; or a source.
        input: what holds the records, where the data offers a choice: a column, an array, a sub-folder.
        label: what holds the labels, where the data offers a choice.
        modality: name of one ("image", "text"), where the data alone does not tell.
        task: "auto": labels are classes or measured numbers as their type tells; "classify" insists on classes,
            "regress" reads whole numbers as measured ones, "tag" reads words with a tag each,
            "extract" questions with their texts.
        split_lines: of plain text in one file: whether every line is a document (default), or the file is one.
        target: of pairs of texts, and of pictures with sentences: the column or language that is to be written from
            what `input` names.
        where: of the same, in tables: "COLUMN=VALUE", the rows that count.
        negative: of pairs in tables: the column of texts that are like the target, and yet none.

    Raises:
        DataError: nothing is there, or nothing of it can be read; the message says what was found and what to do.
        UnknownName: a named data set that does not exist.
    """
    if all(hasattr(data, name) for name in ("read", "fingerprint", "ids", "splits")):
        return _for_task(data, task)
    location = _location(data)
    module = _module_for(location, Asked(input, label, modality, task, target))
    if module is None:
        raise DataError(_unread(location))
    options: dict[str, Any] = {"input": input, "label": label, "modality": modality}
    extra = {"split_lines": split_lines, "target": target, "where": where, "negative": negative}
    for name, given in extra.items():
        if name in getattr(module, "OPTIONS", ()):
            options[name] = given
        elif given is not None:
            raise DataError(f"data.{name} is for {_FOR[name]}; leave it out for this data")
    return _for_task(module.open_(location, **options), task)


def _module_for(location: Any, asked: Asked) -> Any:
    """Return the source that wants the data as it was asked for, else the first that accepts it.

    Those that accept any folder are asked last.
    """
    modules = [_catalog.get(ROOM, name) for name in _catalog.names(ROOM)]
    choosy = [module for module in modules if hasattr(module, "wants")]
    plain = sorted((module for module in modules if module not in choosy), key=lambda one: hasattr(one, "FALLBACK"))
    found = (module for module in choosy if module.wants(location, asked))
    return next(found, None) or next((module for module in plain if module.accepts(location)), None)


def _for_task(source: Any, task: str) -> Source:
    """Return `source` with its labels read as `task` says."""
    targets = source.targets
    if task == "regress" and targets is not None and targets.dtype.kind != "f":
        source = relabelled(source, *as_numbers(targets, source.class_names, owner=repr(source.name)))
    if task == "classify" and targets is not None and targets.dtype.kind == "f":
        example = float(targets[~np.isnan(targets)].reshape(-1)[0]) if not np.isnan(targets).all() else float("nan")
        raise DataError(
            f"labels of {source.name!r} are measured numbers such as {example:g}, not classes; give whole numbers or "
            "words, choose another column with data.label=NAME, or type --task regress"
        )
    return source  # type: ignore[no-any-return]


def _location(data: Any) -> Any:
    """Return a path that exists, a "scheme:name", or the array-like thing as it was given."""
    if not isinstance(data, str | os.PathLike):
        return data
    text = os.fspath(data)
    if not str(text).strip():
        raise DataError("the data is an empty string; give a folder, a file, or a name such as sklearn:digits")
    match = _NAMED.match(text) if isinstance(data, str) else None
    if match and not os.path.lexists(text):
        schemes = {_catalog.get(ROOM, name).SCHEME for name in _schemed()}
        if match["scheme"] not in schemes:
            hint = suggestion(match["scheme"], schemes)
            known = ", ".join(f"{name}:NAME" for name in sorted(schemes))
            raise DataError(f"no such file or folder, and no name that bodh knows: {text!r}{hint}; names are: {known}")
        return text
    path = Path(text).expanduser()
    try:
        exists = path.exists()
    except OSError as error:
        raise DataError(f"cannot look at {text!r}: {error.strerror}") from error
    if not exists:
        raise DataError(_missing(path))
    return path


def _schemed() -> Sequence[str]:
    return [name for name in _catalog.names(ROOM) if hasattr(_catalog.get(ROOM, name), "SCHEME")]


def _missing(path: Path) -> str:
    if path.is_symlink():
        return f"{str(path)!r} is a link to {str(path.readlink())!r}, which is not there"
    above = next((parent for parent in path.parents if parent.is_dir()), Path("/"))
    near = suggestion(path.name, (entry.name for entry in above.iterdir())) if above == path.parent else ""
    where = "" if above == path.parent else f" (the last folder of it that exists is {str(above)!r})"
    return f"no such file or folder: {str(path)!r}{near}{where}; give a folder, a file, or a name (sklearn:digits)"


def _unread(location: Any) -> str:
    known = (
        "a folder of images or of texts, .csv, .tsv, .jsonl and .txt (also .gz), .parquet, .conll, .conllu, .npz, "
        ".npy, idx-ubyte(.gz), sklearn:NAME, torchvision:NAME"
    )
    if not isinstance(location, Path):
        return f"data of type {type(location).__name__} cannot be read; allowed are paths, names, arrays and (X, y)"
    suffix = location.suffix.lower()
    if suffix in _PACKED:
        return f"{str(location)!r} is packed; unpack it and give the folder. bodh reads: {known}"
    images = _catalog.get(ROOM, "image_folder").SUFFIXES
    if suffix in images:
        return f"{str(location)!r} is a single image; give the folder it lies in: {str(location.parent)!r}"
    return f"{str(location)!r} is no data that bodh can read ({suffix or 'no suffix'}); it reads: {known}"
