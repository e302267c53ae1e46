"""Texts from the data to the server, on real requests of clinc150: finetune, predict, embed, search, export, serve."""

from __future__ import annotations

import asyncio
import csv
import gzip
import json
import shutil
from pathlib import Path

import httpx
import numpy as np
import pytest

import bodh
from bodh.cli.app import run
from bodh.errors import BadRecord, ConfigError, DataError, ModelError, UserError
from bodh.model.folder import read_folder
from bodh.model.save import remember_block
from bodh.serving.app import create_app, open_models
from bodh.serving.config import ServingConfig

pytest.importorskip("tokenizers", reason="the extra 'text' is not installed")

CLINC = Path(__file__).parents[3] / "shared" / "data" / "clinc150" / "data_full.json.gz"
INTENTS = ("translate", "weather", "alarm", "balance")
SMALL = {"backbone.width": 32, "backbone.depth": 1, "backbone.heads": 2, "modality.length": 24}


def requests_of(part: str) -> list[tuple[str, str]]:
    with gzip.open(CLINC, "rt", encoding="utf-8") as file:
        told = json.load(file)[part]
    return [(text, intent) for text, intent in told if intent in INTENTS]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not CLINC.is_file():
        pytest.skip("no ../shared/data/clinc150")
    folder = tmp_path_factory.mktemp("texts") / "requests"
    folder.mkdir()
    for part in ("train", "test"):
        with (folder / f"{part}.csv").open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([("text", "intent"), *requests_of(part)])
    return folder


@pytest.fixture(scope="module")
def model(data: Path, tmp_path_factory: pytest.TempPathFactory) -> bodh.Model:
    out = tmp_path_factory.mktemp("runs") / "intents"
    settings = {**SMALL, "learning_rate": 4e-3, "batch": 32, "modality.vocabulary": 600, "monitor_records": 64}
    return bodh.finetune(
        data, start="transformer", out=out, epochs=8, **settings, **{"data.input": "text", "data.label": "intent"}
    )


def test_it_learns_the_intents(model: bodh.Model) -> None:
    texts, intents = zip(*requests_of("test"), strict=True)
    told = [record["class"] for record in model.predict(list(texts))]
    assert np.mean([one == other for one, other in zip(told, intents, strict=True)]) > 0.85


def test_a_text_is_the_input_itself_and_a_path_a_path(model: bodh.Model, data: Path, monkeypatch) -> None:
    (record,) = model.predict("how do i say hello in hindi")
    assert record["class"] == "translate"
    monkeypatch.chdir(data)
    assert len(model.predict("test.csv")) == len(requests_of("test"))
    assert model.embed(["one", "two words"]).shape == (2, 32)
    assert model.embed(np.array(["one", "two words"])).shape == (2, 32)
    told = model.predict(["wake me at six", "", "हिन्दी में कहो"]).records
    assert told[1] == {"id": "input:1", "error": "an empty text"}
    assert "class" in told[2]


def test_neighbours_of_a_text(model: bodh.Model, data: Path, tmp_path: Path) -> None:
    found = model.search(data, "what is my bank balance", top=3, **{"data.input": "text", "data.label": "intent"})
    assert [row["label"] for row in found].count("balance") >= 2
    out = tmp_path / "vectors.npy"
    bodh.embed(model, data, out=out, **{"data.input": "text", "data.label": "intent"})
    assert np.load(out).shape == (len(requests_of("train")) + len(requests_of("test")), 32)


def test_the_folder_holds_the_tokenizer_and_keeps_it(model: bodh.Model, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(model.folder, folder)
    assert "tokenizer.json" in read_folder(folder).manifest.files
    before = bodh.load(folder).embed("set an alarm")
    remember_block(folder, "block1", 1, measured={"why": "a test"})
    assert (folder / "tokenizer.json").read_bytes() == (model.folder / "tokenizer.json").read_bytes()
    np.testing.assert_allclose(bodh.load(folder).embed("set an alarm"), before, atol=1e-5)
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert "A classifier of texts: it chooses one of 4 classes" in card
    assert "`tokenizer.json`" in card


def test_a_changed_or_foreign_tokenizer_is_refused(model: bodh.Model, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(model.folder, folder)
    content = (folder / "tokenizer.json").read_bytes()
    (folder / "tokenizer.json").write_bytes(content.replace(b"translate", b"translatf"))
    with pytest.raises(ModelError, match=r"sha256 of 'tokenizer\.json'|has \d+ bytes"):
        bodh.load(folder)
    (folder / "tokenizer.json").unlink()
    with pytest.raises(ModelError, match=r"'tokenizer\.json' is missing"):
        bodh.load(folder)


def test_a_tokenizer_that_does_not_match_the_network(model: bodh.Model, tmp_path: Path) -> None:
    from bodh.modalities._train_tokenizer import train
    from bodh.model.folder import write_folder
    from bodh.model.loaded import load_model

    verified = read_folder(model.folder)
    files = {name: verified.read(name) for name in verified.manifest.files}
    files["tokenizer.json"] = train("characters", ["abc"], vocabulary=50)
    write_folder(tmp_path / "model", verified.manifest, files)
    with pytest.raises(ModelError, match="the tokenizer and the network do not belong together: vocabulary is 8 there"):
        load_model(tmp_path / "model")


def test_exported_and_served(model: bodh.Model, tmp_path: Path) -> None:
    out = tmp_path / "intents.onnx"
    exported = model.export("onnx", out)
    assert all(parity.holds for parity in exported.parity)
    engine_app = create_app(open_models({"intents": out}), config=ServingConfig(threads=1, decoders=1, records=4))

    async def ask(body: dict, **headers: str) -> httpx.Response:
        transport = httpx.ASGITransport(app=engine_app)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return await client.post("/predict", **body, headers=headers)

    text = "how do i say hello in hindi"
    wanted = model.predict(text)[0]
    for body, headers in (
        ({"json": {"text": text}}, {}),
        ({"json": {"inputs": [text, "what is the weather like in a town with a long name"]}}, {}),
        ({"content": text.encode()}, {"content-type": "text/plain; charset=utf-8"}),
    ):
        reply = asyncio.run(ask(body, **headers))
        assert reply.status_code == 200, reply.text
        first = reply.json()["predictions"][0]
        assert first["class"] == wanted["class"]
        assert first["probability"] == pytest.approx(wanted["probability"], abs=1e-4)
    for body, status, message in (
        ({"json": {"text": " "}}, 422, "an empty text"),
        ({"json": {"text": 3}}, 400, '"text" must be a text'),
        ({"json": {"text": "a", "inputs": ["b"]}}, 400, "exactly one of"),
        ({"json": {"inputs": ["a"] * 5}}, 413, "5 records in one request; at most 4"),
    ):
        reply = asyncio.run(ask(body))
        assert (reply.status_code, message in reply.json()["error"]) == (status, True), reply.text
    engine_app.state.engine.close()


def test_from_the_command_line(model: bodh.Model, capsys) -> None:
    assert run(["predict", str(model.folder), "wake me up at seven", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["records"][0]["class"] == "alarm"


@pytest.mark.parametrize(
    ("what", "kind", "message"),
    [
        ("missing.csv", DataError, "no such file or folder: 'missing.csv'"),
        ("", DataError, "input:0: an empty text"),
        (3.5, DataError, "an input of type float cannot be read; allowed are texts, paths and bytes"),
        (np.zeros((2, 3)), DataError, "an array of float64 is no text"),
        (b"\xff\xfe\xfa", DataError, "not UTF-8"),
    ],
)
def test_bad_inputs_are_told_in_one_line(model: bodh.Model, what, kind, message) -> None:
    with pytest.raises(kind, match=message):
        model.predict(what)
    if isinstance(what, str) and not what:
        with pytest.raises(BadRecord, match=message):
            model.embed(what)


def test_wrong_kinds_are_told(model: bodh.Model, data: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"the model takes text records, but .* holds image records"):
        bodh.embed(model, "sklearn:digits", out=tmp_path / "x.npy")
    text = {"data.input": "text", "data.label": "intent"}
    with pytest.raises(ConfigError, match="'mlp' does not read texts"):
        bodh.finetune(data, start="mlp", out=tmp_path / "a", **text)
    with pytest.raises(UserError, match="'transformer'"):
        bodh.finetune("sklearn:digits", start="transformer", out=tmp_path / "b")
    with pytest.raises(ConfigError, match=r"backbone\.vocabulary: the tokenizer tells it"):
        bodh.finetune(data, start="transformer", out=tmp_path / "c", **text, **{"backbone.vocabulary": 9})
    with pytest.raises(ConfigError, match="'wordpeice' is neither a kind of tokenizer"):
        bodh.finetune(data, start="transformer", out=tmp_path / "d", **text, **{"modality.tokenizer": "wordpeice"})
