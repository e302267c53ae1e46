"""The index is exact, drawn by seed, and shows what it found."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from bodh.modalities.image import ImageConfig, Modality
from bodh.records.memory import MemoryStore
from bodh.serving import index

NAMES = ("बिल्ली", "dog")


def store(n: int, *, targets: np.ndarray | None = None, splits: list[str] | None = None) -> MemoryStore:
    pixels = np.random.default_rng(0).integers(0, 256, (n, 8, 8, 3), dtype=np.uint8)
    return MemoryStore(pixels, targets=targets, splits=splits, class_names=NAMES if targets is not None else ())


def image() -> Modality:
    return Modality(ImageConfig(size=8, channels=3, mean=(0.5,) * 3, std=(0.2,) * 3))


def flat(rows: np.ndarray) -> np.ndarray:
    return rows.reshape(len(rows), -1).astype(np.float32) - 127.5


def test_nearest_is_what_sorting_all_similarities_gives() -> None:
    records, modality = store(70, targets=np.arange(70) % 2), image()
    positions = index.choose(records)
    vectors = index.embeddings(records, modality, flat, positions)
    built = index.build(records, positions, vectors=vectors, pictures=index.thumbnails(records, modality, positions))
    queries = flat(records.rows(np.array([5, 6]))) + 3
    expected = np.argsort(-(index.unit(queries) @ vectors.T), axis=1)[:, :4]
    found = built.nearest(queries, 4)
    assert [[entry["id"] for entry in row] for row in found] == [[records.ids[i] for i in row] for row in expected]
    assert found[0][0]["label"] == "dog"
    assert found[1][0]["label"] == "बिल्ली"
    assert len(built.nearest(queries, 1000)[0]) == 70


def test_only_training_records_are_indexed_and_many_are_drawn_by_seed() -> None:
    splits = ["train", "test"] * 50
    assert index.choose(store(100, splits=splits)).tolist() == list(range(0, 100, 2))
    assert index.choose(store(10, splits=["test"] * 10)).tolist() == list(range(10))
    drawn = index.choose(store(100), limit=30)
    assert len(set(drawn.tolist())) == 30
    assert drawn.tolist() == sorted(drawn.tolist()) == index.choose(store(100), limit=30).tolist()


def test_labels_of_all_kinds() -> None:
    assert index.label_of(store(2), 0) == ""
    assert index.label_of(store(2, targets=np.array([1, -1])), 0) == "dog"
    assert index.label_of(store(2, targets=np.array([1, -1])), 1) == ""
    several = store(2, targets=np.array([[1, 1], [0, 0]], dtype=np.uint8))
    assert [index.label_of(several, at) for at in (0, 1)] == ["बिल्ली, dog", ""]


def test_thumbnails_are_pictures_and_small() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (2, 200, 100, 3), dtype=np.uint8)
    pictures = index.thumbnails(MemoryStore(pixels), image(), np.arange(2))
    for content in pictures:
        with Image.open(io.BytesIO(content)) as picture:
            assert picture.size == (48, 96)
            assert picture.format == "WEBP"


def test_a_vector_of_zeros_is_near_to_nothing() -> None:
    built = index.NeighbourIndex(index.unit(np.eye(2)), ["a", "b"], ["", ""], [b"", b""])
    assert built.nearest(np.zeros((1, 2)), 1)[0][0]["similarity"] == pytest.approx(0)
