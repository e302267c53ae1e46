"""Masked, pretext and distilled learning as a user types it: from data to a model, and refusals before any run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import bodh
from bodh.errors import ConfigError, DataError, Interrupted
from bodh.model.loaded import load_model

SHORT: dict[str, Any] = {"epochs": 1, "batch": 64, "monitor_records": 0, "progress": "none", "device": "cpu"}


@pytest.fixture
def colours(tmp_path: Path) -> Path:
    """160 images of 12 px, their colour a function of the place."""
    rng = np.random.default_rng(0)
    np.save(tmp_path / "colours.npy", rng.integers(0, 256, (160, 12, 12, 3), dtype=np.uint8))
    return tmp_path / "colours.npy"


def _weights(model: bodh.Model) -> dict[str, torch.Tensor]:
    return load_model(model.folder).network.state_dict()


def test_mae_chooses_a_transformer(colours: Path, tmp_path: Path) -> None:
    model = bodh.pretrain(colours, objective="mae", out=tmp_path / "run", **SHORT)
    assert model.manifest.networks["backbone"].name == "vit"
    assert model.embed(np.zeros((2, 12, 12, 3), np.uint8)).shape == (2, 128)


@pytest.mark.parametrize(
    ("objective", "backbone", "error", "told"),
    [
        (
            "mae",
            "small",
            ConfigError,
            r"objective 'mae' needs .* leave patches out, given 'small'.*type --backbone vit",
        ),
        (
            "colorization",
            "mlp",
            ConfigError,
            r"objective 'colorization' needs a backbone that gives a map.*given 'mlp'",
        ),
        ("distill", "small", ConfigError, r"objective 'distill' learns from a teacher.*type objective.teacher=PATH"),
    ],
)
def test_what_cannot_work_is_told_before_a_run_begins(
    colours: Path, tmp_path: Path, objective: str, backbone: str, error: type[Exception], told: str
) -> None:
    with pytest.raises(error, match=told):
        bodh.pretrain(colours, objective=objective, backbone=backbone, out=tmp_path / "run", **SHORT)
    assert not (tmp_path / "run").exists()


def test_colorization_of_grey_records_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"objective 'colorization' needs colour images .*given grey of 1"):
        bodh.pretrain("sklearn:digits", objective="colorization", out=tmp_path / "run", **SHORT)
    assert not (tmp_path / "run").exists()


def test_a_teacher_that_is_no_model_is_told(colours: Path, tmp_path: Path) -> None:
    with pytest.raises(bodh.errors.ModelError, match="no model at"):
        bodh.pretrain(colours, objective="distill", **SHORT, **{"objective.teacher": str(tmp_path / "nothing")})


def test_a_published_network_teaches_and_its_inputs_are_taken_along(colours: Path, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    from bodh.backbones.resnet_cifar import build

    weights = tmp_path / "teacher.safetensors"
    source = build(shape=[3, 32, 32], model="resnet20")
    save_file(source.state_dict(), weights)
    named = {"objective.teacher": "resnet20", "objective.teacher_weights": str(weights)}
    student = bodh.pretrain(colours, objective="distill", backbone="small", out=tmp_path / "run", **SHORT, **named)
    assert student.manifest.modality.config["mean"] == pytest.approx([0.485, 0.456, 0.406])
    assert "published weights" in student.manifest.provenance["notes"]["labels"]
    with pytest.raises(ConfigError, match=r"objective.teacher is None; name the network"):
        bodh.pretrain(colours, objective="distill", **SHORT, **{"objective.teacher_weights": str(weights)})
    with pytest.raises(bodh.errors.ModelError, match="does not fit resnet32"):
        bodh.pretrain(colours, objective="distill", **SHORT, **named | {"objective.teacher": "resnet32"})


def test_a_student_resumes_bit_for_bit_and_only_with_its_teacher(
    colours: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    teacher = bodh.pretrain(colours, objective="rotation", out=tmp_path / "teacher", **SHORT)
    told = {**SHORT, "epochs": 3, "objective": "distill", "objective.teacher": str(teacher.folder)}
    whole = bodh.pretrain(colours, out=tmp_path / "whole", **told)
    assert whole.manifest.provenance["notes"]["teacher"] == teacher.digest
    assert not any("teacher" in name for name in _weights(whole))

    from bodh.objectives.distill import Distill

    step, done = Distill.step, []

    def interrupted(self: Distill, *given: Any) -> Any:
        done.append(1)
        if len(done) == 3:
            import os
            import signal

            os.kill(os.getpid(), signal.SIGTERM)
        return step(self, *given)

    monkeypatch.setattr(Distill, "step", interrupted)
    with pytest.raises(Interrupted):
        bodh.pretrain(colours, out=tmp_path / "parts", **told)
    monkeypatch.setattr(Distill, "step", step)
    parts = bodh.pretrain(colours, out=tmp_path / "parts", resume=True, **told)
    ours, theirs = _weights(whole), _weights(parts)
    assert all(torch.equal(value, theirs[name]) for name, value in ours.items())

    plan = tmp_path / "parts" / "plan.json"
    changed = json.loads(plan.read_text(encoding="utf-8"))
    changed["arguments"]["teacher"] = "0" * 64
    plan.write_text(json.dumps(changed), encoding="utf-8")
    with pytest.raises(ConfigError, match="teacher: the run has '0000"):
        bodh.pretrain(colours, out=tmp_path / "parts", resume=True, **told)
