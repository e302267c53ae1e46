from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import numpy as np

from bodh.errors import BadRecord
from bodh.records.check import DataReport, check
from bodh.records.open import open_source
from bodh.records.store import open_store


class Letters:
    """The smallest modality of texts: a letter is a token, 1 ends a text."""

    name: ClassVar[str] = "text"

    def store_key(self) -> str:
        return "letters"

    def decode(self, raw: bytes | np.ndarray) -> np.ndarray:
        text = bytes(raw).decode()
        if not text.strip():
            raise BadRecord("an empty text")
        return np.array([*(ord(letter) for letter in text), 1], np.int32)


def report_of(folder: Path, **options: str) -> DataReport:
    source = open_source(folder, **options)
    return check(source, open_store(source, Letters(), tolerance=1.0, workers=0))  # type: ignore[arg-type]


def test_lengths_encodings_and_copies_are_told(tmp_path: Path):
    rows = "The same text,a\nA longer one than that,b\nthe SAME text!,a\nकिताब,a\nकताब,b\nok,b\n"
    (tmp_path / "train.csv").write_text("text,label\n" + rows + ",b\n", encoding="utf-8")
    (tmp_path / "test.csv").write_text("text,label\nA longer one than that,a\n", encoding="utf-16")
    report = report_of(tmp_path)
    assert report.modality == "text"
    assert report.sizes["shortest"] == "2 characters"
    assert report.sizes["longest"] == "22 characters"
    assert report.formats == {"UTF-8": 1, "UTF-16": 1}
    same, alike = report.duplicates
    assert (same["kind"], same["parts"], same["text"]) == ("same", ["test", "train"], "A longer one than that")
    assert same["ids"] == ["train.csv:3", "test.csv:2"]
    assert (alike["kind"], alike["ids"], alike["text"]) == ("alike", ["train.csv:2", "train.csv:4"], "The same text")
    told = [row["finding"] for row in report.findings]
    assert "exact copies of other records: 1 group across train, val and test: scores will be too good" in told
    assert "exact copies of other records: 1 group with different labels" in told
    assert "1 text has no more than 2 characters" in told
    assert "1 empty row left out" in told
    assert "files of several encodings: 1 UTF-8, 1 UTF-16" in told
    assert {row["class"]: row["records"] for row in report.classes} == {"a": 4, "b": 3}


def test_a_folder_of_texts_tells_its_encodings_and_what_is_broken(tmp_path: Path):
    for name, data in (
        ("1.txt", b"one text"), ("2.txt", "zwei".encode("utf-16")), ("3.txt", b"caf\xe9"), ("4.txt", b"One  text."),
        ("5.txt", b""),
    ):  # fmt: skip
        (tmp_path / name).write_bytes(data)
    report = report_of(tmp_path)
    assert report.formats == {"UTF-8": 2, "UTF-16": 1, "not known": 2}
    assert [row["id"] for row in report.broken] == ["3.txt", "5.txt"]
    assert "the file line 1: byte 0xe9 is not UTF-8" in report.broken[0]["reason"]
    assert [row["ids"] for row in report.duplicates] == [["1.txt", "4.txt"]]


def test_stores_of_texts_on_disk_in_memory_and_streamed_tell_the_same_lengths(tmp_path: Path):
    path = tmp_path / "a.txt"
    path.write_text("".join("x" * (number % 7 + 1) + "\n" for number in range(50)), encoding="utf-8")
    source, letters = open_source(path), Letters()
    disk = open_store(source, letters, workers=0)  # type: ignore[arg-type]
    streamed = open_store(source, letters, workers=0, budget=1, cache=tmp_path / "other")  # type: ignore[arg-type]
    memory = open_store(open_source([text.decode() for text in map(source.read, range(50))]), letters)  # type: ignore[arg-type]
    wanted = [number % 7 + 2 for number in range(50)]
    for store in (disk, streamed, memory):
        assert store.shape is None
        assert store.lengths().tolist() == wanted
        assert [len(row) for row in store.rows(np.arange(50))] == wanted
