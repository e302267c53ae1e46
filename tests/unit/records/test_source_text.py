from __future__ import annotations

import gzip
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bodh.errors import BadRecord, DataError
from bodh.records.open import open_source

SST = 'a stirring , funny film\t1\napparently reassembled from the floor\t0\nthe best of them "all\t1\n'


def put(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    data = content.encode() if isinstance(content, str) else content
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def texts(source: Any) -> list[str]:
    return [source.read(index).decode() for index in range(len(source))]


def labels(source: Any) -> list[str]:
    return [source.class_names[target] if target >= 0 else "" for target in source.targets]


# ------------------------------------------------------------------------------------------------- plain text


@pytest.mark.parametrize("name", ["words.txt", "words.txt.gz", "words.hi", "words.hi.gz"])
def test_a_text_file_is_a_document_a_line_and_empty_lines_are_counted(tmp_path: Path, name: str):
    source = open_source(put(tmp_path / name, "पहली पंक्ति\r\n\r\nदूसरी\n   \nतीसरी\u2028और"))
    assert source.modality == "text"
    assert texts(source) == ["पहली पंक्ति", "दूसरी", "तीसरी\u2028और"]
    assert list(source.ids) == [f"{name}:1", f"{name}:3", f"{name}:5"]
    assert list(source.ids)[1:] == source.ids[1:]
    assert source.ids[-1] == f"{name}:5"
    assert source.notes == ["2 empty lines left out"]
    assert source.targets is None
    assert pickle.loads(pickle.dumps(source)).read(1).decode() == "दूसरी"


def test_a_file_may_be_one_document(tmp_path: Path):
    path = put(tmp_path / "book.txt", "one\n\ntwo\n")
    source = open_source(path, split_lines=False)
    assert texts(source) == ["one\n\ntwo\n"]
    assert "every file is one document" in source.reading
    assert source.fingerprint != open_source(path).fingerprint


def test_a_folder_of_parts_is_honoured_and_a_lone_file_is_read_by_lines(tmp_path: Path):
    for name, line in (("train", "a\nb\n"), ("dev", "c\n"), ("test", "d\n")):
        put(tmp_path / "parts" / f"{name}.txt", line)
    put(tmp_path / "parts" / "README.txt", "about")
    source = open_source(tmp_path / "parts")
    assert texts(source) == ["a", "b", "c", "d"]
    assert source.splits.tolist() == ["train", "train", "val", "test"]
    put(tmp_path / "lone" / "input.txt", "a\nb\n")
    put(tmp_path / "lone" / "LICENSE.txt", "all of it")
    assert texts(open_source(tmp_path / "lone")) == ["a", "b"]


def test_of_several_languages_one_is_chosen(tmp_path: Path):
    for name in ("train.en.gz", "train.de.gz", "val.en.gz", "val.de.gz", "test_2016_flickr.en.gz", "test_2017.en.gz"):
        put(tmp_path / name, f"{name}\n")
    with pytest.raises(DataError, match=r"holds several data sets: de, en; choose one with data\.input=NAME"):
        open_source(tmp_path)
    source = open_source(tmp_path, input="en")
    assert source.splits.tolist() == ["train", "val", "test", "test"]
    with pytest.raises(DataError, match=r"holds several data sets: de, en"):
        open_source(tmp_path, input="fr")


def test_plain_text_has_neither_labels_nor_columns(tmp_path: Path):
    path = put(tmp_path / "a.txt", "one\n")
    with pytest.raises(DataError, match=r"has no labels, given data\.label='kind'; put the texts of every class"):
        open_source(path, label="kind")
    with pytest.raises(DataError, match=r"has no columns, given data\.input='text2'"):
        open_source(path, input="text2")
    with pytest.raises(DataError, match=r"read as texts, not as modality='vector'"):
        open_source(path, modality="vector")
    with pytest.raises(DataError, match=r"data\.split_lines is for plain text"):
        open_source(put(tmp_path / "b.csv", "text\none\ntwo\n"), split_lines=False)


@pytest.mark.parametrize("content", [b"", b"\n\n \n", "\ufeff".encode()])
def test_a_file_without_texts_is_told(tmp_path: Path, content: bytes):
    with pytest.raises(DataError, match=r"'none' holds no texts: "):
        open_source(put(tmp_path / "none.txt", content))


def test_an_enormous_line_is_read_and_told(tmp_path: Path):
    source = open_source(put(tmp_path / "a.txt", "short\nshorter\n" + "word " * 100_000 + "\n"))
    assert len(source.read(2)) == 500_000
    assert any("a.txt:3 is 500,000 bytes long, 100% of all text" in note for note in source.notes)
    table = open_source(put(tmp_path / "b.csv", "text,label\nshort,1\n" + "word " * 100_000 + ",2\n"))
    assert len(table.read(1)) == 500_000


def test_workers_share_the_texts_and_read_them_anew_where_they_are_gone(tmp_path: Path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    rows = '{"text": "पहली"}\nno JSON\n{"text": "one"}\n'
    source = open_source(put(tmp_path / "a.jsonl", rows))
    sent = pickle.dumps(source)
    (file,) = tmp_path.glob("bodh-texts-*")
    worker = pickle.loads(sent)
    (tmp_path / "a.jsonl").rename(tmp_path / "b.jsonl")  # it is not read
    assert worker.read(0).decode() == "पहली"
    assert worker.read(2) == b"one"
    with pytest.raises(BadRecord, match=r"no JSON: .* \(line 2\)"):
        worker.read(1)
    assert pickle.loads(pickle.dumps(worker)).read(2) == b"one"
    (tmp_path / "b.jsonl").rename(tmp_path / "a.jsonl")
    del source
    assert not file.exists()
    assert pickle.loads(sent).read(2) == b"one"


# -------------------------------------------------------------------------------------------------- encodings


@pytest.mark.parametrize(
    ("codec", "told"),
    [("utf-8", "UTF-8"), ("utf-8-sig", "UTF-8 with mark"), ("utf-16", "UTF-16"), ("utf-32", "UTF-32")],
)
@pytest.mark.parametrize("name", ["a.txt", "a.csv", "a.jsonl"])
def test_encodings_are_found_by_their_marks(tmp_path: Path, codec: str, told: str, name: str):
    rows = {"a.txt": "हिंदी\nशब्द\n", "a.csv": "text,label\nहिंदी,क\nशब्द,ख\n"}
    rows["a.jsonl"] = '{"text": "हिंदी"}\n{"text": "शब्द"}\n'
    source = open_source(put(tmp_path / name, rows[name].encode(codec)))
    assert texts(source) == ["हिंदी", "शब्द"]
    assert source.encodings == {told: 1}


def test_big_endian_utf_16_is_read_too(tmp_path: Path):
    assert texts(open_source(put(tmp_path / "a.txt", b"\xfe\xff" + "कख\nग".encode("utf-16-be")))) == ["कख", "ग"]


@pytest.mark.parametrize("name", ["a.txt", "a.csv", "a.jsonl", "a.txt.gz"])
def test_another_or_a_mixed_encoding_names_file_and_line(tmp_path: Path, name: str):
    mixed = "पहला\r\nदूसरा\r\n".encode() + "café\r\n".encode("latin-1")
    with pytest.raises(DataError, match=rf"'{name}' line 3: byte 0xe9 is not UTF-8; other lines .*: 1 of 3 lines\)"):
        open_source(put(tmp_path / name, mixed))
    whole = "one\ncafé\n".encode("latin-1")
    with pytest.raises(
        DataError, match=rf"'{name}' line 2: byte 0xe9 is not UTF-8; save the whole file as UTF-8.*iconv"
    ):
        open_source(put(tmp_path / name, whole))


def test_utf_16_without_its_mark_is_told(tmp_path: Path):
    for text, codec in (("some text\n", "LE"), ("some text\n", "BE"), ("होली रंगों का त्योहार है।\n" * 20, "LE")):
        content = text.encode(f"utf-16-{codec}")
        with pytest.raises(DataError, match=rf"'a\.txt' is no UTF-8 text: it looks like UTF-16 .* -f UTF-16{codec} -t"):
            open_source(put(tmp_path / "a.txt", content))
    with pytest.raises(DataError, match=r"'b\.txt' is no UTF-8 text: 100 of its first 100 bytes are NUL"):
        open_source(put(tmp_path / "b.txt", bytes(100)))


def test_nul_characters_are_left_out_and_counted(tmp_path: Path):
    source = open_source(put(tmp_path / "a.txt", "one\0 and more\ntwo two two\0\0\nthree and four\n"))
    assert texts(source) == ["one and more", "two two two", "three and four"]
    assert "3 NUL characters left out" in source.notes


def test_files_of_several_encodings_are_told(tmp_path: Path):
    put(tmp_path / "train.txt", "eins\n".encode("utf-16"))
    put(tmp_path / "test.txt", "zwei\n")
    source = open_source(tmp_path)
    assert texts(source) == ["eins", "zwei"]
    assert "files of several encodings: 1 UTF-16, 1 UTF-8" in source.notes


def test_a_damaged_archive_is_told(tmp_path: Path):
    whole = gzip.compress(b"one\n" * 1000)
    (tmp_path / "a.txt.gz").write_bytes(whole[:-12])
    with pytest.raises(DataError, match=r"cannot read 'a\.txt\.gz': "):
        open_source(tmp_path / "a.txt.gz")


# ----------------------------------------------------------------------------------------------------- tables


def test_columns_are_found_by_name(tmp_path: Path):
    source = open_source(put(tmp_path / "a.csv", 'note,text,label\nlonger than it,"one, two",b\nx,three,a\n'))
    assert texts(source) == ["one, two", "three"]
    assert labels(source) == ["b", "a"]
    assert list(source.ids) == ["a.csv:2", "a.csv:3"]
    assert "texts from column 'text' (by its name, of the columns note, text, label)" in source.reading


def test_without_known_names_the_longest_texts_and_the_few_values_are_taken(tmp_path: Path):
    rows = "".join(f"{n},what number {n} has to say,{'yes' if n % 2 else 'no'}\n" for n in range(12))
    source = open_source(put(tmp_path / "a.csv", "number,words,answer\n" + rows))
    assert texts(source)[3] == "what number 3 has to say"
    assert labels(source)[:2] == ["no", "yes"]
    assert open_source(tmp_path / "a.csv", label="none").targets is None


def test_a_first_line_that_names_nothing_is_a_row(tmp_path: Path):
    for name, part in (("train.tsv", SST * 2), ("dev.tsv", SST), ("test.tsv", SST)):
        put(tmp_path / name, part)
    source = open_source(tmp_path)
    assert len(source) == 12
    assert texts(source)[2] == 'the best of them "all'
    assert labels(source)[:3] == ["1", "0", "1"]
    assert source.splits.tolist() == ["train"] * 6 + ["val"] * 3 + ["test"] * 3
    assert "no header, so columns are called 1, 2, …" in source.reading
    assert texts(open_source(tmp_path, input="2", label="none"))[:2] == ["1", "0"]


def test_a_first_line_of_a_class_and_a_message_is_a_row(tmp_path: Path):
    source = open_source(put(tmp_path / "sms.tsv", "ham\tOk lar\nham\tGo until jurong point\nspam\tWINNER!! call\n"))
    assert texts(source) == ["Ok lar", "Go until jurong point", "WINNER!! call"]


def test_hindi_headers_texts_and_classes(tmp_path: Path):
    source = open_source(put(tmp_path / "आँकड़े.csv", "पाठ,वर्ग\nयह अच्छा है,अच्छा\nयह बुरा है,बुरा\n"))
    assert texts(source) == ["यह अच्छा है", "यह बुरा है"]
    assert source.class_names == ("अच्छा", "बुरा")
    assert source.ids[0] == "आँकड़े.csv:2"


@pytest.mark.parametrize("mark", [",", ";", "\t", "|"])
def test_separators_are_found(tmp_path: Path, mark: str):
    source = open_source(put(tmp_path / "a.csv", f"text{mark}label\none thing{mark}a\nanother{mark}b\n"))
    assert texts(source) == ["one thing", "another"]
    assert labels(source) == ["a", "b"]


def test_one_column_may_hold_commas(tmp_path: Path):
    source = open_source(put(tmp_path / "a.csv", 'text\nhello, world\n"quoted, too"\nplain\n'))
    assert texts(source) == ["hello, world", "quoted, too", "plain"]


def test_quoted_tables_with_tabs_and_line_breaks(tmp_path: Path):
    source = open_source(put(tmp_path / "a.tsv", 'text\tlabel\n"he said ""no"""\ta\n"two\nlines"\tb\n'))
    assert texts(source) == ['he said "no"', "two\nlines"]
    assert list(source.ids) == ["a.tsv:2", "a.tsv:3"]


def test_rows_of_another_width_are_broken_and_empty_texts_left_out(tmp_path: Path):
    source = open_source(put(tmp_path / "a.csv", "text,label\none,a\ntwo,b,c\n,a\n\nthree,b\n"))
    assert list(source.ids) == ["a.csv:2", "a.csv:3", "a.csv:6"]
    with pytest.raises(BadRecord, match=r"3 cells, where 2 are expected \(line 3\)"):
        source.read(1)
    assert labels(source) == ["a", "", "b"]
    assert "1 empty row left out" in source.notes


def test_labels_may_be_missing_in_the_test_part(tmp_path: Path):
    put(tmp_path / "train.csv", "id,text,label\n1,one,3\n2,two,5\n")
    put(tmp_path / "test.csv", "id,text\n3,three\n")
    source = open_source(tmp_path)
    assert labels(source) == ["3", "5", ""]
    assert list(source.ids) == ["1", "2", "3"]
    put(tmp_path / "other" / "train.tsv", SST)
    put(tmp_path / "other" / "test.tsv", "only a text .\n")
    assert texts(open_source(tmp_path / "other"))[-1] == "only a text ."
    put(tmp_path / "third" / "train.csv", "text,label\none,a\n")
    put(tmp_path / "third" / "test.csv", "text,label\ntwo,\n")
    assert labels(open_source(tmp_path / "third")) == ["a", ""]


def test_a_part_without_the_texts_is_told(tmp_path: Path):
    put(tmp_path / "train.csv", "text,label\none,a\n")
    put(tmp_path / "test.csv", "sentence,label\ntwo,b\n")
    with pytest.raises(DataError, match=r"'test\.csv' has no column 'text'; its columns are: sentence, label"):
        open_source(tmp_path)


def test_ids_that_repeat_are_not_used(tmp_path: Path):
    source = open_source(put(tmp_path / "a.csv", "id,text\n7,one\n7,two\n"))
    assert list(source.ids) == ["a.csv:2", "a.csv:3"]
    assert any("'id' is empty or the same in several rows" in note for note in source.notes)


def test_a_column_may_tell_the_parts(tmp_path: Path):
    source = open_source(put(tmp_path / "a.csv", "text,split\none,train\ntwo,validation\nthree,test\n"))
    assert source.splits.tolist() == ["train", "val", "test"]
    assert source.targets is None


def test_classes_counted_from_one_take_their_names_from_the_file_beside(tmp_path: Path):
    put(tmp_path / "classes.txt", "World\nSports\n")
    put(tmp_path / "train.csv.gz", '"2","A title","A longer description"\n"1","Two","And its description"\n')
    put(tmp_path / "test.csv.gz", '"2","Three","One more description"\n')
    source = open_source(tmp_path, label="1")
    assert labels(source) == ["Sports", "World", "Sports"]
    assert texts(source)[0] == "A longer description"
    assert texts(open_source(tmp_path, input="2,3"))[0] == "A title\nA longer description"


def test_wrong_columns_are_told_with_those_there_are(tmp_path: Path):
    path = put(tmp_path / "a.csv", "sentence,kind\none two,a\nthree,b\n")
    with pytest.raises(DataError, match=r"no column data\.input='sentense' \(did you mean 'sentence'\?\); its columns"):
        open_source(path, input="sentense")
    with pytest.raises(DataError, match=r"no column data\.label='colour'; its columns are: sentence, kind; without"):
        open_source(path, label="colour")
    with pytest.raises(DataError, match=r"has no column of texts; its columns are: a \(1\), b \(3\)"):
        open_source(put(tmp_path / "n.csv", "a,b\n1,3\n2,4\n"))


def test_measured_numbers_in_several_columns(tmp_path: Path):
    source = open_source(put(tmp_path / "a.csv", "text,x,y\none two,1.5,2\nthree,2.5,7.5\n"), label="x,y")
    assert source.targets.dtype == np.float32
    assert source.targets.tolist() == [[1.5, 2.0], [2.5, 7.5]]
    assert source.class_names == ("x", "y")


def test_a_missing_quotation_mark_is_told(tmp_path: Path):
    rows = '"never closed,a\n' + "more,b\n" * 300
    source = open_source(put(tmp_path / "a.csv", "text,label\none,a\n" + rows))
    assert any("line 3 of a.csv goes on for 301 lines: is a quotation mark missing?" in note for note in source.notes)
    with pytest.raises(DataError, match=r"none of the 1 rows of 'b' can be read: b\.csv line 2: 1 cells, .*missing\?"):
        open_source(put(tmp_path / "b.csv", "text,label\n" + rows))


@pytest.mark.parametrize("content", ["", "text,label\n", "\n\n"])
def test_a_table_without_rows_is_told(tmp_path: Path, content: str):
    with pytest.raises(DataError, match=r"'none' holds no texts: it is empty"):
        open_source(put(tmp_path / "none.csv", content))


def test_a_header_that_names_a_column_twice_is_told(tmp_path: Path):
    rows = "one,a,x\ntwo,b,y\nthree,b,y\n"
    with pytest.raises(
        DataError, match=r"'a\.csv' line 1: the header names 'text' more than once \(text, label, text\)"
    ):
        open_source(put(tmp_path / "a.csv", "text,label,text\n" + rows))
    with pytest.raises(
        DataError, match=r"'b\.csv' has no column of texts; its columns are: text \(empty\), label \(1\)"
    ):
        open_source(put(tmp_path / "b.csv", "text,label\n,1\n,2\n"))


def test_several_tables_in_a_folder_are_chosen_by_name(tmp_path: Path):
    for name in ("news.train.csv", "news.test.csv", "extra.csv"):
        put(tmp_path / name, f"text,label\nof {name},a\nmore,b\n")
    source = open_source(tmp_path)
    assert texts(source)[0] == "of news.train.csv"
    assert "also there, and left out: extra; choose with data.input=NAME" in source.notes
    assert texts(open_source(tmp_path, input="extra"))[0] == "of extra.csv"
    assert texts(open_source(tmp_path, input="extra:label", label="none")) == ["a", "b"]
    put(tmp_path / "loose" / "a.csv", "text\none\n")
    put(tmp_path / "loose" / "b.csv", "text\ntwo\n")
    with pytest.raises(DataError, match=r"'loose' holds several data sets: a, b; choose one with data\.input=NAME"):
        open_source(tmp_path / "loose")


# ------------------------------------------------------------------------------------------------------- JSON


def test_an_object_a_line(tmp_path: Path):
    rows: list[Any] = [
        {"id": "x1", "hi": "पहला वाक्य", "n": 3, "en": ["a"], "ok": True},
        {"id": "x2", "hi": "दूसरा वाक्य"},
    ]
    lines = "\n\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    source = open_source(put(tmp_path / "a.jsonl.gz", lines))
    assert texts(source) == ["पहला वाक्य", "दूसरा वाक्य"]
    assert list(source.ids) == ["x1", "x2"]
    assert "1 empty line left out" not in source.notes
    assert "1 empty row left out" in source.notes
    with pytest.raises(DataError, match=r"column 'en' .* holds lists, no texts; columns of texts are: id, hi"):
        open_source(tmp_path / "a.jsonl.gz", input="en")


def test_broken_lines_are_records_that_cannot_be_read(tmp_path: Path):
    source = open_source(
        put(tmp_path / "a.jsonl", '{"text": "one"}\n{"text": "two"\n17\n{"text": ["x"]}\n{"text": "\\ud800 half"}\n')
    )
    assert source.read(0) == b"one"
    for place, reason in ((1, r"no JSON: .* at column \d+ \(line 2\)"), (2, r"17 is no row: .* \(line 3\)")):
        with pytest.raises(BadRecord, match=reason):
            source.read(place)
    mixed = open_source(put(tmp_path / "c.jsonl", '{"text": "one"}\n["two", "a"]\n{"text": "three"}\n'))
    assert mixed.columns == ["text"]
    with pytest.raises(BadRecord, match=r"a list, where the other rows are objects \(line 2\)"):
        mixed.read(1)
    with pytest.raises(DataError, match=r"'b\.jsonl' line 1: no JSON: .* and so in every line"):
        open_source(put(tmp_path / "b.jsonl", "hello\nworld\n"))


def test_lists_called_after_parts_in_one_object(tmp_path: Path):
    value = {
        "oos_train": [["of no kind", "oos"]], "val": [["third text", "b"]],
        "train": [["first text", "a"], ["second", "b"]],
        "test": [["fourth text", "a"]], "oos_test": [["none", "oos"]],
    }  # fmt: skip
    put(tmp_path / "data_full.json.gz", json.dumps(value))
    put(tmp_path / "domains.json", json.dumps({"bank": ["a"], "food": ["b"]}))
    for where in (tmp_path, tmp_path / "data_full.json.gz"):
        source = open_source(where, label="2")
        assert texts(source) == ["first text", "second", "third text", "fourth text"]
        assert labels(source) == ["a", "b", "b", "a"]
        assert source.splits.tolist() == ["train", "train", "val", "test"]
        assert source.ids[0] == "data_full.json.gz/train:0"
        assert "also there, and left out: oos; choose with data.input=NAME" in source.notes
    assert texts(open_source(tmp_path, input="oos:1")) == ["of no kind", "none"]


def test_a_list_of_objects_or_of_texts(tmp_path: Path):
    source = open_source(
        put(tmp_path / "a.json", json.dumps([{"text": "one", "tags": ["a", "b"]}, {"text": "two"}])), label="tags"
    )
    assert source.targets.tolist() == [[1, 1], [0, 0]]
    assert texts(open_source(put(tmp_path / "b.json", '["one", "", "two"]'))) == ["one", "two"]
    with pytest.raises(DataError, match=r"'c\.json' holds no rows; allowed are a list of objects"):
        open_source(put(tmp_path / "c.json", '{"a": 1}'))
    with pytest.raises(DataError, match=r"'d\.json' line 2: no JSON \(Extra data\); a file with an object a line is"):
        open_source(put(tmp_path / "d.json", '{"text": "a"}\n{"text": "b"}\n'))


# ---------------------------------------------------------------------------------------------- folders, lists


def test_a_folder_of_texts_has_classes_and_parts_as_a_folder_of_images_has(tmp_path: Path):
    for name, text in (("train/अच्छा/1.txt", "क"), ("train/बुरा/2.txt", "ख"), ("test/अच्छा/3.txt", "ग")):
        put(tmp_path / name, text.encode("utf-16"))
    put(tmp_path / "README.txt", "about this folder")
    source = open_source(tmp_path)
    assert texts(source) == ["ग", "क", "ख"]
    assert labels(source) == ["अच्छा", "अच्छा", "बुरा"]
    assert source.splits.tolist() == ["test", "train", "train"]
    assert source.modality == "text"
    assert "a folder of texts; parts test, train" in source.reading
    assert pickle.loads(pickle.dumps(source)).read(0) == "ग".encode()


def test_a_flat_folder_of_texts_is_a_document_a_file_and_broken_ones_are_told(tmp_path: Path):
    for name, data in (("1.txt", b"one\nmore"), ("2.txt", b"\n"), ("3.txt", b"a\nb \xe9"), ("10.txt", b"ten")):
        put(tmp_path / name, data)
    source = open_source(tmp_path)
    assert list(source.ids) == ["1.txt", "2.txt", "3.txt", "10.txt"]
    assert source.read(0) == b"one\nmore"
    with pytest.raises(BadRecord, match="the text is empty"):
        source.read(1)
    with pytest.raises(BadRecord, match=r"the file line 2: byte 0xe9 is not UTF-8"):
        source.read(2)
    assert source.targets is None


def test_labels_csv_beside_texts(tmp_path: Path):
    put(tmp_path / "1.txt", "one")
    put(tmp_path / "2.txt", "two")
    put(tmp_path / "labels.csv", "file,kind\n1.txt,a\n2.txt,b\n")
    assert labels(open_source(tmp_path)) == ["a", "b"]
    put(tmp_path / "labels.csv", "file,kind\n3.txt,a\n")
    with pytest.raises(DataError, match=r"names '3\.txt', which is no text in"):
        open_source(tmp_path)


def test_lists_of_strings(tmp_path: Path):
    source = open_source(["one", "", "दो"])
    assert texts(source) == ["one", "दो"]
    assert list(source.ids) == ["text:0", "text:2"]
    assert source.notes == ["1 empty text left out"]
    pair = open_source((["one", " ", "two"], ["a", "a", "b"]))
    assert labels(pair) == ["a", "b"]
    assert open_source(np.array(["a", "b"])).modality == "text"
    assert open_source((np.array(["a", "b"], object), np.array([1, 0]))).targets.tolist() == [1, 0]
    with pytest.raises(DataError, match="2 texts were given with 1 labels"):
        open_source((["a", "b"], [1]))
    with pytest.raises(DataError, match="text 1 of the list is of type int"):
        open_source(["a", 2])
    with pytest.raises(DataError, match="none of the 2 texts has anything in it"):
        open_source(["", " "])


# ------------------------------------------------------------------------------------------------- real data


@pytest.mark.parametrize(
    ("name", "splits", "classes", "first"),
    [
        ("tinyshakespeare", {"train": 32777}, 0, "First Citizen:"),
        ("names", {"train": 32033}, 0, "emma"),
        ("ag-news", {"train": 6000, "test": 1600}, 4, "WLAN kit makers"),
        ("sst2", {"train": 6920, "val": 872, "test": 1821}, 2, "a stirring , funny"),
        ("sms-spam", {"train": 4136, "test": 1035}, 2, "Or ill be a little closer"),
        ("clinc150", {"train": 15000, "val": 3000, "test": 4500}, 150, "what expression would i use"),
        ("hindi-english", {"train": 2075, "test": 1113}, 0, "विषयवार सर्वोच्च"),
        ("multi30k:de", {"train": 29000, "val": 1014, "test": 2000}, 0, "Zwei junge weiße Männer"),
    ],
)
def test_real_data_sets_are_read_as_they_lie_there(
    shared: Path, name: str, splits: dict[str, int], classes: int, first: str
):
    folder, _, group = name.partition(":")
    source = open_source(shared / folder, input=group or None)
    found, counts = np.unique(source.splits, return_counts=True)
    assert dict(zip(found.tolist(), counts.tolist(), strict=True)) == splits
    assert len(source.class_names) == classes
    assert source.read(0).decode().startswith(first)
    if classes:
        assert source.targets is not None
        assert (source.targets >= 0).all()
    if name == "ag-news":
        assert source.class_names == ("World", "Sports", "Business", "Sci/Tech")
        assert np.bincount(source.targets[source.splits == "train"]).tolist() == [1500] * 4
    if name == "sst2":
        assert np.bincount(source.targets[source.splits == "test"]).tolist() == [912, 909]
