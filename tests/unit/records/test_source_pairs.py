"""Pairs of texts: parallel files, columns of tables, lists; what is wrong is told."""

from __future__ import annotations

import gzip
import json
import pickle

import numpy as np
import pytest

from bodh.errors import DataError
from bodh.records.open import open_source


def _write(folder, **files):
    for name, lines in files.items():
        path = folder / name.replace("__", ".")
        data = "".join(f"{line}\n" for line in lines).encode()
        path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return folder


def _read(source):
    return [source.read(place).decode().split("\x1e") for place in range(len(source))]


@pytest.fixture(name="parallel")
def _parallel(tmp_path):
    return _write(
        tmp_path, train__en=["a dog", "", "two", "three"], train__de=["ein Hund", "x", " ", "drei"],
        val__en__gz=["red"], val__de__gz=["rot"], test_2016__en=["नमस्ते"], test_2016__de=["hallo"],
        train__fr=["un chien", "y", "z", "w"],
    )  # fmt: skip


def test_parallel_files(parallel):
    source = open_source(parallel, input="en", target="de")
    assert source.modality == "pairs"
    assert dict(zip(source.ids, source.splits.tolist(), strict=True)) == {
        "train:1": "train", "train:4": "train", "val:1": "val", "test_2016:1": "test"
    }  # fmt: skip
    pairs = dict(zip(source.ids, _read(source), strict=True))
    assert pairs["train:1"] == ["a dog", "ein Hund"]
    assert pairs["train:4"] == ["three", "drei"]
    assert pairs["test_2016:1"] == ["नमस्ते", "hallo"]
    assert source.notes == ["2 pairs with an empty side left out"]
    assert pickle.loads(pickle.dumps(source)).read(1) == source.read(1)
    other = open_source(parallel, input="de", target="en")
    assert other.fingerprint != source.fingerprint
    assert other.fingerprint == open_source(parallel, input="de", target="en").fingerprint


def test_of_two_languages_one_is_enough(tmp_path):
    _write(tmp_path, train__hi=["कुत्ता"], train__en=["dog"])
    assert _read(open_source(tmp_path, target="en")) == [["कुत्ता", "dog"]]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"target": "de"}, "data.input is missing; its languages are: de, en, fr"),
        ({"input": "en", "modality": "pairs"}, "data.target is missing"),
        ({"input": "en", "target": "dee"}, r"no data.target='dee'; did you mean 'de'|no data.target='dee'"),
        ({"input": "en", "target": "en"}, "both 'en'"),
        ({"input": "en", "target": "de", "modality": "image"}, "modality='image'"),
        ({"input": "en", "target": "de", "label": "x"}, "data.label='x'"),
    ],
)
def test_choices_that_cannot_be_are_told(parallel, options, told):
    with pytest.raises(DataError, match=told):
        open_source(parallel, **options)


def test_files_of_different_length_and_alone_are_told(tmp_path):
    _write(tmp_path, train__en=["a", "b"], train__de=["x"])
    with pytest.raises(DataError, match=r"train\.en has 2 lines, but train\.de has 1"):
        open_source(tmp_path, target="de")
    _write(tmp_path, train__de=["x", "y"], val__en=["c"])
    with pytest.raises(DataError, match=r"val\.en has no val\.de beside it"):
        open_source(tmp_path, target="de")


def test_columns_of_tables_and_lists_in_them(tmp_path):
    rows = [{"id": 1, "hi": "कुत्ता", "en": ["dog", "a dog", ""]}, {"id": 2, "hi": "", "en": ["x"]}]
    path = tmp_path / "some.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    source = open_source(path, input="hi", target="en")
    assert _read(source) == [["कुत्ता", "dog"], ["कुत्ता", "a dog"]]
    assert source.ids == ["some.jsonl:1/0", "some.jsonl:1/1"]
    assert source.notes == ["1 pairs with an empty side left out"]
    with pytest.raises(DataError, match=r"no data.target='de'; its columns are: id, hi, en"):
        open_source(path, input="hi", target="de")


def test_csv_with_parts_and_parquet(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = tmp_path / "some.csv"
    path.write_text("source,target,split\none,eins,train\ntwo,zwei,test\n", encoding="utf-8")
    source = open_source(path, input="source", target="target")
    assert _read(source) == [["one", "eins"], ["two", "zwei"]]
    assert source.splits.tolist() == ["train", "test"]
    folder = tmp_path / "parquet"
    folder.mkdir()
    for part in ("train", "test"):
        pq.write_table(pa.table({"en": ["one", None], "de": ["eins", part]}), folder / f"{part}.parquet")
    source = open_source(folder, target="de")
    assert _read(source) == [["one", "eins"], ["one", "eins"]]
    assert source.splits.tolist() == ["train", "test"]


def test_in_memory():
    source = open_source([("one", "eins"), ("two\x1e", "zwei"), ("", "x")])
    assert _read(source) == [["one", "eins"], ["two ", "zwei"]]
    assert source.in_memory
    assert np.array_equal(source.splits, ["train", "train"])
    assert _read(open_source((["one"], ["eins"]), modality="pairs")) == [["one", "eins"]]
    assert open_source((["one", "two"], ["a", "b"])).modality == "text"  # texts with labels
    with pytest.raises(DataError, match="2 texts to read were given with 1"):
        open_source((["one", "two"], ["eins"]), modality="pairs")
    with pytest.raises(DataError, match="no pairs of texts"):
        open_source(["one", "two"], modality="pairs")
    with pytest.raises(DataError, match="a side is empty in each of 1"):
        open_source([("one", " ")])


def test_a_column_of_hard_negatives(tmp_path):
    rows = [
        {"q": "a dog runs", "a": ["ein Hund", "Hund"], "n": "eine Katze"},
        {"q": "नमस्ते", "a": "hello", "n": ""},
        {"q": "red", "a": "rot", "n": ["blau", "grün"]},
    ]
    table = tmp_path / "t.jsonl"
    table.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows), encoding="utf-8")
    source = open_source(table, target="a", negative="n", input="q")
    assert _read(source) == [
        ["a dog runs", "ein Hund", "eine Katze"], ["a dog runs", "Hund", "eine Katze"],
        ["red", "rot", "blau"], ["red", "rot", "grün"],
    ]  # fmt: skip
    assert source.notes == ["1 pairs with an empty side left out"]
    assert "not 'n'" in source.reading
    assert _read(open_source(table, target="a", negative="n")) == _read(source)  # of the two columns left, q is read


def test_hard_negatives_in_memory():
    source = open_source([("a", "b", "c"), ("d", "e", "f")])
    assert source.modality == "pairs"
    assert _read(source) == [["a", "b", "c"], ["d", "e", "f"]]
    with pytest.raises(DataError, match="or all with a hard negative as a third"):
        open_source([("a", "b", "c"), ("d", "e")])


def test_hard_negatives_that_are_not_there(tmp_path, parallel):
    table = tmp_path / "t.csv"
    table.write_text("q,a,wrong\na dog,ein Hund,die Katze\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"no column data\.negative='wrng' \(did you mean 'wrong'"):
        open_source(table, input="q", target="a", negative="wrng")
    with pytest.raises(DataError, match=r"parallel files have no columns, given data\.negative='x'"):
        open_source(parallel, input="en", target="de", negative="x")
    with pytest.raises(DataError, match=r"data\.negative is for tables of pairs"):
        open_source(table, input="q", negative="wrong")
