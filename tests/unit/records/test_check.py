from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bodh.contracts import Json
from bodh.records.check import check, describe
from bodh.records.duplicates import find_duplicates
from bodh.records.memory import MemoryStore
from bodh.records.open import open_source
from bodh.records.store import open_store
from tests.unit.records.fake_modality import FakeImages
from tests.unit.records.samples import fill


def report(folder: Path, cache: Path) -> Json:
    source = open_source(folder)
    found = check(source, open_store(source, FakeImages(), cache=cache, tolerance=1.0)).to_json()
    json.dumps(found)  # plain values only
    return found


def findings(found: Json) -> str:
    return "\n".join(row["finding"] for row in found["findings"])


def test_a_clean_set_has_no_findings(tmp_path: Path):
    fill(tmp_path / "set", [f"{part}/{kind}/{i}.png" for part in ("train", "test") for kind in "ab" for i in range(6)])
    found = report(tmp_path / "set", tmp_path)
    assert found["findings"] == []
    assert found["splits"] == [
        {"part": "train", "records": 12, "labelled": 12},
        {"part": "test", "records": 12, "labelled": 12},
    ]
    assert found["classes"][0] == {"class": "a", "records": 12, "train": 6, "test": 6}
    assert found["labels"] == "one of 2 classes"
    assert found["sizes"] == {"smallest": "12 x 10", "median": "12 x 10", "largest": "12 x 10", "different": 1}
    assert found["formats"] == {"PNG RGB": 24}


def test_broken_records_are_listed_by_name(tmp_path: Path):
    fill(tmp_path / "set", [f"{i}.png" for i in range(6)])
    (tmp_path / "set" / "बिगड़ा.jpg").write_text("text", encoding="utf-8")
    found = report(tmp_path / "set", tmp_path)
    assert [row["id"] for row in found["broken"]] == ["बिगड़ा.jpg"]
    assert "cannot identify" in found["broken"][0]["reason"]
    assert "1 of 7 records cannot be read (14.3%; more than 5 %: training stops)" in findings(found)


def test_copies_are_found_across_formats_parts_and_labels(tmp_path: Path):
    folder = fill(tmp_path / "set", [f"train/{kind}/{i}.png" for kind in "ab" for i in range(8)])
    fill(folder, ["test/a/copy.bmp"], first=3)  # train/a/3.png
    fill(folder, ["test/b/1.png", "test/b/2.png"], first=50)
    fill(folder, ["train/b/copy.png"], first=1)  # train/a/1.png
    found = report(folder, tmp_path)
    groups = {tuple(row["ids"]): row for row in found["duplicates"]}
    assert set(groups) == {("test/a/copy.bmp", "train/a/3.png"), ("train/a/1.png", "train/b/copy.png")}
    assert groups["train/a/1.png", "train/b/copy.png"]["labels"] == ["a", "b"]
    assert found["counts"]["same_across_parts"] == 1
    assert found["counts"]["same_with_different_labels"] == 1
    assert found["counts"]["alike_groups"] == 0
    assert "exact copies of other records: 1 group across train, val and test: scores will be too good" in findings(
        found
    )


def changed(rows: np.ndarray, how: str) -> np.ndarray:
    image = Image.fromarray(rows)
    if how == "smaller":
        return np.asarray(image.resize((image.width * 2 // 3, image.height * 2 // 3), Image.Resampling.BICUBIC))
    if how == "brighter":
        return np.asarray((rows * 0.8 + 40).astype(np.uint8))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=80)
    return np.asarray(Image.open(buffer))


@pytest.mark.parametrize("how", ["smaller", "brighter", "saved again"])
def test_pictures_that_only_look_the_same_are_found(how: str):
    coarse = np.random.default_rng(0).integers(0, 256, (60, 6, 7, 3), dtype=np.uint8)
    rows = [np.asarray(Image.fromarray(row).resize((60, 48), Image.Resampling.BICUBIC)) for row in coarse]
    rows += [changed(rows[i], how) for i in range(0, 20, 2)]
    found = find_duplicates(MemoryStore(rows))
    assert found.same == []
    assert sorted(tuple(group.tolist()) for group in found.alike) == [(i, 60 + i // 2) for i in range(0, 20, 2)]


def test_re_saved_photographs_are_found_and_different_ones_are_not(shared: Path, tmp_path: Path):
    source = open_source(shared / "clothing-small", input="test")
    store = open_store(source, FakeImages(), cache=tmp_path)
    rows = store.rows(np.arange(len(store)))
    assert isinstance(rows, list)
    again = [changed(row, "saved again") for row in rows[:40]]
    found = find_duplicates(MemoryStore(rows + again))
    assert [group.tolist() for group in found.alike] == [[i, len(rows) + i] for i in range(40)]


def test_pictures_of_one_colour_are_told_and_not_taken_for_near_copies(tmp_path: Path):
    folder = fill(tmp_path / "set", [f"{i}.png" for i in range(5)])
    for value in (0, 90, 255):
        Image.new("L", (12, 10), value).save(folder / f"blank{value}.png")
    found = report(folder, tmp_path)
    assert "3 images are of one single colour (blank0.png, blank90.png, blank255.png)" in findings(found)
    assert found["counts"]["alike_groups"] == 0


def test_odd_sizes_are_told(tmp_path: Path):
    folder = fill(tmp_path / "set", ["1.png"])
    Image.new("RGB", (1, 1)).save(folder / "point.png")
    Image.new("L", (90, 10)).save(folder / "strip.gif")
    found = report(folder, tmp_path)
    assert "1 images are smaller than 8 pixels on a side" in findings(found)
    assert "more than four times as long as wide" in findings(found)
    assert found["sizes"]["smallest"] == "1 x 1"
    assert found["formats"] == {"PNG RGB": 2, "GIF P": 1} or found["formats"] == {"PNG RGB": 2, "GIF L": 1}


def test_classes_are_judged(tmp_path: Path):
    names = [f"train/many/{i}.png" for i in range(60)] + ["train/few/1.png", "test/many/1.png", "train/x.png"]
    said = findings(describe(open_source(fill(tmp_path, names))).to_json())
    assert "classes are unbalanced: 61 records of 'many', 1 of 'few'" in said
    assert "1 class has fewer than 5 records: few" in said
    assert "1 class has no record in test: few" in said
    assert "1 record has no label" in said


def test_one_class_is_told(tmp_path: Path):
    said = findings(describe(open_source(fill(tmp_path, ["cat/1.png", "cat/2.png"]))).to_json())
    assert "there is only one class, 'cat': nothing to tell apart" in said


def test_several_labels_at_once_are_counted():
    targets = np.array([[1, 1], [0, 1], [0, 0]], np.uint8)
    source = open_source((np.arange(3 * 64, dtype=np.uint8).reshape(3, 8, 8), targets))
    found = check(source, open_store(source, FakeImages())).to_json()
    assert found["labels"] == "any of 2 classes at once"
    assert [row["records"] for row in found["classes"]] == [1, 2]


def test_vectors_have_exact_copies_only():
    rows = np.random.default_rng(0).normal(size=(20, 5)).astype(np.float32)
    rows[7] = rows[3]
    found = find_duplicates(MemoryStore(rows))
    assert [group.tolist() for group in found.same] == [[3, 7]]
    assert found.alike == []


def test_equal_bytes_of_different_shapes_are_no_copies():
    rows = [np.zeros((2, 6, 3), np.uint8), np.zeros((6, 2, 3), np.uint8)]
    assert find_duplicates(MemoryStore(rows)).same == []


def test_measured_numbers_are_described():
    rows = np.random.default_rng(0).integers(0, 255, (6, 8, 8), dtype=np.uint8)
    report = describe(open_source((rows, np.array([1.5, 2.5, np.nan, 4.5, 5.5, 6.0]))))
    assert report.labels == "1 measured number: value"
    assert report.classes == []
    assert report.splits == [{"part": "train", "records": 6, "labelled": 5}]
    (row,) = report.numbers
    assert (row["labelled"], row["missing"], row["least"], row["most"]) == (5, 1, 1.5, 6.0)
    assert row["mean"] == pytest.approx(4.0)
    assert {"finding": "1 records have no 'value'"} in report.findings
