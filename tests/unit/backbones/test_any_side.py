"""Which networks take images smaller than those they were built for: multi-crop asks."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from bodh.backbones import cnn, mlp, small, timm, torchvision, vit

TAKES = [
    (small, {}, True),
    (vit, {}, True),
    (vit, {"pool": "token", "positions": "learned"}, True),
    (cnn, {}, False),
    (mlp, {}, False),
    (timm, {"model": "resnet10t"}, True),
    (timm, {"model": "vit_tiny_patch16_224"}, False),
    (timm, {"model": "vit_tiny_patch16_224", "dynamic_img_size": True, "dynamic_img_pad": True}, True),
    (torchvision, {"model": "mobilenet_v3_small"}, True),
    (torchvision, {"model": "vit_b_16"}, False),
]


@pytest.mark.parametrize(("family", "arguments", "takes"), TAKES, ids=lambda value: getattr(value, "__name__", None))
def test_a_network_tells_truly_whether_it_takes_any_side(family: Any, arguments: dict[str, Any], takes: bool) -> None:
    network = family.build(shape=(3, 32, 32), **arguments)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    assert network.any_side is takes
    assert network.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    if takes:
        assert network(torch.rand(2, 3, 14, 14)).shape == (2, network.dim)
