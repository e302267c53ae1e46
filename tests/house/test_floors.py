"""Imports go down only; import-linter reads the contracts of pyproject.toml."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

from tests.house._source import ROOT, SOURCE


def test_import_contracts_hold() -> None:
    program = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run(
        [program, "--no-cache"], cwd=ROOT, capture_output=True, encoding="utf-8", check=False, timeout=240,
        env={**os.environ, "PYTHONIOENCODING": "utf-8"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_room_has_a_floor() -> None:
    """The layers contract is exhaustive; this says so in words when a room is new."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]["contracts"]
    layers = next(contract for contract in contracts if contract["type"] == "layers")
    assert layers["exhaustive"] is True
    named = {name.strip() for line in layers["layers"] for name in line.replace(":", "|").split("|")}
    rooms = {path.name for path in SOURCE.iterdir() if (path / "__init__.py").is_file()}
    rooms |= {path.stem for path in SOURCE.glob("*.py") if path.stem != "__init__"}
    assert rooms == named


def test_package_files_are_empty() -> None:
    """Nothing is re-exported, so importing a room imports nothing else."""
    for path in SOURCE.rglob("__init__.py"):
        if path.parent != SOURCE:
            assert path.read_text("utf-8").strip() == "", f"{path.relative_to(ROOT)} must stay empty"


def test_only_training_and_losses_touch_torch_distributed() -> None:
    for path in SOURCE.rglob("*.py"):
        room = path.relative_to(SOURCE).parts[0]
        if "distributed" in path.read_text("utf-8") and "torch.distributed" in path.read_text("utf-8"):
            assert room in ("train", "losses"), f"{path.relative_to(ROOT)} touches torch.distributed"
