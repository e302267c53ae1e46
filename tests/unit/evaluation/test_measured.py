"""Evaluation where labels are measured numbers."""

from __future__ import annotations

import numpy as np
import pytest

from bodh.errors import DataError
from bodh.evaluation.config import EvaluationConfig
from bodh.evaluation.prove import prove
from bodh.records.memory import MemoryStore
from tests.unit.evaluation.fakes import digits, heights, measuring, trained

CONFIG = EvaluationConfig(seeds=3, budgets=("30", "100%"), bootstrap=50, baselines=("untrained", "raw"))


def test_protocols_for_numbers_run_and_the_others_say_why_not():
    proof = prove(measuring(), heights(), config=CONFIG)
    assert set(proof.results) >= {"budget", "regress", "linear", "cluster", "label_free"}
    assert proof.skipped["knn"] == "labels are measured numbers"
    assert proof.skipped["task"] == "labels are measured numbers"
    assert proof.context.metric == "r2"
    assert proof.verdict.sentence.startswith("Of the variance of the numbers (R²): With 30 labels")
    figures = proof.results["regress"].figures
    assert figures["mean"]["r2"] == pytest.approx(0.0, abs=0.05)
    assert figures["pretrained"]["r2"] > 0.5
    assert figures["pretrained"]["r2"] == pytest.approx(figures["probe"]["r2"], abs=0.02), "the head is that ridge"
    assert [row["value"] for row in proof.verdict.tables["values"]] == ["ऊँचाई", "width"]
    proof.to_json()


def test_classes_are_not_measured():
    proof = prove(trained(), digits(), config=CONFIG.model_copy(update={"protocols": ("auto",), "baselines": ("raw",)}))
    assert proof.skipped["regress"] == "labels are classes, not measured numbers"


def test_a_classifier_has_no_numbers_to_show():
    with pytest.raises(DataError, match="fine-tune it on such data first"):
        prove(trained(), heights(), config=CONFIG.model_copy(update={"protocols": ("regress",)}))


def test_numbers_that_never_vary_are_refused():
    store = heights()
    rows = store.rows(np.arange(len(store)))
    same = MemoryStore(rows, targets=np.ones(len(rows), np.float32), splits=store.splits, class_names=("value",))
    with pytest.raises(DataError, match="numbers that never vary"):
        prove(measuring(), same, config=CONFIG)
