"""Turn records into vectors: any number of them, at constant memory."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from bodh.contracts import Json, RecordStore
from bodh.errors import ConfigError, DataError, OutputError

if TYPE_CHECKING:
    from bodh.api.load import Model

ROW_GROUP = 4096
"""Vectors that are held before they go to the disk."""


@dataclass(frozen=True)
class Embedded:
    """What was written.

    Attributes:
        out: the file.
        records: vectors in it.
        dim: numbers a vector.
        skipped: records of the data that cannot be read, with the reason.
    """

    out: Path
    records: int
    dim: int
    skipped: tuple[tuple[str, str], ...] = ()

    def to_json(self) -> Json:
        """Return everything as JSON values."""
        skipped = [{"id": name, "reason": reason} for name, reason in self.skipped]
        return {"out": str(self.out), "records": self.records, "dim": self.dim, "skipped": skipped}


class Chunk(NamedTuple):
    """Some records with their vectors."""

    ids: list[str]
    splits: list[str]
    labels: list[Any]
    """class name, list of class names, or None"""
    vectors: np.ndarray
    """[m d] float32"""


def embed(
    model: Model | str | Path,
    data: Any,
    *,
    out: str | Path,
    device: str = "auto",
    split: str | None = None,
    normalise: bool = False,
    dimensions: int | None = None,
    **settings: Any,
) -> Embedded:
    """Write the features of all records to a file.

    Memory stays constant whatever the size of the data.

    Args:
        model: a model folder, or the folder of the run that made it.
        data: a folder, a file or a name, labelled or not.
        out: `.parquet` (id, split, label, embedding), or `.npy` with the ids beside it in `.ids.jsonl`.
        device: auto, cpu, cuda, cuda:N or mps.
        split: only records of this split: train, val or test.
        normalise: bring every vector to length 1, so that dot products are cosines.
        dimensions: keep the first so many numbers of each vector, before it is normalised; of use where a model was
            trained for that (matryoshka).
        settings: how the data is read: `data.input`, `data.label`, `data.cache`, `data.workers`.

    Returns:
        how many vectors of how many numbers were written, and what was left out.

    Raises:
        OutputError: `out` exists, ends in something else, or cannot be written; nothing is left behind.
        DataError: the data cannot be used, or has no record of that split.
        ConfigError: more dimensions than the vectors have.

    Example:
        bodh embed runs/photos photos/ --out vectors.parquet
        bodh embed runs/news articles.csv --out vectors.npy --normalise --dimensions 64
    """
    from bodh.api._inputs import open_records
    from bodh.api.load import load
    from bodh.model.folder import cannot_write

    out = Path(out)
    sink_of = _sink_of(out)
    handle = load(model)
    loaded = handle.loaded(device)
    store = open_records(loaded.modality, data, settings)
    index = positions(store, split)
    dim = _kept(handle, dimensions)
    parts = [part.with_name(f".{part.name}.{secrets.token_hex(4)}.partial") for part in _files(out)]
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        facts = {"bodh.model": handle.digest, "bodh.data": store.fingerprint}
        sink = sink_of(
            parts, shape=(len(index), dim), several=store.targets is not None and store.targets.ndim == 2, facts=facts
        )
        try:
            for chunk in stream(handle, store, index, device):
                sink.write(chunk._replace(vectors=shaped(chunk.vectors, dim, normalise=normalise)))
        finally:
            sink.close()
        for part, final in reversed(list(zip(parts, _files(out), strict=True))):
            part.replace(final)
    except OSError as error:
        raise cannot_write(out, error) from error
    finally:
        for part in parts:
            part.unlink(missing_ok=True)
    return Embedded(out, len(index), dim, tuple(getattr(store, "skipped", ())))


def vectors(
    model: Model | str | Path,
    inputs: Any,
    *,
    device: str = "auto",
    normalise: bool = False,
    dimensions: int | None = None,
) -> np.ndarray:
    """Return features `[n d]`, float32, of inputs in hand: paths, texts, bytes, PIL images, arrays.

    Args:
        model: a model, its folder, or its run's folder.
        inputs: one input or a sequence; a folder stands for all its records.
        device: auto, cpu, cuda, cuda:N or mps.
        normalise: see `embed`.
        dimensions: see `embed`.

    Raises:
        ConfigError: more dimensions than the vectors have.
        BadRecord: an input cannot be read; the message says which and why.
        DataError: an input is not there, or there is none.
    """
    from bodh.api._inputs import insist, read_rows
    from bodh.api.load import load

    handle = load(model)
    dim = _kept(handle, dimensions)
    loaded = handle.loaded(device)
    capability = loaded.capability("embed")
    found = [loaded.compute(insist(batch), capability)["embedding"] for batch in read_rows(loaded.modality, inputs)]
    if not found:
        raise DataError("there is nothing to embed: the input holds no records")
    return shaped(np.concatenate(found), dim, normalise=normalise)


def _kept(model: Model, dimensions: int | None) -> int:
    """Return how many numbers a vector has.

    Raises:
        ConfigError: it cannot have so many.
    """
    dim = int(model.manifest.capabilities["embed"].outputs[0].shape[1])
    if dimensions is not None and not 1 <= dimensions <= dim:
        raise ConfigError(f"dimensions: {dimensions} is out of range; vectors of this model have 1 to {dim} numbers")
    return dimensions or dim


def shaped(vectors: np.ndarray, dimensions: int, *, normalise: bool) -> np.ndarray:
    """Return the first `dimensions` numbers of `vectors` [n d], as they are or brought to length 1."""
    cut = vectors[:, :dimensions]
    if not normalise:
        return cut
    unit: np.ndarray = cut / np.maximum(np.linalg.norm(cut, axis=1, keepdims=True), np.finfo(np.float32).tiny)
    return unit


def positions(store: RecordStore, split: str | None) -> np.ndarray:
    """Return the positions of `split`, or of all records.

    Raises:
        DataError: the data has no record of that split.
    """
    splits = np.asarray(store.splits)
    index = np.arange(len(store)) if split is None else np.flatnonzero(splits == split)
    if len(index) == 0:
        there = ", ".join(sorted({str(name) for name in splits}))
        raise DataError(f"{store.name} has no records of split {split!r}; it has: {there or 'no records at all'}")
    return index


def stream(model: Model, store: RecordStore, index: np.ndarray, device: str = "auto") -> Iterator[Chunk]:
    """Yield vectors of the records at `index` [n] with their ids, splits and labels, batch by batch."""
    loaded = model.loaded(device)
    start = 0
    for outputs in loaded.run(store, index, loaded.capability("embed")):
        found = outputs["embedding"]
        part = index[start : start + len(found)]
        start += len(found)
        yield Chunk(
            [str(store.ids[int(i)]) for i in part],
            [str(store.splits[int(i)]) for i in part],
            [label_of(store, int(i)) for i in part],
            found,
        )


def label_of(store: RecordStore, position: int) -> str | list[str] | None:
    """Return the class name of a record, the names of all its classes, its numbers, or None where it has none."""
    if store.targets is None:
        return None
    target = store.targets[position]
    if target.dtype.kind == "f":
        numbers = [f"{number:g}" for number in np.atleast_1d(target)]
        return None if np.isnan(target).all() else numbers if np.ndim(target) else numbers[0]
    if np.ndim(target):
        return [store.class_names[int(k)] for k in np.flatnonzero(target)]
    return store.class_names[int(target)] if target >= 0 else None


def _files(out: Path) -> list[Path]:
    return [out, out.with_suffix(".ids.jsonl")] if out.suffix == ".npy" else [out]


def _sink_of(out: Path) -> type[_Parquet] | type[_Npy]:
    kinds: dict[str, type[_Parquet] | type[_Npy]] = {".parquet": _Parquet, ".npy": _Npy}
    if out.suffix not in kinds:
        raise OutputError(f"{str(out)!r} ends in {out.suffix or 'nothing'!r}; allowed are .parquet and .npy")
    for path in _files(out):
        if path.exists():
            raise OutputError(f"{str(path)!r} exists already; choose another name or remove it first")
    return kinds[out.suffix]


class _Parquet:
    """Columns id, split, label, embedding (float32 list of fixed size), in row groups."""

    def __init__(self, parts: list[Path], *, shape: tuple[int, int], several: bool, facts: dict[str, str]) -> None:
        import pyarrow as pa

        self.path = parts[0]
        self.dim = shape[1]
        self.label_type = pa.list_(pa.string()) if several else pa.string()
        self.facts = facts
        self.held: list[Chunk] = []
        self.writer: Any = None
        self.pa = pa

    def write(self, chunk: Chunk) -> None:
        """Hold a chunk; write a row group when there are enough."""
        self.held.append(chunk)
        if sum(len(part.ids) for part in self.held) >= ROW_GROUP:
            self._flush()

    def close(self) -> None:
        """Write what is held and end the file."""
        self._flush()
        if self.writer is not None:
            self.writer.close()

    def _flush(self) -> None:
        if not self.held:
            return
        pa = self.pa
        labels = [label for part in self.held for label in part.labels]
        columns = {
            "id": pa.array([name for part in self.held for name in part.ids], pa.string()),
            "split": pa.array([name for part in self.held for name in part.splits], pa.string()),
            "label": pa.array(labels, self.label_type),
            "embedding": pa.FixedSizeListArray.from_arrays(
                pa.array(np.concatenate([part.vectors for part in self.held]).reshape(-1), pa.float32()), self.dim
            ),
        }
        self.held = []
        table = pa.table(columns).replace_schema_metadata(self.facts)
        if self.writer is None:
            from pyarrow import parquet

            self.writer = parquet.ParquetWriter(self.path, table.schema)
        self.writer.write_table(table)


class _Npy:
    """One array `[n d]`, and one JSON line a record beside it."""

    def __init__(
        self,
        parts: list[Path],
        *,
        shape: tuple[int, int],
        several: bool,  # noqa: ARG002 -- the same call makes either kind of file
        facts: dict[str, str],  # noqa: ARG002
    ) -> None:
        self.array = np.lib.format.open_memmap(parts[0], mode="w+", dtype=np.float32, shape=shape)
        self.names = parts[1].open("x", encoding="utf-8")
        self.done = 0

    def write(self, chunk: Chunk) -> None:
        """Write vectors and names."""
        self.array[self.done : self.done + len(chunk.ids)] = chunk.vectors
        self.done += len(chunk.ids)
        for name, split, label in zip(chunk.ids, chunk.splits, chunk.labels, strict=True):
            line = json.dumps({"id": name, "split": split, "label": label}, ensure_ascii=False)
            self.names.write(line + "\n")

    def close(self) -> None:
        """Flush both."""
        self.array.flush()
        self.names.close()
