"""The components that CONTRIBUTING.md shows are put in place as another package's, checked, and used."""

from __future__ import annotations

import importlib
import re
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
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

    subject = Subject(_catalog.get("objectives", "dcl"))
    for check in CHECKS:
        check(subject)


def test_the_loss_is_lightly_s(installed) -> None:
    import torch

    from bodh import _optional

    _optional.torchvision()
    lightly = pytest.importorskip("lightly.loss")
    z = torch.randn(12, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    ours = _catalog.get("objectives", "dcl").decoupled(z, temperature=0.2)
    torch.testing.assert_close(ours, lightly.DCLLoss(temperature=0.2)(*z.chunk(2)))


def test_the_objective_trains_and_the_format_keeps_its_promise(installed, tmp_path) -> None:
    import bodh

    assert "arXiv 2110.06848" in bodh.list("objectives", "dcl").text
    small = {"modality.size": 8, "objective.outputs": 32}
    model = bodh.pretrain("sklearn:digits", objective="dcl", out=tmp_path / "run", epochs=1, **small)
    assert tomllib.loads((tmp_path / "run" / "config.toml").read_text("utf-8"))["objective"] == "dcl"
    exported = bodh.export(model, format="npz", out=tmp_path / "weights.npz")
    assert all(parity.holds for parity in exported.parity)
    with np.load(tmp_path / "weights.npz", allow_pickle=False) as arrays:
        assert all(name.startswith("backbone.") for name in arrays.files)


@dataclass
class Waves:
    """Two kinds of waves, as a source: what `contracts.Source` asks for and nothing else."""

    name = "waves"
    modality = "signal"
    class_names = ("slow", "fast")
    fingerprint = "waves-1"
    ids = tuple(f"wave-{number}" for number in range(96))
    splits = np.array(["train"] * 64 + ["test"] * 32)
    targets = np.arange(96) % 2

    def __len__(self) -> int:
        return len(self.ids)

    def read(self, index: int) -> np.ndarray:
        noise = np.random.default_rng(index)
        phase = noise.uniform(0, 2 * np.pi)
        time = np.linspace(0, 2 * np.pi, 48)
        return (np.sin((2 + 3 * self.targets[index]) * time + phase) + noise.normal(0, 0.1, 48)).astype(np.float32)


def test_the_modality_learns_and_its_model_is_loaded_again(installed, tmp_path) -> None:
    import bodh

    model = bodh.pretrain(Waves(), out=tmp_path / "run", epochs=3, batch=32)
    assert model.manifest.modality.name == "signal"
    verdict = bodh.evaluate(model, Waves(), protocol="knn", baselines="untrained", out=tmp_path / "proof")
    assert verdict.tables["knn"][0]["accuracy"] > 0.6
    exported = bodh.export(model, format="onnx", out=tmp_path / "waves.onnx")
    assert all(parity.holds for parity in exported.parity)


def test_the_views_of_the_modality_do_not_depend_on_the_number_of_processes(installed) -> None:
    import torch

    from bodh.contracts import Shard, View

    module = _catalog.get("modalities", "signal")
    source = Waves()
    modality = module.Modality.fit(source, module.Config())
    rows = np.stack([modality.decode(source.read(index)) for index in range(8)])
    spec = (View("strong"), View("plain"))
    whole = modality.views(rows, spec, 3, Shard(0, 8, 8), torch.device("cpu"))
    half = modality.views(rows[4:], spec, 3, Shard(4, 8, 8), torch.device("cpu"))
    for one, other in zip(whole, half, strict=True):
        assert torch.equal(one[4:], other)
    assert not torch.equal(whole[0], whole[1])
