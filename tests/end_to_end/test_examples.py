"""Every example runs, as a person would run it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "examples"
PRINTS = {
    "learn_and_prove": "Did it help?",
    "few_labels": "0.",
    "own_arrays": "features:",
    "scikit_learn_pipeline": "accuracy: 0.9",
    "run_without_torch": "vectors: (4, ",
}


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.py")), ids=lambda path: path.stem)
def test_example(path, tmp_path) -> None:
    done = subprocess.run(
        [sys.executable, path, str(tmp_path / "out")], cwd=tmp_path, capture_output=True, encoding="utf-8",
        timeout=250, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert PRINTS[path.stem] in done.stdout


def test_every_example_is_described() -> None:
    text = (FOLDER / "README.md").read_text("utf-8")
    assert [path.name for path in FOLDER.glob("*.py") if f"`{path.name}`" not in text] == []
