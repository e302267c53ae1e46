"""Pictures with sentences: Parquet, tables with paths, folders with captions files, lists; what is wrong is told."""

from __future__ import annotations

import io
import json
import pickle

import numpy as np
import pytest
from PIL import Image

from bodh.errors import BadRecord, DataError
from bodh.modalities import captions as modality
from bodh.records.open import open_source
from bodh.records.sources import _captioned


def _png(level=0):
    buffer = io.BytesIO()
    Image.fromarray(np.full((6, 8, 3), level, np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def _read(source, place):
    picture, sentences = modality._taken_apart(source.read(place))
    return picture, [one.decode() for one in sentences]


def _photos(folder, *names):
    for number, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(_png(number))
    return folder


def _parquet(path, **columns):
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table(columns), path)


def test_both_rooms_mean_the_same_frame():
    assert _captioned.FRAME == modality.FRAME
    assert _captioned.SEPARATOR.encode() == modality.SEPARATOR


def test_a_folder_with_a_captions_file(tmp_path):
    _photos(tmp_path, "a.png", "b.png", "sub/c.png", "sub/d.png")
    (tmp_path / "captions.csv").write_text(
        "image,caption,split\na.png,a red dog,train\na.png,एक लाल कुत्ता,train\nb.png, ,train\nsub/c.png,a cat,test\n",
        encoding="utf-8",
    )
    source = open_source(tmp_path)
    assert source.modality == "captions"
    assert list(source.ids) == ["a.png", "sub/c.png"]
    assert source.splits.tolist() == ["train", "test"]
    assert _read(source, 0) == (_png(0), ["a red dog", "एक लाल कुत्ता"])
    assert source.notes == ["1 rows without a sentence left out"]
    assert pickle.loads(pickle.dumps(source)).read(1) == source.read(1)
    assert open_source(tmp_path, modality="image").modality == "image"
    (tmp_path / "a.png").write_bytes(_png(9))
    assert open_source(tmp_path).fingerprint != source.fingerprint


def test_parts_in_folders_of_their_own(tmp_path):
    for part in ("train", "test"):
        _photos(tmp_path / part, "a.png")
        rows = [{"file_name": "a.png", "captions": [f"one of {part}", "another"]}]
        (tmp_path / part / "captions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    source = open_source(tmp_path)
    assert source.splits.tolist() == ["train", "test"]
    assert _read(source, 1)[1] == ["one of test", "another"]
    assert len(set(source.ids)) == 2


def test_parquet_with_encoded_pictures_and_rows_that_count(tmp_path):
    for part, levels in (("train", (1, 2, 3)), ("test", (4,))):
        _parquet(
            tmp_path / f"{part}.parquet",
            image=[{"bytes": _png(level), "path": f"{level}.png"} for level in levels],
            sentence=[f"{level} boxes" if level != 3 else None for level in levels],
            label=[1 if level != 1 else 0 for level in levels],
        )
    source = open_source(tmp_path, input="image", target="sentence", where="label=1")
    assert list(source.ids) == ["train.parquet:1", "test.parquet:0"]
    assert source.splits.tolist() == ["train", "test"]
    assert [_read(source, place) for place in range(2)] == [(_png(2), ["2 boxes"]), (_png(4), ["4 boxes"])]
    assert source.notes == ["1 rows without label=1 left out", "1 rows without a sentence left out"]
    whole = open_source(tmp_path, target="sentence")
    assert (whole.modality, len(whole)) == ("captions", 3)
    assert whole.fingerprint != source.fingerprint


def test_a_table_with_paths(tmp_path):
    _photos(tmp_path, "pictures/1.png", "pictures/2.png", "pictures/3.png", "pictures/4.png")
    for part, rows in (("train", "pictures/1.png\tone\npictures/2.png\ttwo\n"), ("val", "pictures/3.png\tthree\n")):
        (tmp_path / f"{part}.tsv").write_text(f"file\twords\n{rows}", encoding="utf-8")
    source = open_source(tmp_path, target="words")
    assert source.modality == "captions"
    assert source.splits.tolist() == ["train", "train", "val"]
    assert _read(source, 2) == (_png(2), ["three"])


def test_pairs_in_memory(tmp_path):
    array = np.full((4, 4, 3), 7, np.uint8)
    image = Image.fromarray(array)
    _photos(tmp_path, "a.png")
    source = open_source([(array, ["seven", "सात"]), (image, "seven"), (_png(), "nought"), (tmp_path / "a.png", " ")])
    assert (source.modality, len(source), source.in_memory) == ("captions", 3, True)
    assert np.array_equal(_read(source, 0)[0], array)
    assert _read(source, 0)[1] == ["seven", "सात"]
    assert source.notes == ["1 pictures without a sentence left out"]
    lists = open_source(([str(tmp_path / "a.png")], ["nought"]), modality="captions")
    assert _read(lists, 0) == (_png(), ["nought"])
    assert open_source([("a", "b")]).modality == "pairs"


def test_a_picture_that_is_not_there_is_a_broken_record(tmp_path):
    _photos(tmp_path, "a.png")
    (tmp_path / "captions.csv").write_text("image,caption\na.png,one\nb.png,two\n", encoding="utf-8")
    source = open_source(tmp_path)
    with pytest.raises(BadRecord, match=r"b\.png' cannot be read: No such file"):
        source.read(1)
    (tmp_path / "a.png").write_bytes(b"")
    with pytest.raises(BadRecord, match="is empty"):
        source.read(0)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"target": "captoin"}, r"no column of sentences data\.target='captoin' \(did you mean 'caption'"),
        ({"input": "caption"}, "no pictures in column 'caption'"),
        ({"input": "pictur"}, r"no column data\.input='pictur'"),
        ({"where": "label"}, r"is no condition; allowed is COLUMN=VALUE"),
        ({"where": "lable=1"}, r"no column 'lable' for data\.where='lable=1' \(did you mean 'label'"),
        ({"where": "label=7"}, r"has 'label' = '7'; it holds: 0, 1"),
        ({"label": "label"}, "captions have no labels"),
    ],
)
def test_wrong_columns_are_told(tmp_path, options, told):
    _photos(tmp_path, "a.png", "b.png")
    (tmp_path / "captions.csv").write_text("image,caption,label\na.png,one,0\nb.png,two,1\n", encoding="utf-8")
    with pytest.raises(DataError, match=told):
        open_source(tmp_path, modality="captions", **options)


def test_what_holds_no_captions_is_told(tmp_path):
    with pytest.raises(DataError, match="holds no pictures with sentences; allowed are"):
        open_source(_photos(tmp_path / "plain", "a.png"), modality="captions")
    (tmp_path / "texts.csv").write_text("one,two\na dog,ein Hund\n", encoding="utf-8")
    with pytest.raises(DataError, match="has no column of pictures"):
        open_source(tmp_path / "texts.csv", modality="captions")
    _parquet(tmp_path / "alone.parquet", image=[_png()])
    with pytest.raises(DataError, match="no column of sentences beside 'image'"):
        open_source(tmp_path / "alone.parquet", modality="captions")
    _parquet(tmp_path / "empty.parquet", image=[_png()], caption=[" "])
    with pytest.raises(DataError, match="holds no picture with a sentence"):
        open_source(tmp_path / "empty.parquet", modality="captions")
    with pytest.raises(DataError, match="these are no captions"):
        open_source([1, 2], modality="captions")
    with pytest.raises(DataError, match="2 pictures were given with 1 captions"):
        open_source((["a.png", "b.png"], ["one"]), modality="captions")
    with pytest.raises(DataError, match="nothing to choose"):
        open_source([(_png(), "one")], target="caption")
    with pytest.raises(DataError, match=r"data\.where is for tables of pairs"):
        open_source(np.zeros((4, 3)), where="label=1")


def test_pairs_of_texts_know_where_too(tmp_path):
    (tmp_path / "texts.csv").write_text("one,two,ok\na dog,ein Hund,yes\na cat,x,no\n", encoding="utf-8")
    source = open_source(tmp_path / "texts.csv", input="one", target="two", where="ok=yes")
    assert (source.modality, len(source)) == ("pairs", 1)


def test_true_sentences_of_nlvr(shared):
    source = open_source(shared / "nlvr", input="image", target="sentence", where="label=1")
    assert {part: int((source.splits == part).sum()) for part in ("train", "test")} == {"train": 1103, "test": 546}
    assert _read(source, 0)[1] == ["Each grey box contains atleast one yellow object touching the edge"]
