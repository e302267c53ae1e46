"""Texts as features: TF-IDF against scikit-learn's own, few records exactly, retrieval and novel records."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from bodh.api.evaluate import novel_records
from bodh.errors import DataError
from bodh.evaluation import words
from bodh.evaluation.config import EvaluationConfig
from bodh.evaluation.context import Context
from bodh.evaluation.cosine import similarities
from bodh.evaluation.protocols import cluster, knn, novelty, retrieval
from bodh.records.memory import MemoryStore
from tests.unit.evaluation.fakes import digits, trained

SST2 = Path(__file__).parents[4] / "shared" / "data" / "sst2" / "train.tsv"
HINDI = ["मैंने हिन्दी पढ़ी।", "क्या तुमने हिन्दी, या अंग्रेज़ी पढ़ी?", "बारिश हो रही है", "आज बारिश नहीं होगी"]


class Lines:
    """A model whose records are numbers of lines."""

    def __init__(self, lines: list[str]) -> None:
        self.device = torch.device("cpu")
        self.modality = SimpleNamespace(texts=lambda rows: [lines[int(row[0])] for row in rows])


def raw(lines: list[str], chosen: np.ndarray) -> tuple[Any, Any]:
    """Return what is fitted on the chosen lines, and the features of all."""
    model: Any = Lines(lines)
    store = MemoryStore(np.arange(len(lines))[:, None])
    fitted = words.RawWords.fit(model, store, chosen, batch=7)
    return fitted, fitted(model, store, np.arange(len(lines)), batch=5)


def sentiment(count: int) -> tuple[list[str], np.ndarray]:
    """Return lines of SST-2 and their labels."""
    if not SST2.is_file():
        pytest.skip(f"{SST2} is not here")
    rows = [line.split("\t") for line in SST2.read_text(encoding="utf-8").splitlines()[:count]]
    return [row[0] for row in rows], np.array([int(row[1]) for row in rows])


def test_hindi_words_keep_their_vowel_signs() -> None:
    assert words.words("क्या तुमने हिन्दी, या अंग्रेज़ी पढ़ी?") == ["क्या", "तुमने", "हिन्दी", "या", "अंग्रेज़ी", "पढ़ी"]
    fitted, features = raw(HINDI, np.arange(4))
    assert "हिन्दी पढ़ी" in fitted.vectorisers[0].vocabulary_
    np.testing.assert_allclose(np.sqrt(features.multiply(features).sum(axis=1)).ravel(), 1, atol=1e-6)
    near = (features @ features.T).toarray() - 2 * np.eye(4)
    assert near.argmax(axis=1).tolist() == [1, 0, 3, 2]


def test_a_script_without_spaces_is_read_by_characters() -> None:
    lines = [
        "今天天气很好我们一起去公园散步吧好不好呀",
        "今天天气不好我们就在家里看书吧好不好呀",
        "股票市场昨天大幅下跌投资者们非常担心",
    ]
    fitted, features = raw(lines, np.arange(3))
    assert "characters in a row" in fitted.told
    near = (features @ features.T).toarray()
    assert near[0, 1] > near[0, 2]


def test_only_the_chosen_records_are_fitted_on() -> None:
    fitted, _ = raw(HINDI, np.array([0, 1]))
    assert "बारिश" not in fitted.vectorisers[0].vocabulary_


def test_few_records_are_classified_as_well_as_by_plain_scikit_learn() -> None:
    lines, targets = sentiment(1600)
    _, features = raw(lines, np.arange(1200))
    told = words.fitted(features[:1200], features[1200:], targets[:1200], 2, seed=0, measured=False)
    own = (told.argmax(axis=1) == targets[1200:]).mean()
    plain = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
    other = LogisticRegression(C=10).fit(plain.fit_transform(lines[:1200]), targets[:1200])
    assert own >= other.score(plain.transform(lines[1200:]), targets[1200:]) - 0.02
    np.testing.assert_allclose(told.sum(axis=1), 1, atol=1e-5)


def test_records_turned_among_themselves_keep_all_products() -> None:
    lines, _ = sentiment(90)
    _, features = raw(lines, np.arange(60))
    own, other = words.among(features[:60], features[60:])
    np.testing.assert_allclose(own @ own.T, (features[:60] @ features[:60].T).toarray(), atol=1e-4)
    np.testing.assert_allclose(other @ own.T, (features[60:] @ features[:60].T).toarray(), atol=1e-4)


def test_many_records_take_the_sparse_way_and_few_classes_may_be_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    lines, targets = sentiment(700)
    _, features = raw(lines, np.arange(500))
    exact = words.fitted(features[:500], features[500:], targets[:500], 2, seed=0, measured=False)
    monkeypatch.setattr(words, "FEW", 100)
    told = words.fitted(features[:500], features[500:], targets[:500] * 2, 3, seed=0, measured=False)
    assert told.shape == (200, 3)
    assert (told[:, 1] == 0).all()
    assert (told.argmax(axis=1) // 2 == exact.argmax(axis=1)).mean() > 0.85


def test_cosines_of_sparse_and_dense_are_the_same_in_any_block(monkeypatch: pytest.MonkeyPatch) -> None:
    _, features = raw(HINDI * 3, np.arange(12))
    monkeypatch.setattr("bodh.evaluation.cosine.SIMILARITIES", 30)
    sparse = np.concatenate([part.numpy() for _, part in similarities(features, features)])
    dense = np.concatenate([part.numpy() for _, part in similarities(features.toarray(), features.toarray())])
    np.testing.assert_allclose(sparse, dense, atol=1e-6)


def test_protocols_take_sparse_features() -> None:
    lines, targets = sentiment(400)
    model: Any = Lines(lines)
    splits = np.where(np.arange(400) < 300, "train", "test")
    store = MemoryStore(np.arange(400)[:, None], targets=targets, splits=splits, class_names=("bad", "good"))
    context = Context(model, store, config=EvaluationConfig(baselines=("raw",), seeds=1))
    context.arms = ("raw",)
    assert context.raw_words.startswith("TF-IDF")
    assert 0.5 < knn.run(context).figures["raw"]["accuracy"] < 0.9
    assert cluster.run(context).figures["raw"]["nmi"] >= 0
    found = retrieval.run(context).figures["raw"]
    assert found["recall@1"] < found["recall@5"] < found["recall@10"]
    assert context.probe("raw").shape == (100, 2)


def test_the_rank_of_the_first_of_the_class_counts_ties_against_it() -> None:
    train = np.array([[1, 0], [1, 0], [0, 1], [0.5, 0.5]], np.float32)
    ranks = retrieval.first_ranks(
        train, np.array([0, 1, 2, 1]), np.array([[1, 0], [0, 1], [1, 0]], np.float32), np.array([1, 1, 3])
    )
    assert ranks.tolist() == [2, 2, np.inf]
    found = retrieval.measure(train, np.array([0, 1, 2, 1]), train[2:3], np.array([2]))
    assert found == {"recall@1": 1, "recall@5": 1, "recall@10": 1, "MRR": 1, "nearest class mean": 1}


def test_novel_records_are_told_from_known_ones_by_trained_features() -> None:
    config = EvaluationConfig(seeds=1, baselines=("none",), novel="सात")
    context = Context(trained(), digits(), config=config)
    result = novelty.run(context)
    assert result.figures["pretrained"]["class_mean"]["auroc"] > 0.7
    assert "the class सात" in result.tables["novelty"].note
    store = digits()
    noise = MemoryStore(np.random.default_rng(0).integers(0, 256, (60, 8, 8, 1)).astype(np.uint8), name="noise")
    outside = Context(trained(), store, config=config, outside=noise)
    found = novelty.run(outside)
    assert found.figures["pretrained"]["mahalanobis"]["auroc"] > 0.9
    assert "60 records of noise" in found.tables["novelty"].note


def test_a_novel_class_that_is_none_is_told() -> None:
    context = Context(trained(), digits(), config=EvaluationConfig(baselines=("none",), novel="zehn"))
    with pytest.raises(DataError, match="no class is called 'zehn'"):
        novelty.run(context)


def test_what_is_neither_class_nor_data_is_told_as_both() -> None:
    config = EvaluationConfig(novel="nowhere/at/all")
    with pytest.raises(DataError, match=r"novel='nowhere/at/all' is no class of 'digits', and as data: no such file"):
        novel_records(trained(), digits(), config, {})
    assert novel_records(trained(), digits(), EvaluationConfig(novel="सात"), {}) is None


def test_mahalanobis_is_the_plain_one() -> None:
    rng = np.random.default_rng(1)
    targets = np.repeat([0, 1], 400)
    mixing = np.diag([1.0, 2.0, 0.7]) + 0.2
    train = (rng.normal(size=(800, 3)) + targets[:, None] * 4) @ mixing
    test = rng.normal(size=(5, 3))
    means = np.stack([train[targets == k].mean(axis=0) for k in (0, 1)])
    inverse = np.linalg.inv(np.cov((train - means[targets]).T, bias=True))
    gap = test[:, None] - means[None]
    plain = np.einsum("nki,ij,nkj->nk", gap, inverse, gap).min(axis=1)
    np.testing.assert_allclose(novelty.mahalanobis(train, targets, test), plain, rtol=0.1)
