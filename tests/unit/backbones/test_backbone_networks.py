"""What the single networks are made of."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from bodh.backbones import cnn, mlp, small, timm, torchvision
from bodh.backbones._stages import patch_side
from bodh.errors import ConfigError, UnknownName
from bodh.heads import linear


def test_cnn_is_the_classic_network():
    network = cnn.build(shape=(1, 48, 48))
    convolutions = [m for m in network.modules() if isinstance(m, nn.Conv2d)]
    assert [(c.out_channels, c.kernel_size) for c in convolutions] == [(32, (3, 3)), (64, (3, 3)), (128, (3, 3))]
    assert sum(isinstance(m, nn.MaxPool2d) for m in network.modules()) == 2
    hidden = next(m for m in network.modules() if isinstance(m, nn.Linear))
    assert (hidden.in_features, hidden.out_features, network.dim) == (128 * 12 * 12, 512, 512)
    assert [m.p for m in network.modules() if isinstance(m, nn.Dropout)] == [0.5]


def test_cnn_stays_small_on_large_images():
    network = cnn.build(shape=(3, 224, 160))
    assert sum(p.numel() for p in network.parameters()) < 40e6
    assert network.eval()(torch.zeros(1, 3, 224, 160)).shape == (1, 512)


def test_cnn_drops_units_only_while_training():
    network = cnn.build(shape=(1, 8, 8))
    x = torch.rand(2, 1, 8, 8)
    assert torch.equal(network.eval()(x), network(x))
    torch.manual_seed(0)
    assert not torch.equal(network.train()(x), network(x))


@pytest.mark.parametrize("side", [1, 2, 5, 8, 20, 28, 32, 40, 64, 96, 105, 128, 224, 320])
def test_small_takes_every_size(side):
    network = small.build(shape=(3, side, side + 3)).eval()
    seen = network.features(torch.zeros(2, 3, side, side + 3))
    assert seen.pooled.shape == (2, network.dim)
    assert max(seen.map.shape[2:]) <= 9, "the last map stays small, so that large images stay affordable"


def test_small_blocks_start_as_the_identity():
    deep = small.build(shape=(3, 32, 32), widths=[4, 8], depths=[2, 1]).eval()
    shallow = small.build(shape=(3, 32, 32), widths=[4, 8], depths=[0, 0]).eval()
    weights = deep.state_dict()
    shallow.load_state_dict({name: weights[name] for name in shallow.state_dict()})
    x = torch.rand(2, 3, 32, 32)
    assert torch.equal(deep(x), shallow(x))


@pytest.mark.parametrize(
    ("side", "factor"), [(8, 1), (27, 1), (28, 2), (32, 2), (48, 2), (64, 4), (96, 4), (128, 8), (224, 8), (320, 16)]
)
def test_small_shrinks_large_images_in_its_stem(side, factor):
    assert small.reduction(side) == factor
    network = small.build(shape=(1, side, side)).eval()
    assert network.stages["stem"](torch.zeros(1, 1, side, side)).shape[2:] == (side // factor,) * 2


@pytest.mark.parametrize("norm", mlp.NORMS)
@pytest.mark.parametrize("residual", [False, True])
def test_mlp_variants(norm, residual):
    network = mlp.build(shape=(5,), width=8, depth=3, norm=norm, residual=residual, dropout=0.1)
    assert network.block_names == ("layer1", "layer2", "layer3")
    assert network(torch.rand(4, 5)).shape == (4, 8)


def test_mlp_residual_adds_the_input():
    network = mlp.build(shape=(4,), width=4, depth=2, norm="none", residual=True)
    nn.init.zeros_(network.stages["layer2"].body[0].weight)
    nn.init.zeros_(network.stages["layer2"].body[0].bias)
    first, second = network.blocks(torch.rand(3, 4)).values()
    assert torch.equal(first, second)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"shape": (3,), "norm": "instance"}, "norm='instance'.*layer, batch, none"),
        ({"shape": (3,), "activation": "tanh"}, "activation='tanh'"),
        ({"shape": (3,), "width": 0}, "width=0"),
        ({"shape": ()}, r"shape=\(\)"),
        ({"shape": (3,), "dropout": 1.0}, r"dropout=1\.0"),
    ],
)
def test_mlp_mistakes(arguments, told):
    with pytest.raises(ConfigError, match=told):
        mlp.build(**arguments)


@pytest.mark.parametrize("module", [cnn, small])
def test_images_only(module):
    with pytest.raises(ConfigError, match=r"\(7,\).*backbone=mlp"):
        module.build(shape=(7,))
    with pytest.raises(ConfigError, match="widths"):
        module.build(shape=(3, 32, 32), widths=(1,))


@pytest.mark.parametrize("module", [timm, torchvision])
def test_resnets_for_small_images_keep_resolution(module):
    tiny = module.build(shape=(1, 32, 32), model="resnet18").eval()
    assert tiny.features(torch.zeros(1, 1, 32, 32)).map.shape == (1, 512, 4, 4)
    first = tiny.network.conv1
    assert (first.kernel_size, first.stride, first.in_channels) == ((3, 3), (1, 1), 1)
    usual = module.build(shape=(1, 32, 32), model="resnet18", small_stem=False).eval()
    assert usual.features(torch.zeros(1, 1, 32, 32)).map.shape == (1, 512, 1, 1)


def test_transformers_take_any_size():
    tiny = timm.build(shape=(3, 48, 48), model="vit_tiny_patch16_224").eval()
    seen = tiny.features(torch.zeros(2, 3, 48, 48))
    assert seen.tokens.shape == (2, 64, 192)
    assert seen.map.shape == (2, 192, 8, 8)
    assert torch.equal(seen.map.flatten(2).transpose(1, 2), seen.tokens)


def test_transformer_positions_belong_to_the_first_block():
    tiny = timm.build(shape=(3, 32, 32), model="vit_tiny_patch16_224")
    first = [id(p) for m in tiny.block_modules()[tiny.block_names[0]] for p in m.parameters()]
    assert id(tiny.network.pos_embed) in first
    assert id(tiny.network.cls_token) in first


@pytest.mark.parametrize(("side", "patch"), [(8, 1), (28, 4), (32, 4), (48, 6), (64, 8), (96, 16), (224, 16), (3, 1)])
def test_patch_side(side, patch):
    assert patch_side(side, 16) == patch


def test_what_a_family_cannot_build_is_told():
    with pytest.raises(ConfigError, match=r"hiera_tiny_224.*\(3, 50, 50\)"):
        timm.build(shape=(3, 50, 50), model="hiera_tiny_224")
    with pytest.raises(ConfigError, match="random weights; type: backbone=resnet18"):
        timm.build(shape=(3, 32, 32), model="resnet18.a1_in1k")
    with pytest.raises(ConfigError, match="dropp"):
        timm.build(shape=(3, 32, 32), model="resnet18", dropp=3)
    with pytest.raises(UnknownName, match="resnet19"):
        torchvision.build(shape=(3, 32, 32), model="resnet19")


def test_linear_head():
    head = linear.build(inputs=4, outputs=3)
    assert head(torch.rand(2, 4)).shape == (2, 3)
    assert head.spec.arguments == {"inputs": 4, "outputs": 3}
    assert set(head.state_dict()) == {"weight", "bias"}
    with pytest.raises(ConfigError, match="outputs=0"):
        linear.build(inputs=4, outputs=0)
