from __future__ import annotations

import os
import pickle
from pathlib import Path

import numpy as np
import pytest

from bodh.errors import BadRecord, DataError
from bodh.records.open import open_source
from bodh.records.sources._folders import FileFolder
from tests.unit.records.samples import fill


def opened(folder: Path, **options: str) -> FileFolder:
    source = open_source(folder, **options)
    assert isinstance(source, FileFolder)
    return source


def classes_of(source: FileFolder) -> dict[str, str]:
    assert source.targets is not None
    return {name: source.class_names[t] if t >= 0 else "" for name, t in zip(source.ids, source.targets, strict=True)}


def test_images_side_by_side_have_no_labels_and_a_natural_order(tmp_path: Path):
    source = opened(fill(tmp_path, ["img10.png", "img2.jpg", "IMG1.webp", "a.bmp", "b.tif", "c.gif"]))
    assert list(source.ids) == ["a.bmp", "b.tif", "c.gif", "IMG1.webp", "img2.jpg", "img10.png"]
    assert source.targets is None
    assert source.class_names == ()
    assert set(source.splits.tolist()) == {"train"}
    assert source.read(0)[:2] == b"BM"


def test_class_folders_label_also_deep_ones_and_hindi_ones(tmp_path: Path):
    source = opened(fill(tmp_path, ["बिल्ली/१.png", "बिल्ली/गहरा/२.png", "कुत्ता/चित्र.png", "loose.png"]))
    assert source.class_names == ("कुत्ता", "बिल्ली")
    assert classes_of(source) == {
        "loose.png": "", "कुत्ता/चित्र.png": "कुत्ता", "बिल्ली/१.png": "बिल्ली", "बिल्ली/गहरा/२.png": "बिल्ली",
    }  # fmt: skip


@pytest.mark.parametrize("word", ["val", "valid", "validation", "Val"])
def test_parts_are_honoured(tmp_path: Path, word: str):
    source = opened(fill(tmp_path, ["train/cat/1.png", "train/dog/1.png", f"{word}/cat/1.png", "test/dog/1.png"]))
    assert dict(zip(source.ids, source.splits.tolist(), strict=True)) == {
        "train/cat/1.png": "train", "train/dog/1.png": "train", f"{word}/cat/1.png": "val", "test/dog/1.png": "test",
    }  # fmt: skip
    assert source.class_names == ("cat", "dog")


def test_parts_without_classes_have_no_labels(tmp_path: Path):
    source = opened(fill(tmp_path, ["train/1.png", "train/2.png", "test/1.png"]))
    assert source.targets is None
    assert source.splits.tolist() == ["test", "train", "train"]


def test_train_among_vehicles_is_a_class(tmp_path: Path):
    source = opened(fill(tmp_path, ["bus/1.png", "train/1.png", "tram/1.png"]))
    assert source.class_names == ("bus", "train", "tram")
    assert set(source.splits.tolist()) == {"train"}


def test_folders_beside_parts_are_unlabelled_training_images_and_said(tmp_path: Path):
    source = opened(fill(tmp_path, ["train/cat/1.png", "test/cat/1.png", "unlabelled/x/1.png"]))
    assert classes_of(source) == {"test/cat/1.png": "cat", "train/cat/1.png": "cat", "unlabelled/x/1.png": ""}
    assert any("unlabelled" in note for note in source.notes)


def test_a_folder_around_everything_is_looked_through(tmp_path: Path):
    source = opened(fill(tmp_path, ["set/train/cat/1.png", "set/train/dog/1.png", "set/test/cat/1.png"]))
    assert source.class_names == ("cat", "dog")
    assert sorted(source.splits.tolist()) == ["test", "train", "train"]


def test_a_single_class_folder_stays_a_class(tmp_path: Path):
    assert opened(fill(tmp_path, ["cat/1.png", "cat/2.png"])).class_names == ("cat",)


def test_the_label_can_be_the_whole_path_or_none(tmp_path: Path):
    fill(tmp_path, ["greek/alpha/1.png", "greek/beta/1.png", "latin/alpha/1.png"])
    assert opened(tmp_path, label="parent").class_names == ("greek/alpha", "greek/beta", "latin/alpha")
    assert opened(tmp_path, label="none").targets is None
    assert len(opened(tmp_path, input="greek")) == 2
    with pytest.raises(DataError, match=r"label='second' is unknown .* first, parent, none"):
        open_source(tmp_path, label="second")
    with pytest.raises(DataError, match="no folder input='hindi'"):
        open_source(tmp_path, input="hindi")


def test_hidden_files_are_ignored(tmp_path: Path):
    fill(tmp_path, ["1.png", "._1.png", ".thumbs/2.png", "__MACOSX/3.png"])
    assert list(opened(tmp_path).ids) == ["1.png"]


def test_links_are_followed_and_loops_cut(tmp_path: Path):
    data = fill(tmp_path / "data", ["cat/1.png", "dog/1.png"])
    fill(tmp_path / "elsewhere", ["1.png"], first=7)
    (data / "cat" / "back").symlink_to(data)
    (data / "dog" / "self.png").symlink_to("self.png")
    (data / "bird").symlink_to(tmp_path / "elsewhere")
    source = opened(data)
    assert list(source.ids) == ["bird/1.png", "cat/1.png", "dog/1.png", "dog/self.png"]
    assert source.notes == ["cat/back is a link back to a folder above it; left out"]
    with pytest.raises(BadRecord, match="symbolic links"):
        source.read(3)


def test_a_link_to_nothing_is_a_broken_record(tmp_path: Path):
    fill(tmp_path, ["1.png"])
    (tmp_path / "2.png").symlink_to(tmp_path / "gone.png")
    source = opened(tmp_path)
    assert len(source) == 2
    with pytest.raises(BadRecord, match="No such file"):
        source.read(1)


def test_an_empty_file_is_a_broken_record(tmp_path: Path):
    (tmp_path / "1.png").touch()
    with pytest.raises(BadRecord, match="empty"):
        opened(tmp_path).read(0)


def test_a_name_that_is_no_utf8_is_shown_and_read(tmp_path: Path):
    path = os.fsencode(tmp_path) + b"/caf\xe9.png"
    with open(path, "wb") as file:  # noqa: PTH123 - a Path of bytes there is not
        file.write(b"data")
    source = opened(tmp_path)
    assert list(source.ids) == ["caf\\xe9.png"]
    assert source.read(0) == b"data"


def test_the_fingerprint_follows_names_sizes_and_times(tmp_path: Path):
    fill(tmp_path, ["1.png", "2.png"])
    before = opened(tmp_path).fingerprint
    assert opened(tmp_path).fingerprint == before
    os.utime(tmp_path / "1.png", ns=(1, 1))
    touched = opened(tmp_path).fingerprint
    (tmp_path / "2.png").rename(tmp_path / "3.png")
    assert len({before, touched, opened(tmp_path).fingerprint}) == 3


def test_listing_reads_no_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    fill(tmp_path, ["a/1.png", "b/1.png"])
    monkeypatch.setattr(Path, "read_bytes", lambda path: pytest.fail(f"{path} was read"))
    assert len(opened(tmp_path)) == 2


def test_a_worker_gets_paths_and_no_labels(tmp_path: Path):
    source = opened(fill(tmp_path, [f"c{i}/{j}.png" for i in range(3) for j in range(3)]))
    copy = pickle.loads(pickle.dumps(source))
    assert copy.targets is None
    assert copy.read(4) == source.read(4)


def test_a_folder_without_images_says_what_it_holds(tmp_path: Path):
    with pytest.raises(DataError, match=r"no image in .*: it holds no files; bodh reads \.avif, "):
        open_source(tmp_path)
    (tmp_path / "a.heic").touch()
    (tmp_path / "notes").touch()
    with pytest.raises(DataError, match=r"it holds 1 \.heic, 1 without suffix; bodh reads"):
        open_source(tmp_path)


def test_a_folder_that_may_not_be_entered_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    fill(tmp_path, ["a/1.png", "b/1.png"])
    scan = os.scandir

    def refuse(path: str) -> object:
        if str(path).endswith("b"):
            raise PermissionError(13, "Permission denied")
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    source = opened(tmp_path)
    assert list(source.ids) == ["a/1.png"]
    assert source.notes == ["b/: cannot be listed (Permission denied); left out"]


def test_the_real_folder(shared: Path):
    source = opened(shared / "clothing-small")
    counts = {part: int((source.splits == part).sum()) for part in ("train", "val", "test")}
    assert counts == {"train": 3068, "val": 341, "test": 372}
    assert source.class_names[:2] == ("dress", "hat")
    assert source.targets is not None
    assert np.bincount(source.targets[source.splits == "test"]).tolist() == [15, 12, 72, 38, 42, 26, 73, 30, 12, 52]


def labelled_folder(folder: Path, table: str) -> Path:
    fill(folder, ["a.png", "sub/b.png", "c.png"])
    (folder / "labels.csv").write_text(table, encoding="utf-8")
    return folder


def test_a_table_beside_the_images_labels_them_with_numbers(tmp_path: Path):
    table = "file,angle,weight\nsub/b.png,12.5,1\na.png,-3,\n"
    source = opened(labelled_folder(tmp_path, table), label="angle")
    assert list(source.ids) == ["a.png", "c.png", "sub/b.png"]
    assert source.targets is not None
    np.testing.assert_array_equal(source.targets, np.array([-3, np.nan, 12.5], np.float32))
    assert source.class_names == ("angle",)
    assert "labels from labels.csv: angle" in source.reading
    assert source.notes == []
    both = opened(tmp_path)
    np.testing.assert_array_equal(both.targets, np.array([[-3, np.nan], [np.nan] * 2, [12.5, 1]], np.float32))
    assert both.class_names == ("angle", "weight")
    before = both.fingerprint
    (tmp_path / "labels.csv").write_text(table + "c.png,1.5,2.5\n", encoding="utf-8")
    assert opened(tmp_path).fingerprint != before
    assert opened(tmp_path, label="first").class_names == ("sub",), "folders still can be asked for"


def test_a_table_beside_the_images_may_hold_classes(tmp_path: Path):
    source = opened(labelled_folder(tmp_path, "file,kind\na.png,बिल्ली\nc.png,dog\n"))
    assert classes_of(source) == {"a.png": "बिल्ली", "c.png": "dog", "sub/b.png": ""}


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("file,kind\nd.png,1\n", r"line 2 of labels.csv names 'd.png', which is no image in"),
        ("file,kind\na.png,1\n./a.png,2\n", r"line 3 of labels.csv names 'a.png' a second time"),
        ("file\na.png\n", r"needs a header such as file,value"),
        ("file,kind,size\na.png,dog,1\n", r"several columns, which must all hold numbers; .* data.label=NAME"),
    ],
)
def test_a_table_that_does_not_fit_is_told(tmp_path: Path, table: str, message: str):
    with pytest.raises(DataError, match=message):
        opened(labelled_folder(tmp_path, table))


def test_a_column_that_the_table_lacks_is_told(tmp_path: Path):
    with pytest.raises(DataError, match=r"no column label='size'; its columns are: file, kind"):
        opened(labelled_folder(tmp_path, "file,kind\na.png,1\n"), label="size")
