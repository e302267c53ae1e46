"""Names, paths and arrays become sources."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np

from bodh import _catalog
from bodh.contracts import Source
from bodh.errors import DataError, suggestion
from bodh.records.labels import as_numbers, relabelled

ROOM = "records/sources"
_NAMED = re.compile(r"^(?P<scheme>[A-Za-z][A-Za-z0-9_]+):(?!//)")  # one letter is a Windows drive
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
        modality: "image", "vector", "text", "pairs", "words" or "questions", where the data alone does not tell.
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
    options = {"input": input, "label": label, "modality": modality}
    location = _location(data)
    for name in ("captions", "pairs"):  # records of two things
        module = _catalog.get(ROOM, name)
        if module.wants(location, input=input, target=target, modality=modality):
            own = {"negative": negative} if "negative" in module.OPTIONS else {}
            if negative is not None and not own:
                raise DataError("data.negative is for tables of pairs of texts; leave it out for this data")
            return cast("Source", module.open_(location, **options, target=target, where=where, **own))
    for name, given in (("where", where), ("negative", negative)):
        if given is not None:
            raise DataError(f"data.{name} is for tables of pairs (data.target=NAME); leave it out for this data")
    tagged = _catalog.get(ROOM, "tagged")
    if modality == "words" or task == "tag" or (modality is None and tagged.accepts(location)):
        if task not in ("auto", "tag"):
            raise DataError(f"these are words with tags, not what --task {task} learns from; leave it out, or type tag")
        return cast("Source", tagged.open_(location, **options))
    questions = _catalog.get(ROOM, "questions")
    asked = modality is None and task == "auto" and label is None and questions.accepts(location, input)
    if asked or modality == "questions" or task == "extract":
        return cast("Source", questions.open_(location, **options))
    module = _module_for(location)
    if module is None:
        raise DataError(_unread(location))
    if split_lines is not None:
        if "split_lines" not in getattr(module, "OPTIONS", ()):
            raise DataError("data.split_lines is for plain text in one file (.txt); leave it out for this data")
        return _for_task(module.open_(location, **options, split_lines=split_lines), task)
    return _for_task(module.open_(location, **options), task)


def _module_for(location: Any) -> Any:
    """Return the first source that accepts `location`; those that accept any folder are asked last."""
    fallback = None
    for name in _catalog.names(ROOM):
        module = _catalog.get(ROOM, name)
        if getattr(module, "FIRST", False):
            continue
        if getattr(module, "FALLBACK", False):
            fallback = module
        elif module.accepts(location):
            return module
    return fallback if fallback is not None and fallback.accepts(location) else None


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
