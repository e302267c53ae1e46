"""`finetune` as a user has it: frozen stages, kept features, early stopping, several labels, test-time views."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from sklearn.datasets import load_digits

import bodh
from bodh.errors import ConfigError
from bodh.model.loaded import LoadedModel
from bodh.train.log import read

NAMES = ("शून्य", "एक", "दो", "तीन", "चार", "पाँच", "छह", "सात", "आठ", "नौ")
SHORT: dict[str, Any] = {"progress": "none", "monitor_records": 0, "batch": 32, "device": "cpu"}


def png(pixels: np.ndarray) -> bytes:
    held = io.BytesIO()
    Image.fromarray(pixels).save(held, "png")
    return held.getvalue()


def write(path: Path, pictures: Sequence[np.ndarray], labels: list[Any]) -> Path:
    pq.write_table(pa.table({"image": [{"bytes": png(picture)} for picture in pictures], "label": labels}), path)
    return path


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    data = load_digits()
    folder = tmp_path_factory.mktemp("digits")
    pictures = (data.images * 15.9).astype(np.uint8)
    words = [NAMES[k] for k in data.target]
    write(folder / "train.parquet", pictures[:400], words[:400])
    write(folder / "validation.parquet", pictures[400:500], words[400:500])
    write(folder / "test.parquet", pictures[500:800], words[500:800])
    return folder


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two digits beside each other; the labels are those that are seen."""
    data, draw = load_digits(), np.random.default_rng(0)
    both = draw.integers(0, len(data.target), (500, 2))
    pictures = [np.concatenate([data.images[i], data.images[j]], axis=1) for i, j in both]
    square = [np.pad((picture * 15.9).astype(np.uint8), ((4, 4), (0, 0))) for picture in pictures]
    labels = [sorted({NAMES[data.target[i]], NAMES[data.target[j]]}) for i, j in both]
    return write(tmp_path_factory.mktemp("pairs") / "pairs.parquet", square, labels)


@pytest.fixture(scope="module")
def model(digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "start"
    settings: dict[str, Any] = {**SHORT, "modality.size": 16, "backbone.widths": [8, 16, 32]}
    bodh.pretrain(digits, out=out, backbone="small", epochs=2, **settings)
    return out


def test_the_last_stages_learn_and_the_others_keep_every_number(digits: Path, model: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    tuned = bodh.finetune(digits, start=model, freeze=1, epochs=3, out=out, patience=2, balance=True, **SHORT)
    before, after = (load_file(folder / "model" / "model.safetensors") for folder in (model, out))
    kept = {name for name in before if torch.equal(before[name], after[name])}
    stages = {name.split(".")[2] for name in before}
    assert stages == {"stem", "stage1", "stage2", "stage3"}
    assert {name.split(".")[2] for name in kept if "num_batches" not in name} == stages - {"stage3"}
    checks = [record for record in read(out / "log.jsonl") if record["kind"] == "validation"]
    assert len(checks) >= 2
    assert {"loss", "accuracy", "epoch"} <= checks[0].keys()
    choice = tuned.manifest.provenance["choice"]
    assert choice["chosen"] in [point["step"] for point in choice["points"]]
    assert tuned.manifest.metrics["temperature"] > 0
    assert tuned.manifest.metrics["validation_records"] == 100
    assert tuned.manifest.metrics["log_loss_after"] <= tuned.manifest.metrics["log_loss_before"] + 1e-6
    assert "validation" in (out / "report.html").read_text(encoding="utf-8")


def test_frozen_features_are_computed_once_for_all_later_heads(
    digits: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bodh.data(digits, forget=True)
    asked: list[int] = []
    real = LoadedModel.features

    def counted(self: LoadedModel, store: Any, index: np.ndarray, **more: Any) -> np.ndarray:
        asked.append(len(index))
        return real(self, store, index, **more)

    monkeypatch.setattr(LoadedModel, "features", counted)
    for number, labels in enumerate((5, 20, 10)):
        bodh.finetune(digits, start=model, labels_per_class=labels, out=tmp_path / str(number), **SHORT)
    assert asked == [50, 150]
    again = bodh.finetune(digits, start=model, labels_per_class=10, out=tmp_path / "again", seed=0, **SHORT)
    assert len(asked) == 2
    weights = [load_file(tmp_path / name / "model" / "model.safetensors") for name in ("2", "again")]
    assert all(torch.equal(weights[0][name], tensor) for name, tensor in weights[1].items())
    assert again.manifest.metrics["labelled_records"] == 100


def test_features_of_published_weights_are_kept_too(
    digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from safetensors.torch import save_file

    from bodh.backbones.resnet_cifar import build

    weights = tmp_path / "published.safetensors"
    save_file(build(shape=[3, 32, 32], model="resnet20").state_dict(), weights)
    bodh.data(digits, forget=True)
    asked: list[int] = []
    real = LoadedModel.features

    def counted(self: LoadedModel, store: Any, index: np.ndarray, **more: Any) -> np.ndarray:
        asked.append(len(index))
        return real(self, store, index, **more)

    monkeypatch.setattr(LoadedModel, "features", counted)
    given: dict[str, Any] = {**SHORT, "start": "resnet20", "weights": str(weights), "freeze": "backbone"}
    for number, labels in enumerate((5, 20, 10)):
        bodh.finetune(digits, labels_per_class=labels, seed=0, out=tmp_path / str(number), **given)
    assert asked == [50, 150]
    save_file(build(shape=[3, 32, 32], model="resnet20").state_dict(), weights)
    bodh.finetune(digits, labels_per_class=10, out=tmp_path / "other", **given)
    assert asked == [50, 150, 100], "other weights in a file of the same name have features of their own"


def test_a_head_reads_the_block_that_is_remembered_and_the_rest_is_left_out(
    digits: Path, model: Path, tmp_path: Path
) -> None:
    from bodh.model.save import remember_block

    shutil.copytree(model, tmp_path / "start")
    last = bodh.finetune(digits, start=tmp_path / "start", freeze="backbone", out=tmp_path / "last", **SHORT)
    remember_block(tmp_path / "start" / "model", "stage1", 2, measured={})
    start = bodh.load(tmp_path / "start")
    tuned = bodh.finetune(digits, start=tmp_path / "start", freeze="backbone", out=tmp_path / "best", **SHORT)
    assert {name.split(".")[2] for name in load_file(tuned.folder / "model.safetensors") if "stages" in name} == {
        "stem", "stage1",
    }  # fmt: skip
    assert tuned.manifest.networks["backbone"].arguments["block"] == "stage1"
    few = [np.asarray(picture).astype(np.uint8) for picture in load_digits().images[500:510] * 15.9]
    np.testing.assert_allclose(tuned.embed(few), start.embed(few), atol=1e-5)
    assert last.embed(few).shape == (10, 32)
    assert tuned.embed(few).shape == (10, 8 * 2 * 2)
    parity = tuned.export("onnx", tmp_path / "best.onnx").parity
    assert {one.output for one in parity} >= {"embedding", "logits"}
    again = bodh.finetune(digits, start=tuned, freeze="none", epochs=1, out=tmp_path / "on", **SHORT)
    assert again.manifest.networks["backbone"].name == "upto"


def test_kept_features_go_with_the_data(
    digits: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "cache"  # one of its own: other tests keep features too
    monkeypatch.setenv("BODH_CACHE", str(cache))
    bodh.finetune(digits, start=model, freeze="backbone", out=tmp_path / "run", **SHORT)
    assert list(cache.glob("stores/*/features-*.safetensors"))
    bodh.data(digits, forget=True)
    assert not list(cache.glob("stores/*/features-*.safetensors"))


def test_a_temperature_changes_no_decision(digits: Path, model: Path, tmp_path: Path) -> None:
    runs = [
        bodh.finetune(digits, start=model, freeze="backbone", out=tmp_path / str(on), calibrate=on, **SHORT)
        for on in (False, True)
    ]
    raw, set_right = ([record["class"] for record in run.predict(digits)] for run in runs)
    assert raw == set_right
    assert "temperature" not in runs[0].manifest.metrics
    metrics = runs[1].manifest.metrics
    assert metrics["log_loss_after"] <= metrics["log_loss_before"]


def test_labels_are_set_aside_where_there_is_no_validation_part(pairs: Path, model: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    tuned = bodh.finetune(
        pairs, start=model, epochs=4, patience=3, out=out, **SHORT,
        **{"objective.mixup": 0.2, "objective.cutmix": 1.0, "balance": True},
    )  # fmt: skip
    assert tuned.manifest.task == "multi"
    assert 40 <= tuned.manifest.metrics["validation_records"] <= 60  # one at least of every combination
    first = tuned.predict([np.zeros((16, 16), np.uint8)])[0]
    assert set(first) == {"id", "classes", "probabilities"}


def test_several_labels_with_a_budget_for_each(pairs: Path, model: Path, tmp_path: Path) -> None:
    tuned = bodh.finetune(pairs, start=model, labels_per_class=3, out=tmp_path / "run", **SHORT)
    assert 10 <= tuned.manifest.metrics["labelled_records"] <= 33
    assert set(tuned.manifest.class_names) == set(NAMES)


def test_views_are_averaged_and_a_record_s_answer_does_not_depend_on_the_others(
    digits: Path, model: Path, tmp_path: Path
) -> None:
    tuned = bodh.finetune(digits, start=model, freeze="backbone", out=tmp_path / "run", **SHORT)
    pictures = (load_digits().images[900:904] * 15.9).astype(np.uint8)
    one, several = bodh.predict(tuned, pictures, device="cpu"), bodh.predict(tuned, pictures, device="cpu", views=4)
    assert [r["probabilities"] for r in one] != [r["probabilities"] for r in several]
    alone = bodh.predict(tuned, pictures[2:3], device="cpu", views=4)[0]["probabilities"]
    assert alone == pytest.approx(several[2]["probabilities"], abs=1e-5)
    judged = bodh.evaluate(
        tuned, digits, protocol="task", baselines="none", test_views=3, bootstrap=0, pictures=False, explained=0,
        map_records=0, out=tmp_path / "judged", device="cpu",
    )  # fmt: skip
    assert "averaged over 3 views" in (judged.report.read_text(encoding="utf-8") if judged.report else "")
    with pytest.raises(ConfigError, match="views = 0"):
        bodh.predict(tuned, pictures, views=0)


@pytest.mark.parametrize(
    ("freeze", "message"),
    [
        ("5", "5 is out of range; N trains the last N of the 4 stages stem, stage1, stage2, stage3: from 1 to 4"),
        (0, "0 is out of range"),
        ("half", "'half' is not one of: auto, backbone, none, .*or N from 1 to 4"),
    ],
)
def test_wrong_freezes_name_the_stages(digits: Path, model: Path, tmp_path: Path, freeze: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        bodh.finetune(digits, start=model, freeze=freeze, out=tmp_path / "run", **SHORT)


def test_what_cannot_help_is_refused(digits: Path, model: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    with pytest.raises(ConfigError, match="trains nothing but a head, in one go, so patience would change nothing"):
        bodh.finetune(digits, start=model, freeze="backbone", patience=2, out=out, **SHORT)
    with pytest.raises(ConfigError, match="'backbone' with a bare backbone would keep random weights"):
        bodh.finetune(digits, start="small", freeze="backbone", out=out, **SHORT)
    with pytest.raises(ConfigError, match="linear_first: a bare backbone has learned no features"):
        bodh.finetune(digits, start="small", linear_first=True, out=out, **SHORT)
    with pytest.raises(ConfigError, match="linear_first: pretrain fits no classes"):
        bodh.pretrain(digits, linear_first=True, out=out, **SHORT)


EVERYTHING = [
    "--epochs", "6", "batch=32", "learning_rate=find", "layer_decay=0.7", "gradual=0.5", "frozen_norms=true",
    "balance=true", "patience=5", "objective.mixup=0.2", "objective.cutmix=1", "objective.label_smoothing=0.1",
    "objective.view=randaugment", "checkpoint_minutes=0.0001", "--device", "cpu",
]  # fmt: skip


@pytest.mark.slow
def test_killed_with_everything_on_and_resumed_equals_unbroken(digits: Path, model: Path, tmp_path: Path) -> None:
    def start(out: Path, *more: str) -> subprocess.Popen[bytes]:
        line = [sys.executable, "-m", "bodh", "finetune", str(digits), "--from", str(model), "--out", str(out)]
        return subprocess.Popen([*line, *EVERYTHING, *more], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    whole, part = tmp_path / "whole", tmp_path / "part"
    for out in (whole, part):
        process = start(out)
        if out == part:
            while process.poll() is None and not list((part / "checkpoints").glob("step-*[1-9]*")):
                pass
            process.kill()
            process.communicate(timeout=60)
            process = start(out, "--resume")
        said, _ = process.communicate(timeout=240)
        assert process.returncode == 0, said.decode()
    assert json.loads((whole / "learning-rate.json").read_text())["chosen"] > 0
    assert (whole / "model" / "model.safetensors").read_bytes() == (part / "model" / "model.safetensors").read_bytes()


@pytest.mark.slow
def test_two_processes_thaw_and_keep_the_best_as_one_does(digits: Path, tmp_path: Path) -> None:
    out, found = tmp_path / "start", []
    bodh.pretrain(digits, out=out, backbone="mlp", epochs=1, **SHORT, **{"modality.size": 8, "backbone.width": 32})
    line = ["-m", "bodh", "finetune", str(digits), "--from", str(out), "--epochs", "2", "batch=32", "gradual=0.6"]
    line += ["layer_decay=0.8", "patience=2", "precision=float32", "optimiser=sgd", "learning_rate=0.02"]
    for processes in (1, 2):
        launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"] if processes == 2 else []
        here = tmp_path / str(processes)
        ended = subprocess.run(
            [sys.executable, *launcher, *line, "--device", "cpu", "--out", str(here)],
            capture_output=True, text=True, timeout=280, env=os.environ | {"OMP_NUM_THREADS": "1"}, check=False,
        )  # fmt: skip
        assert ended.returncode == 0, ended.stderr
        found.append(load_file(here / "model" / "model.safetensors"))
    for name, tensor in found[0].items():
        torch.testing.assert_close(found[1][name], tensor, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize(("settings", "told"), [({"freeze": "none"}, True), ({"freeze": 1}, True), ({}, False)])
def test_what_was_trained_with_labels_gets_no_verdict(
    settings: dict[str, Any], told: bool, digits: Path, model: Path, tmp_path: Path
) -> None:
    epochs = {"epochs": 1} if told else {"freeze": "backbone"}
    tuned = bodh.finetune(digits, start=model, out=tmp_path / "run", **settings, **epochs, **SHORT)
    small: dict[str, Any] = {"protocol": "knn", "baselines": "untrained", "device": "cpu", "pictures": False}
    verdict = bodh.evaluate(tuned, digits, **small)
    assert ("fine-tuned with labels" in verdict.sentence) is told
    assert bool(verdict.evidence) is not told
    short: dict[str, Any] = {**SHORT, "epochs": 1, "backbone": "small", "backbone.widths": [8, 16, 32]}
    student = bodh.pretrain(
        digits, objective="distill", out=tmp_path / "student", **short, **{"objective.teacher": str(tmp_path / "run")}
    )
    follower = bodh.pretrain(digits, start=tuned, out=tmp_path / "follower", **SHORT, epochs=1)
    for what, learned in (("its teacher did", student), ("its start did", follower)):
        assert (what in bodh.evaluate(learned, digits, **small).sentence) is told
