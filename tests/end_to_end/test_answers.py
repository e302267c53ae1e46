"""From questions to answers: learned, measured, told, from Python and from the command line."""

from __future__ import annotations

import importlib.util
import json
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import bodh
from bodh.errors import ConfigError, DataError, ModelError

pytest.importorskip("tokenizers")
pytestmark = pytest.mark.slow

KINDS = {"colour": ["red", "blue", "grün", "लाल"], "height": ["30", "45", "60", "75"]}
SMALL = {"modality.vocabulary": 350, "progress": "none", "device": "cpu"}
NETWORK = {"backbone.width": 32, "backbone.depth": 2, "backbone.heads": 4, "backbone.dropout": 0.0}


def _rows(count: int, *, lacking: bool = False) -> list[dict]:
    """Texts that tell a colour and a height; which of both is asked for decides the answer."""
    draw = random.Random(0)
    rows = []
    for number in range(count):
        told = {kind: draw.choice(values) for kind, values in KINDS.items()}
        context = f"The colour is {told['colour']} and the height is {told['height']} here."
        kind = draw.choice(list(KINDS))
        found = {"text": [told[kind]], "answer_start": [context.index(f"{kind} is ") + len(kind) + 4]}
        if lacking and number % 4 == 0:
            context, found = f"The {kind} is not told in {number}.", {"text": [], "answer_start": []}
        rows.append({"id": f"q{number}", "title": f"t{number // 5}", "question": f"what {kind}?", "context": context,
                     "answers": found})  # fmt: skip
    return rows


def _write(path: Path, rows: list[dict]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture(scope="module", name="data")
def _data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _write(tmp_path_factory.mktemp("asked") / "asked.jsonl", _rows(240))


@pytest.fixture(scope="module", name="model")
def _model(data: Path, tmp_path_factory: pytest.TempPathFactory) -> bodh.Model:
    out = tmp_path_factory.mktemp("run") / "run"
    return bodh.finetune(data, start="transformer", out=out, epochs=25, **{"modality.length": 48}, **SMALL, **NETWORK)


@pytest.fixture(scope="module", name="reader")
def _reader(data: Path, tmp_path_factory: pytest.TempPathFactory) -> bodh.Model:
    """A model of texts, barely trained."""
    texts = [row["context"] for row in _rows(240)]
    return bodh.pretrain(
        texts, objective="masked_lm", out=tmp_path_factory.mktemp("read") / "run", epochs=2,
        **{"modality.length": 32, **SMALL, **NETWORK},
    )  # fmt: skip


def test_it_learns_to_answer(model: bodh.Model, data: Path):
    assert model.manifest.task == "span"
    assert set(model.manifest.capabilities) == {"embed", "answer"}
    context = "The colour is लाल and the height is 45 here."
    found = model.predict(
        [{"question": "what colour?", "context": context}, {"question": "what height?", "context": context}]
    )
    assert [record["answer"] for record in found] == ["लाल", "45"]
    for record in found:
        assert context[record["start"] : record["end"]] == record["answer"]
        assert 0.5 < record["probability"] <= 1
        assert record["answers"][0]["answer"] == record["answer"]
        assert len(record["answers"]) == 3
    verdict = bodh.evaluate(model, data, seeds=1, baselines="untrained", bootstrap=50)
    rows = {row["who"]: row for row in verdict.tables["answers"]}
    assert rows["the model"]["F1"] > 90
    assert rows["untrained network"]["F1"] < 60
    assert rows["sentence with the question's words"]["exact match"] == 0
    assert rows["the model"]["F1 from"] <= rows["the model"]["F1"] <= rows["the model"]["F1 to"]
    assert "F1" in verdict.sentence
    assert any("«" in row["text"] for row in verdict.tables["answers_examples"])
    assert verdict.report is not None
    assert "exact, F1" in verdict.report.read_text("utf-8")


def test_the_same_seed_gives_the_same_model(data: Path, tmp_path: Path):
    settings = {"modality.length": 48, **SMALL, **NETWORK}
    models = [bodh.finetune(data, start="transformer", out=tmp_path / name, epochs=0.5, **settings) for name in "ab"]
    assert models[0].digest == models[1].digest


@pytest.mark.parametrize("how", [{"freeze": "backbone"}, {"freeze": 1}, {"freeze": "none"}, {"lora": 4}])
def test_from_a_model_of_texts(reader: bodh.Model, data: Path, tmp_path: Path, how: dict):
    if "lora" in how and importlib.util.find_spec("peft") is None:
        pytest.skip("peft is not installed")
    model = bodh.finetune(data, start=reader, out=tmp_path / "run", epochs=1, **how, progress="none", device="cpu")
    assert model.manifest.task == "span"
    assert model.manifest.modality.config["length"] == 32
    before, after = (one.loaded("cpu").network["backbone"].state_dict() for one in (reader, model))
    moved = {name for name, tensor in after.items() if not np.array_equal(tensor.numpy(), before[name].numpy())}
    if how == {"freeze": "backbone"}:
        assert not moved
    elif how == {"freeze": 1}:
        assert moved
        assert all(name.startswith(("layers.1", "norm")) for name in moved)
    else:
        assert any(name.startswith("layers.0") for name in moved)
    on = bodh.finetune(
        data, start=model, out=tmp_path / "on", epochs=0.2, freeze="backbone", progress="none", device="cpu"
    )
    first, second = (one.loaded("cpu").network["head"].weight.detach().numpy() for one in (model, on))
    assert np.abs(first - second).max() < np.abs(first).max()  # it goes on from the trained head


def test_texts_that_lack_the_answer(tmp_path: Path):
    data = _write(tmp_path / "asked.jsonl", _rows(240, lacking=True))
    model = bodh.finetune(data, start="transformer", out=tmp_path / "run", epochs=20, **{"modality.length": 48},
                          **SMALL, **NETWORK)  # fmt: skip
    assert model.manifest.modality.config["unanswerable"] is True
    texts = ["The colour is not told in 17.", "The colour is red and the height is 45 here."]
    found = model.predict([{"question": "what colour?", "context": text} for text in texts])
    assert found[0]["answer"] == ""
    assert found[0]["start"] is None
    assert found[0]["no_answer"] > 0.5
    assert found[1]["answer"] == "red"
    forced = model.predict([{"question": "what colour?", "context": "The colour is not told in 17."}], threshold=-1000)
    assert forced[0]["answer"] != ""
    told = bodh.evaluate(model, data, seeds=1, baselines="none", bootstrap=0, out=tmp_path)
    figures = json.loads((tmp_path / "evaluation.json").read_text("utf-8"))["figures"]["answers"]["pretrained"]
    assert figures["exact_unanswered"] > 50
    assert figures["unanswered"] > 5
    assert told.helped == "cannot tell"


def test_long_texts_are_read_in_windows(model: bodh.Model):
    filler = "nothing is said about that in this place, nor in that one. " * 12
    context = f"{filler}The colour is blue and the height is 60 here. {filler}"
    found = model.predict([{"question": "what colour?", "context": context}], answers=20)
    told = [one for one in found[0]["answers"] if context[one["start"] : one["end"]] == one["answer"]]
    assert len(told) == len(found[0]["answers"]) == 20
    assert len({one["answer"] for one in told}) == 20


def test_command_line(model: bodh.Model, data: Path, tmp_path: Path):
    context = tmp_path / "house.txt"
    context.write_text("The colour is grün and the height is 75 here.", encoding="utf-8")

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "bodh", "predict", str(model.folder), *words],
            capture_output=True,
            text=True,
            check=False,
        )

    told = run(str(context), "--question", "what colour?")
    assert told.returncode == 0, told.stderr
    record = json.loads(told.stdout)
    assert record["answer"] == "grün"
    assert record["id"] == str(context)
    told = run("no such words here")
    assert told.returncode == 2
    assert "comes without a question; type --question" in " ".join(told.stderr.split())


def test_a_file_of_questions_is_answered_into_a_file(model: bodh.Model, data: Path, tmp_path: Path):
    out = tmp_path / "answers.jsonl"
    assert bodh.predict(model, str(data), out=out).count == 240
    lines = [json.loads(line) for line in out.read_text("utf-8").splitlines()]
    assert [line["id"] for line in lines[:2]] == ["q0", "q1"]
    assert len(lines) == 240


def test_mistakes_are_told(model: bodh.Model, reader: bodh.Model, data: Path, tmp_path: Path):
    with pytest.raises(ConfigError, match="question: this model answers no questions; train one that does"):
        bodh.predict(reader, ["a text"], question="what?")
    text = tmp_path / "house.txt"
    text.write_text("The colour is red.", encoding="utf-8")
    for given, settings, said in (
        (str(tmp_path / "no.txt"), {"question": "what?"}, "is no text file to ask about"),
        (str(text), {"question": " "}, "the question is empty"),
        (str(text), {"question": "what?", "views": 3}, "views: that is for models of other kinds"),
        (str(text), {"question": "what?", "answers": 0}, "answers"),
        ([{"question": "what?"}], {}, "a question without 'context'"),
        ([3], {"question": "what?"}, "an input of type int is no text"),
    ):
        with pytest.raises((ConfigError, DataError), match=said):
            model.predict(given, **settings)
    with pytest.raises(DataError, match="all questions of questions are about one text"):
        bodh.finetune([row | {"context": _rows(1)[0]["context"], "answers": {"text": [], "answer_start": []}}
                       for row in _rows(20)], start="transformer", out=tmp_path / "x", **NETWORK, **SMALL)  # fmt: skip
    with pytest.raises(DataError, match="0 training questions with an answer"):
        bodh.finetune([{"question": "what?", "context": f"text {n}"} for n in range(30)], start="transformer",
                      task="extract", out=tmp_path / "x", **NETWORK, **SMALL)  # fmt: skip
    with pytest.raises(ConfigError, match="calibrate: answers from a text have no temperature"):
        bodh.finetune(data, start=reader, out=tmp_path / "x", calibrate=True)
    with pytest.raises(DataError, match="is no list of questions"):
        bodh.finetune(["a text", "another"], start=reader, task="extract", out=tmp_path / "x")
    with pytest.raises(ModelError, match="this model has no classes yet"):
        bodh.predict(reader, ["a text"])
    with pytest.raises(ConfigError, match="models that answer questions are measured one by one"):
        bodh.evaluate(model, data, against=model)
    assert not (tmp_path / "x").exists()


def test_a_share_is_set_aside_by_text(data: Path, tmp_path: Path):
    settings = {"modality.length": 48, "validation": 0.2, **SMALL, **NETWORK}
    model = bodh.finetune(data, start="transformer", out=tmp_path / "run", epochs=2, labels_per_class=100, **settings)
    log = [json.loads(line) for line in (model.run / "log.jsonl").read_text("utf-8").splitlines()]
    assert any(line["kind"] == "validation" for line in log)
    assert model.embed([{"question": "what?", "context": "The colour is red."}]).shape == (1, 32)
