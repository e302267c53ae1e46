"""What every test may lean on: the shared data, a cache of its own, and no traces left behind."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real data sets that lies beside the checkout; the test is skipped where there is none."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"needs the shared data sets at {folder}, which are not there")
    return folder


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Every process of the test run keeps its cache in a folder of its own: the user's is neither read nor filled."""
    folder = tmp_path_factory.mktemp("cache")
    before = os.environ.get("BODH_CACHE")
    os.environ["BODH_CACHE"] = str(folder)
    yield folder
    if before is None:
        os.environ.pop("BODH_CACHE", None)
    else:
        os.environ["BODH_CACHE"] = before


@pytest.fixture(autouse=True)
def _no_leaks(_own_cache: Path) -> Iterator[None]:
    """A test must leave the environment and the working folder as it found them."""
    environment, folder = dict(os.environ), Path.cwd()
    yield
    after = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST_")}
    expected = {key: value for key, value in environment.items() if not key.startswith("PYTEST_")}
    changed = sorted(key for key in after.keys() | expected.keys() if after.get(key) != expected.get(key))
    moved = Path.cwd() != folder
    os.environ.update(environment)
    for key in set(os.environ) - set(environment):
        del os.environ[key]
    os.chdir(folder)
    # libraries that are imported for the first time may set switches of their own (KMP_*, TORCH*)
    mine = [
        key for key in changed if key.startswith(("BODH_", "CUDA_", "OMP_", "HOME", "XDG_", "MASTER_", "RANK", "WORLD"))
    ]
    assert not mine, f"the test changed the environment and did not put it back: {mine}"
    assert not moved, "the test changed the working folder and did not go back"
