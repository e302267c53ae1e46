"""Labels of every kind, from the Python functions that users call: measured numbers, and few labels beside many."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import bodh
from bodh.errors import ConfigError, DataError

QUICK = {"monitor_records": 0, "progress": "none", "modality.size": 8}


@pytest.fixture(scope="module")
def slopes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Real digits; of each, where its ink lies from left to right."""
    from sklearn.datasets import load_digits

    images = load_digits().images
    where = (images.sum(axis=1) * np.arange(8)).sum(axis=1) / images.sum(axis=(1, 2))
    path = tmp_path_factory.mktemp("slopes") / "slopes.npz"
    np.savez(path, x=(images * 15.9).astype(np.uint8)[:600], y=where[:600].astype(np.float32))
    return path


@pytest.fixture(scope="module")
def regression(slopes: Path, tmp_path_factory: pytest.TempPathFactory) -> bodh.Model:
    out = tmp_path_factory.mktemp("trained") / "run"
    return bodh.finetune(slopes, start="cnn", out=out, epochs=6, device="cpu", batch=32, **QUICK)


def test_floats_are_learned_as_numbers(regression: bodh.Model, slopes: Path):
    assert regression.manifest.task == "regress"
    assert regression.manifest.provenance["objective"]["name"] == "regress"
    verdict = bodh.evaluate(regression, slopes, protocol="regress", baselines="raw", bootstrap=50)
    own, mean = (next(row for row in verdict.tables["regress"] if word in row["who"]) for word in ("own head", "mean"))
    assert own["r2"] > 0.5
    assert own["mae"] < 0.7 * mean["mae"]


def test_a_frozen_model_gets_a_ridge_regression(regression: bodh.Model, slopes: Path, tmp_path: Path):
    frozen = bodh.finetune(slopes, start=regression, freeze="backbone", out=tmp_path / "run", device="cpu")
    assert frozen.manifest.networks["head"].name == "scaled"
    (said,) = bodh.predict(frozen, [np.load(slopes)["x"][0]])
    assert said["values"]["value"] == pytest.approx(float(np.load(slopes)["y"][0]), abs=1.5)


def test_whole_numbers_are_measured_where_that_is_asked(tmp_path: Path):
    model = bodh.finetune(
        "sklearn:digits", start="cnn", task="regress", out=tmp_path / "run", epochs=1, device="cpu", batch=64, **QUICK
    )
    assert model.manifest.task == "regress"
    with pytest.raises(DataError, match=r"measured numbers such as .* not classes"):
        bodh.finetune((np.zeros((9, 8, 8), np.uint8), np.linspace(0, 1, 9)), start="cnn", task="classify")
    with pytest.raises(DataError, match=r"is 0\.5 in every record"):
        bodh.finetune((np.zeros((20, 8, 8), np.uint8), np.full(20, 0.5)), start="cnn")


def test_fixmatch_learns_beside_the_few_labels_and_resumes_exactly(tmp_path: Path):
    given = {
        "start": "cnn", "labels_per_class": 4, "epochs": 1, "device": "cpu", "method": "fixmatch", "batch": 64,
        "objective.ratio": 3, **QUICK,
    }  # fmt: skip
    model = bodh.finetune("sklearn:digits", out=tmp_path / "one", **given)
    assert model.manifest.provenance["objective"]["name"] == "fixmatch"
    assert model.manifest.provenance["steps"] == 22, "an epoch passes over labelled and unlabelled records"
    again = bodh.finetune("sklearn:digits", out=tmp_path / "two", **given)
    assert again.manifest.files["model.safetensors"] == model.manifest.files["model.safetensors"]


def test_fixmatch_takes_more_records_from_elsewhere(slopes: Path, tmp_path: Path):
    labels = (np.load(slopes)["x"][:40], np.arange(40) % 2)
    given = {"start": "cnn", "epochs": 1, "device": "cpu", "batch": 32, "objective.ratio": 1, "method": "fixmatch"}
    more = tmp_path / "more.npy"
    np.save(more, np.load(slopes)["x"][40:240])
    model = bodh.finetune(labels, out=tmp_path / "run", **given, **{"data.unlabelled": str(more)}, **QUICK)
    assert model.manifest.provenance["steps"] == (32 + 200) // 32
    with pytest.raises(DataError, match=r"nothing unlabelled to learn from; give more records with data\.unlabelled"):
        bodh.finetune(labels, out=tmp_path / "none", **given, **QUICK)


def test_a_method_that_does_not_fit_is_told(slopes: Path, regression: bodh.Model):
    with pytest.raises(ConfigError, match=r"'fixmatch' is not one of those that learn measured numbers: auto, regress"):
        bodh.finetune(slopes, start="cnn", method="fixmatch")
    with pytest.raises(ConfigError, match="leaves fixmatch nothing to train"):
        bodh.finetune("sklearn:digits", start=regression, method="fixmatch", freeze="backbone", labels_per_class=4)
