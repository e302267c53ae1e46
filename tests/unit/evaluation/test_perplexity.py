"""Perplexity: counts by hand, windows over long texts, losses of a network, and honest words about them."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
import torch

import bodh
from bodh.errors import DataError
from bodh.evaluation.config import EvaluationConfig
from bodh.evaluation.context import Context
from bodh.evaluation.protocols import perplexity
from bodh.evaluation.prove import prove
from bodh.metrics.ngrams import Bigrams, Unigrams
from bodh.records.memory import MemoryStore
from tests.unit.model.test_language_models import TEXTS, _model

RANDOM = np.random.default_rng(0)
COUNTED = [RANDOM.integers(0, 6, size) for size in (9, 14, 2, 1, 30)]


@pytest.mark.parametrize("kind", [Unigrams, Bigrams])
def test_probabilities_of_all_ids_sum_to_one(kind):
    counts = kind(COUNTED, 8)  # two ids never occur
    for before in range(8):
        chances = [math.exp(-counts.losses(np.array([before, after]))[0]) for after in range(8)]
        assert min(chances) > 0
        assert sum(chances) == pytest.approx(1)


def test_counts_by_hand():
    text = np.array([0, 1, 2, 1, 2, 1, 3])
    single = Unigrams([text], 4)
    np.testing.assert_allclose(np.exp(-single.losses(np.array([0, 1, 3]))), [4 / 10, 2 / 10])
    # pairs 01 12 21 12 21 13: one occurs once: 01, 13; twice: 12, 21; so the discount is 2 / (2 + 4)
    double = Bigrams([text], 4)
    discount = 2 / 6
    kinds = Counter({1: 2, 2: 1, 3: 1})  # how many kinds go before
    follows = (kinds[2] + 1) / (4 + 4)
    wanted = (2 - discount) / 3 + discount * 2 / 3 * follows  # after 1, thrice, come 2, 2 and 3
    assert math.exp(-double.losses(np.array([1, 2]))[0]) == pytest.approx(wanted)
    assert math.exp(-double.losses(np.array([3, 2]))[0]) == pytest.approx(follows)  # nothing was ever after 3


def test_counting_learns_from_more():
    chain = [np.cumsum(RANDOM.integers(1, 3, 200)) % 11 for _ in range(20)]
    losses = [Bigrams(chain[:count], 11).losses(chain[-1]).mean() for count in (1, 4, 19)]
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < 0.8 < Unigrams(chain[:19], 11).losses(chain[-1]).mean()


@pytest.mark.parametrize(("tokens", "length"), [(1, 8), (2, 8), (8, 8), (9, 8), (100, 8), (33, 7), (5, 4)])
def test_windows_tell_each_token_once(tokens, length):
    told = []
    for start, begin, stop in perplexity.windows(tokens, length):
        assert 0 <= start < begin < stop <= tokens
        assert stop - start <= length
        assert start == 0 or begin - start >= length // 2
        told += range(begin, stop)
    assert told == list(range(1, tokens))


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return _model(tmp_path_factory.mktemp("writer") / "m", length=16)


def _store(model, splits=None):
    rows = [model.modality.decode(text.encode()) for text in TEXTS]
    return MemoryStore(rows, splits=np.array(["train", "train", "test"] * 6) if splits is None else splits)


def test_losses_are_those_of_the_network(model):
    loaded = model.loaded("cpu")
    texts = _store(loaded).rows(np.arange(6))
    found = perplexity.losses(loaded, texts)
    backbone, head = loaded.network["backbone"], loaded.network["head"]
    for text, loss in zip(texts, found, strict=True):
        total = 0.0
        for start, begin, stop in perplexity.windows(len(text), 16):
            for place in range(begin, stop):  # one token at a time, from those before it alone
                ids = torch.from_numpy(text[start:place].astype(np.int64))[None]
                with torch.no_grad():
                    chance = head(backbone.features(ids).tokens[:, -1]).log_softmax(dim=1)
                total -= float(chance[0, int(text[place])])
        assert loss == pytest.approx(total, rel=1e-4)


def test_protocol(model):
    loaded = model.loaded("cpu")
    proof = prove(loaded, _store(loaded), config=EvaluationConfig(bootstrap=200))
    figures = proof.results["perplexity"].figures
    assert set(figures) == {"pretrained", "unigram", "bigram", "untrained"}
    own = figures["pretrained"]
    assert own["perplexity"] == pytest.approx(math.exp(own["loss"]))
    assert own["perplexity_low"] < own["perplexity"] < own["perplexity_high"]
    letters = sum(len(text.encode()) for text in np.array(TEXTS)[2::3])
    assert own["bits_per_byte"] == pytest.approx(own["loss"] * own["tokens"] / letters / math.log(2))
    assert figures["unigram"]["loss"] < own["loss"]  # random weights know less than counts
    assert proof.verdict.helped == "cannot tell"
    assert "clearly worse" in proof.verdict.sentence
    assert "no labels" in proof.verdict.sentence
    alone = prove(loaded, _store(loaded), config=EvaluationConfig(bootstrap=0, baselines=("none",)))
    assert set(alone.results["perplexity"].figures) == {"pretrained"}


def test_words_claim_no_more_than_the_intervals():
    own = {"records": 9, "perplexity": 10.0, "bits_per_byte": 2.0, "loss": 2.3}
    for ends, word in (((-0.2, -0.1), "clearly better"), ((-0.2, 0.1), "within chance"), ((0.1, 0.2), "clearly worse")):
        floor = {"loss": 2.4, "perplexity": 11.0, "difference_low": ends[0], "difference_high": ends[1]}
        assert word in perplexity.sentence({"pretrained": own, "bigram": floor})
    assert "for want of draws" in perplexity.sentence({"pretrained": own, "bigram": {"loss": 2.4, "perplexity": 11.0}})


def test_refusals(model, tmp_path):
    loaded = model.loaded("cpu")
    filler = _model(tmp_path / "m", causal=False).loaded("cpu")
    gaps = Context(filler, _store(filler), config=EvaluationConfig())
    with pytest.raises(DataError, match="this one fills gaps"):
        perplexity.run(gaps)
    none = Context(loaded, _store(loaded), config=EvaluationConfig())
    none.positions["test"] = np.empty(0, np.int64)
    with pytest.raises(DataError, match="has no test texts; perplexity is measured on texts held out"):
        perplexity.run(none)


def test_from_the_verb(model, tmp_path):
    verdict = bodh.evaluate(
        model, TEXTS, protocol="perplexity", out=tmp_path / "out", device="cpu", **{"data.cache": str(tmp_path)}
    )
    assert verdict.tables["perplexity"][0]["who"] == "the model"
    assert (tmp_path / "out" / "report.html").is_file()
