"""The whole way on the command line, every verb with --json; and what is refused, each in one clear line."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bodh.cli.app import run

SMALL = ["modality.size=8", "batch=64", "monitor_records=64"]


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("चित्र")


@pytest.fixture(scope="module")
def photos(place) -> Path:
    """Two classes of small pictures, Hindi names."""
    random = np.random.default_rng(0)
    for name, colour in (("बिल्ली", (200, 60, 60)), ("dog", (60, 60, 200))):
        (place / "photos" / name).mkdir(parents=True)
        for number in range(60):
            pixels = random.normal(colour, 40, (10, 12, 3)).clip(0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(place / "photos" / name / f"{number}.png")
    return place / "photos"


@pytest.fixture(scope="module")
def model(place, photos) -> Path:
    """A model that has hardly learned anything."""
    assert run(["pretrain", str(photos), "--out", str(place / "run"), "--epochs", "1", "-q", *SMALL]) == 0
    return place / "run"


@pytest.fixture(scope="module")
def classifier(place, photos, model) -> Path:
    words = ["finetune", str(photos), "--from", str(model), "--out", str(place / "fine"), "-q"]
    assert run(words) == 0
    return place / "fine"


@pytest.fixture
def bodh(capfd):
    """Carries out a line with --json and returns the one object on stdout."""

    def call(*words: object) -> dict:
        capfd.readouterr()
        code = run([str(word) for word in words] + ["--json"])
        out, err = capfd.readouterr()
        assert code == 0, err
        assert out.count("\n") == 1
        return json.loads(out)

    return call


def test_pretrain(bodh, photos, tmp_path) -> None:
    found = bodh("pretrain", photos, "--out", tmp_path / "run", "--epochs", 1, "--objective", "byol", *SMALL)
    assert Path(found["model"]).is_dir()
    assert found["networks"]["backbone"]["name"] == "small"
    assert found["provenance"]["objective"]["name"] == "byol"


def test_finetune_and_predict(bodh, classifier, photos, tmp_path) -> None:
    found = bodh("predict", classifier, photos / "dog" / "0.png", photos / "बिल्ली" / "1.png")
    assert [record["class"] for record in found["records"]] == ["dog", "बिल्ली"]


def test_evaluate(bodh, model, photos, tmp_path) -> None:
    found = bodh(
        "evaluate", model, photos, "--protocol", "knn", "--baselines", "untrained,raw", "--out", tmp_path / "proof"
    )
    assert found["helped"] in ("yes", "no", "cannot tell")
    assert {row["features"] for row in found["tables"]["knn"]} == {"pretrained", "untrained network", "raw input"}
    assert Path(found["report"]).is_file()


def test_embed_and_search(bodh, model, photos, tmp_path) -> None:
    assert bodh("embed", model, photos, "--out", tmp_path / "v.npy")["records"] == 120
    found = bodh("search", model, photos, photos / "dog" / "3.png", "--top", 3)
    assert found["rows"][0]["id"] == "dog/3.png"
    assert len(found["rows"]) == 3


def test_export(bodh, classifier, tmp_path) -> None:
    found = bodh("export", classifier, "--format", "onnx", "--out", tmp_path / "m.onnx")
    assert all(row["holds"] for row in found["parity"])


def test_compare(bodh, photos, tmp_path) -> None:
    words = ["--objectives", "simclr,byol", "--minutes", 0.02, "--out", tmp_path / "both", *SMALL]
    found = bodh("compare", photos, *words)
    assert {"simclr", "byol"} <= {value for row in found["table"] for value in row.values() if isinstance(value, str)}


def test_data(bodh, photos) -> None:
    found = bodh("data", photos)
    assert [(row["class"], row["records"]) for row in found["classes"]] == [("dog", 60), ("बिल्ली", 60)]


def test_list_and_doctor(bodh) -> None:
    assert bodh("list", "formats", "onnx")["name"] == "onnx"
    assert bodh("doctor")["versions"]["bodh"]


@pytest.mark.parametrize(
    "words", [["predict", "MODEL", "PHOTO"], ["search", "MODEL", "PHOTOS", "PHOTO"], ["data", "PHOTOS"]]
)
def test_results_are_shown_to_people(words, classifier, photos, capfd) -> None:
    names = {"MODEL": str(classifier), "PHOTOS": str(photos), "PHOTO": str(photos / "dog" / "0.png")}
    capfd.readouterr()
    assert run([names.get(word, word) for word in words]) == 0
    assert "dog" in capfd.readouterr().out


def test_a_pipe_gets_one_prediction_a_line(classifier, photos, capfd) -> None:
    capfd.readouterr()
    assert run(["predict", str(classifier), str(photos / "dog")]) == 0
    lines = capfd.readouterr().out.splitlines()
    assert len(lines) == 60
    assert {json.loads(line)["class"] for line in lines} <= {"dog", "बिल्ली"}


# ------------------------------------------------------------------------------------------- bad input


def refused(capfd, *words: object) -> str:
    """Return the one line that a wrong command line gets; its code is 2."""
    capfd.readouterr()
    code = run([str(word) for word in words])
    out, err = capfd.readouterr()
    assert code == 2, err
    assert out == ""
    line = err.splitlines()[-1]
    assert "bug in bodh" not in err
    assert "Traceback" not in err
    return line


def test_no_such_folder(capfd, tmp_path) -> None:
    line = refused(capfd, "pretrain", tmp_path / "nowhere")
    assert line.startswith("bodh: ")
    assert "nowhere" in line


def test_a_folder_without_images(capfd, tmp_path) -> None:
    (tmp_path / "notes.docx").write_text("hello", "utf-8")
    assert tmp_path.name in refused(capfd, "pretrain", tmp_path)


def test_a_text_file_named_jpg(capfd, tmp_path) -> None:
    for number in range(10):
        (tmp_path / f"{number}.jpg").write_text("hello", "utf-8")
    assert ".jpg" in refused(capfd, "pretrain", tmp_path, "--out", tmp_path / "run")


def test_output_that_exists(capfd, photos, model) -> None:
    line = refused(capfd, "pretrain", photos, "--out", model)
    assert str(model) in line
    assert "--resume" in line


def test_an_unknown_objective_is_told_with_the_nearest(capfd, photos, tmp_path) -> None:
    line = refused(capfd, "pretrain", photos, "--objective", "simcrl", "--out", tmp_path / "run")
    assert "no objective named 'simcrl' (did you mean 'simclr'?)" in line


def test_an_unknown_backbone_is_told_with_the_nearest(capfd, photos, tmp_path) -> None:
    assert "resnet18" in refused(capfd, "pretrain", photos, "--backbone", "resnet81", "--out", tmp_path / "run")


def test_wrong_settings_are_told_all_at_once(capfd, photos, tmp_path) -> None:
    capfd.readouterr()
    out = ["--out", str(tmp_path / "run")]
    assert run(["pretrain", str(photos), *out, "epoch=5", "objective.temprature=0.1", "batch=0"]) == 2
    err = capfd.readouterr().err
    assert "3 settings are wrong:" in err
    for text in ("epoch = 5", "did you mean 'epochs'", "did you mean 'objective.temperature'", "batch = 0: must be"):
        assert text in err
    assert not (tmp_path / "run").exists()


@pytest.mark.skipif("CUDA_VISIBLE_DEVICES" in os.environ, reason="the machine may have a GPU")
def test_a_gpu_that_is_absent(capfd, photos, tmp_path) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("a GPU is present")
    assert "cuda" in refused(capfd, "pretrain", photos, "--device", "cuda", "--out", tmp_path / "run")


def test_a_model_folder_that_was_changed(capfd, model, photos, tmp_path) -> None:
    import shutil

    shutil.copytree(model / "model", tmp_path / "model")
    with (tmp_path / "model" / "model.safetensors").open("r+b") as file:
        file.seek(-1, 2)
        last = file.read(1)
        file.seek(-1, 2)
        file.write(bytes([last[0] ^ 1]))
    assert "model.safetensors" in refused(capfd, "embed", tmp_path / "model", photos, "--out", tmp_path / "v.npy")


def test_no_model_there(capfd, photos, tmp_path) -> None:
    assert str(photos) in refused(capfd, "embed", photos, photos, "--out", tmp_path / "v.npy")


def test_a_verb_that_the_model_cannot_do(capfd, model, photos) -> None:
    assert "finetune" in refused(capfd, "predict", model, photos / "dog" / "0.png")


def test_an_unknown_format(capfd, model, tmp_path) -> None:
    assert "did you mean 'onnx'" in refused(capfd, "export", model, "--format", "onxx", "--out", tmp_path / "m.onnx")


def test_a_port_in_use(capfd, model) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert f"port {port}" in refused(capfd, "serve", model, "--port", port)


def test_ctrl_c_saves_and_says_how_to_go_on(photos, tmp_path) -> None:
    import signal
    import time

    line = [sys.executable, "-m", "bodh", "pretrain", str(photos), "--out", str(tmp_path / "run"), "--epochs", "5000"]
    with subprocess.Popen([*line, "log_every=1", *SMALL], stderr=subprocess.PIPE, encoding="utf-8") as process:
        log = tmp_path / "run" / "log.jsonl"
        deadline = time.monotonic() + 120
        while not (log.is_file() and '"step"' in log.read_text("utf-8")):
            assert process.poll() is None, process.stderr.read()
            assert time.monotonic() < deadline
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "--resume" in err.splitlines()[-1]
