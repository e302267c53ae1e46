"""A run killed with -9 at random moments and resumed ends with the very weights of an unbroken one."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

COMMON = ["batch=128", "modality.size=16", "log_every=5", "checkpoint_minutes=0.001"]
LINE = ["pretrain", "sklearn:digits", "--backbone", "cnn", "--epochs", "24", "monitor_every=5", *COMMON]
FIXMATCH = ["finetune", "sklearn:digits", "--from", "cnn", "--epochs", "8", "--labels-per-class", "20", *COMMON]
FIXMATCH += ["method=fixmatch", "objective.ratio=3"]
"""Its order mixes labelled and unlabelled records."""


def start(out: Path, *, resume: bool, words: list[str] = LINE) -> subprocess.Popen[bytes]:
    line = [sys.executable, "-m", "bodh", *words, "--out", str(out), *(["--resume"] if resume else [])]
    return subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def finish(process: subprocess.Popen[bytes]) -> None:
    said, _ = process.communicate(timeout=240)
    assert process.returncode == 0, said.decode()


def wait_for_checkpoint(out: Path, process: subprocess.Popen[bytes], after: str) -> str:
    """Return the name of the first checkpoint newer than `after`."""
    deadline = time.monotonic() + 200
    while time.monotonic() < deadline:
        names = sorted(path.name for path in (out / "checkpoints").glob("step-*"))
        if names and names[-1] > after:
            return names[-1]
        if process.poll() is not None:
            return after
        time.sleep(0.02)
    raise AssertionError("no checkpoint within 200 seconds")


@pytest.mark.parametrize("words", [LINE, FIXMATCH], ids=["simclr", "fixmatch"])
def test_killed_and_resumed_equals_unbroken(tmp_path: Path, words: list[str]) -> None:
    whole, part = tmp_path / "whole", tmp_path / "part"
    finish(start(whole, resume=False, words=words))
    draw, newest, kills = random.Random(1), "", 0
    for _ in range(3):
        process = start(part, resume=bool(newest), words=words)
        newest = wait_for_checkpoint(part, process, newest)
        time.sleep(draw.uniform(0, 0.5))
        if process.poll() is None:
            process.kill()
            kills += 1
        process.communicate(timeout=60)
        if (part / "model").exists():
            break
    assert kills >= 1
    finish(start(part, resume=True, words=words))
    assert (whole / "model" / "model.safetensors").read_bytes() == (part / "model" / "model.safetensors").read_bytes()


def test_resume_with_other_settings_names_the_difference(tmp_path: Path) -> None:
    out = tmp_path / "run"
    finish(start(out, resume=False))
    line = [sys.executable, "-m", "bodh", *LINE, "--out", str(out), "--resume", "learning_rate=0.5"]
    ended = subprocess.run(line, capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == 2
    assert "learning_rate" in ended.stderr
    assert "0.5" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_the_written_config_makes_the_same_model_again(tmp_path: Path) -> None:
    short = ["pretrain", "sklearn:digits", "--backbone", "cnn", "--epochs", "2", "modality.size=16", "batch=128"]
    first, again = tmp_path / "first", tmp_path / "again"
    line = [sys.executable, "-m", "bodh", *short, "backbone.units=64", "objective.temperature=0.3", "--out", str(first)]
    subprocess.run(line, check=True, capture_output=True, timeout=200)
    line = [sys.executable, "-m", "bodh", "pretrain", "sklearn:digits", "--config", str(first / "config.toml")]
    ended = subprocess.run([*line, "--out", str(again)], capture_output=True, text=True, timeout=200, check=False)
    assert ended.returncode == 0, ended.stderr
    assert (first / "model" / "model.safetensors").read_bytes() == (again / "model" / "model.safetensors").read_bytes()
