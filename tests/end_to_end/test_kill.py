"""A run killed with -9 at random moments and resumed ends with the very weights of an unbroken one."""

from __future__ import annotations

import gzip
import itertools
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
SMALL = ["backbone.width=32", "modality.vocabulary=600", "modality.length=32", "batch=32", "log_every=5"]
SMALL += ["checkpoint_minutes=0.0005", "backbone.dropout=0.1", "--epochs", "8"]
TEXTS = {
    "masked_lm": ["backbone.depth=2", "backbone.heads=4"],  # packed rows, hidden at random
    "simcse": ["backbone.depth=2", "backbone.heads=4", "monitor_every=1"],  # batches of similar length, dropout
    "causal_lm": ["--backbone", "recurrent"],
    "seq2seq": ["backbone.depth=1", "backbone.heads=4", "data.input=en", "data.target=de"],  # pairs, with validation
}


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


def texts(shared: Path, folder: Path, objective: str) -> Path:
    """Write 400 real sentences, or pairs of them, where `objective` finds its data; return where."""
    data = folder / "data"
    data.mkdir()
    if objective != "seq2seq":
        lines = (shared / "sst2" / "train.tsv").read_text("utf-8").splitlines()[:400]
        (data / "lines.txt").write_text("\n".join(line.split("\t")[0] for line in lines), encoding="utf-8")
        return data / "lines.txt"
    for side in ("en", "de"):
        with gzip.open(shared / "multi30k" / f"train.{side}.gz", "rt", encoding="utf-8") as file:
            lines = list(itertools.islice(file, 500))
        (data / f"train.{side}").write_text("".join(lines[:400]), encoding="utf-8")
        (data / f"val.{side}").write_text("".join(lines[400:]), encoding="utf-8")
    return data


@pytest.mark.parametrize("words", [LINE, FIXMATCH], ids=["simclr", "fixmatch"])
def test_killed_and_resumed_equals_unbroken(tmp_path: Path, words: list[str]) -> None:
    _equal(tmp_path, words)


@pytest.mark.parametrize("objective", TEXTS)
def test_texts_killed_and_resumed_equal_unbroken(tmp_path: Path, shared: Path, objective: str) -> None:
    pytest.importorskip("tokenizers", reason="the extra 'text' is not installed")
    data = texts(shared, tmp_path, objective)
    _equal(tmp_path, ["pretrain", str(data), "--objective", objective, *SMALL, *TEXTS[objective]])


def _equal(tmp_path: Path, words: list[str]) -> None:
    """Run `words` once unbroken and once killed three times; the weights must be the same."""
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
