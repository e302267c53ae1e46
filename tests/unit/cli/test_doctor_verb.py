"""`bodh doctor` finds what is there, says what is missing, and never fails itself."""

from __future__ import annotations

import json
from importlib import metadata

import pytest

import bodh
from bodh.api import doctor as doctor_module
from bodh.cli.app import run


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(doctor_module, "_WRITTEN", 2**20)


def test_it_tells_what_is_here() -> None:
    found = bodh.doctor()
    assert found.versions["torch"] == metadata.version("torch")
    assert found.versions["scikit-learn"] == metadata.version("scikit-learn")
    assert found.devices[-1]["device"] == "cpu"
    assert found.cpu["threads"] >= 1
    assert found.imports["torch"] is not None
    assert found.disk["free_gb"] > 0
    assert found.disk["write_mb_per_second"] > 0
    assert {row["extra"] for row in found.extras} >= {"export", "serve"}
    json.dumps(found.to_json())


def test_a_missing_extra_names_the_line_that_installs_it(monkeypatch) -> None:
    monkeypatch.setattr(doctor_module, "_installed", lambda name: name != "onnxruntime")
    export = next(row for row in doctor_module._extras() if row["extra"] == "export")
    assert export["missing"] == ["onnxruntime"]
    assert export["install"] == "pip install 'bodh[export]'"


def test_what_breaks_is_reported_and_the_rest_is_still_told(monkeypatch, capsys) -> None:
    def broken() -> None:
        raise OSError("no such device")

    monkeypatch.setattr(doctor_module, "_disk", broken)
    monkeypatch.setattr(doctor_module, "_cpu", broken)
    found = bodh.doctor()
    assert "the cache folder could not be examined: OSError: no such device" in found.problems
    assert "the CPU could not be examined: OSError: no such device" in found.problems
    assert found.versions["torch"]
    assert run(["doctor"]) == 0
    assert "things to see to" in capsys.readouterr().out


def test_a_torchvision_of_another_torch_is_said(monkeypatch) -> None:
    monkeypatch.setattr(doctor_module.metadata, "requires", lambda _: ["numpy", "torch (==9.9.9)"])
    problems: list[str] = []
    doctor_module._check_torchvision(problems)
    assert "was built for torch 9.9.9" in problems[0]
    assert "pip install 'torch==9.9.9'" in problems[0]


def test_a_full_disk_is_a_problem(monkeypatch) -> None:
    disk = {"cache": "c", "cache_gb": 0.0, "free_gb": 0.5, "write_mb_per_second": 1}
    monkeypatch.setattr(doctor_module, "_disk", lambda: disk)
    assert any("only 0.5 GB are free in c" in problem for problem in bodh.doctor().problems)
