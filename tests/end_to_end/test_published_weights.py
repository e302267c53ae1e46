"""Published weights of a real network, from the file to a classifier that tells real images."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from pyarrow import parquet

import bodh
from bodh.api._inputs import open_records
from bodh.cli.app import run
from bodh.errors import ConfigError, ModelError

RIGHT = 491
"""Of the last 600 test images, told rightly by the published ResNet-20, by a plain second implementation too."""


@pytest.fixture(scope="module")
def weights(shared):
    path = shared / "weights-resnet-cifar10" / "resnet20-12fca82f.th"
    if not path.is_file():
        pytest.skip(f"needs the published weights at {path}, which are not there")
    return path


@pytest.fixture(scope="module")
def images(shared, tmp_path_factory):
    """CIFAR-10's own test images: 60 to train on, 600 to test."""
    folder = tmp_path_factory.mktemp("cifar")
    table = parquet.read_table(shared / "cifar10" / "test.parquet")
    parquet.write_table(table.slice(0, 60), folder / "train.parquet")
    parquet.write_table(table.slice(len(table) - 600), folder / "test.parquet")
    return folder


@pytest.fixture(scope="module")
def whole(weights, images, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "whole"
    return bodh.finetune(images, start="resnet20", weights=weights, freeze="all", out=out, device="cpu")


def right(model, images) -> int:
    loaded = model.loaded("cpu")
    store = open_records(loaded.modality, images, {})
    test = np.flatnonzero(np.asarray(store.splits) == "test")
    return int((loaded.predict_rows(store, test).argmax(1) == np.asarray(store.targets)[test]).sum())


def test_the_published_classifier_is_reproduced(whole, images) -> None:
    assert right(whole, images) == RIGHT


def test_the_model_carries_what_it_needs_and_says_where_it_is_from(whole, weights) -> None:
    manifest = whole.manifest
    assert manifest.modality.config["mean"] == [0.485, 0.456, 0.406]
    assert manifest.modality.config["std"] == [0.229, 0.224, 0.225]
    told = manifest.provenance["pretrained"]["published"]
    assert (told["file"], told["found"], told["fresh"]) == (weights.name, 95, [])
    assert told["sha256"].startswith("12fca82f")
    text = (whole.folder / "model.json").read_text(encoding="utf-8")
    assert str(weights.parent) not in text, "no path of this machine is passed on"
    assert manifest.networks["backbone"].arguments == {"shape": [3, 32, 32], "model": "resnet20"}


def test_a_head_is_fitted_on_the_frozen_network_and_grey_images_are_read(weights, tmp_path) -> None:
    random = np.random.default_rng(0)
    grey = random.integers(0, 255, (24, 28, 28), dtype=np.uint8)
    labels = np.arange(24) % 2
    np.savez(tmp_path / "grey.npz", x=(grey // (1 + labels[:, None, None])).astype(np.uint8), y=labels)
    model = bodh.finetune(
        tmp_path / "grey.npz", start="resnet20", weights=str(weights), out=tmp_path / "run", device="cpu"
    )
    assert model.manifest.modality.config["channels"] == 3
    assert model.manifest.provenance["notes"]["freeze"] == ["stem", "layer1", "layer2", "layer3"]
    state = torch.load(weights, map_location="cpu", weights_only=True)["state_dict"]
    ours = model.loaded("cpu").network["backbone"].state_dict()
    assert torch.equal(ours["network.layer3.2.conv2.weight"], state["module.layer3.2.conv2.weight"])


def test_training_starts_from_the_published_head(weights, images, tmp_path) -> None:
    model = bodh.finetune(
        images, start="resnet20", weights=weights, head="published", freeze="none", epochs=1, batch=30,
        learning_rate=1e-6, monitor_records=0, out=tmp_path / "run", device="cpu",
    )  # fmt: skip
    state = torch.load(weights, map_location="cpu", weights_only=True)["state_dict"]
    head = model.loaded("cpu").network["head"]
    torch.testing.assert_close(head.weight, state["module.linear.weight"], atol=1e-4, rtol=0)
    assert model.manifest.provenance["notes"]["published"]["file"] == weights.name


@pytest.mark.parametrize(
    ("settings", "error", "told"),
    [
        ({"start": "resnet56"}, ModelError, r"does not fit resnet56: 95 of its 275.*it fits resnet20: --from resnet20"),
        ({"head": "kept"}, ConfigError, "head: 'kept' is not one of: fresh, published"),
        ({"head": "published", "freeze": "backbone"}, ConfigError, "leaves nothing to train; type --freeze all"),
        ({"weights": "nowhere.pth"}, ModelError, r"nowhere\.pth is not there"),
        ({"weights": "imagenet"}, ModelError, r"for resnet20 none can be fetched; type weights=FILE"),
        ({"weights": None, "freeze": "all"}, ConfigError, "freeze: 'all' keeps published weights"),
        ({"weights": None, "head": "published"}, ConfigError, "head: .* no weights were given"),
    ],
)
def test_mistakes_are_told(weights, images, tmp_path, settings, error, told) -> None:
    given = {"start": "resnet20", "weights": weights, "device": "cpu"} | settings
    with pytest.raises(error, match=told):
        bodh.finetune(images, out=tmp_path / "run", **given)


def test_a_classifier_of_other_classes_cannot_be_kept(weights, tmp_path) -> None:
    x = np.random.default_rng(0).integers(0, 255, (24, 32, 32, 3), dtype=np.uint8)
    np.savez(tmp_path / "two.npz", x=x, y=np.arange(24) % 2)
    with pytest.raises(ConfigError, match=r"a classifier of 10 classes, and two has 2 classes"):
        bodh.finetune(tmp_path / "two.npz", start="resnet20", weights=weights, freeze="all", out=tmp_path / "run")


def test_pretraining_starts_from_published_weights_on_the_command_line(weights, images, tmp_path, capsys) -> None:
    words = ["pretrain", str(images), "--backbone", "resnet20", f"weights={weights}", "--out", str(tmp_path / "run")]
    words += ["--epochs", "1", "batch=60", "--device", "cpu", "monitor_records=0", "learning_rate=1e-9", "--json"]
    assert run(words) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["provenance"]["notes"]["published"]["network"] == "resnet20"


def test_a_model_brings_its_own_weights(whole, weights, images) -> None:
    with pytest.raises(ConfigError, match="A model of bodh brings its own weights"):
        bodh.finetune(images, start=whole, weights=weights)
    with pytest.raises(ConfigError, match="name it: --from resnet18"):
        bodh.pretrain(images, weights=weights)


def test_stages_are_listed_from_input_to_output() -> None:
    found = bodh.list("backbones", "resnet20").stages
    assert [stage["stage"] for stage in found] == ["stem", "layer1", "layer2", "layer3"]
    assert [stage["freeze"] for stage in found] == [4, 3, 2, 1]
    assert sum(stage["parameters"] for stage in found) == 269_072
    assert found[-1]["so_far"] == 1
    small = bodh.list("backbones", "small").to_json()["stages"]
    assert [stage["stage"] for stage in small] == ["stem", "stage1", "stage2", "stage3"]
    assert bodh.list("backbones", "resnet_cifar").stages == ()
