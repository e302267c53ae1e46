"""Whatever a person has in hand becomes standardised rows: paths, texts, bytes, PIL images, arrays, whole folders.

Records stream through in batches, so a folder of a million images takes no more memory than one of a hundred.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np

from bodh.contracts import Json, Modality, RecordStore
from bodh.errors import BadRecord, DataError

BATCH = 64
DATA_SUFFIXES = {".parquet", ".npy", ".npz", ".gz"}
"""Files that hold many records; any other file is taken for one record."""
TEXT_SUFFIXES = {*DATA_SUFFIXES, ".csv", ".jsonl", ".tsv", ".txt"}
"""As above, for models that read texts."""

Reader = tuple[str, Callable[[], Any]]
"""(id, what returns the raw record: bytes or an array)"""


@dataclass(frozen=True)
class Rows:
    """One batch of inputs: standardised rows of those that could be read, and the reason for the others."""

    ids: list[str]
    rows: np.ndarray | None
    """[m …] in the order of `ids` without `broken`; None where all are broken"""
    broken: dict[str, str]


def open_records(modality: Modality, data: Any, settings: Json) -> RecordStore:
    """Open DATA for a model: decoded records in its own form.

    Args:
        modality: of the model.
        data: whatever `records.open` takes.
        settings: `data.*`, as on the command line.

    Raises:
        ConfigError: a setting is unknown.
        DataError: nothing is there, or it is of another modality.
    """
    from bodh.api._reading import reads
    from bodh.api._settings import DataConfig
    from bodh.api._training import open_data
    from bodh.config.resolve import resolve
    from bodh.records.store import open_store

    config = cast("DataConfig", resolve(settings, {"data": DataConfig})["data"])
    source = open_data(data, config)
    if not reads(modality, source.modality):
        raise DataError(
            f"the model takes {modality.name} records, but {source.name} holds {source.modality} records; "
            f"say data.modality={modality.name} if they are meant as such"
        )
    budget = None if config.budget_gb is None else int(config.budget_gb * 1e9)
    store: RecordStore = open_store(source, modality, cache=config.cache, workers=config.workers, budget=budget)
    return store


def read_rows(modality: Modality, inputs: Any, *, batch: int = BATCH) -> Iterator[Rows]:
    """Yield `inputs` as batches of standardised rows, in order.

    Args:
        modality: decodes and standardises.
        inputs: a path, bytes, a PIL image, an array (image: `[h w]`, `[h w c]`, `[n h w c]`; vector: `[d]`, `[n d]`),
            or a sequence of these. A folder or a data file stands for all its records. Where the model reads texts, a
            string that is no existing path is the text itself.
        batch: records at a time.

    Raises:
        DataError: a path is not there, or nothing can be made of an input.
    """
    with ThreadPoolExecutor(min(4, os.cpu_count() or 1), thread_name_prefix="bodh-decode") as pool:
        found = iter(readers(modality, inputs))
        while chunk := list(itertools.islice(found, batch)):
            results = list(pool.map(lambda reader: _decode(modality, reader[1]), chunk))
            ids = [name for name, _ in chunk]
            broken = {name: result for name, result in zip(ids, results, strict=True) if isinstance(result, str)}
            good = [result for result in results if not isinstance(result, str)]
            yield Rows(ids, modality.standardise(good) if good else None, broken)


def _decode(modality: Modality, read: Callable[[], Any]) -> np.ndarray | str:
    """Return the decoded record, or the reason why there is none."""
    try:
        return modality.decode(read())
    except BadRecord as error:
        return str(error)
    except OSError as error:
        return f"cannot be read: {error.strerror or error}"


def readers(modality: Modality, inputs: Any) -> Iterator[Reader]:
    """Yield (id, what returns the raw record) for every record of `inputs`; see `read_rows`."""
    counter = itertools.count()
    for item in _items(inputs):
        if isinstance(item, str) and is_text(modality, item):
            yield f"input:{next(counter)}", lambda text=item: _utf8(text)  # type: ignore[misc]
        elif isinstance(item, str | os.PathLike):
            yield from _path_readers(modality, os.fspath(item))
        else:
            for raw in _raw(modality, item):
                yield f"input:{next(counter)}", lambda raw=raw: raw  # type: ignore[misc]


def is_text(modality: Modality, given: str) -> bool:
    """Return whether `given` is a text to read, rather than the path of one.

    Only where the model reads texts; what exists as a path is one. One word that ends as a data file does ("news.csv")
    is a path too, which is then said to be missing.
    """
    if not _reads_texts(modality):
        return False
    if len(given.split()) == 1 and Path(given).suffix.lower() in TEXT_SUFFIXES:
        return False
    try:
        return not given.strip() or not Path(given).exists()
    except (OSError, ValueError):  # longer than any path, or with letters that none has
        return True


def _reads_texts(modality: Modality) -> bool:
    """Return whether what a model of `modality` reads is a text; of pairs that is the source."""
    return hasattr(modality, "encode")


def _utf8(text: str) -> bytes:
    return text.encode("utf-8", errors="replace")  # half a surrogate pair is no character


def _items(inputs: Any) -> Sequence[Any]:
    if isinstance(inputs, list | tuple):
        if not inputs:
            raise DataError("no input was given; give at least one path, image or array")
        return inputs
    return [inputs]


def _path_readers(modality: Modality, text: str) -> Iterator[Reader]:
    """Yield one reader for a file that is one record, or one for every record of a folder, data file or data set."""
    path = Path(text)
    many = TEXT_SUFFIXES if _reads_texts(modality) else DATA_SUFFIXES
    if hasattr(modality, "of_words"):
        from bodh.records.sources import _conll

        many = {*many, *_conll.SUFFIXES}
    if path.is_file() and path.suffix.lower() not in many:
        yield text, path.read_bytes
        return
    from bodh.records.open import open_source

    kind = getattr(modality, "given", getattr(modality, "reads", modality.name))
    source = open_source(text, modality=kind)
    for index, name in enumerate(source.ids):
        yield name, lambda index=index: source.read(index)  # type: ignore[misc]


def _raw(modality: Modality, item: Any) -> list[bytes | np.ndarray]:
    """Return the raw records in something that lies in memory."""
    if isinstance(item, bytes | bytearray | memoryview):
        return [bytes(item)]
    if hasattr(modality, "of_words") and isinstance(item, list | tuple) and all(isinstance(one, str) for one in item):
        return [cast("Any", modality).of_words(item)]
    if hasattr(modality, "raw") and isinstance(item, Mapping):
        return [cast("Any", modality).raw(item)]
    if hasattr(item, "getbands"):  # a PIL image; as PNG it takes the way of every other image
        from bodh.records.sources._png import png_of

        return [png_of(item)]
    if not hasattr(item, "__array__"):
        kinds = "texts, paths and bytes" if _reads_texts(modality) else "paths, bytes, PIL images and arrays"
        raise DataError(f"an input of type {type(item).__name__} cannot be read; allowed are {kinds}")
    array = np.asarray(item)
    if _reads_texts(modality) and array.dtype.kind in "UOT":
        return [_utf8(str(text)) for text in array.reshape(-1)]
    if _reads_texts(modality):
        raise DataError(f"an array of {array.dtype} is no text; allowed are strings, paths and bytes")
    kind = getattr(modality, "reads", modality.name)
    single = 1 if kind == "vector" else 3
    if kind == "image" and (array.ndim == 2 or (array.ndim == 3 and not _is_one_image(modality, array))):
        array = array[..., None]  # grey, without an axis for its one channel
    if array.ndim == single:
        return [array]
    if array.ndim == single + 1:
        return list(array)
    raise DataError(
        f"an array of shape {array.shape} is no {kind} record and no batch of them; "
        f"allowed are {'[d] and [n d]' if single == 1 else '[h w], [h w c] and [n h w c]'}"
    )


def _is_one_image(modality: Modality, array: np.ndarray) -> bool:
    """Return whether a 3-D array is one image `[h w c]` or, for a colour model, `[c h w]`; else it is `[n h w]`."""
    colour = cast("Any", modality).prepared_shape[0] == 3
    return array.shape[2] <= 4 or (colour and array.shape[0] in (3, 4))


def insist(rows: Rows) -> np.ndarray:
    """Return the rows of a batch in which nothing may be broken.

    Raises:
        BadRecord: the first record that could not be read.
    """
    if rows.broken or rows.rows is None:
        name, reason = next(iter(rows.broken.items()))
        raise BadRecord(f"{name}: {reason}")
    return rows.rows
