"""Language models from the verbs: packed rows, figures, a model with its head, going on, fine-tuning, resuming."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import bodh
from bodh.errors import ConfigError, Interrupted
from bodh.model.loaded import load_model
from bodh.train import loop

pytest.importorskip("tokenizers", reason="the extra 'text' is not installed")

SMALL: dict[str, Any] = {
    "backbone.width": 32, "backbone.depth": 2, "modality.vocabulary": 300, "modality.length": 24, "batch": 16,
    "progress": "none", "precision": "float32",
}  # fmt: skip
PEOPLE, DOINGS = ("सीता", "राम", "Anna", "Ben", "the old king"), ("sings", "eats a mango", "reads", "sleeps", "runs")


def _texts() -> list[str]:
    random = np.random.default_rng(0)
    pairs = random.integers(5, size=(400, 4))
    return [f"{PEOPLE[a]} {DOINGS[b]} and {PEOPLE[c]} {DOINGS[d]}." for a, b, c, d in pairs]


def _records(run: Path, kind: str) -> list[dict[str, Any]]:
    lines = (run / "log.jsonl").read_text("utf-8").splitlines()
    return [record for record in map(json.loads, lines) if record["kind"] == kind]


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table of texts, their labels and parts; the label says who is named first."""
    parts = ("val", "test", *["train"] * 6)
    rows = [{"text": text, "label": text.split()[0], "split": parts[n % 8]} for n, text in enumerate(_texts())]
    file = tmp_path_factory.mktemp("table") / "people.jsonl"
    file.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows), encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def masked(table: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    out = tmp_path_factory.mktemp("masked") / "run"
    return bodh.pretrain(table, out=out, epochs=6, **SMALL, **{"data.input": "text", "data.label": "label"})


def test_masked_language_modelling_learns_and_keeps_its_head(masked: Any) -> None:
    checks = _records(masked.run, "validation")
    assert len(checks) == 6
    assert checks[-1]["loss"] < checks[0]["loss"]
    assert checks[-1]["perplexity"] == pytest.approx(np.exp(checks[-1]["loss"]))
    model = load_model(masked.run / "model")
    assert model.manifest.task == "tokens"
    assert model.manifest.class_names == ()
    assert torch.equal(model.network["head"].weight, model.network["backbone"].embedding.weight)
    assert model.manifest.provenance["objective"]["name"] == "masked_lm"
    rows = json.loads((masked.run / "plan.json").read_text("utf-8"))
    assert rows["settings"]["objective"]["mask"] == 0.15


def test_training_goes_on_from_it_with_its_tokenizer_and_head(masked: Any, tmp_path: Path) -> None:
    start = load_model(masked.run / "model")
    more = bodh.pretrain(
        _texts(), start=masked, objective="masked_lm", out=tmp_path / "more", epochs=0.2, learning_rate=1e-9, batch=16,
        progress="none", precision="float32",
    )  # fmt: skip
    after = load_model(more.run / "model")
    assert after.modality.files() == start.modality.files()
    torch.testing.assert_close(after.network["head"].bias, start.network["head"].bias, atol=1e-6, rtol=0)
    assert float(start.network["head"].bias.detach().abs().max()) > 1e-3
    assert torch.equal(after.network["head"].weight, after.network["backbone"].embedding.weight)
    with pytest.raises(ConfigError, match=r"causal=false; type backbone.causal=true, or --objective masked_lm"):
        bodh.pretrain(_texts(), start=masked, objective="causal_lm", out=tmp_path / "wrong", progress="none")


def test_fine_tuning_drops_the_language_head(masked: Any, table: Path, tmp_path: Path) -> None:
    columns = {"data.input": "text", "data.label": "label"}
    for freeze in ("backbone", "none"):
        extra = {} if freeze == "backbone" else {"epochs": 5, "batch": 32}
        tuned = bodh.finetune(
            table, start=masked, freeze=freeze, out=tmp_path / freeze, progress="none", **extra, **columns
        )
        manifest = load_model(tuned.run / "model").manifest
        assert manifest.task == "single"
        assert "predict" in manifest.capabilities
        found = tuned.predict(["राम sleeps and Anna reads.", "Ben sings and the old king runs."])
        if freeze == "none":
            assert [row["class"] for row in found] == ["राम", "Ben"]


def test_causal_language_modelling_tells_bits_a_byte_and_resumes_exactly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {**SMALL, "objective": "causal_lm", "epochs": 2, "monitor_records": 0, "log_every": 1}
    whole = bodh.pretrain(_texts(), out=tmp_path / "whole", **settings)
    steps = _records(whole.run, "step")
    assert steps[-1]["loss"] < steps[0]["loss"]
    assert 0 < steps[-1]["bits_per_byte"] < steps[0]["bits_per_byte"]
    assert load_model(whole.run / "model").manifest.networks["backbone"].arguments["causal"] is True

    own, seen = loop._one_step, []

    def stopping(*given: Any) -> Any:
        seen.append(1)
        if len(seen) == 4:
            raise Interrupted(15, "stopped")
        return own(*given)

    monkeypatch.setattr(loop, "_one_step", stopping)
    with pytest.raises(Interrupted):
        bodh.pretrain(_texts(), out=tmp_path / "cut", **settings, checkpoint_minutes=0)
    monkeypatch.setattr(loop, "_one_step", own)
    again = bodh.pretrain(_texts(), out=tmp_path / "cut", resume=True, **settings, checkpoint_minutes=0)
    for name in ("backbone", "head"):
        first, second = (load_model(m.run / "model").network[name].state_dict() for m in (whole, again))
        assert all(torch.equal(first[key], second[key]) for key in first)


def test_one_long_document_is_enough(tmp_path: Path) -> None:
    text = " ".join(_texts())
    settings = {**SMALL, "modality.tokenizer": "characters"}
    model = bodh.pretrain([text], objective="causal_lm", out=tmp_path / "run", epochs=0.1, **settings)
    assert load_model(model.run / "model").manifest.task == "tokens"


@pytest.mark.parametrize("objective", ["simcse", "tsdae"])
def test_sentence_objectives_train_from_it(masked: Any, objective: str, tmp_path: Path) -> None:
    model = bodh.pretrain(
        _texts(), start=masked, objective=objective, out=tmp_path / "run", epochs=1, batch=32, progress="none"
    )
    manifest = load_model(model.run / "model").manifest
    assert manifest.task is None
    assert set(manifest.networks) == {"backbone"}
    assert model.embed(_texts()[:3]).shape == (3, 32)
