"""Which networks take images smaller than those they were built for: multi-crop asks."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from bodh.backbones import cnn, mlp, small, timm, torchvision

TAKES = [
    (small.build, {}, True),
    (cnn.build, {}, False),
    (mlp.build, {}, False),
    (timm.build, {"model": "resnet10t"}, True),
    (timm.build, {"model": "vit_tiny_patch16_224"}, False),
    (timm.build, {"model": "vit_tiny_patch16_224", "dynamic_img_size": True, "dynamic_img_pad": True}, True),
    (torchvision.build, {"model": "mobilenet_v3_small"}, True),
    (torchvision.build, {"model": "vit_b_16"}, False),
]


@pytest.mark.parametrize(("build", "arguments", "takes"), TAKES, ids=lambda value: str(value)[:40])
def test_a_network_tells_truly_whether_it_takes_any_side(build: Any, arguments: dict[str, Any], takes: bool) -> None:
    network = build(shape=(3, 32, 32), **arguments)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    assert network.any_side is takes
    assert network.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    if takes:
        assert network(torch.rand(2, 3, 14, 14)).shape == (2, network.dim)
