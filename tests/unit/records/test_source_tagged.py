"""Words with tags: CoNLL, CoNLL-U, tables with lists, parallel files, in memory; what is wrong is told by its line."""

from __future__ import annotations

import gzip
import json
import pickle

import pytest

from bodh.errors import BadRecord, DataError
from bodh.records.open import open_source

CONLL = """-DOCSTART- -X- -X- O

EU NNP B-NP B-ORG
rejects VBZ B-VP O
German JJ B-NP B-MISC

# SYM B-NP O
Peter NNP B-NP B-PER
Blackburn NNP I-NP I-PER
"""
UNIVERSAL = """# sent_id = 1
# text = Ben's है।
1-2\tBen's\t_\t_\t_\t_\t_\t_\t_\t_
1\tBen\tBen\tPROPN\tNNP\tNumber=Sing\t3\tnsubj\t_\tNER=B-PER
2\t's\t's\tPART\tPOS\t_\t1\tcase\t_\t_
2.1\tgone\tgo\tVERB\tVBN\t_\t_\t_\t_\t_
3\tहै\tहै\tAUX\tVXH\t_\t0\troot\t_\tSpaceAfter=No|NER=O
4\t।\t।\t_\t.\t_\t3\tpunct\t_\t_
"""


def _told(source):
    """Return [(words, names of tags or None)] of every record."""
    found = []
    for place in range(len(source)):
        words, _, numbers = source.read(place).decode().partition("\x1e")
        tags = [source.class_names[int(one)] if int(one) >= 0 else None for one in numbers.split()]
        found.append((words.split("\x1f"), tags))
    return found


def _file(folder, name, text):
    path = folder / name
    data = text.encode()
    path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return path


@pytest.mark.parametrize("name", ["a.conll", "a.bio.gz", "a.iob"])
def test_columns(tmp_path, name):
    source = open_source(_file(tmp_path, name, CONLL))
    assert source.modality == "words"
    assert source.class_names == ("B-MISC", "B-ORG", "B-PER", "I-PER", "O")
    assert _told(source) == [
        (["EU", "rejects", "German"], ["B-ORG", "O", "B-MISC"]),
        (["#", "Peter", "Blackburn"], ["O", "B-PER", "I-PER"]),
    ]
    assert list(source.ids) == [f"{name}:3", f"{name}:7"]
    assert "words from column 1, tags from column 4" in source.reading


@pytest.mark.parametrize(
    ("label", "tags"),
    [
        ("2", ["NNP", "VBZ", "JJ"]),
        ("upos", ["NNP", "VBZ", "JJ"]),
        ("ner", ["B-ORG", "O", "B-MISC"]),
        ("3", ["B-NP", "B-VP", "B-NP"]),
    ],
)
def test_the_column_of_tags_is_chosen(tmp_path, label, tags):
    assert _told(open_source(_file(tmp_path, "a.conll", CONLL), label=label))[0][1] == tags


def test_words_alone(tmp_path):
    assert open_source(_file(tmp_path, "a.conll", CONLL), label="none").class_names == ()
    assert _told(open_source(_file(tmp_path, "b.conll", "one\ntwo\n\nthree\n")))[0] == (["one", "two"], [])


def test_universal_dependencies(tmp_path):
    path = _file(tmp_path, "hi-ud-test.conllu", UNIVERSAL)
    source = open_source(path)
    assert _told(source) == [(["Ben", "'s", "है", "।"], ["PROPN", "PART", "AUX", None])]
    assert any("2 ranges and empty nodes skipped" in note for note in source.notes)
    assert _told(open_source(path, label="ner"))[0][1] == ["B-PER", None, "O", None]
    assert _told(open_source(path, label="deprel"))[0][1] == ["nsubj", "case", "root", "punct"]


def test_parts_of_a_folder(tmp_path):
    for part, tag in (("train", "A"), ("dev", "A"), ("test", "B")):
        _file(tmp_path, f"{part}.conll", f"x {tag}\ny C\n\n")
    source = open_source(tmp_path)
    assert source.splits.tolist() == ["train", "val", "test"]
    assert source.class_names == ("A", "B", "C")
    assert any("'B' (test.conll line 1; 1 words) never occurs in training" in note for note in source.notes)


def test_a_part_without_tags(tmp_path):
    _file(tmp_path, "train.conll", "x A\ny C\n")
    _file(tmp_path, "test.conll", "x\ny\n")
    source = open_source(tmp_path)
    assert _told(source)[1] == (["x", "y"], [])
    assert any("test.conll has 1 columns and so no tags" in note for note in source.notes)


def test_broken_lines_are_told_by_file_and_line(tmp_path):
    source = open_source(_file(tmp_path, "a.conll", "x A\ny B\n\nz\nw A\n"))
    with pytest.raises(BadRecord, match=r"a\.conll line 4: 1 columns, where a line has 2"):
        source.read(1)
    with pytest.raises(DataError, match=r"none of the 1 sentences .*line 2: 3 columns, where a line has 2"):
        open_source(_file(tmp_path, "b.conll", "x A\ny B C\n"))
    with pytest.raises(DataError, match="no line with a word"):
        open_source(_file(tmp_path, "c.conll", "\n\n"))
    with pytest.raises(DataError, match="is one sentence of 2,500 words; a word a line"):
        open_source(_file(tmp_path, "d.conll", "x A\n" * 2500))
    with pytest.raises(
        DataError, match=r"no column data.label='upso' \(did you mean 'upos'\?\).*a number from 1 to 10"
    ):
        open_source(_file(tmp_path, "e.conllu", UNIVERSAL), label="upso")
    with pytest.raises(DataError, match="cannot hold both"):
        open_source(_file(tmp_path, "f.conll", CONLL), label="1")
    (tmp_path / "g.conll").write_bytes(b"x A\ncaf\xe9 B\n")
    with pytest.raises(DataError, match=r"'g.conll' line 2: byte 0xe9 is not UTF-8"):
        open_source(tmp_path / "g.conll")


def test_other_files_where_it_is_said(tmp_path):
    path = _file(tmp_path, "a.tsv", "x\tA\ny\tB\n\nz\tA\n")
    for told in ({"modality": "words"}, {"task": "tag"}):
        assert _told(open_source(path, **told))[1] == (["z"], ["A"])


def test_the_column_of_words_is_chosen_in_a_folder_too(tmp_path):
    for part in ("train", "test"):
        _file(tmp_path, f"{part}.conll", "1 a X\n2 b Y\n\n3 c X\n")
    assert _told(open_source(tmp_path, input="2", label="3"))[0] == (["a", "b"], ["X", "Y"])
    with pytest.raises(DataError, match=r"no column data.input='9'; .*a number from 1 to 3"):
        open_source(tmp_path, input="9")
    with pytest.raises(DataError, match=r"is no data that bodh can read .*\.conllu"):
        open_source(tmp_path / "train.conll", modality="text")


ROWS = [
    {"tokens": ["Ram", "goes"], "ner_tags": ["B-PER", "O"], "pos_tags": ["PROPN", "VERB"], "split": "train"},
    {"tokens": ["राम"], "ner_tags": ["B-PER", "O"], "pos_tags": ["PROPN"], "split": "train"},
    {"tokens": ["x"], "ner_tags": None, "pos_tags": ["X"], "split": "test"},
]


def test_json_lines(tmp_path):
    path = _file(tmp_path, "a.jsonl", "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS))
    source = open_source(path)
    assert source.read(0) == b"Ram\x1fgoes\x1e0 1"
    assert source.splits.tolist() == ["train", "train", "test"]
    with pytest.raises(BadRecord, match=r"a\.jsonl line 2: 1 words, but 2 tags; every word has one"):
        source.read(1)
    assert source.read(2) == b"x\x1e"
    assert "also there: pos_tags" in source.reading
    assert _told(open_source(path, label="pos"))[1] == (["राम"], ["PROPN"])
    with pytest.raises(DataError, match=r"no column data.label='nre_tags' \(did you mean 'ner_tags'\?\)"):
        open_source(path, label="nre_tags")


def test_texts_with_several_labels_stay_texts(tmp_path):
    rows = [{"text": "a b c", "tokens": ["a", "b", "c"], "labels": ["x", "y"]}, {"text": "d", "labels": ["x"]}]
    path = _file(tmp_path, "a.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    assert open_source(path).modality == "text"


def test_parquet_with_named_numbers(tmp_path):
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    table = pa.table({"tokens": [["a", "b"], ["c"]], "ner_tags": [[0, 1], [-1]]})
    feature = {"feature": {"names": ["O", "B-LOC"], "_type": "ClassLabel"}, "_type": "Sequence"}
    told = {"huggingface": json.dumps({"info": {"features": {"ner_tags": feature}}})}
    pq.write_table(table.replace_schema_metadata(told), tmp_path / "train.parquet")
    source = open_source(tmp_path)
    assert source.class_names == ("O", "B-LOC")
    assert _told(source) == [(["a", "b"], ["O", "B-LOC"]), (["c"], [None])]


@pytest.mark.parametrize("names", [("train.words", "train.tags"), ("seq.in", "seq.out")])
def test_parallel_files(tmp_path, names):
    _file(tmp_path, names[0], "go home\n\nnow\n")
    _file(tmp_path, names[1], "V N\n\nA B\n")
    source = open_source(tmp_path)
    assert source.read(0).split(b"\x1e")[0] == b"go\x1fhome"
    assert source.class_names == ("N", "V")
    with pytest.raises(BadRecord, match=r"line 3: 1 words, but 2 tags"):
        source.read(1)
    _file(tmp_path, names[1], "V N\n")
    with pytest.raises(DataError, match=r"has 3 lines, but .* has 1; line for line"):
        open_source(tmp_path)


def test_in_memory():
    rows = [(["Ram", "goes"], ["PROPN", "VERB"]), (["घर"], ["NOUN"])]
    source = open_source(rows)
    assert _told(source) == [(["Ram", "goes"], ["PROPN", "VERB"]), (["घर"], ["NOUN"])]
    sides = ([words for words, _ in rows], [tags for _, tags in rows])
    assert _told(open_source(sides, modality="words")) == _told(source)
    assert open_source(rows).fingerprint == source.fingerprint
    with pytest.raises(DataError, match="2 sentences were given with 1 lists of tags"):
        open_source((sides[0], sides[1][:1]), modality="words")
    with pytest.raises(DataError, match="these are words with tags, not what --task classify learns from"):
        open_source(rows, task="classify")
    with pytest.raises(DataError, match=r"these are no words with tags; allowed in Python are \[\(words, tags\)"):
        open_source(["no", "tags"], task="tag")
    with pytest.raises(DataError, match=r"sentence 0: 2 words, but 1 tags"):
        open_source([(["a", "b"], ["A"])])


def test_workers_read_their_own(tmp_path):
    source = open_source(_file(tmp_path, "a.conll", CONLL))
    twin = pickle.loads(pickle.dumps(source))
    assert len(pickle.dumps(source)) < 2000
    assert [twin.read(place) for place in (0, 1)] == [source.read(place) for place in (0, 1)]
