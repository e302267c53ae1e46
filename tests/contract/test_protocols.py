"""Every protocol of the catalog, whoever wrote it: what it must offer, and what it must not do."""

from __future__ import annotations

import json
import types
from dataclasses import asdict

import numpy as np
import pytest

from bodh import _catalog
from bodh.evaluation.config import EvaluationConfig
from bodh.evaluation.context import Context
from bodh.evaluation.prove import CLASSES, ROOM
from bodh.evaluation.result import PRETRAINED, ProtocolResult
from bodh.records.memory import MemoryStore
from tests.unit.evaluation.fakes import digits, heights, measuring, poor_scratch, trained

NAMES = _catalog.names(ROOM)


CONFIG = EvaluationConfig(seeds=2, budgets=("1", "3"), neighbours=5)


@pytest.fixture(scope="module")
def classes() -> Context:
    return Context(trained(), digits(), config=CONFIG, scratch=poor_scratch)


@pytest.fixture(scope="module")
def numbers() -> Context:
    config = EvaluationConfig(seeds=2, budgets=("30", "100"), bootstrap=50)

    def nothing(train: np.ndarray, test: np.ndarray, seed: int) -> np.ndarray:
        return np.zeros((len(test), 2))

    return Context(measuring(), heights(), config=config, scratch=nothing)


def able(name: str) -> tuple[str, ...]:
    module = _catalog.get(ROOM, name)
    if hasattr(module, "MODELS"):  # for models of another kind; tested with one of those
        return ()
    return getattr(module, "TASKS", CLASSES) if module.LABELS else (*CLASSES, "regress")


KINDS = [
    pytest.param(name, kind, id=f"{name}-{kind}")
    for name in NAMES
    for kind, task in (("classes", "single"), ("numbers", "regress"))
    if task in able(name)
]
"""Every protocol with every kind of labels that it says it can be run on."""


def test_there_are_the_protocols_of_the_design() -> None:
    assert {"knn", "linear", "budget", "task", "cluster"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_protocol_says_what_it_needs_and_what_it_is(name: str) -> None:
    module = _catalog.get(ROOM, name)
    assert isinstance(module, types.ModuleType)
    assert isinstance(module.LABELS, bool)
    assert isinstance(module.HEAD, bool)
    assert len(_catalog.summary(ROOM, name)) > 20


@pytest.mark.parametrize(("name", "kind"), KINDS)
def test_a_protocol_returns_plain_finite_data_and_leaves_the_model_alone(
    name: str, kind: str, request: pytest.FixtureRequest
) -> None:
    context: Context = request.getfixturevalue(kind)
    weights = {key: value.clone() for key, value in context.model.network.state_dict().items()}
    result = _catalog.get(ROOM, name).run(context)
    assert isinstance(result, ProtocolResult)
    assert result.protocol == name
    assert result.tables
    assert PRETRAINED in result.figures
    json.dumps(dict(result.figures), allow_nan=False)
    for grid in result.tables.values():
        assert grid.title
        assert grid.rows
        json.dumps(asdict(grid), allow_nan=False)
        assert all(not isinstance(cell, (dict, list)) for row in grid.rows for cell in row.values())
    after = context.model.network.state_dict()
    assert all(bool((after[key] == value).all()) for key, value in weights.items())
    assert not any(part.training for part in context.model.network.modules())


@pytest.mark.parametrize(("name", "kind"), KINDS)
def test_contests_hold_the_same_draws_and_test_records_for_every_arm(
    name: str, kind: str, request: pytest.FixtureRequest
) -> None:
    context: Context = request.getfixturevalue(kind)
    for contest in _catalog.get(ROOM, name).run(context).contests:
        assert {scores.shape for scores in contest.scores.values()} == {(2, len(context.positions["test"]))}
        assert 0 < contest.share <= 1
        for scores in contest.scores.values():
            assert np.isfinite(scores).all()


@pytest.mark.parametrize(
    "name",
    [name for name in NAMES if not (_catalog.get(ROOM, name).HEAD or hasattr(_catalog.get(ROOM, name), "MODELS"))],
)
def test_test_labels_choose_nothing(name: str) -> None:
    """With other test labels, everything up to the score is the same: features, draws, classifiers."""
    store = digits()
    config = EvaluationConfig(seeds=2, budgets=("1", "3"), neighbours=5, baselines=("raw",))
    seen = []
    for roll in (0, 1):
        tested = (store.splits == "test") & (store.targets >= 0)
        targets = np.where(tested, (store.targets + roll) % 10, store.targets)
        rows = store.rows(np.arange(len(store)))
        shifted = MemoryStore(rows, splits=store.splits, class_names=store.class_names, targets=targets)
        context = Context(trained(), shifted, config=config)
        probabilities: list[np.ndarray] = []
        plain = context.scores
        context.scores = lambda p, keep=probabilities, plain=plain: (keep.append(p), plain(p))[1]  # type: ignore[method-assign]
        _catalog.get(ROOM, name).run(context)
        seen.append(probabilities)
    assert len(seen[0]) == len(seen[1])
    for one, other in zip(*seen, strict=True):
        np.testing.assert_array_equal(one, other)
