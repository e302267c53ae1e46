"""From pairs to translations: learned, measured, written, from Python and from the command line."""

from __future__ import annotations

import gzip
import json
import random
import subprocess
import sys
from pathlib import Path

import pytest

import bodh
from bodh.errors import ConfigError, DataError, ModelError, OutputError

pytest.importorskip("tokenizers")
pytest.importorskip("sacrebleu")
pytestmark = pytest.mark.slow

NUMBERS = dict(
    zip(
        ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine"),
        ("एक", "दो", "तीन", "चार", "पाँच", "छह", "सात", "आठ", "नौ"),
        strict=True,
    )
)
SMALL = {"batch": 32, "modality.vocabulary": 400, "modality.length": 48, "progress": "none", "device": "cpu"}


def _write(folder: Path) -> Path:
    """Numbers of one to three words; the training part never has "two" with "seven", which the test part asks for."""
    draw = random.Random(0)
    lines: dict[str, list[list[str]]] = {"train": [], "test": []}
    for _ in range(900):
        chosen = draw.choices(list(NUMBERS), k=draw.randint(1, 3))
        lines["test" if {"two", "seven"} <= set(chosen) else "train"].append(chosen)
    for part, texts in lines.items():
        (folder / f"{part}.en").write_text("".join(" ".join(one) + "\n" for one in texts), encoding="utf-8")
        told = (" ".join(NUMBERS[word] for word in one) + "\n" for one in texts)
        (folder / f"{part}.hi").write_text("".join(told), encoding="utf-8")
    return folder


@pytest.fixture(scope="module", name="numbers")
def _numbers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _write(tmp_path_factory.mktemp("numbers"))


@pytest.fixture(scope="module", name="model", params=["transformer", "recurrent"])
def _model(numbers: Path, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> bodh.Model:
    own = {"backbone.depth": 1, "backbone.heads": 4} if request.param == "transformer" else {}
    return bodh.pretrain(
        str(numbers), backbone=request.param, out=tmp_path_factory.mktemp("run") / "run", epochs=18,
        **{"data.input": "en", "data.target": "hi", "learning_rate": 0.04, "backbone.width": 48,
           "backbone.dropout": 0.0, "objective.dropout": 0.0, "objective.label_smoothing": 0.0, **SMALL, **own},
    )  # fmt: skip


def test_it_learns_to_write_what_it_has_never_seen(model: bodh.Model, numbers: Path):
    assert model.manifest.task == "sequence"
    assert set(model.manifest.capabilities) == {"embed", "translate"}
    found = model.translate(["three one", "nine", "four six eight"])
    assert found.texts == ["तीन एक", "नौ", "चार छह आठ"]
    assert all(record["ended"] and record["score"] > -0.5 for record in found)
    greedy = bodh.translate(model, ["three one"], beams=1)
    assert greedy[0]["translation"] == "तीन एक"
    verdict = bodh.evaluate(model, str(numbers), **{"data.input": "en", "data.target": "hi", "bootstrap": 50})
    rows = {row["who"]: row for row in verdict.tables["translate"]}
    assert rows["the model"]["chrF"] > 60
    assert rows["the model"]["BLEU from"] <= rows["the model"]["BLEU"] <= rows["the model"]["BLEU to"]
    assert rows["the source, copied"]["chrF"] < 10
    assert rows["untrained network"]["BLEU"] < 5
    assert verdict.tables["translate_examples"][0]["reference"]
    assert "BLEU" in verdict.sentence
    assert verdict.report is not None
    assert "Examples" in verdict.report.read_text("utf-8")
    told = json.loads((model.run / "evaluation.json").read_text("utf-8"))
    assert "nrefs" in told["notes"]["translate"]


def test_goes_on_from_itself(model: bodh.Model, numbers: Path, tmp_path: Path):
    again = bodh.pretrain(
        str(numbers), start=model, out=tmp_path / "again", epochs=0.2,
        **{"data.input": "en", "data.target": "hi", "learning_rate": 1e-6, "objective.dropout": 0.0, **SMALL,
           **({"objective.decoder": "gru"} if model.manifest.networks["backbone"].name == "recurrent" else {})},
    )  # fmt: skip
    assert again.translate("three one").texts == model.translate("three one").texts == ["तीन एक"]


def test_wrong_uses_are_told(model: bodh.Model, tmp_path: Path):
    with pytest.raises(ConfigError, match="beams=0"):
        model.translate("one", beams=0)
    with pytest.raises(ConfigError, match="length=48: this model writes texts of 1 to 47"):
        model.translate("one", length=48)
    with pytest.raises(ConfigError, match="penalti"):
        model.translate("one", penalti=1)
    with pytest.raises(DataError, match="no input was given"):
        model.translate([])
    with pytest.raises(DataError, match="an empty text"):
        model.translate([" "])
    with pytest.raises(DataError, match=r"missing\.txt"):
        model.translate("missing.txt")
    with pytest.raises(ModelError, match="bodh translate"):
        model.predict("one")
    out = tmp_path / "there.jsonl"
    out.write_text("", encoding="utf-8")
    with pytest.raises(OutputError, match="exists already"):
        model.translate("one", out=out)
    assert model.translate("one", length=1)[0]["ended"] is False


def test_two_translators_are_compared_on_the_same_sentences(model: bodh.Model, numbers: Path, tmp_path: Path):
    from bodh.model.save import save_model

    loaded = model.loaded("cpu")
    save_model(
        tmp_path / "untrained", network=loaded.untrained(seed=1).network, modality=loaded.modality, task="sequence",
        class_names=(), records=loaded.records(), provenance={}, metrics={},
    )  # fmt: skip
    given = {"data.input": "en", "data.target": "hi", "bootstrap": 100, "beams": 1}
    found = bodh.evaluate(tmp_path / "untrained", str(numbers), against=model, out=tmp_path / "report", **given)
    versus = found.versus
    assert versus["better"] == 1
    assert versus["answer"].startswith("Better: ")
    assert versus["chrf"][1] > versus["chrf"][0]
    assert versus["p"] < 0.05
    assert "paired bootstrap over sentences" in versus["sentence"]
    assert [row["model"] for row in found.tables["models"]] == versus["names"]
    assert "What each wrote" in (tmp_path / "report" / "report.html").read_text(encoding="utf-8")
    same = bodh.evaluate(model, str(numbers), against=model, out=tmp_path / "same", **given).versus
    assert (same["better"], same["answer"]) == (None, "No difference can be told")


def test_a_file_of_sentences_from_the_command_line(model: bodh.Model, tmp_path: Path):
    texts = tmp_path / "texts.txt"
    texts.write_text("three one\n\nnine\n", encoding="utf-8")
    out = tmp_path / "out.jsonl"
    line = [sys.executable, "-m", "bodh", "translate", str(model.folder), str(texts), "--beams", "2", "--out", str(out)]
    done = subprocess.run([*line, "--json"], capture_output=True, encoding="utf-8", check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["count"] == 2
    told = [json.loads(one) for one in out.read_text("utf-8").splitlines()]
    assert [one["translation"] for one in told] == ["तीन एक", "नौ"]
    assert [one["id"] for one in told] == ["texts.txt:1", "texts.txt:3"]


def test_models_that_write_nothing_are_told(tmp_path: Path):
    from bodh.testing.formats import small_model

    with pytest.raises(ModelError, match="does not translate"):
        bodh.translate(small_model(tmp_path / "model"), "one")


def test_a_slice_of_multi30k(shared: Path, tmp_path: Path):
    folder = tmp_path / "multi30k"
    folder.mkdir()
    for part, count in (("train", 256), ("val", 32), ("test_2016_flickr", 24), ("test_2017_flickr", 8)):
        for language in ("en", "de", "fr"):
            lines = gzip.decompress((shared / "multi30k" / f"{part}.{language}.gz").read_bytes()).splitlines(True)
            (folder / f"{part}.{language}.gz").write_bytes(gzip.compress(b"".join(lines[:count])))
    columns = {"data.input": "en", "data.target": "de"}
    model = bodh.pretrain(
        str(folder), out=tmp_path / "run", epochs=2, batch=32,
        **{"backbone.width": 32, "backbone.depth": 1, "modality.vocabulary": 500, "progress": "none", **columns},
    )  # fmt: skip
    log = [json.loads(line) for line in (model.run / "log.jsonl").read_text("utf-8").splitlines()]
    looks = [entry["loss"] for entry in log if entry.get("kind") == "validation"]
    assert len(looks) == 2
    assert looks[1] < looks[0]
    verdict = bodh.evaluate(model, str(folder), **columns, bootstrap=0, beams=1, baselines="none")
    assert [row["who"] for row in verdict.tables["translate"]] == ["the model"]
    assert {row["file"]: row["n"] for row in verdict.tables["translate_parts"]} == {
        "test_2016_flickr": 24, "test_2017_flickr": 8
    }  # fmt: skip
    vectors = model.embed(["Two dogs."])
    assert vectors.shape == (1, 32)
