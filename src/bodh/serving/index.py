"""Nearest training records: exact cosine over a few thousand embeddings, with a thumbnail or words each. No torch."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from bodh.contracts import Json, Modality, RecordStore, derive_seed
from bodh.model.modality import shown

RECORDS = 5_000
"""Records an index holds at most; more are drawn by seed."""
THUMBNAIL = 96
_BATCH = 32


@dataclass(frozen=True)
class NeighbourIndex:
    """Embeddings `vectors` [n d] of unit length, and what to show of each: id, label ("" for none), picture, words."""

    vectors: np.ndarray
    ids: Sequence[str]
    labels: Sequence[str]
    thumbnails: Sequence[bytes | str]
    """PNG or WebP; of records that are shown in words, the words"""

    def __len__(self) -> int:
        return len(self.vectors)

    def nearest(self, embeddings: np.ndarray, top: int) -> list[list[Json]]:
        """Return the `top` nearest records of each of `embeddings` [q d], most similar (cosine, −1 to 1) first."""
        similarity = unit(embeddings) @ self.vectors.T  # [q n]
        top = min(top, len(self))
        found = np.argpartition(-similarity, top - 1, axis=1)[:, :top]
        rows = []
        for place, candidates in enumerate(found):
            order = candidates[np.argsort(-similarity[place, candidates], kind="stable")]
            rows.append([self._entry(int(at), float(similarity[place, at])) for at in order])
        return rows

    def _entry(self, at: int, similarity: float) -> Json:
        picture = self.thumbnails[at]
        entry: Json = {"id": self.ids[at], "label": self.labels[at] or None, "similarity": round(similarity, 6)}
        if isinstance(picture, str):
            return entry | {"text": picture}
        kind = "webp" if picture[:4] == b"RIFF" else "png"
        return entry | {"thumbnail": f"data:image/{kind};base64,{base64.b64encode(picture).decode()}"}


def unit(vectors: np.ndarray) -> np.ndarray:
    """Return `vectors` [n d] as float32 of length one (zeros stay zeros)."""
    vectors = np.asarray(vectors, dtype=np.float32)
    lengths: np.ndarray = np.linalg.norm(vectors, axis=1, keepdims=True)
    scaled: np.ndarray = vectors / np.maximum(lengths, 1e-12)
    return scaled


def choose(store: RecordStore, *, limit: int = RECORDS) -> np.ndarray:
    """Return sorted positions [n] of training records for an index: all of them, or `limit` drawn by seed.

    A store without a training split gives all its records.
    """
    splits = np.asarray(store.splits)
    positions = np.flatnonzero(splits == "train")
    if not len(positions):
        positions = np.arange(len(store))
    if len(positions) > limit:
        generator = np.random.default_rng(derive_seed("neighbours", store.fingerprint))
        positions = np.sort(generator.choice(positions, size=limit, replace=False))
    return positions


def embeddings(
    store: RecordStore, modality: Modality, embed: Callable[[np.ndarray], np.ndarray], positions: np.ndarray
) -> np.ndarray:
    """Return unit embeddings [n d] of the records at `positions` [n], by `embed` from `[n …]` to `[n d]`."""
    return np.concatenate([unit(embed(modality.standardise(store.rows(part)))) for part in _batches(positions)])


def thumbnails(store: RecordStore, modality: Modality, positions: np.ndarray) -> list[bytes | str]:
    """Return a small picture of each record at `positions` [n]: WebP where that is smaller than the modality's PNG.

    Of texts the beginning of each.
    """
    found = (shown(modality, row, THUMBNAIL) for part in _batches(positions) for row in store.rows(part))
    return [one if isinstance(one, str) else _smaller(one) for one in found]


def build(
    store: RecordStore, positions: np.ndarray, *, vectors: np.ndarray, pictures: Sequence[bytes | str]
) -> NeighbourIndex:
    """Return the index of the records at `positions` [n], with their `vectors` [n d] and `pictures` [n]."""
    return NeighbourIndex(
        vectors=vectors,
        ids=[str(store.ids[int(at)]) for at in positions],
        labels=[label_of(store, int(at)) for at in positions],
        thumbnails=pictures,
    )


def _smaller(png: bytes) -> bytes:
    buffer = io.BytesIO()
    with Image.open(io.BytesIO(png)) as picture:
        picture.convert("RGB").save(buffer, "WEBP", quality=80)
    return min(png, buffer.getvalue(), key=len)


def label_of(store: RecordStore, at: int) -> str:
    """Return the class name of a record, several joined by commas, its measured numbers, or "" without one."""
    if store.targets is None:
        return ""
    target = store.targets[at]
    if target.dtype.kind == "f":
        return ", ".join(f"{number:g}" for number in np.atleast_1d(target) if not np.isnan(number))
    if np.ndim(target):
        return ", ".join(name for name, held in zip(store.class_names, target, strict=True) if held)
    return store.class_names[int(target)] if int(target) >= 0 else ""


def _batches(positions: np.ndarray) -> Iterator[np.ndarray]:
    for start in range(0, len(positions), _BATCH):
        yield positions[start : start + _BATCH]
