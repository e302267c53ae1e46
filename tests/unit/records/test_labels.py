from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bodh.errors import DataError
from bodh.records.labels import as_numbers, encode_labels, encode_lists, read_class_names


@pytest.mark.parametrize(
    ("values", "index", "names"),
    [
        ([3, 7, 3, -1], [0, 1, 0, -1], ("3", "7")),
        ([True, False], [1, 0], ("false", "true")),
        (["cat", "बिल्ली", "", None], [0, 1, -1, -1], ("cat", "बिल्ली")),
        (["class10", "class2"], [1, 0], ("class2", "class10")),
        ([1.0, float("nan"), 0.0], [1, -1, 0], ("0", "1")),
        ([[1], [0]], [1, 0], ("0", "1")),
    ],
)
def test_values_become_indices(values: list[object], index: list[int], names: tuple[str, ...]):
    targets, kinds = encode_labels(values, owner="x")
    assert targets.tolist() == index
    assert targets.dtype == np.int64
    assert kinds == names


def test_names_that_the_data_brings_are_used():
    assert encode_labels([1, 0, -1], ["cat", "dog"], owner="x")[1] == ("cat", "dog")
    assert encode_labels(["dog"], ["cat", "dog"], owner="x")[0].tolist() == [1]
    with pytest.raises(DataError, match="label 2, but only 2 class names"):
        encode_labels([2], ["cat", "dog"], owner="x")


def test_several_labels_at_once():
    targets, names = encode_labels([[1, 0], [1, 1]], owner="x")
    assert targets.dtype == np.uint8
    assert names == ("0", "1")
    targets, names = encode_lists([["dog", "cat"], None, ["dog"]], owner="x")
    assert names == ("cat", "dog")
    assert targets.tolist() == [[1, 1], [0, 0], [0, 1]]
    with pytest.raises(DataError, match="zeros and ones"):
        encode_labels([[5, 1], [0, 1]], owner="x")


@pytest.mark.parametrize(
    ("values", "numbers", "names"),
    [
        ([1.0, 0.25], [1.0, 0.25], ("value",)),
        ([0.5, float("nan")], [0.5, float("nan")], ("value",)),
        ([-7, 3, -1], [-7.0, 3.0, -1.0], ("value",)),
        ([-2.0, 3.0], [-2.0, 3.0], ("value",)),
        ([[0.5, 1.0], [0.0, float("nan")]], [[0.5, 1.0], [0.0, float("nan")]], ("value_0", "value_1")),
        (np.arange(101.0), np.arange(101.0).tolist(), ("value",)),
    ],
)
def test_measured_numbers_stay_numbers(values: object, numbers: list[float], names: tuple[str, ...]):
    targets, called = encode_labels(values, owner="x")
    assert targets.dtype == np.float32
    np.testing.assert_array_equal(targets, np.array(numbers, np.float32))
    assert called == names


def test_few_whole_floats_are_classes_and_that_is_said(caplog: pytest.LogCaptureFixture):
    caplog.set_level("INFO", "bodh")
    assert encode_labels([1.0, 3.0], owner="x")[0].tolist() == [0, 1]
    assert "2 different whole numbers: read as classes; type data.task=regress" in caplog.text


def test_classes_can_be_read_as_numbers():
    targets, names = as_numbers(*encode_labels([30, 7, -1], owner="x"), owner="x")
    np.testing.assert_array_equal(targets, np.array([30, 7, np.nan], np.float32))
    assert names == ("value",)
    same = np.array([0.5], np.float32)
    assert as_numbers(same, ("angle",), owner="x") == (same, ("angle",))
    with pytest.raises(DataError, match=r"words \(cat, dog\), which cannot be read as numbers"):
        as_numbers(*encode_labels(["dog", "cat"], owner="x"), owner="x")


def test_what_is_neither_class_nor_number_is_refused():
    with pytest.raises(DataError, match="infinite numbers"):
        encode_labels([0.5, float("inf")], owner="x")
    with pytest.raises(DataError, match="2001 different words in 2001 records"):
        encode_labels([f"word {i}" for i in range(2001)], owner="x")


def test_class_names_are_read_from_beside_the_data(tmp_path: Path):
    assert read_class_names(tmp_path) == ()
    (tmp_path / "classes.txt").write_text("\ufeffबिल्ली\n\ncat \n", encoding="utf-8")
    assert read_class_names(tmp_path) == ("बिल्ली", "cat")
