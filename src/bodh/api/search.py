"""Find the records that look most like one: cosine similarity, exact, at constant memory."""

from __future__ import annotations

import json
import logging
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bodh.contracts import Json, RecordStore
from bodh.errors import ConfigError, DataError, suggestion

if TYPE_CHECKING:
    from bodh.api.load import Model

log = logging.getLogger("bodh")

BLOCK = 65_536
"""Vectors compared at a time."""

MANY = 1_000_000
"""From here on an index of FAISS is used, where it is installed.

Below, comparing with all is quick enough (220,000 vectors: 0.1 s on two cores) and building an index is not (20 s).
"""


@dataclass(frozen=True)
class Neighbours:
    """The records nearest to a query, the nearest first.

    Attributes:
        query: what was looked for.
        rows: {"rank", "id", "label", "similarity"}, similarity from -1 to 1.
        searched: records that were compared.
        exact: False where an index gave near neighbours that need not be the very nearest.
    """

    query: str
    rows: tuple[Json, ...]
    searched: int
    exact: bool = True

    def to_json(self) -> Json:
        """Return everything as JSON values."""
        return {"query": self.query, "rows": list(self.rows), "searched": self.searched, "exact": self.exact}

    def __iter__(self) -> Any:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)


def search(
    model: Model | str | Path, data: Any, query: Any, *, top: int = 10, device: str = "auto", **settings: Any
) -> Neighbours:
    """Find the records nearest to a query by the model's features.

    The data is embedded once for each model and kept in the cache folder.

    Args:
        model: a model folder, or the folder of the run that made it.
        data: what to search in: a folder, a file or a name.
        query: a file, or the id of a record of the data; where the model reads texts, any text; in Python also bytes,
            a PIL image, or an array.
        top: how many neighbours.
        device: auto, cpu, cuda, cuda:N or mps.
        settings: how the data is read: `data.input`, `data.label`, `data.cache`, `data.workers`.

    Returns:
        ids with their labels and cosine similarities, the nearest first; a record that was asked for is not its own
        neighbour.

    Raises:
        DataError: the query is neither a file nor a record of the data.
        ConfigError: `top` is below 1.

    Example:
        bodh search runs/photos photos/ photos/cat.jpg --top 5
        bodh search runs/news articles.csv "rates are rising again"
    """
    from bodh.api._inputs import open_records
    from bodh.api.embed import label_of
    from bodh.api.load import load

    if top < 1:
        raise ConfigError(f"top: {top} is too small; allowed are whole numbers from 1")
    handle = load(model)
    store = open_records(handle.loaded(device).modality, data, settings)
    vectors, path = embeddings(handle, store, device)
    asked, vector, own = _query(handle, store, vectors, query, device)
    wanted = min(top + (own is not None), len(store))
    use_index = len(store) > MANY and _has_faiss(len(store))
    order, similarity = _by_index(vectors, path, vector, wanted) if use_index else nearest(vectors, vector, wanted)
    rows = [
        {"id": str(store.ids[int(i)]), "label": label_of(store, int(i)), "similarity": round(float(s), 6)}
        for i, s in zip(order, similarity, strict=True)
        if own is None or int(i) != own
    ]
    ranked = tuple({"rank": rank, **row} for rank, row in enumerate(rows[:top], start=1))
    return Neighbours(asked, ranked, len(store), exact=not use_index)


def embeddings(model: Model, store: RecordStore, device: str = "auto") -> tuple[np.ndarray, Path]:
    """Return unit vectors `[n d]` of all records, memory-mapped, and the file they lie in.

    They are computed once for each pair of weights and records; the file gets its name when it is complete.
    """
    from bodh.api.embed import stream
    from bodh.model.folder import cannot_write
    from bodh.records.cache import cache_root

    what = json.dumps(
        [model.digest, model.manifest.best_block, model.manifest.best_grid, store.fingerprint, len(store)]
    )
    path = cache_root() / "embeddings" / f"{sha256(what.encode()).hexdigest()[:32]}.npy"
    if not path.is_file():
        log.info("embedding %d records of %s, once for this model", len(store), store.name)
        dim = int(model.manifest.capabilities["embed"].outputs[0].shape[1])
        partial = path.with_name(f".{path.stem}.{secrets.token_hex(4)}.partial")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            array = np.lib.format.open_memmap(partial, mode="w+", dtype=np.float32, shape=(len(store), dim))
            done = 0
            for chunk in stream(model, store, np.arange(len(store)), device):
                array[done : done + len(chunk.ids)] = unit(chunk.vectors)
                done += len(chunk.ids)
            array.flush()
            del array
            partial.replace(path)
        except OSError as error:
            raise cannot_write(path, error) from error
        finally:
            partial.unlink(missing_ok=True)
    return np.load(path, mmap_mode="r", allow_pickle=False), path


def unit(vectors: np.ndarray) -> np.ndarray:
    """Return `vectors` [n d] with length 1; a vector of noughts stays one and is near to nothing."""
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.where(length > 0, length, 1), dtype=np.float32)


def nearest(vectors: np.ndarray, query: np.ndarray, top: int) -> tuple[np.ndarray, np.ndarray]:
    """Return positions and cosine similarities of the `top` unit vectors `[n d]` nearest to `query` [d], exactly.

    Blocks of the file pass through memory one after the other; equal similarities keep the order of the records.
    """
    best = np.empty(0, np.int64)
    similarity = np.empty(0, np.float32)
    for start in range(0, len(vectors), BLOCK):
        found = np.asarray(vectors[start : start + BLOCK]) @ query
        best = np.concatenate([best, np.arange(start, start + len(found))])
        similarity = np.concatenate([similarity, found])
        order = np.lexsort((best, -similarity))[:top]
        best, similarity = best[order], similarity[order]
    return best, similarity


def _query(
    model: Model, store: RecordStore, vectors: np.ndarray, query: Any, device: str
) -> tuple[str, np.ndarray, int | None]:
    """Return what was asked for in words, its unit vector, and its position where it is a record of the data."""
    from bodh.api._inputs import is_text
    from bodh.api.embed import vectors as embed_inputs

    text = str(query) if isinstance(query, str | Path) else None
    reads = isinstance(query, str) and is_text(model.loaded(device).modality, query)
    if text is not None and (reads or not Path(text).is_file()):
        own = _position(store.ids, text)
        if own is not None:
            return text, np.asarray(vectors[own]), own
        if not reads:
            raise DataError(
                f"the query {text!r} is neither a file nor a record of {store.name}{suggestion(text, store.ids)}; "
                f"records are named like {str(store.ids[0])!r}"
            )
    found = embed_inputs(model, query, device=device)
    if len(found) != 1:
        raise DataError(f"a query is one record, but {len(found)} were given; search for them one by one")
    return text or "input", unit(found)[0], None


def _position(ids: Sequence[str], name: str) -> int | None:
    return next((position for position, other in enumerate(ids) if other == name), None)


def _has_faiss(records: int) -> bool:
    if find_spec("faiss") is None:
        log.info("%d records are compared one by one; with FAISS it is faster: pip install 'bodh[maps]'", records)
        return False
    return True


def _by_index(vectors: np.ndarray, path: Path, query: np.ndarray, top: int) -> tuple[np.ndarray, np.ndarray]:
    """Return near neighbours by an inverted-file index of FAISS, which is built once and kept beside the vectors.

    About 4·√n lists, of which 64 are read: near, and nearly always the nearest (recall is the index's, not ours).
    """
    from bodh import _optional

    faiss = _optional.require("faiss", extra="maps", feature="search in many records")
    file = path.with_suffix(".faiss")
    if file.is_file():
        index = faiss.read_index(str(file), faiss.IO_FLAG_MMAP)
    else:
        lists = int(4 * np.sqrt(len(vectors)))
        quantiser = faiss.IndexFlatIP(vectors.shape[1])
        index = faiss.IndexIVFFlat(quantiser, vectors.shape[1], lists, faiss.METRIC_INNER_PRODUCT)
        sample = np.linspace(0, len(vectors) - 1, num=min(len(vectors), 40 * lists)).astype(int)
        index.train(np.ascontiguousarray(vectors[sample]))
        for start in range(0, len(vectors), BLOCK):
            index.add(np.ascontiguousarray(vectors[start : start + BLOCK]))
        partial = file.with_name(f".{file.stem}.{secrets.token_hex(4)}.partial")
        faiss.write_index(index, str(partial))
        partial.replace(file)
    index.nprobe = 64
    similarity, order = index.search(query[None], top)
    present = order[0] >= 0
    return order[0][present], similarity[0][present]
