"""The components that CONTRIBUTING.md shows are put in place as another package's, checked, and used."""

from __future__ import annotations

import importlib
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from bodh import _catalog

PAGE = Path(__file__).resolve().parents[2] / "CONTRIBUTING.md"
_CODE = re.compile(r"^```python (\S+)/(\w+)\.py\n(.*?)^```", re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def package(tmp_path_factory) -> Path:
    """A folder to import from: every file of the page, registered by entry points."""
    folder = tmp_path_factory.mktemp("theirs")
    info = folder / "theirs-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1.0\n", "utf-8")
    lines = []
    for room, name, code in _CODE.findall(PAGE.read_text("utf-8")):
        (folder / f"their_{name}.py").write_text(code, "utf-8")
        lines.append(f"[bodh.{room.replace('/', '.')}]\n{name} = their_{name}\n")
    (info / "entry_points.txt").write_text("\n".join(lines), "utf-8")
    assert len(lines) == 3, "an objective, a format, and a modality"
    return folder


@pytest.fixture
def installed(package, monkeypatch):
    """The package, importable in this process."""
    monkeypatch.syspath_prepend(package)
    importlib.invalidate_caches()
    _catalog.names.cache_clear()
    _catalog._foreign.cache_clear()
    yield package
    monkeypatch.undo()
    for name in [name for name in sys.modules if name.startswith("their_")]:
        del sys.modules[name]
    _catalog.names.cache_clear()
    _catalog._foreign.cache_clear()


def test_the_objective_passes_the_suite_of_all_objectives(installed) -> None:
    from bodh.testing.objectives import CHECKS, Subject

    subject = Subject(_catalog.get("objectives", "simsiam"))
    for check in CHECKS:
        check(subject)


def test_the_objective_trains_and_the_format_keeps_its_promise(package, tmp_path) -> None:
    def bodh(*words: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "bodh", *words], cwd=tmp_path, capture_output=True, encoding="utf-8", timeout=200,
            env={**os.environ, "PYTHONPATH": str(package)}, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert "arXiv 2011.10566" in bodh("list", "objectives", "simsiam")
    small = ["--epochs", "1", "modality.size=8", "objective.outputs=32"]
    bodh("pretrain", "sklearn:digits", "--objective", "simsiam", "--out", "run", *small)
    assert tomllib.loads((tmp_path / "run" / "config.toml").read_text("utf-8"))["objective"] == "simsiam"
    bodh("export", "run", "--format", "npz", "--out", "weights.npz")
    assert (tmp_path / "weights.npz").stat().st_size > 1000
