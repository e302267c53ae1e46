"""Weights find their place in a network, and what does not fit is told in words."""

from __future__ import annotations

import pytest
import torch

from bodh.backbones import _names, resnet_cifar
from bodh.backbones._published import fit
from bodh.backbones._weights_file import WeightsFile
from bodh.errors import ModelError
from bodh.model.networks import build
from bodh.testing import backbones as conformance

SHAPE = (3, 32, 32)


def state(member: str, *, channels: int = 3, prefix: str = "") -> dict[str, torch.Tensor]:
    """Return random weights of a ResNet for CIFAR, named as they are published."""
    network = conformance.build_seeded(resnet_cifar, shape=(channels, 32, 32), model=member)
    return {prefix + name.removeprefix("network."): tensor for name, tensor in network.state_dict().items()}


def file_of(weights: dict[str, torch.Tensor]) -> WeightsFile:
    return WeightsFile("some.pth", "0" * 64, weights, "")


def filled(found):
    backbone = build({"backbone": found.spec})["backbone"]
    found.fill(backbone)
    return backbone.eval()


@pytest.mark.parametrize("member", resnet_cifar.MEMBERS)
def test_the_resnets_have_the_depth_of_their_name(member) -> None:
    with torch.device("meta"):
        network = resnet_cifar.build(shape=SHAPE, model=member)
    matrices = sum(tensor.ndim == 4 for tensor in network.state_dict().values())
    assert matrices + 1 == int(member.removeprefix("resnet"))  # the classifier counts
    assert (network.block_names, network.dim) == (("stem", "layer1", "layer2", "layer3"), 64)


@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 8, 8), (1, 28, 28), (3, 33, 48)])
def test_the_resnets_keep_the_contract(shape) -> None:
    conformance.check_backbone(resnet_cifar, shape=shape, model="resnet20")


@pytest.mark.parametrize("prefix", ["", "module.", "backbone.", "model.encoder.", "_orig_mod.", "backbone.network."])
def test_any_prefix_is_seen_through(prefix) -> None:
    weights = state("resnet20", prefix=prefix)
    found = fit("resnet20", file_of(weights), shape=SHAPE, arguments={})
    network = filled(found)
    for name, tensor in network.state_dict().items():
        if not name.endswith("num_batches_tracked"):
            assert torch.equal(tensor, weights[prefix + name.removeprefix("network.")])
    assert f"95 of 95 weights of resnet20 found{f' under {prefix[:-1]!r}' if prefix else ''}" in found.said


def test_a_classifier_comes_along_and_other_parts_are_told() -> None:
    weights = state("resnet20", prefix="encoder_q.") | state("resnet20", prefix="encoder_k.")
    weights |= {
        "queue": torch.zeros(64, 100),
        "encoder_q.fc.weight": torch.rand(7, 64),
        "encoder_q.fc.bias": torch.rand(7),
    }
    found = fit("resnet20", file_of(weights), shape=SHAPE, arguments={})
    assert torch.equal(found.classifier[0], weights["encoder_q.fc.weight"])
    assert found.classes == 7
    assert "other parts were left out: encoder_k, queue" in found.said


def test_a_classifier_of_another_width_or_of_several_layers_is_left_out() -> None:
    weights = state("resnet20") | {"head.0.weight": torch.rand(9, 64), "head.2.weight": torch.rand(7, 9)}
    found = fit("resnet20", file_of(weights), shape=SHAPE, arguments={})
    assert found.classifier is None
    assert "its classifier of several layers was left out" in found.said


def test_colour_becomes_grey_by_the_sum_and_back_by_thirds() -> None:
    colour = state("resnet20")
    found = fit("resnet20", file_of(colour), shape=(1, 28, 28), arguments={})
    assert "the sum over three channels" in found.said
    grey = torch.rand(2, 1, 28, 28)
    same = filled(fit("resnet20", file_of(colour), shape=(3, 28, 28), arguments={}))
    with torch.no_grad():
        torch.testing.assert_close(filled(found)(grey), same(grey.expand(-1, 3, -1, -1)))
        back = fit("resnet20", file_of(state("resnet20", channels=1)), shape=SHAPE, arguments={})
        one = filled(fit("resnet20", file_of(state("resnet20", channels=1)), shape=(1, 28, 28), arguments={}))
        torch.testing.assert_close(filled(back)(grey.expand(-1, 3, -1, -1)), one(grey))
    assert "a third of the grey one" in back.said


def test_a_first_convolution_of_other_channels_starts_fresh_and_is_told() -> None:
    weights = state("resnet20")
    weights["conv1.weight"] = torch.rand(16, 5, 3, 3)
    found = fit("resnet20", file_of(weights), shape=SHAPE, arguments={})
    assert "network.conv1.weight" not in found.weights
    assert "fresh, for they are not in it or of another shape: conv1.weight" in found.said
    assert "conv1.weight is [16, 5, 3, 3], the network needs [16, 3, 3, 3]" in found.said


def test_another_network_is_refused_and_the_right_one_named() -> None:
    with pytest.raises(ModelError, match=r"some\.pth does not fit resnet32: 95 of its 155.*it fits resnet20"):
        fit("resnet32", file_of(state("resnet20")), shape=SHAPE, arguments={})
    with pytest.raises(ModelError, match=r"60 weights in it have no place there .*it fits resnet32: --from resnet32"):
        fit("resnet20", file_of(state("resnet32")), shape=SHAPE, arguments={})
    with pytest.raises(ModelError, match=r"does not fit small: 0 of its .* weights are in the file"):
        fit("small", file_of(state("resnet20")), shape=SHAPE, arguments={})


def test_weights_of_our_own_networks_load_by_their_names() -> None:
    network = build({"backbone": _names.spec_for("small", shape=SHAPE)}, seed=3)["backbone"]
    weights = {f"backbone.{name}": tensor for name, tensor in network.state_dict().items()}
    again = filled(fit("small", file_of(weights), shape=SHAPE, arguments={}))
    x = torch.rand(2, *SHAPE)
    with torch.no_grad():
        assert torch.equal(again(x), network.eval()(x))
