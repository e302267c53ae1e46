from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bodh.errors import BadRecord, DataError
from bodh.records.open import open_source
from tests.unit.records.samples import encoded


def write(path: Path, columns: dict[str, Any], *, group: int = 3, names: list[str] | None = None) -> Path:
    table = pa.table(columns)
    if names:
        features = {"info": {"features": {"label": {"names": names, "_type": "ClassLabel"}}}}
        table = table.replace_schema_metadata({"huggingface": json.dumps(features)})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, row_group_size=group)
    return path


def images(count: int, first: int = 0) -> list[dict[str, Any]]:
    return [{"bytes": encoded(first + i), "path": f"{i}.png"} for i in range(count)]


def test_rows_are_found_whatever_their_row_group(tmp_path: Path):
    path = write(tmp_path / "set.parquet", {"image": images(8), "label": list(range(8))})
    source = open_source(path)
    assert [source.read(i) for i in (7, 0, 3, 4, 2)] == [encoded(i) for i in (7, 0, 3, 4, 2)]
    assert source.ids[7] == "set.parquet:7"
    assert source.targets is not None
    assert source.targets.tolist() == list(range(8))
    assert pickle.loads(pickle.dumps(source)).read(5) == encoded(5)


def test_parts_by_file_name_with_class_names_from_the_schema(tmp_path: Path):
    for part, first in (("test-00000-of-00001", 50), ("train-00001-of-00002", 10), ("train-00000-of-00002", 0)):
        columns = {"image": images(4, first), "label": [0, 1, 1, 0]}
        write(tmp_path / "data" / f"{part}.parquet", columns, names=["बिल्ली", "dog"])
    source = open_source(tmp_path)
    assert source.splits.tolist() == ["train"] * 8 + ["test"] * 4
    assert source.class_names == ("बिल्ली", "dog")
    assert source.read(9) == encoded(51)
    assert source.read(5) == encoded(11)


def test_plain_bytes_words_and_missing_labels(tmp_path: Path):
    path = write(tmp_path / "x.parquet", {"jpg": [encoded(0), encoded(1), None], "label": ["dog", None, "cat"]})
    source = open_source(path)
    assert source.class_names == ("cat", "dog")
    assert source.targets is not None
    assert source.targets.tolist() == [1, -1, 0]
    with pytest.raises(BadRecord, match="no image in this row"):
        source.read(2)


def test_lists_of_labels_are_several_at_once(tmp_path: Path):
    source = open_source(write(tmp_path / "x.parquet", {"image": images(3), "label": [[0, 2], [], [1]]}))
    assert source.targets is not None
    assert source.targets.tolist() == [[1, 0, 1], [0, 0, 0], [0, 1, 0]]


def test_columns_can_be_chosen(tmp_path: Path):
    columns = {"front": images(2), "back": images(2, 10), "label": [0, 1], "kind": ["a", "b"], "price": [0.5, 1.25]}
    path = write(tmp_path / "x.parquet", columns)
    with pytest.raises(DataError, match=r"several image columns: front, back; choose one with input=NAME"):
        open_source(path)
    source = open_source(path, input="back", label="kind")
    assert source.read(1) == encoded(11)
    assert source.class_names == ("a", "b")
    assert open_source(path, input="back", label="none").targets is None
    with pytest.raises(DataError, match="no image column input='kind'; its columns are: front"):
        open_source(path, input="kind")
    with pytest.raises(DataError, match="no column label='breed'; its columns are: front, back, label"):
        open_source(path, input="back", label="breed")


def test_columns_of_floats_are_measured_numbers(tmp_path: Path):
    columns = {"image": images(3), "price": [0.5, 1.25, None], "age": [30, 7, 7], "kind": ["a", "b", "b"]}
    path = write(tmp_path / "x.parquet", columns)
    source = open_source(path, label="price")
    assert source.targets is not None
    assert source.targets.dtype == np.float32
    np.testing.assert_array_equal(source.targets, np.array([0.5, 1.25, np.nan], np.float32))
    assert source.class_names == ("price",)
    both = open_source(path, label="price,age")
    np.testing.assert_array_equal(both.targets, np.array([[0.5, 30], [1.25, 7], [np.nan, 7]], np.float32))
    assert both.class_names == ("price", "age")
    ages = open_source(path, label="age", task="regress")
    assert ages.targets is not None
    assert ages.targets.tolist() == [30.0, 7.0, 7.0]
    with pytest.raises(DataError, match=r"words \(a, b\), which cannot be read as numbers"):
        open_source(path, label="kind", task="regress")
    with pytest.raises(DataError, match=r"measured numbers such as 0\.5, not classes"):
        open_source(path, label="price", task="classify")
    with pytest.raises(DataError, match="no column label='size'"):
        open_source(path, label="price,size")


def test_what_cannot_be_read_is_told(tmp_path: Path):
    with pytest.raises(DataError, match=r"neither a column of texts .* images .* its columns are: a \(int64\)"):
        open_source(write(tmp_path / "a.parquet", {"a": [1]}))
    broken = tmp_path / "b" / "broken.parquet"
    broken.parent.mkdir()
    broken.write_bytes(b"PAR1 and nothing more")
    with pytest.raises(DataError, match=r"'broken.parquet' is no readable Parquet file"):
        open_source(broken)
    write(tmp_path / "c" / "train.parquet", {"image": images(1), "label": [0]})
    write(tmp_path / "c" / "test.parquet", {"photo": images(1)})
    with pytest.raises(DataError, match=r"'test.parquet' has no column 'image', which 'train.parquet' has"):
        open_source(tmp_path / "c")


def test_labels_may_be_missing_in_the_test_part(tmp_path: Path):
    write(tmp_path / "train.parquet", {"image": images(2), "label": [0, 1]})
    write(tmp_path / "test.parquet", {"image": images(1)})
    source = open_source(tmp_path)
    assert source.targets is not None
    assert source.targets.tolist() == [0, 1, -1]
    assert "test.parquet has no column 'label': its records have no label" in source.notes


def test_texts_are_read_where_there_are_no_images_and_empty_ones_are_left_out(tmp_path: Path):
    rows = {"text": ["एक पाठ", " ", "two", None, "three", "four"], "label": ["a", "b", "a", "a", "b", "a"]}
    path = write(tmp_path / "x.parquet", rows, group=2)
    source = open_source(path)
    assert source.modality == "text"
    assert [source.read(i).decode() for i in range(len(source))] == ["एक पाठ", "two", "three", "four"]
    assert list(source.ids) == ["x.parquet:0", "x.parquet:2", "x.parquet:4", "x.parquet:5"]
    assert source.targets is not None
    assert [source.class_names[t] for t in source.targets] == ["a", "a", "b", "a"]
    assert "2 empty rows left out" in source.notes
    assert pickle.loads(pickle.dumps(source)).read(3) == b"four"


def test_of_several_columns_of_texts_the_longest_is_read_and_said(tmp_path: Path):
    long, short = ["a longer one", "another one of some length"], ["in", "on"]
    path = write(tmp_path / "x.parquet", {"short": short, "long": long})
    source = open_source(path)
    assert source.read(1) == b"another one of some length"
    assert "texts from column 'long' (its texts are the longest, of the columns short, long)" in source.reading
    assert open_source(path, input="short").read(0) == b"in"
    with pytest.raises(DataError, match=r"has no column data.input='lang' \(did you mean 'long'\?\)"):
        open_source(path, input="lang")


def test_the_fingerprint_follows_file_and_column(tmp_path: Path):
    path = write(tmp_path / "x.parquet", {"front": images(2), "back": images(2, 10)})
    front, back = open_source(path, input="front").fingerprint, open_source(path, input="back").fingerprint
    write(path, {"front": images(3), "back": images(3, 10)})
    assert len({front, back, open_source(path, input="front").fingerprint}) == 3


def test_the_real_file(shared: Path):
    source = open_source(shared / "cifar10")
    assert source.class_names[0] == "airplane"
    assert source.targets is not None
    assert np.bincount(source.targets[source.splits == "test"]).tolist() == [1000] * 10
    assert source.targets[:1].tolist() == [5]
    assert bytes(source.read(59_999))[:2] == b"\xff\xd8"
