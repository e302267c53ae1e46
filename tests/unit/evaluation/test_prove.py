"""The proof on real digits: a good network earns a yes, a random one does not, and what cannot be told is said."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from bodh.errors import ConfigError, DataError, UnknownName
from bodh.evaluation.config import EvaluationConfig
from bodh.evaluation.context import Context, labels_in
from bodh.evaluation.protocols import budget, knn
from bodh.evaluation.prove import Proof, prove
from bodh.records.memory import MemoryStore
from tests.unit.evaluation.fakes import NAMES, digits, loaded, poor_scratch, random_model, trained

FEW = {"budgets": ("2", "5"), "seeds": 3}


@pytest.fixture(scope="module")
def proof() -> Proof:
    config = EvaluationConfig(**FEW, blocks=("all",))
    return prove(trained(), digits(), config=config, train_scratch=poor_scratch)


def test_features_that_tell_classes_apart_earn_a_yes(proof: Proof) -> None:
    assert proof.verdict.helped == "yes"
    assert proof.verdict.sentence.startswith("With 2 labels a class")
    assert list(proof.results) == ["budget", "task", "linear", "knn", "retrieval", "cluster", "label_free"]


def test_every_table_shows_the_floors_beside_the_figure(proof: Proof) -> None:
    for key in ("linear", "knn", "clusters"):
        assert [row["features"] for row in proof.verdict.tables[key]] == [
            "pretrained",
            "untrained network",
            "raw input",
        ]
    for row in proof.verdict.tables["budget"]:
        assert {"pretrained", "untrained network", "raw input", "trained from scratch", "difference"} <= set(row)
    assert [row["block"] for row in proof.verdict.tables["linear_blocks"]] == ["layer1", "layer2"]


def test_budgets_show_rising_accuracy_and_scratch_at_chance(proof: Proof) -> None:
    two, five = proof.verdict.tables["budget"]
    assert two["pretrained"] < five["pretrained"]
    assert abs(two["trained from scratch"] - 0.1) < 0.05
    assert two["± pretrained"] > 0


def test_everything_is_json(proof: Proof) -> None:
    told = json.loads(json.dumps(proof.to_json(), allow_nan=False))
    assert told["helped"] == "yes"
    assert told["records"] == {"train": 980, "test": 781}
    assert told["figures"]["knn"]["pretrained"]["accuracy"] > told["figures"]["knn"]["untrained"]["accuracy"]


def test_mistakes_and_confusion_are_those_of_the_test_records(proof: Proof) -> None:
    task = proof.results["task"]
    assert task.confusions[0].counts.sum() == 781
    store = digits()
    for mistake in task.mistakes:
        assert store.splits[mistake.position] == "test"
        assert NAMES[store.targets[mistake.position]] == mistake.true != mistake.predicted
    surest = [mistake.confidence for mistake in task.mistakes]
    assert surest == sorted(surest, reverse=True)


def test_a_random_network_never_earns_a_yes() -> None:
    config = EvaluationConfig(**FEW, protocols=("budget",), baselines=("untrained", "raw"))
    verdict = prove(random_model(), digits(), config=config).verdict
    assert verdict.helped in {"no", "cannot tell"}
    assert "Not compared with: trained from scratch" in verdict.sentence


def test_without_labels_nothing_is_claimed() -> None:
    proof = prove(trained(), digits(labelled=False), config=EvaluationConfig())
    assert proof.verdict.helped == "cannot tell"
    assert "no labels" in proof.verdict.sentence
    assert set(proof.results) == {"cluster", "label_free"}
    assert proof.skipped["budget"] == "the data has no labels"
    json.dumps(proof.to_json(), allow_nan=False)


def test_several_labels_at_once() -> None:
    config = EvaluationConfig(**FEW, protocols=("budget", "linear", "knn", "cluster"), baselines=("raw",))
    proof = prove(random_model(), digits(several=True), config=config)
    assert proof.context.metric == "ranking_precision"
    assert 0.6 < proof.verdict.tables["linear"][0]["label ranking precision"] <= 1


def test_the_same_seed_gives_the_same_figures() -> None:
    config = EvaluationConfig(**FEW, protocols=("budget", "knn"), baselines=("untrained", "raw"))
    one, two = (prove(random_model(), digits(), config=config).verdict.tables for _ in range(2))
    assert one == two


def test_a_backbone_that_saw_labels_gets_no_verdict() -> None:
    model = loaded(trained().network, {"verb": "finetune", "notes": {"freeze": []}})
    proof = prove(model, digits(), config=EvaluationConfig(protocols=("auto",), baselines=("raw",), seeds=3))
    assert proof.verdict.helped == "cannot tell"
    assert "fine-tuned with labels" in proof.verdict.sentence
    assert "fair" in proof.skipped["budget"]
    assert "task" in proof.results


@pytest.mark.parametrize(
    ("provenance", "saw"),
    [
        ({"verb": "pretrain", "objective": {"name": "simclr"}}, False),
        ({"verb": "pretrain", "objective": {"name": "classify"}}, True),
        ({"verb": "finetune", "notes": {"freeze": "backbone"}, "pretrained": {"verb": "pretrain"}}, False),
        ({"verb": "finetune", "notes": {"freeze": ["stem"]}, "pretrained": {"verb": "pretrain"}}, False),
        ({"verb": "finetune", "notes": {"freeze": "none"}}, True),
        ({"verb": "finetune", "notes": {"freeze": []}}, True),
        ({"verb": "finetune", "notes": {"freeze": ["stem"]}}, True),
        ({"verb": "finetune", "objective": None, "pretrained": {"published": {"file": "a.pth"}}}, True),
        ({"verb": "pretrain", "objective": {"name": "simclr"}, "notes": {"published": {"file": "a.pth"}}}, True),
        ({"verb": "pretrain", "objective": {"name": "simclr"}, "notes": {"labels": "its start did"}}, True),
        ({}, False),
    ],
)
def test_provenance_tells_whether_labels_took_part(provenance: dict[str, Any], saw: bool) -> None:
    assert bool(labels_in(provenance)) == saw


def test_one_class_only_is_refused() -> None:
    store = MemoryStore(np.zeros((40, 8, 8, 1), np.uint8), targets=np.zeros(40, np.int64), class_names=("अ", "b"))
    with pytest.raises(DataError, match="one class only \\(अ\\)"):
        prove(random_model(), store, config=EvaluationConfig())


@pytest.mark.parametrize(
    ("settings", "error", "words"),
    [
        ({"protocols": ("knm",)}, UnknownName, "no protocol named 'knm' \\(did you mean 'knn'\\?\\)"),
        ({"protocols": ("task",)}, DataError, "the model has no classifier; type: bodh finetune"),
        ({"protocols": ("linear",), "blocks": ("layer9",)}, UnknownName, "no block named 'layer9'"),
    ],
)
def test_what_cannot_run_is_refused_by_name(settings: dict[str, Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        prove(random_model(), digits(), config=EvaluationConfig(**settings))


@pytest.mark.parametrize(
    "settings",
    [{"budgets": ("0",)}, {"budgets": ("0.5",)}, {"budgets": ("110%",)}, {"baselines": ("rew",)}, {"seeds": 0}],
)
def test_settings_out_of_range_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="validation error"):
        EvaluationConfig(**settings)


def test_lists_may_be_written_plainly() -> None:
    config = EvaluationConfig(budgets=[1, "10%"], protocols="knn,linear")
    assert config.budgets == ("1", "10%")
    assert config.protocols == ("knn", "linear")


def test_all_training_records_are_a_share_of_one_hundred_percent() -> None:
    context = Context(random_model(), digits(), config=EvaluationConfig())
    assert [level.text for level in budget.levels(context)] == ["1", "2", "5", "10", "20", "100%"]
    assert [level.title(980) for level in budget.levels(context)][-1] == "all 980 labels"


def test_budgets_of_one_draw_are_nested() -> None:
    context = Context(random_model(), digits(), config=EvaluationConfig())
    small, large = (set(budget._draw(context, budget.Level.parse(text), 1).tolist()) for text in ("2", "5"))
    assert small < large


def test_records_can_be_capped_class_by_class() -> None:
    context = Context(random_model(), digits(), config=EvaluationConfig(records=100))
    assert 95 <= len(context.positions["train"]) <= 105
    assert np.bincount(context.targets("train")).min() >= 9
    assert "100 of 980" in context.notes[0]


def test_rare_classes_count_as_much_as_common_ones() -> None:
    store = digits()
    keep = np.flatnonzero((store.targets != 0) | (np.arange(len(store)) % 5 == 0))
    uneven = MemoryStore(store.rows(keep), targets=store.targets[keep], splits=store.splits[keep], class_names=NAMES)
    assert Context(random_model(), uneven, config=EvaluationConfig()).metric == "balanced_accuracy"
    assert Context(random_model(), store, config=EvaluationConfig()).metric == "accuracy"


def test_neighbours_vote_by_similarity() -> None:
    train = np.array([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0]], np.float32)
    test = np.array([[1, 0.05], [0, 2.0]], np.float32)
    votes = knn.vote(train, np.array([0, 0, 1]), test, 2, neighbours=3, temperature=0.1)
    assert votes.argmax(axis=1).tolist() == [0, 1]
    np.testing.assert_allclose(votes.sum(axis=1), 1, rtol=1e-6)
    assert knn.usual_neighbours(50_000, 10) == 200
    assert knn.usual_neighbours(1437, 10) == 20
    assert knn.usual_neighbours(30, 10) == 3


def test_config_errors_are_ours_at_the_api() -> None:
    from bodh.config.resolve import resolve

    with pytest.raises(ConfigError, match="budgts"):
        resolve({"budgts": "1"}, {"": EvaluationConfig})
