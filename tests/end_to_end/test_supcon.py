"""`pretrain --objective supcon`: learns from labels, leaves unlabelled records out, and earns no verdict for it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import bodh
from bodh.errors import DataError


@pytest.fixture(scope="module")
def digits() -> tuple[np.ndarray, np.ndarray]:
    """[n 64] float32 and [n] classes."""
    from sklearn.datasets import load_digits

    found = load_digits()
    return found.data.astype(np.float32), found.target


def test_records_without_a_label_are_left_out_and_the_verdict_says_why(
    digits: tuple[np.ndarray, np.ndarray], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    x, labels = digits
    labels = np.where(np.arange(len(labels)) % 2 == 0, labels, -1)
    with caplog.at_level("INFO", logger="bodh"):
        model = bodh.pretrain((x, labels), objective="supcon", out=tmp_path / "run", epochs=8, progress="none")
    assert "training records have a label; the others are left out" in caplog.text
    plan = json.loads((tmp_path / "run" / "plan.json").read_text("utf-8"))
    assert plan["settings"]["objective"]["temperature"] == 0.1
    verdict = bodh.evaluate(model, digits, protocol="knn", baselines="untrained", out=tmp_path / "proof")
    assert verdict.tables["knn"][0]["accuracy"] > 0.85
    assert verdict.helped == "cannot tell"
    assert "its objective (supcon) learns from labels" in verdict.sentence


@pytest.mark.parametrize(
    ("targets", "said"),
    [
        (None, "has none; put every class into a folder"),
        (np.eye(4, dtype=np.uint8)[np.arange(64) % 4] | np.eye(4, dtype=np.uint8)[0], "several labels a record"),
        (np.linspace(0, 1, 64, dtype=np.float32), "measured numbers"),
        (np.zeros(64, np.int64), "one class only"),
    ],
)
def test_labels_that_cannot_teach_are_told_before_anything_is_made(
    targets: np.ndarray | None, said: str, tmp_path: Path
) -> None:
    x = np.random.default_rng(0).normal(size=(64, 5)).astype(np.float32)
    with pytest.raises(DataError, match=said):
        bodh.pretrain(x if targets is None else (x, targets), objective="supcon", out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_command_says_it_in_one_line(tmp_path: Path) -> None:
    np.save(tmp_path / "rows.npy", np.random.default_rng(0).normal(size=(64, 5)).astype(np.float32))
    line = [sys.executable, "-m", "bodh", "pretrain", str(tmp_path / "rows.npy"), "--objective", "supcon"]
    done = subprocess.run([*line, "--out", str(tmp_path / "run")], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "objective 'supcon' learns from labels, and rows has none" in done.stderr
    assert "Traceback" not in done.stderr
