"""A model folder on disk: written in one step, believed only after every byte was checked. No torch here."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bodh.errors import ModelError, OutputError
from bodh.model import folder as rooms
from bodh.model.folder import Folder, find, read_folder, write_folder
from bodh.model.manifest import Manifest
from tests.unit.model.test_model_manifest import GOOD

FILES = {"model.safetensors": b"weights" * 100, "README.md": "कार्ड".encode()}


@pytest.fixture
def written(tmp_path: Path) -> Folder:
    return write_folder(tmp_path / "मॉडल", Manifest.model_validate(GOOD), FILES)


def test_what_is_written_is_read_back(written: Folder):
    again = read_folder(written.path)
    assert again == written
    assert {name: again.read(name) for name in FILES} == FILES
    assert sorted(path.name for path in written.path.iterdir()) == ["README.md", "model.json", "model.safetensors"]
    assert [path.name for path in written.path.parent.iterdir()] == [written.path.name]


def test_a_run_folder_stands_for_its_model(written: Folder, tmp_path: Path):
    run = tmp_path / "run"
    run.mkdir()
    written.path.rename(run / "model")
    assert find(run) == run / "model"
    assert read_folder(run).digest == written.digest


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda _: None, "no such folder"),
        (lambda path: path.mkdir(), "a folder without model.json"),
        (lambda path: path.write_text("x"), "it is a file"),
        (lambda path: (path / "checkpoints").mkdir(parents=True), "--resume"),
    ],
)
def test_where_no_model_is_the_message_says_what_is_there(tmp_path: Path, make, told: str):
    make(tmp_path / "there")
    with pytest.raises(ModelError, match=told):
        read_folder(tmp_path / "there")


def test_a_changed_byte_is_found(written: Folder):
    path = written.path / "model.safetensors"
    path.write_bytes(b"W" + path.read_bytes()[1:])
    with pytest.raises(ModelError, match=r"sha256 of 'model\.safetensors' is not the one in model\.json"):
        read_folder(written.path)
    with pytest.raises(ModelError, match="sha256"):
        written.read("model.safetensors")


@pytest.mark.parametrize("content", [b"", b"weights", b"weights" * 101])
def test_another_size_is_found_before_hashing(written: Folder, content: bytes, monkeypatch: pytest.MonkeyPatch):
    (written.path / "model.safetensors").write_bytes(content)
    monkeypatch.setattr(rooms, "_digest", lambda _: pytest.fail("hashed a file of the wrong size"))
    with pytest.raises(ModelError, match=rf"has {len(content)} bytes, model\.json says 700"):
        read_folder(written.path)


def test_a_missing_file_is_named(written: Folder):
    (written.path / "README.md").unlink()
    with pytest.raises(ModelError, match=r"'README\.md' is missing"):
        read_folder(written.path)


@pytest.mark.parametrize("name", ["model.json", "model.safetensors"])
def test_links_are_refused_even_to_the_right_content(written: Folder, tmp_path: Path, name: str):
    outside = tmp_path / "outside"
    (written.path / name).rename(outside)
    (written.path / name).symlink_to(outside)
    with pytest.raises(ModelError, match="is a link"):
        read_folder(written.path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_does_not_block(written: Folder):
    (written.path / "README.md").unlink()
    os.mkfifo(written.path / "README.md")
    with pytest.raises(ModelError, match="not a regular file"):
        read_folder(written.path)


def test_a_manifest_of_100_mb_is_refused_unread(written: Folder):
    with (written.path / "model.json").open("wb") as file:
        file.truncate(100 * 2**20)
    with pytest.raises(ModelError, match="104857600 bytes; at most"):
        read_folder(written.path)


def test_unlisted_files_are_not_read(written: Folder):
    (written.path / "handler.py").write_text("raise SystemExit")
    with pytest.raises(ModelError, match=r"lists no file 'handler\.py'"):
        read_folder(written.path).read("handler.py")


def test_a_path_in_files_never_reaches_the_disk(written: Folder, tmp_path: Path):
    (tmp_path / "secret").write_bytes(b"secret")
    path = written.path / "model.json"
    manifest = json.loads(path.read_text(encoding="utf-8"))
    manifest["files"]["../secret"] = {"bytes": 6, "sha256": "0" * 64}
    path.write_text(json.dumps(manifest), encoding="utf-8")
    with pytest.raises(ModelError, match=r"'\.\./secret' is not allowed"):
        read_folder(written.path)


def test_an_existing_folder_is_kept(written: Folder):
    with pytest.raises(OutputError, match="exists already"):
        write_folder(written.path, written.manifest, {"model.safetensors": b"other"})
    assert read_folder(written.path).read("model.safetensors") == FILES["model.safetensors"]


def test_overwriting_replaces_all_of_a_model(written: Folder):
    write_folder(written.path, written.manifest, {"model.safetensors": b"other"}, overwrite=True)
    assert read_folder(written.path).read("model.safetensors") == b"other"
    assert sorted(path.name for path in written.path.iterdir()) == ["model.json", "model.safetensors"]
    assert [path.name for path in written.path.parent.iterdir()] == [written.path.name]


def test_overwriting_never_removes_what_is_no_model(tmp_path: Path):
    photos = tmp_path / "photos"
    photos.mkdir()
    (photos / "one.jpg").write_bytes(b"jpg")
    with pytest.raises(OutputError, match="is not a model folder"):
        write_folder(photos, Manifest.model_validate(GOOD), FILES, overwrite=True)
    assert (photos / "one.jpg").read_bytes() == b"jpg"


def test_a_full_disk_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def full(path: Path, content: bytes) -> None:
        path.write_bytes(content[:10])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(rooms, "write_synced", full)
    with pytest.raises(OutputError, match="the disk is full"):
        write_folder(tmp_path / "model", Manifest.model_validate(GOOD), FILES)
    assert list(tmp_path.iterdir()) == []


def test_a_failed_rename_puts_the_old_model_back(written: Folder, monkeypatch: pytest.MonkeyPatch):
    rename = Path.rename

    def failing(self: Path, target: Path) -> Path:
        if self.name.endswith(".partial"):
            raise PermissionError(errno.EACCES, "Permission denied")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", failing)
    with pytest.raises(OutputError, match="Permission denied"):
        write_folder(written.path, written.manifest, {"model.safetensors": b"other"}, overwrite=True)
    monkeypatch.undo()
    assert read_folder(written.path).read("model.safetensors") == FILES["model.safetensors"]
    assert [path.name for path in written.path.parent.iterdir()] == [written.path.name]


def test_reading_a_folder_imports_no_torch(written: Folder):
    code = (
        "import sys; from bodh.model.folder import read_folder; import bodh.api.load; "
        f"bodh.api.load.load({str(written.path)!r}); print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
