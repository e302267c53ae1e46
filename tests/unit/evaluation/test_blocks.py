"""The probe of every block: a row a block and pooling, and a best one that no test record has chosen."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import bodh
from bodh.errors import ConfigError
from bodh.evaluation import blocks
from bodh.evaluation.config import EvaluationConfig
from bodh.evaluation.context import Context
from bodh.records.memory import MemoryStore
from bodh.testing.formats import small_model
from tests.unit.evaluation.fakes import digits, trained

PLAIN = {"protocol": "linear", "baselines": "untrained", "seeds": 1, "map_records": 0}


def test_the_best_block_is_the_best_on_records_held_out() -> None:
    context = Context(trained(), digits(), config=EvaluationConfig(baselines=("untrained",)))
    rows, best = blocks.probe_blocks(context, context.model.block_names)
    assert [row["block"] for row in rows] == ["layer1", "layer2"]  # no maps: a grid would say nothing new
    assert best.validation == max(row["validation"] for row in rows)
    assert [row["best"] for row in rows].count("best") == 1
    assert best.records == pytest.approx(0.2 * 980, abs=10)
    assert all(row["accuracy"] > row["untrained"] for row in rows)


def test_test_labels_choose_nothing() -> None:
    store = digits()
    wrong = np.where(store.splits == "test", (store.targets + 1) % 10, store.targets)
    other = MemoryStore(
        store.rows(np.arange(len(store))), targets=wrong, splits=store.splits, class_names=store.class_names
    )
    config = EvaluationConfig(baselines=("none",))
    found = [blocks.probe_blocks(Context(trained(), s, config=config), ("layer1", "layer2"))[1] for s in (store, other)]
    assert found[0] == found[1]


def test_remembered_through_the_verb_and_used_by_embed(tmp_path: Path) -> None:
    model = bodh.load(small_model(tmp_path / "m", classes=()))
    verdict = bodh.evaluate(model, "sklearn:digits", remember=True, out=tmp_path / "e", **PLAIN)
    rows = verdict.tables["linear_blocks"]
    assert {row["map"] for row in rows} == {"averaged", "4 by 4"}
    best = next(row for row in rows if row["best"])
    assert best["validation"] == max(row["validation"] for row in rows)
    assert model.manifest.best_block == best["block"]
    assert model.manifest.best_grid == (1 if best["map"] == "averaged" else 4)
    assert model.embed(np.zeros((2, 8, 8), np.uint8)).shape == (2, best["numbers"])
    assert bodh.load(tmp_path / "m").manifest.metrics["best_block"]["data"] == "digits"


def test_nothing_is_written_unless_asked_for(tmp_path: Path) -> None:
    folder = small_model(tmp_path / "m", classes=())
    before = (folder / "model.json").read_bytes()
    bodh.evaluate(folder, "sklearn:digits", blocks="all", out=tmp_path / "e", grid=1, **PLAIN)
    assert (folder / "model.json").read_bytes() == before


def test_remembering_needs_the_linear_probe(tmp_path: Path) -> None:
    folder = small_model(tmp_path / "m", classes=())
    with pytest.raises(ConfigError, match=r"--remember needs the linear probe.*given --protocol knn"):
        bodh.evaluate(folder, "sklearn:digits", protocol="knn", remember=True, out=tmp_path / "e")
