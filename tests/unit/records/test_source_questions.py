"""Questions about texts: SQuAD, XQuAD's lines, tables, dicts; answers that stand elsewhere, parts, mistakes."""

from __future__ import annotations

import gzip
import json
import pickle

import numpy as np
import pytest

from bodh.errors import BadRecord, DataError
from bodh.records.open import open_source

TEXT = "The tower is 300 m high. It was built in 1889. दिल्ली में है।"


def _row(number, *, text=TEXT, answer="1889", start=None, **more):
    place = text.index(answer) if start is None else start
    return {
        "id": f"q{number}", "title": f"t{number // 2}", "question": f"When was it built, {number}?", "context": text,
        "answers": {"text": [answer], "answer_start": [place]},
    } | more  # fmt: skip


def _lines(path, rows):
    data = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def _read(source, place=0):
    return json.loads(source.read(place))


def _squad(rows, **more):
    return {"version": "v2.0", "data": [
        {"title": row["title"], "paragraphs": [{"context": row["context"], "qas": [
            {"id": row["id"], "question": row["question"], "answers": [
                {"text": text, "answer_start": start} for text, start in zip(*row["answers"].values(), strict=True)
            ], **more}]}]}
        for row in rows
    ]}  # fmt: skip


@pytest.mark.parametrize("kind", ["jsonl", "gz", "parquet", "squad", "dicts", "list", "flat"])
def test_every_form_gives_the_same_record(tmp_path, kind):
    rows = [_row(number) for number in range(4)]
    if kind in ("jsonl", "gz"):
        data = _lines(tmp_path / ("q.jsonl" + ".gz" * (kind == "gz")), rows)
    elif kind == "parquet":
        pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
        pq.write_table(pa.Table.from_pylist(rows), tmp_path / "q.parquet")
        data = tmp_path / "q.parquet"
    elif kind == "squad":
        data = tmp_path / "dev-v2.0.json"
        data.write_text(json.dumps(_squad(rows)))
    elif kind == "list":
        data = tmp_path / "q.json"
        data.write_text(json.dumps(rows, ensure_ascii=False))
    elif kind == "flat":
        flat = [row | {"answer": "1889", "answer_start": TEXT.index("1889")} for row in rows]
        data = _lines(tmp_path / "q.jsonl", [{k: v for k, v in row.items() if k != "answers"} for row in flat])
    else:
        data = rows
    source = open_source(data)
    assert source.modality == "questions"
    assert len(source) == 4
    assert _read(source, 1) == {
        "question": "When was it built, 1?", "context": TEXT, "answers": [["1889", TEXT.index("1889")]],
    }  # fmt: skip
    assert list(source.ids) == ["q0", "q1", "q2", "q3"]
    assert source.targets is None
    assert source.class_names == ()
    if kind != "dicts":
        again = pickle.loads(pickle.dumps(source))
        assert again.read(2) == source.read(2)


def test_parts_of_files_and_of_a_column_are_honoured(tmp_path):
    _lines(tmp_path / "train.jsonl", [_row(0), _row(1)])
    _lines(tmp_path / "test.jsonl", [_row(2)])
    assert open_source(tmp_path).splits.tolist() == ["train", "train", "test"]
    for name, rows in (("train-v1.1", [_row(0), _row(1)]), ("dev-v1.1", [_row(2)])):
        folder = tmp_path / "squad"
        folder.mkdir(exist_ok=True)
        (folder / f"{name}.json").write_text(json.dumps(_squad(rows)))
    assert open_source(folder).splits.tolist() == ["train", "train", "val"]
    rows = [_row(0, split="train"), _row(1, split="validation"), _row(2, split="test")]
    assert open_source(_lines(tmp_path / "one.jsonl", rows)).splits.tolist() == ["train", "val", "test"]
    told = open_source({"train": [_row(0)], "validation": [_row(1)]})
    assert told.splits.tolist() == ["train", "val"]


@pytest.mark.parametrize("titled", [True, False])
def test_without_parts_no_title_and_no_text_lies_in_both(titled):
    rows = [_row(number, text=f"{number // 3}: {TEXT}", title=f"t{number // 6}" * titled) for number in range(60)]
    source = open_source(rows)
    told: dict[str, set[str]] = {"train": set(), "test": set()}
    for row, part in zip(rows, source.splits.tolist(), strict=True):
        told[part].add(row["title"] or row["context"])
    assert not told["train"] & told["test"]
    assert 12 <= (source.splits == "test").sum() <= 18
    assert open_source(rows).splits.tolist() == source.splits.tolist()
    assert ("title" if titled else "context") in source.divided
    assert (open_source([_row(0, title="t"), _row(1, title="t")]).splits == "train").all()  # one text cannot be shared


def test_an_answer_that_stands_elsewhere_is_moved_or_told(tmp_path, caplog):
    rows = [
        _row(0),
        _row(1, start=3),
        _row(2, answer="i", start=0),
        _row(3, answer="1889", text="no year at all", start=0),
    ]
    with caplog.at_level("INFO", "bodh"):
        source = open_source(_lines(tmp_path / "q.jsonl", rows))
    assert _read(source, 1)["answers"] == [["1889", TEXT.index("1889")]]
    told = " ".join(source.notes)
    assert "1 answers do not stand where answer_start says" in told
    assert "q.jsonl:2: '1889'" in told
    assert "2 answers cannot be found and are left out: q.jsonl:3: the answer 'i' does not stand at character 0" in told
    assert told in caplog.text or source.notes[0] in caplog.text
    with pytest.raises(BadRecord, match=r"q.jsonl:3: the answer 'i' .* is in the text more than once"):
        source.read(2)
    with pytest.raises(BadRecord, match="is not in the text"):
        source.read(3)
    with pytest.raises(DataError, match=r"none of the 1 questions of .* can be used: q.jsonl:1: .*'i' does not stand"):
        open_source(_lines(tmp_path / "q.jsonl", [_row(2, answer="i", start=0)]))


def test_no_answer_and_an_answer_that_nobody_gave(tmp_path):
    rows = [
        _row(0), _row(1, answers={"text": [], "answer_start": []}), _row(2, is_impossible=True),
        {"question": "Who?", "context": TEXT}, _row(4, answers=None),
    ]  # fmt: skip
    source = open_source(_lines(tmp_path / "q.jsonl", rows))
    assert [_read(source, place)["answers"] for place in range(1, 5)] == [[], [], None, None]
    assert "2 questions are not answered by their text" in source.notes
    assert any("2 questions come without an answer" in note for note in source.notes)
    assert source.ids[3] == "q.jsonl:4"


def test_several_right_answers_are_all_kept():
    several = {"text": ["300 m", "300"], "answer_start": [13, 13]}
    assert _read(open_source([_row(0, answers=several), _row(1)]))["answers"] == [["300 m", 13], ["300", 13]]
    forms = [{"text": "1889", "answer_start": TEXT.index("1889")}]
    assert _read(open_source([_row(0, answers=forms), _row(1)]))["answers"] == [["1889", TEXT.index("1889")]]


def test_languages_are_chosen(shared):
    path = shared / "hindi-english" / "xquad.jsonl.gz"
    if not path.is_file():
        pytest.skip("the data hindi-english is not here")
    with pytest.raises(DataError, match=r"several languages: hi, en; choose one: data.input=hi"):
        open_source(path)
    counts = set()
    for language in ("hi", "en"):
        source = open_source(path, input=language)
        counts.add(len(source))
        record = _read(source, 700)
        text, start = record["answers"][0]
        assert record["context"][start : start + len(text)] == text
        assert not source.notes  # all answers stand where they should
    assert counts == {1190}
    assert open_source(path, input="context_hi").modality == "text"  # a column is texts
    with pytest.raises(DataError, match=r"no data.input='fr'.*its languages are: hi, en"):
        open_source(path, input="fr", modality="questions")


def test_texts_stay_texts(tmp_path):
    rows = [{"question": "Who?", "context": TEXT, "answer": "1889"}] * 3
    path = _lines(tmp_path / "q.jsonl", rows)
    assert open_source(path).modality == "questions"
    assert open_source(path, modality="text").modality == "text"
    assert open_source(path, input="context").modality == "text"
    plain = _lines(tmp_path / "p.jsonl", [{"text": "a question", "label": "x"}, {"text": "b", "label": "y"}])
    assert open_source(plain).modality == "text"


@pytest.mark.parametrize(
    ("rows", "options", "told"),
    [
        ([{"question": "Who?", "context": 3, "answers": []}], {}, "the context is of type int; a text is expected"),
        ([{"context": TEXT, "questions": ["Who?"], "answers": []}], {}, r"questions\[0\] is of type str"),
        ([{"question": " ", "context": TEXT, "answers": []}], {}, "no question"),
        ([_row(0), _row(1)], {"label": "title", "modality": "questions"}, "questions have answers, no labels"),
        ([_row(0), _row(1)], {"input": "hi", "modality": "questions"}, "one language, given data.input='hi'"),
        ({"train": 3}, {"modality": "questions"}, "'train' is no list of questions"),
    ],
)  # fmt: skip
def test_mistakes_are_told(rows, options, told):
    with pytest.raises(DataError, match=told):
        open_source(rows, **options)


def test_a_broken_line_is_told_by_its_number(tmp_path):
    path = tmp_path / "q.jsonl"
    path.write_text("".join(json.dumps(_row(number)) + "\n" for number in range(3)) + "{broken\n")
    source = open_source(path)
    assert len(source) == 4
    with pytest.raises(BadRecord, match="no JSON"):
        source.read(3)
    assert source.ids[3] == "q.jsonl:4"
    (tmp_path / "empty.jsonl").write_text("")
    with pytest.raises(DataError, match=r"holds no questions|is empty|no texts"):
        open_source(tmp_path / "empty.jsonl", modality="questions")


def test_a_text_file_is_no_question(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("words\n")
    with pytest.raises(DataError, match=r"holds no questions; allowed are SQuAD's \.json"):
        open_source(path, modality="questions")
    assert isinstance(open_source([_row(0), _row(1)]).splits, np.ndarray)
