"""Texts without parts and labels: some are set aside for validation, and evaluation finds the same ones again."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bodh
from bodh.api._settings import DataConfig
from bodh.api._training import open_data, prepare_data
from bodh.config.resolve import resolve
from bodh.errors import ConfigError, DataError
from bodh.evaluation.config import EvaluationConfig
from bodh.evaluation.context import Context
from bodh.modalities.text import Modality, TextConfig
from bodh.records.divided import divided
from bodh.records.memory import MemoryStore

pytest.importorskip("tokenizers", reason="the extra 'text' is not installed")

SMALL: dict[str, Any] = {
    "backbone.width": 16, "backbone.depth": 1, "modality.tokenizer": "characters", "modality.length": 16, "batch": 8,
    "epochs": 2, "progress": "none", "precision": "float32", "device": "cpu", "monitor_records": 0,
}  # fmt: skip
LINES = [f"the {animal} number {number} sleeps" for number in range(20) for animal in ("बिल्ली", "dog", "horse")]


@pytest.fixture
def lines(tmp_path: Path) -> Path:
    file = tmp_path / "animals.txt"
    file.write_text("\n".join(LINES), encoding="utf-8")
    return file


def _log(run: Path, kind: str) -> list[dict[str, Any]]:
    records = map(json.loads, (run / "log.jsonl").read_text("utf-8").splitlines())
    return [record for record in records if record["kind"] == kind]


def test_a_fifth_is_set_aside_and_found_again(lines: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "bodh")
    model = bodh.pretrain(lines, objective="causal_lm", out=tmp_path / "run", **SMALL)
    assert "12 of 60 records are set aside" in caplog.text
    assert "data.set_aside=false: learn from all" in caplog.text
    data = model.manifest.provenance["data"]
    assert (data["records"], data["set_aside"]) == (48, 12)
    checks = _log(model.run, "validation")
    assert len(checks) == 2
    assert checks[1]["loss"] < checks[0]["loss"]

    config = DataConfig()
    source = open_data(lines, config)
    aside = prepare_data(source, None, config, modality=model.loaded("cpu").modality, tested=True)
    context = Context(model.loaded("cpu"), aside.store, config=EvaluationConfig())
    np.testing.assert_array_equal(context.positions["test"], aside.aside)
    assert not {*aside.train} & {*aside.aside}

    verdict = bodh.evaluate(model, lines, baselines="none", protocol="perplexity", out=tmp_path / "report")
    assert "On 12 test texts" in verdict.sentence
    assert "very texts" not in caplog.text


def test_all_texts_may_train_and_then_it_is_said(lines: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    model = bodh.pretrain(lines, objective="masked_lm", out=tmp_path / "masked", **SMALL, **{"data.set_aside": False})
    assert model.manifest.provenance["data"]["records"] == 60
    assert not _log(model.run, "validation")
    model = bodh.pretrain(lines, objective="causal_lm", out=tmp_path / "run", **SMALL, **{"data.set_aside": False})
    bodh.evaluate(model, lines, baselines="none", protocol="perplexity", out=tmp_path / "report")
    assert "trained on these very texts" in caplog.text


def test_of_one_document_its_end_is_set_aside(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "play.txt"
    file.write_text("\n".join(LINES), encoding="utf-8")
    whole = {"data.split_lines": False}
    model = bodh.pretrain(file, objective="causal_lm", out=tmp_path / "run", **SMALL, **whole)
    assert len(_log(model.run, "validation")) == 2
    verdict = bodh.evaluate(model, file, baselines="none", out=tmp_path / "report", **whole)
    assert "On one test text" in verdict.sentence
    assert set(verdict.tables) == {"perplexity"}  # a single record has neither neighbours nor spread
    assert "very texts" not in caplog.text
    model = bodh.pretrain(
        file, objective="causal_lm", out=tmp_path / "all", **SMALL, **whole, **{"data.set_aside": False}
    )
    bodh.evaluate(model, file, baselines="none", out=tmp_path / "report", **whole)
    assert "trained on these very texts" in caplog.text


@pytest.mark.parametrize("kind", ["characters", "bpe"])
def test_a_document_is_divided_where_a_word_starts(kind: str) -> None:
    from bodh.records.sources.strings import Strings

    text = " ".join(LINES)
    modality = Modality.fit(Strings([text], None), TextConfig(tokenizer=kind, vocabulary=300))
    first, last = modality.divide(modality.decode(text.encode()), 0.9)
    assert modality.text(first) + modality.text(last) == text
    assert modality.text(last).startswith(" ")
    assert 0.88 < len(first) / (len(first) + len(last)) < 0.92
    for part in (first, last):
        assert (part[0], part[-1]) == (modality.tokens().begin, modality.tokens().end)
    with pytest.raises(DataError, match="a single token cannot be divided"):
        modality.divide(modality.decode(b"a"), 0.9)


def test_other_single_records_are_refused_as_before() -> None:
    class Numbers:
        name = "vector"

    with pytest.raises(DataError, match="1 records cannot be divided"):
        divided(MemoryStore([np.zeros(3)]), Numbers(), 0)  # type: ignore[arg-type]


def test_the_setting_is_told() -> None:
    config = resolve({"data.set_aside": "false"}, {"data": DataConfig})["data"]
    assert isinstance(config, DataConfig)
    assert config.set_aside is False


def test_a_run_of_texts_tells_its_pace(lines: Path, tmp_path: Path) -> None:
    steps = {"epochs": 1, "log_every": 2}
    packed = bodh.pretrain(lines, objective="masked_lm", out=tmp_path / "packed", **SMALL | steps)
    told = packed.manifest.metrics
    assert told["padding"] == 0
    assert told["tokens_per_second"] == pytest.approx(16 * told["records_per_second"], rel=1e-2)
    padded = bodh.pretrain(lines, objective="simclr", out=tmp_path / "padded", **SMALL | steps)
    assert 0 < padded.manifest.metrics["padding"] < 1


def test_columns_of_a_table_without_header_are_named_by_number(tmp_path: Path) -> None:
    table = tmp_path / "animals.csv"
    table.write_text("\n".join(f'{n % 2},"{line}, it does"' for n, line in enumerate(LINES)), encoding="utf-8")
    config = resolve({"data.input": 2, "data.label": 1}, {"data": DataConfig})["data"]
    assert isinstance(config, DataConfig)
    source = open_data(table, config)
    assert source.read(0).decode() == f"{LINES[0]}, it does"  # type: ignore[union-attr]
    assert source.class_names == ("0", "1")


def test_texts_have_no_weak_views_to_average(lines: Path, tmp_path: Path) -> None:
    labelled = (LINES, [line.split()[1] for line in LINES])
    model = bodh.finetune(labelled, start="transformer", out=tmp_path / "run", **SMALL)
    with pytest.raises(ConfigError, match="weak views of text records are the records themselves"):
        model.predict(LINES[:2], views=4)
