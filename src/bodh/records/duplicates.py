"""Which records are the same, and which only look the same.

Same: equal decoded bytes, whatever the files are. Look the same: a 64-bit hash of the lowest frequencies (the signs of
a cosine transform against their median) differs in at most three bits, *and* small grey pictures of both, freed of
brightness and contrast, are closer than what is usual between different records of this very data set.
Letters {n} records, {p} pairs.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from bodh.contracts import RecordStore

_SIDE, _THUMB, _LOW = 32, 16, 8
_BITS = 3
"""Largest distance of two hashes; four bands of 16 bits find every such pair."""
_CLOSEST = 0.12
"""Mean difference, in standard deviations, below which two pictures look the same; less where a set is uniform
(handwritten digits): then a quarter of what is usual between neighbours."""
_NEIGHBOURS = 256
_BLOCK_BYTES = 32 << 20


@dataclass(frozen=True)
class Duplicates:
    """What was found, as positions in the store."""

    same: list[np.ndarray]
    """groups of records with equal content"""
    alike: list[np.ndarray]
    """groups of records that look the same; of each `same` group only the first can be in one"""
    blank: np.ndarray
    """[b] records of one single colour"""


def find_duplicates(store: RecordStore, progress: Callable[[int, int], None] | None = None) -> Duplicates:
    """Read all records once and compare each with all others.

    Args:
        store: decoded records; looks are compared where these are images (uint8 [h w c]).
        progress: called with (records done, records in all).
    """
    contents: dict[bytes, list[int]] = defaultdict(list)
    hashes, thumbs, blank = [], [], []
    position = 0
    for rows in _blocks(store):
        for row in rows:
            contents[_content(row)].append(position)
            position += 1
        if rows[0].dtype == np.uint8 and rows[0].ndim == 3:
            pictures = np.stack([_picture(row) for row in rows]) if isinstance(rows, list) else _picture(rows)
            hashes.append(_hash(pictures))
            small, flat = _thumb(pictures)
            thumbs.append(small)
            blank.append(flat)
        if progress:
            progress(position, len(store))
    same = [np.array(group) for group in contents.values() if len(group) > 1]
    if not hashes:
        return Duplicates(same, [], np.empty(0, np.int64))
    flat = np.concatenate(blank)
    first = np.sort(np.array([group[0] for group in contents.values()]))
    first = first[~flat[first]]
    groups = _alike(np.concatenate(hashes)[first], np.concatenate(thumbs)[first])
    return Duplicates(same, [first[group] for group in groups], np.flatnonzero(flat))


def _blocks(store: RecordStore) -> Iterator[np.ndarray | list[np.ndarray]]:
    width = int(np.prod(store.shape)) if store.shape else 1 << 20
    step = int(max(1, min(4096, _BLOCK_BYTES // max(1, width))))
    for start in range(0, len(store), step):
        yield store.rows(np.arange(start, min(start + step, len(store))))


def _content(row: np.ndarray) -> bytes:
    return hashlib.blake2b(np.ascontiguousarray(row).data, digest_size=16, salt=str(row.shape).encode()[:16]).digest()


@lru_cache(maxsize=4096)
def _averaging(size: int, to: int) -> np.ndarray:
    """Return [to size]: each of `to` equal stretches as the mean of what lies under it."""
    edges = np.linspace(0.0, size, to + 1)
    cell = np.arange(size)
    cover = np.minimum(cell[None] + 1, edges[1:, None]) - np.maximum(cell[None], edges[:-1, None])
    cover = np.clip(cover, 0, None)
    return np.asarray(cover / cover.sum(1, keepdims=True), np.float32)


def _picture(rows: np.ndarray) -> np.ndarray:
    """Return uint8 [… h w c] as grey float32 [… 32 32]."""
    if rows.shape[-1] >= 3:  # 77, 150 and 29 of 256 are the eye's weights; alpha is left aside
        red, green, blue = (rows[..., channel].astype(np.uint16) for channel in range(3))
        grey = (77 * red + 150 * green + 29 * blue) >> 8
    else:
        grey = rows[..., 0]
    # one large product, then small ones: many middling ones would each wake the threads of the linear algebra
    lines = np.ascontiguousarray(grey, np.float32).reshape(-1, rows.shape[-2])
    narrow = (lines @ _averaging(rows.shape[-2], _SIDE).T).reshape(*grey.shape[:-1], _SIDE)
    return np.asarray(_averaging(rows.shape[-3], _SIDE) @ narrow)


def _hash(pictures: np.ndarray) -> np.ndarray:
    """Return [n] uint64 perceptual hashes."""
    place = np.arange(_SIDE)
    basis = np.cos(np.pi * (place[None] + 0.5) * np.arange(_LOW)[:, None] / _SIDE).astype(np.float32)
    waves = (basis @ pictures @ basis.T).reshape(len(pictures), -1)
    bits = waves > np.median(waves[:, 1:], axis=1, keepdims=True)
    return np.packbits(bits, axis=1).view(">u8").reshape(-1).astype(np.uint64)


def _thumb(pictures: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return [n 256] float16 small pictures of mean 0 and deviation 1, and [n] whether there is nothing on them."""
    fold = _SIDE // _THUMB
    small = pictures.reshape(-1, _THUMB, fold, _THUMB, fold).mean((2, 4)).reshape(len(pictures), -1)
    deviation = small.std(1, keepdims=True)
    flat = np.ptp(pictures.reshape(len(pictures), -1), axis=1) < 1.0
    return ((small - small.mean(1, keepdims=True)) / np.maximum(deviation, 1e-3)).astype(np.float16), flat


def _alike(hashes: np.ndarray, thumbs: np.ndarray) -> list[np.ndarray]:
    if len(hashes) < 2:
        return []
    limit = min(_CLOSEST, 0.25 * _usual(thumbs))
    close: list[np.ndarray] = []
    for pairs in _candidates(hashes):
        for start in range(0, len(pairs), 1 << 16):
            some = pairs[start : start + (1 << 16)]
            apart = np.abs(thumbs[some[:, 0]].astype(np.float32) - thumbs[some[:, 1]]).mean(1)
            close.append(some[apart <= limit])
    return _groups(np.concatenate(close) if close else np.empty((0, 2), np.int64), len(hashes))


def _usual(thumbs: np.ndarray) -> float:
    """Return the median distance of a record to its nearest among a sample of the others."""
    generator = np.random.Generator(np.random.PCG64(0))
    order = generator.permutation(len(thumbs))
    some, others = thumbs[order[:200]].astype(np.float32), thumbs[order[-3000:]].astype(np.float32)
    nearest = []
    for row, own in zip(some, order[:200], strict=True):
        apart = np.abs(others - row).mean(1)
        apart[order[-3000:] == own] = np.inf
        nearest.append(apart.min())
    return float(np.median(nearest)) if len(thumbs) > 30 else np.inf


def _candidates(hashes: np.ndarray) -> Iterator[np.ndarray]:
    """Yield [p 2] pairs whose hashes differ in at most three bits: they agree in one of four bands of 16 bits.

    Where very many agree in a band, each is compared with the next 256 in the order of the whole hash.
    """
    for shift in (0, 16, 32, 48):
        band = (hashes >> np.uint64(shift)) & np.uint64(0xFFFF)
        order = np.lexsort((hashes, band))
        bands, values = band[order], hashes[order]
        for step in range(1, min(_NEIGHBOURS, len(order) - 1) + 1):
            near = np.flatnonzero(bands[step:] == bands[:-step])
            if not len(near):
                break
            near = near[np.bitwise_count(values[near] ^ values[near + step]) <= _BITS]
            if len(near):
                yield np.column_stack([order[near], order[near + step]])


def _groups(pairs: np.ndarray, n: int) -> list[np.ndarray]:
    """Return the connected groups of two or more, each sorted, in the order of their first record."""
    if not len(pairs):
        return []
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    graph = coo_array((np.ones(len(pairs), np.int8), (pairs[:, 0], pairs[:, 1])), shape=(n, n))
    _, label = connected_components(graph, directed=False)
    members: dict[int, list[int]] = defaultdict(list)
    for position in np.unique(pairs).tolist():
        members[int(label[position])].append(position)
    return [np.array(group) for group in members.values()]
