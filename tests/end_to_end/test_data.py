"""`bodh data`, from the Python function and from the command line, with the real image modality."""

from __future__ import annotations

import json
import subprocess
import sys
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bodh.api.data import data
from bodh.errors import ConfigError, DataError, OutputError
from tests.unit.records.samples import encoded, fill


def findings(report: object) -> str:
    return "\n".join(row["finding"] for row in report.to_json()["findings"])  # type: ignore[attr-defined]


def test_a_folder_with_everything_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("BODH_CACHE", str(tmp_path / "cache"))
    photos = fill(tmp_path / "photos", [f"train/बिल्ली/{i}.jpg" for i in range(12)], width=40, height=30)
    fill(photos, [f"train/कुत्ता/{i}.webp" for i in range(12)], first=20, width=30, height=40)
    fill(photos, ["test/कुत्ता/copy.webp"], first=20, width=30, height=40)
    (photos / "train" / "कुत्ता" / "notes.jpg").write_text("not a picture", encoding="utf-8")
    (photos / "train" / "कुत्ता" / "cut.png").write_bytes(encoded(1, width=40, height=40)[:200])
    (photos / "train" / "back").symlink_to(photos)
    report = data(photos)
    assert report.records == 27
    assert {row["id"] for row in report.broken} == {"train/कुत्ता/notes.jpg", "train/कुत्ता/cut.png"}
    said = findings(report)
    assert "2 of 27 records cannot be read" in said
    assert "1 group across train, val and test" in said
    assert "train/back is a link back to a folder above it; left out" in said
    assert [row["class"] for row in report.classes] == ["कुत्ता", "बिल्ली"]
    assert data(photos, check=False).broken == []
    assert data(photos, forget=True).freed > 10_000
    assert data(photos, forget=True).freed == 0


def test_names_and_arrays():
    digits = data("sklearn:digits")
    assert (digits.records, digits.labels, digits.counts["same_groups"]) == (1797, "one of 10 classes", 0)
    assert data("sklearn:iris").counts["same_groups"] == 1
    assert data((np.random.default_rng(0).random((30, 4)), np.arange(30) % 3)).labels == "one of 3 classes"


def test_columns_are_chosen_as_on_the_command_line(tmp_path: Path):
    pictures = np.random.default_rng(0).integers(0, 256, (20, 9, 9), dtype=np.uint8)
    np.savez(tmp_path / "x.npz", a=pictures, b=np.arange(20) % 2)
    assert data(tmp_path / "x.npz", input="a", label="b").labels == "one of 2 classes"
    assert data(tmp_path / "x.npz", **{"data.input": "a"}).labels == "none"
    with pytest.raises(ConfigError, match="colum"):
        data(tmp_path / "x.npz", colum="a")


def test_mistakes_are_told_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "empty").mkdir()
    for number in range(3):
        path = tmp_path / "broken" / f"{number}.jpg"
        path.parent.mkdir(exist_ok=True)
        path.write_text("no", encoding="utf-8")
    photos = fill(tmp_path / "photos", [f"{i}.png" for i in range(10)])
    mistakes = [
        (tmp_path / "none", "no such file or folder"),
        (tmp_path / "empty", "no image in"),
        (tmp_path / "broken", "none of 3 records"),
    ]
    for path, said in mistakes:
        with pytest.raises(DataError, match=said) as caught:
            data(path)
        assert "\n" not in str(caught.value)
    (tmp_path / "file").touch()
    monkeypatch.setenv("BODH_CACHE", str(tmp_path / "file"))
    with pytest.raises(OutputError, match="cannot write under"):
        data(photos)


def bomb(path: Path, width: int, height: int) -> None:
    """A PNG of some kilobytes that unfolds to width x height grey pixels."""

    def part(kind: bytes, content: bytes) -> bytes:
        return len(content).to_bytes(4, "big") + kind + content + zlib.crc32(kind + content).to_bytes(4, "big")

    head = width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes([8, 0, 0, 0, 0])
    packer = zlib.compressobj(9)
    line = bytes(width + 1)
    body = b"".join(packer.compress(line) for _ in range(height)) + packer.flush()
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + part(b"IHDR", head) + part(b"IDAT", body) + part(b"IEND", b""))


def test_tiny_and_huge_pictures_and_bombs(tmp_path: Path):
    photos = fill(tmp_path / "photos", [f"{i}.png" for i in range(60)], width=40, height=30)
    Image.new("RGB", (1, 1), "red").save(photos / "point.png")
    bomb(photos / "40-megapixels.png", 8000, 5000)
    bomb(photos / "bomb.png", 12_000, 9_000)
    report = data(photos, workers=0)
    assert [row["id"] for row in report.broken] == ["bomb.png"]
    assert "pixels" in report.broken[0]["reason"]
    assert report.records == 63
    assert report.sizes["largest"] == "8000 x 5000"
    assert report.sizes["smallest"] == "1 x 1"


def test_memory_does_not_grow_with_the_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("BODH_CACHE", str(tmp_path / "cache"))
    photos = fill(tmp_path / "photos", [f"{i}.png" for i in range(120)], width=300, height=300)
    decoded = 120 * 300 * 300 * 3
    data(photos, check=False, **{"modality.size": 300})
    from bodh.modalities.image import ImageConfig, Modality
    from bodh.records.open import open_source
    from bodh.records.store import open_store

    source = open_source(photos)
    modality = Modality(ImageConfig(size=300, channels=3, mean=(0.5,) * 3, std=(0.5,) * 3, stored_size=300))
    tracemalloc.start()
    store = open_store(source, modality, workers=0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert store.shape == (300, 300, 3)
    assert peak < decoded / 2


def test_the_command_prints_one_json_object(tmp_path: Path):
    photos = fill(tmp_path / "photos", [f"{kind}/{i}.png" for kind in "ab" for i in range(8)], width=20, height=20)
    command = [sys.executable, "-m", "bodh", "data", str(photos), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert (report["records"], report["labels"]) == (16, "one of 2 classes")
    done = subprocess.run([*command[:-2], "nowhere"], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 2
    assert "no such file or folder: 'nowhere'" in done.stderr
    assert "Traceback" not in done.stderr
