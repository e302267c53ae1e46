"""`compare --transfer`: which start, which way, on the user's own labels."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bodh
from bodh.api._compare_transfer import Arm, Start, recommend
from bodh.errors import ConfigError, DataError, ModelError


def arm(title: str, shares: list[float], trained: int) -> Arm:
    """An arm that was right for these shares of 1,000 validation records: the easier ones."""
    start = Start(title, title, {}, ("all",), title)
    scores = [(np.arange(1000) < round(1000 * share)).astype(float) for share in shares]
    return Arm(start, "all", scores, scores, [1.0] * len(shares), trained)


def test_within_chance_of_the_best_the_cheapest_is_recommended():
    best, cheap, poor = (
        arm("a", [0.9, 0.8, 0.85], 1000),
        arm("b", [0.88, 0.81, 0.84], 10),
        arm("c", [0.5, 0.4, 0.45], 1),
    )
    chosen, why = recommend([best, cheap, poor])
    assert chosen is cheap
    assert "the gap to the best, a, all (85.0 %" in why
    assert "may be chance" in why
    assert recommend([best, poor])[0] is best
    few = [arm("a", [0.88, 0.85], 1000), arm("b", [0.40, 0.35], 10)]
    assert recommend(few)[0] is few[0], "two seeds are enough where the records leave no doubt"


def test_a_gap_that_is_no_chance_decides_and_one_seed_needs_a_point():
    best, behind = arm("a", [0.9, 0.8, 0.85], 1000), arm("b", [0.85, 0.75, 0.799], 10)
    assert recommend([best, behind])[0] is best
    assert recommend([arm("a", [0.9], 1000), arm("b", [0.895], 10)])[0].title == "b, all"
    assert recommend([arm("a", [0.9], 1000), arm("b", [0.88], 10)])[0].title == "a, all"


@pytest.fixture(scope="module")
def digits() -> tuple[np.ndarray, np.ndarray]:
    from sklearn.datasets import load_digits

    data = load_digits()
    return (data.images[:400] * 15.9).astype(np.uint8), data.target[:400]


def test_starts_and_ways_are_compared(digits: tuple[np.ndarray, np.ndarray], tmp_path: Path):
    quick: dict[str, Any] = {"monitor_records": 0, "progress": "none", "batch": 32}
    model = bodh.pretrain(
        digits[0], backbone="cnn", epochs=2, out=tmp_path / "pre", device="cpu", **quick, **{"modality.size": 8}
    )
    found = bodh.compare(
        digits, transfer=True, start=f"{tmp_path / 'pre'},resnet18,weights={tmp_path / 'none.pth'}",
        out=tmp_path / "out", device="cpu", epochs=2, seeds=2, **quick,
    )  # fmt: skip
    assert model.manifest.task is None
    ways = [(row["start"], row["way"]) for row in found.table]
    assert ways[:4] == [
        ("untrained cnn", "all"),
        *((str(tmp_path / "pre"), way) for way in ("frozen", "last stage", "all")),
    ]
    bare, frozen, last, everything, *published = found.table
    assert frozen["trained"] < last["trained"] < everything["trained"] == bare["trained"]
    for row in found.table[:4]:
        assert 0 < row["validation"] <= 1
        assert row["± test"] is not None
    assert all("none.pth" in row["failed"] for row in published), "an arm that fails is told, the others go on"
    assert "3 of 7 failed" in found.sentence
    assert found.best in {f"{start}, {way}" for start, way in ways}
    assert found.line.startswith("bodh finetune DATA --from ")
    assert json.loads((tmp_path / "out" / "transfer.json").read_text(encoding="utf-8")) == found.to_json()
    assert found.report.is_file()


def test_published_weights_are_a_start_written_as_for_finetune(digits: tuple[np.ndarray, np.ndarray], tmp_path: Path):
    from safetensors.torch import save_file

    from bodh.backbones.resnet_cifar import build

    weights = tmp_path / "published.safetensors"
    save_file(build(shape=[3, 32, 32], model="resnet20").state_dict(), weights)
    few = (digits[0][:120], digits[1][:120])
    found = bodh.compare(
        few, transfer=True, start="resnet20", weights=str(weights), out=tmp_path / "out", device="cpu", epochs=1,
        seeds=1, batch=32, monitor_records=0, progress="none",
    )  # fmt: skip
    published = [row for row in found.table if row["start"] == f"resnet20,weights={weights}"]
    assert [row["way"] for row in published] == ["frozen", "last stage", "all"]
    assert not any(row["failed"] for row in found.table), "the weights are those of the network that they stand beside"
    assert found.best.startswith("untrained") or f"weights={weights}" in found.line


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"start": "runs/a"}, ConfigError, "to compare starts type --transfer"),
        ({"transfer": True, "objectives": "simclr"}, ConfigError, "leave --objectives or --transfer out"),
        ({"transfer": True, "minutes": -1}, ConfigError, "minutes: -1 is no budget"),
        ({"transfer": True, "start": "weights=a.pth"}, ConfigError, "of which network"),
        (
            {"transfer": True, "start": "resnet18,resnet20", "weights": "a.pth"},
            ConfigError,
            "weights: 'a.pth' are of one",
        ),
        ({"transfer": True, "weights": "a.pth"}, ConfigError, "write them behind its name"),
        ({"transfer": True, "seeds": 0}, ConfigError, "seeds: 0 is no number"),
        ({"transfer": True, "start": "no/such/run"}, ModelError, "no model at"),
    ],
)
def test_mistakes_are_told(
    arguments: dict[str, Any], error: type[Exception], words: str, digits: tuple[np.ndarray, np.ndarray], tmp_path: Path
):
    with pytest.raises(error, match=words):
        bodh.compare(digits, out=tmp_path / "out", **arguments)


def test_without_labels_there_is_nothing_to_compare(digits: tuple[np.ndarray, np.ndarray], tmp_path: Path):
    with pytest.raises(DataError, match="has no labels"):
        bodh.compare(digits[0], out=tmp_path / "out", transfer=True)
