"""A saved model in use, through the verbs: embed, predict, search, export, on real digits as image files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import bodh
from bodh.api import search as searching
from bodh.errors import BadRecord, ConfigError, DataError, DeviceError, ModelError, OutputError, UnknownName
from bodh.testing.formats import small_model

NAMES = ("शून्य", "एक", "दो")


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Thirty digits as PNG files in folders with Hindi names, split into train and test."""
    from sklearn.datasets import load_digits

    root = tmp_path_factory.mktemp("photos") / "अंक"
    digits = load_digits()
    for split, start in (("train", 0), ("test", 8)):
        for target, name in enumerate(NAMES):
            folder = root / split / name
            folder.mkdir(parents=True)
            for number in np.flatnonzero(digits.target == target)[start : start + (8 if split == "train" else 2)]:
                pixels = (digits.images[number] * 255 / 16).astype(np.uint8)
                Image.fromarray(pixels).resize((20, 20)).save(folder / f"{number}.png")
    return root


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> bodh.Model:
    folder = tmp_path_factory.mktemp("run")
    (folder / "config.toml").write_text("", encoding="utf-8")
    return bodh.load(small_model(folder / "model", classes=NAMES))


def test_the_handle_knows_where_it_comes_from(model: bodh.Model):
    assert bodh.load(model) is model
    assert bodh.load(model.folder.parent).folder == model.folder
    assert model.run == model.folder.parent
    assert "classes=शून्य, एक, दो" in repr(model)
    assert "<td>शून्य, एक, दो</td>" in model._repr_html_()
    told = model.to_json()
    assert json.loads(json.dumps(told))["class_names"] == list(NAMES)
    assert told["run"] == str(model.run)


def test_every_form_of_one_image_gives_one_vector(model: bodh.Model, photos: Path):
    path = next((photos / "train" / "दो").glob("*.png"))
    with Image.open(path) as image:
        pixels = np.asarray(image)
        forms = [
            path,
            str(path),
            path.read_bytes(),
            image.copy(),
            pixels,
            pixels[..., None],
            pixels[None],
            image.convert("RGB"),
        ]
        found = np.concatenate([model.embed(form) for form in forms])
        together = model.embed(forms)
    assert found.shape == (8, 16)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, found[:1].repeat(8, 0), atol=1e-6)
    np.testing.assert_allclose(together, found, atol=1e-6)
    assert np.ptp(model.embed(photos / "test"), axis=0).max() > 1e-4


def test_cmyk_from_memory_is_read(model: bodh.Model, photos: Path):
    path = next((photos / "train" / "दो").glob("*.png"))
    with Image.open(path) as image:
        assert model.embed(image.convert("CMYK")).shape == (1, 16)


def test_embed_writes_the_same_vectors_as_parquet_and_npy(model: bodh.Model, photos: Path, tmp_path: Path):
    from pyarrow import parquet

    told = bodh.embed(model, photos, out=tmp_path / "v.parquet")
    assert (told.records, told.dim, told.skipped) == (30, 16, ())
    table = parquet.read_table(tmp_path / "v.parquet")
    assert str(table.schema.field("embedding").type) == "fixed_size_list<element: float>[16]"
    assert table.schema.metadata[b"bodh.model"].decode() == model.digest
    rows = table.to_pylist()
    assert {row["label"] for row in rows} == set(NAMES)
    assert [row["split"] for row in rows].count("test") == 6
    vectors = np.array([row["embedding"] for row in rows], np.float32)
    bodh.embed(model.folder, photos, out=tmp_path / "v.npy")
    np.testing.assert_array_equal(np.load(tmp_path / "v.npy"), vectors)
    lines = (tmp_path / "v.ids.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["id"] for line in lines] == [row["id"] for row in rows]
    one = rows[3]["id"]
    np.testing.assert_allclose(model.embed(photos / one), vectors[3:4], atol=1e-5)


def test_embed_of_one_split_and_of_arrays(model: bodh.Model, photos: Path, tmp_path: Path):
    assert bodh.embed(model, photos, out=tmp_path / "t.npy", split="test").records == 6
    digits = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 1), dtype=np.uint8)
    assert bodh.embed(model, digits, out=tmp_path / "a.parquet").records == 5
    with pytest.raises(DataError, match="no records of split 'val'; it has: test, train"):
        bodh.embed(model, photos, out=tmp_path / "x.npy", split="val")


def test_embed_in_many_row_groups(model: bodh.Model, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from pyarrow import parquet

    from bodh.api import embed as embedding
    from bodh.model import loaded

    monkeypatch.setattr(embedding, "ROW_GROUP", 8)
    monkeypatch.setattr(loaded.LoadedModel.run, "__kwdefaults__", {"batch": 4})
    bodh.embed(model, photos, out=tmp_path / "v.parquet")
    file = parquet.ParquetFile(tmp_path / "v.parquet")
    assert [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)] == [8, 8, 8, 6]


def test_embed_leaves_nothing_behind(model: bodh.Model, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(OutputError, match=r"'\.csv'; allowed are \.parquet and \.npy"):
        bodh.embed(model, photos, out=tmp_path / "v.csv")
    (tmp_path / "v.ids.jsonl").touch()
    with pytest.raises(OutputError, match=r"v\.ids\.jsonl' exists already"):
        bodh.embed(model, photos, out=tmp_path / "v.npy")
    (tmp_path / "v.ids.jsonl").unlink()

    def full(*args: object, **settings: object):
        yield from ()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("bodh.api.embed.stream", full)
    for name in ("v.npy", "v.parquet"):
        with pytest.raises(OutputError, match="the disk is full"):
            bodh.embed(model, photos, out=tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_predict_says_class_and_probability(model: bodh.Model, photos: Path, tmp_path: Path):
    path = next((photos / "test" / "एक").glob("*.png"))
    (record,) = model.predict(path).records
    assert record["id"] == str(path)
    assert record["class"] in NAMES
    assert record["probability"] == max(record["probabilities"].values())
    assert set(record["probabilities"]) == set(NAMES)
    assert sum(record["probabilities"].values()) == pytest.approx(1, abs=1e-5)
    folder = bodh.predict(model, [photos], out=tmp_path / "p.jsonl")
    lines = [json.loads(line) for line in (tmp_path / "p.jsonl").read_text(encoding="utf-8").splitlines()]
    assert (folder.count, folder.broken, len(lines)) == (30, 0, 30)
    by_id = {line["id"]: line for line in lines}
    same = by_id[path.relative_to(photos).as_posix()]
    assert same["class"] == record["class"]
    assert same["probability"] == pytest.approx(record["probability"], abs=1e-5)
    with pytest.raises(OutputError, match="exists already"):
        bodh.predict(model, [photos], out=tmp_path / "p.jsonl")


def test_predict_with_a_broken_image_among_good_ones(model: bodh.Model, photos: Path, tmp_path: Path):
    good = next(photos.rglob("*.png"))
    bad = tmp_path / "text.jpg"
    bad.write_text("this is text")
    found = model.predict([good, bad])
    assert "class" in found[0]
    assert found[1]["id"] == str(bad)
    assert found[1]["error"]
    assert (found.count, found.broken) == (2, 1)
    with pytest.raises(DataError, match=r"text\.jpg: "):
        model.predict([bad])
    with pytest.raises(DataError):
        bodh.predict(model, [bad], out=tmp_path / "p.jsonl")
    assert not (tmp_path / "p.jsonl").exists()
    with pytest.raises(BadRecord, match=r"text\.jpg: "):
        model.embed([good, bad])


def test_predict_with_several_labels_and_without_any(photos: Path, tmp_path: Path):
    many = bodh.load(small_model(tmp_path / "many", classes=NAMES, task="multi"))
    record = many.predict(next(photos.rglob("*.png")))[0]
    assert set(record) == {"id", "classes", "probabilities"}
    assert record["classes"] == [name for name, p in record["probabilities"].items() if p > 0.5]
    none = small_model(tmp_path / "none", classes=())
    with pytest.raises(ModelError, match=r"this model has no classes yet: .* type: bodh finetune"):
        bodh.predict(none, [photos])


def test_inputs_that_are_not_there(model: bodh.Model, tmp_path: Path):
    with pytest.raises(DataError, match="no such file or folder"):
        model.predict(tmp_path / "cat.jpg")
    with pytest.raises(DataError, match="no input was given"):
        model.predict([])
    with pytest.raises(DataError, match="type dict cannot be read"):
        model.predict({"image": 1})
    with pytest.raises(DataError, match=r"array of shape \(2, 2, 2, 2, 1\) is no image"):
        model.predict(np.zeros((2, 2, 2, 2, 1), np.uint8))
    with pytest.raises(DeviceError):
        model.predict(np.zeros((8, 8), np.uint8), device="cuda:99")


def test_search_finds_the_nearest_and_embeds_once(model: bodh.Model, photos: Path, monkeypatch: pytest.MonkeyPatch):
    path = sorted((photos / "train" / "शून्य").glob("*.png"))[0]
    by_file = bodh.search(model, photos, path, top=4)
    assert by_file.rows[0]["id"] == path.relative_to(photos).as_posix()
    assert by_file.rows[0]["similarity"] == pytest.approx(1, abs=1e-5)
    assert [row["rank"] for row in by_file] == [1, 2, 3, 4]
    assert (by_file.searched, by_file.exact, by_file.rows[0]["label"]) == (30, True, "शून्य")
    monkeypatch.setattr("bodh.api.embed.stream", lambda *a, **k: pytest.fail("embedded again"))  # noqa: ARG005
    by_id = model.search(photos, by_file.rows[0]["id"], top=3)
    assert [row["id"] for row in by_id] == [row["id"] for row in by_file.rows[1:]]
    everything = model.search(photos, by_file.rows[0]["id"], top=99)
    assert len(everything) == 29
    with pytest.raises(DataError, match="neither a file nor a record"):
        model.search(photos, "train/शून्य/nothing.png")
    with pytest.raises(ConfigError, match="top: 0 is too small"):
        model.search(photos, path, top=0)
    with pytest.raises(ConfigError, match=r"data\.lable"):
        model.search(photos, path, **{"data.lable": "x"})


def test_blocks_of_vectors_give_the_same_neighbours(monkeypatch: pytest.MonkeyPatch):
    vectors = searching.unit(np.random.default_rng(0).normal(size=(1000, 8)).astype(np.float32))
    vectors[500] = vectors[3]
    query = vectors[3]
    order = np.lexsort((np.arange(1000), -(vectors @ query)))[:20]
    monkeypatch.setattr(searching, "BLOCK", 64)
    found, similarity = searching.nearest(vectors, query, 20)
    assert found.tolist() == order.tolist()
    assert found[:2].tolist() == [3, 500]
    np.testing.assert_allclose(similarity, (vectors @ query)[order], rtol=1e-6)
    assert searching.unit(np.zeros((1, 3), np.float32)).tolist() == [[0, 0, 0]]


def test_the_index_finds_what_comparing_finds(tmp_path: Path):
    pytest.importorskip("faiss")
    vectors = searching.unit(np.random.default_rng(0).normal(size=(3000, 8)).astype(np.float32))
    for _ in range(2):  # built, then read
        found, similarity = searching._by_index(vectors, tmp_path / "v.npy", vectors[7], 5)
        wanted, exact = searching.nearest(vectors, vectors[7], 5)
        assert found[0] == wanted[0] == 7
        assert len(set(found) & set(wanted)) >= 3
        np.testing.assert_allclose(similarity[0], exact[0], atol=1e-5)
    assert (tmp_path / "v.faiss").is_file()


def test_export_on_the_models_own_records_and_on_others(model: bodh.Model, photos: Path, tmp_path: Path):
    told = model.export("state_dict", tmp_path / "m.pt")
    assert told.out == tmp_path / "m.pt"
    assert told.bytes == told.out.stat().st_size
    assert told.proof.is_file()
    assert {row["output"]: row["changed"] for row in told.to_json()["parity"]} == {
        "embedding": None,
        "logits": 0,
        "probabilities": 0,
    }
    assert all(row["holds"] for row in told.to_json()["parity"])
    json.dumps(told.to_json())
    other = bodh.export(model, format="safetensors", out=tmp_path / "m.safetensors", data=photos, capability="predict")
    assert [parity.output for parity in other.parity] == ["logits", "probabilities"]
    assert other.parity[0].records == 30
    with pytest.raises(UnknownName, match="no format named 'tflite'"):
        bodh.export(model, format="tflite", out=tmp_path / "m.tflite")


def test_data_of_another_modality_is_refused(model: bodh.Model, tmp_path: Path):
    vectors = np.zeros((5, 3), np.float32)
    with pytest.raises(DataError, match="the model takes image records, but array holds vector records"):
        bodh.embed(model, vectors, out=tmp_path / "v.npy")
