"""Weights by name: fetched only when asked for, and told plainly where that cannot be."""

from __future__ import annotations

import json

import pytest

from bodh.backbones import _origin
from bodh.errors import ModelError, UnknownName


@pytest.fixture
def offline(monkeypatch) -> None:
    """No host can be looked up, and nothing is taken from what an earlier fetch left behind."""
    monkeypatch.setattr(_origin, "reachable", lambda _url: False)


def test_a_name_is_no_file(tmp_path) -> None:
    (tmp_path / "here").write_text("")
    assert _origin.is_name("imagenet")
    assert _origin.is_name("a1_in1k")
    assert not any(map(_origin.is_name, ["x.pth", "folder/x", str(tmp_path / "here"), tmp_path / "here"]))


@pytest.mark.parametrize(("family", "which"), [("timm", "imagenet"), ("torchvision", "IMAGENET1K_V1")])
def test_without_a_network_one_line_says_so(offline, tmp_path, monkeypatch, family, which) -> None:
    import huggingface_hub

    def refuse(repository, file, *, local_files_only):
        assert local_files_only, "only the cache may be asked"
        raise FileNotFoundError(f"{repository}/{file} is not in the cache")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", refuse)
    monkeypatch.setattr("torch.hub.get_dir", lambda: str(tmp_path))
    told = rf"'{which}' of {family}:resnet18 could not be fetched \(.*type weights=FILE \(.safetensors or .pth\)"
    with pytest.raises(ModelError, match=told) as caught:
        _origin.fetch(family, "resnet18", which)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_weights_that_nobody_published() -> None:
    with pytest.raises(UnknownName, match=r"'a1_in2k' \(did you mean 'a1_in1k'\?\)"):
        _origin.fetch("timm", "resnet18", "a1_in2k")
    with pytest.raises(UnknownName, match="IMAGENET1K_V1"):
        _origin.fetch("torchvision", "resnet18", "IMAGENET1K_V9")
    with pytest.raises(ModelError, match=r"for resnet20 none can be fetched; type weights=FILE"):
        _origin.fetch("resnet_cifar", "resnet20", "imagenet")


@pytest.mark.parametrize(
    ("family", "member", "tag", "mean", "size"),
    [
        ("resnet_cifar", "resnet20", "", 0.485, 32),
        ("timm", "resnet18", "", 0.485, 224),
        ("timm", "vit_base_patch16_224", "", 0.5, 224),
        ("timm", "vit_base_patch16_224", "augreg_in1k", 0.5, 224),
        ("torchvision", "vit_b_16", "", 0.485, 224),
        ("torchvision", "vit_b_16", "IMAGENET1K_SWAG_E2E_V1", 0.485, 384),
        ("torchvision", "inception_v3", "", 0.5, 299),
    ],
)
def test_the_inputs_of_weights_are_known(family, member, tag, mean, size) -> None:
    found = _origin.inputs_of(family, member, tag=tag)
    assert (found.mean[0], found.size) == (mean, size)
    assert member in found.source.lower() or family == "resnet_cifar" or "Weights" in found.source


def test_a_config_beside_the_weights_is_believed_if_it_is_of_that_network(tmp_path) -> None:
    config = {
        "architecture": "resnet18",
        "pretrained_cfg": {"mean": [0.1, 0.2, 0.3], "std": [0.4] * 3, "input_size": [3, 64, 64]},
    }
    (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    weights = tmp_path / "model.safetensors"
    found = _origin.inputs_of("timm", "resnet18", beside=weights)
    assert (found.mean, found.size, found.source) == ((0.1, 0.2, 0.3), 64, "config.json")
    assert _origin.inputs_of("timm", "resnet34", beside=weights).mean[0] == 0.485
    (tmp_path / "config.json").write_text("[1]", encoding="utf-8")
    assert _origin.inputs_of("timm", "resnet18", beside=weights).mean[0] == 0.485


def test_our_own_networks_have_no_published_inputs() -> None:
    assert _origin.inputs_of("small", "small") is None
