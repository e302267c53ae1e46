"""`evaluate` and `compare`, the whole way: pretrain on real digits, prove, write the page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_digits

import bodh
from bodh.errors import ConfigError, DataError, OutputError, UnknownName

SMALL: dict[str, Any] = {"modality.size": 8, "modality.views.flip": 0.0, "backbone": "mlp", "monitor_records": 0}


def few_digits(*, labels: bool = True) -> Any:
    data = load_digits()
    pictures = (data.images[:600] * 15.9).astype(np.uint8)
    return (pictures, data.target[:600]) if labels else pictures


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "digits"
    bodh.pretrain(few_digits(), out=folder, epochs=1, batch=64, **SMALL)
    return folder


def test_the_verdict_and_its_page_lie_in_the_run_folder(run: Path) -> None:
    verdict = bodh.evaluate(run, few_digits(), seeds=3, budgets="1,5", scratch_views=200, map_records=60)
    assert verdict.helped in {"yes", "no", "cannot tell"}
    told = json.loads((run / "evaluation.json").read_text(encoding="utf-8"))
    assert told["helped"] == verdict.helped
    assert told["records"] == {"train": 480, "test": 120}
    assert {row["labels"] for row in told["tables"]["budget"]} == {"1 label a class", "5 labels a class"}
    assert "trained from scratch" in told["tables"]["budget"][0]
    page = (run / "report.html").read_text(encoding="utf-8")
    for part in (
        "Label budget",
        "Confusion of the linear probe",
        "Nearest neighbours",
        "Nearest records",
        "Map of the embedding",
        "Worst errors",
    ):
        assert part in page
    assert verdict.report == run / "report.html"


def test_figures_do_not_depend_on_the_run_of_the_evaluation(run: Path, tmp_path: Path) -> None:
    settings = {"protocol": "knn,linear", "baselines": "raw", "map_records": 0}
    one, two = (bodh.evaluate(run, few_digits(), out=tmp_path / name, **settings).tables for name in "ab")
    assert one == two
    assert "Not compared with" in bodh.evaluate(run, few_digits(), out=tmp_path, **settings).sentence


def test_without_labels_it_says_that_it_cannot_tell(run: Path, tmp_path: Path) -> None:
    verdict = bodh.evaluate(run, few_digits(labels=False), out=tmp_path, map_records=30)
    assert verdict.helped == "cannot tell"
    assert "no labels" in verdict.sentence
    assert set(verdict.tables) == {"clusters", "label_free"}
    assert (tmp_path / "report.html").stat().st_size > 10_000


def test_a_classifier_is_measured_on_the_test_records(run: Path, tmp_path: Path) -> None:
    classifier = bodh.finetune(few_digits(), start=run, out=tmp_path / "head")
    verdict = bodh.evaluate(classifier, few_digits(), protocol="task", map_records=0)
    figures = {row["figure"]: row["value"] for row in verdict.tables["task"]}
    assert figures["records"] == 120
    assert figures["accuracy"] > 0.3
    assert len(verdict.tables["classes"]) == 10


@pytest.mark.parametrize(
    ("settings", "error", "words"),
    [
        ({"protocol": "knnn"}, UnknownName, "no protocol named 'knnn'"),
        ({"protocol": "task"}, DataError, "the model has no classifier"),
        ({"budgets": "0.5", "seeds": 0, "budgetz": 3}, ConfigError, "budgetz"),
    ],
)
def test_mistakes_are_told(
    run: Path, tmp_path: Path, settings: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        bodh.evaluate(run, few_digits(), out=tmp_path, **settings)


def test_a_file_where_the_folder_should_be(run: Path, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("", encoding="utf-8")
    with pytest.raises(OutputError, match="taken"):
        bodh.evaluate(run, few_digits(), out=tmp_path / "taken")


def test_compare_goes_on_where_one_fails_and_says_so(tmp_path: Path) -> None:
    settings = {**SMALL, "batch": 64, "objective.temperature": 0.3}  # byol has no temperature
    found = bodh.compare(few_digits(), objectives="simclr,byol", minutes=0.02, out=tmp_path / "c", **settings)
    simclr, byol, untrained, raw = found.table
    assert "temperature" in byol["failed"]
    assert 0 < simclr["knn"] <= 1
    assert simclr["lidar"] > 0
    assert untrained["objective"] == "(untrained network)"
    assert raw["linear"] > 0.5
    assert found.best is None
    assert "1 of 2 failed" in found.sentence
    assert found.report.is_file()
    json.dumps(found.to_json(), allow_nan=False)


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"objectives": "simclr,byoll", "minutes": 1}, UnknownName, "byoll"),
        ({"objectives": "classify", "minutes": 1}, ConfigError, "learns from labels"),
        ({"objectives": "", "minutes": 1}, ConfigError, "none was given"),
        ({"objectives": "simclr", "minutes": 0}, ConfigError, "minutes: 0"),
    ],
)
def test_compare_refuses_before_it_trains(
    arguments: dict[str, Any], error: type[Exception], words: str, tmp_path: Path
) -> None:
    with pytest.raises(error, match=words):
        bodh.compare(few_digits(), out=tmp_path / "c", **arguments)
    assert not (tmp_path / "c").exists()
