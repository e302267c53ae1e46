"""Pairs of texts teach what reads a text alone: SimCSE of pairs, and an encoder of translations that is fine-tuned."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bodh
from bodh.errors import ConfigError, DataError

pytest.importorskip("tokenizers", reason="the extra 'text' is not installed")

SMALL: dict[str, Any] = {
    "backbone.width": 32, "backbone.depth": 1, "backbone.heads": 2, "modality.vocabulary": 300, "modality.length": 16,
    "batch": 16, "progress": "none", "precision": "float32", "device": "cpu", "monitor_records": 0,
}  # fmt: skip
TOPICS = {"card": "my card is lost", "balance": "how much money have i", "रोटी": "how do i bake bread"}
TEXTS = [f"{said} {word}" for said in TOPICS.values() for word in ("please", "now", "today", "again", "thanks", "soon")]
LABELS = [name for name in TOPICS for _ in range(6)]


def _triplets() -> list[tuple[str, str, str]]:
    places = np.random.default_rng(0).integers(6, size=(96, 3))
    found = []
    for number, (a, b, c) in enumerate(places):
        own, other = 6 * (number % 3), 6 * ((number + 1) % 3)
        found.append((TEXTS[own + a], TEXTS[own + b], TEXTS[other + c]))
    return found


@pytest.fixture(scope="module")
def triplets(tmp_path_factory: pytest.TempPathFactory) -> Any:
    out = tmp_path_factory.mktemp("simcse") / "run"
    settings = SMALL | {"objective.matryoshka": "8,32", "learning_rate": 1e-2}
    return bodh.pretrain(_triplets(), objective="simcse", epochs=6, out=out, **settings)


def test_a_model_of_pairs_reads_texts(triplets: Any, tmp_path: Path) -> None:
    assert triplets.manifest.modality.name == "text"
    assert sorted(triplets.manifest.capabilities) == ["embed"]
    assert triplets.embed(TEXTS).shape == (18, 32)
    for dimensions in (8, 32):  # the nearest one of a text is of its topic, also in a cut vector
        vectors = triplets.embed(TEXTS, dimensions=dimensions, normalise=True)
        likeness = vectors @ vectors.T - 2 * np.eye(18)
        assert (likeness.argmax(axis=1) // 6 == np.arange(18) // 6).mean() > 0.8
    verdict = bodh.evaluate(triplets, (TEXTS * 3, LABELS * 3), protocol="knn", baselines="none", out=tmp_path / "e")
    assert "knn" in verdict.tables


def test_pairs_go_on_from_texts_and_texts_from_pairs(triplets: Any, tmp_path: Path) -> None:
    quick = {"epochs": 1, "batch": 8, "progress": "none", "monitor_records": 0, "device": "cpu"}
    pairs = [(a, b) for a, b, _ in _triplets()]
    further = bodh.pretrain(pairs, objective="simcse", start=triplets, out=tmp_path / "pairs", **quick)
    assert further.manifest.files["tokenizer.json"] == triplets.manifest.files["tokenizer.json"]
    writer = bodh.pretrain(pairs, objective="seq2seq", epochs=1, out=tmp_path / "writer", **SMALL)
    assert writer.manifest.modality.name == "pairs"
    for freeze in ("backbone", "none"):
        settings = {} if freeze == "backbone" else quick
        sorted_ = bodh.finetune((TEXTS, LABELS), start=writer, freeze=freeze, out=tmp_path / freeze, **settings)
        assert sorted_.manifest.modality.name == "text"
        assert sorted_.predict("my card is lost").records[0]["class"] in TOPICS
    np.testing.assert_allclose(writer.embed(TEXTS[:2]), bodh.load(tmp_path / "backbone").embed(TEXTS[:2]), atol=1e-6)
    texts = tmp_path / "texts.txt"
    texts.write_text("\n".join(TEXTS), encoding="utf-8")
    assert bodh.embed(writer, texts, out=tmp_path / "v.npy").records == 18  # a file of texts is read as sources


def test_a_cut_beyond_the_vector_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="64 is more than the 32 numbers"):
        bodh.pretrain(
            _triplets(), objective="simcse", epochs=1, out=tmp_path / "a", **SMALL | {"objective.matryoshka": "64"}
        )
    with pytest.raises(DataError, match="nothing to choose"):
        bodh.pretrain(_triplets(), objective="simcse", epochs=1, out=tmp_path / "b", **SMALL | {"data.negative": "x"})
