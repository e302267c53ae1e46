"""Random weights of torchvision's networks, classifier and auxiliary heads with them, loaded under timm's names and
the other way round: backbone and head give the logits that the original gives.
"""

from __future__ import annotations

import pytest
import torch
from torch import nn

from bodh import _optional
from bodh.backbones import _published, _twins
from bodh.backbones._weights_file import WeightsFile
from bodh.model.networks import build


def _varied(network: nn.Module) -> nn.Module:
    """Return the network in evaluation mode with statistics and scales that no two channels share."""
    random = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, tensor in network.state_dict().items():
            if tensor.is_floating_point() and tensor.ndim == 1:
                tensor.copy_(0.75 + 0.5 * torch.rand(tensor.shape, generator=random))
            elif name.endswith("classifier.weight"):
                tensor.copy_(torch.randn(tensor.shape, generator=random))
    return network.eval()


def _original(library: str, member: str, **arguments) -> nn.Module:
    torch.manual_seed(0)
    if library == "timm":
        return _varied(_optional.timm().create_model(member, num_classes=11, **arguments))
    _optional.torchvision()
    from torchvision import models

    return _varied(models.get_model(member, weights=None, num_classes=11, **arguments))


def _loaded(name: str, original: nn.Module, shape: tuple[int, int, int]):
    """Return (found, what maps images to logits) of the original's weights in our backbone `name`."""
    weights = {f"module.{key}": tensor for key, tensor in original.state_dict().items()}
    found = _published.fit(name, WeightsFile("x.pth", "0" * 64, weights, ""), shape=shape, arguments={})
    backbone = build({"backbone": found.spec}, seed=5)["backbone"]
    found.fill(backbone)
    weight, bias = found.classifier
    return found, lambda x: nn.functional.linear(backbone.eval()(x), weight, bias)


@pytest.mark.parametrize(
    ("name", "library", "member", "side"),
    [
        ("resnet18", "torchvision", "resnet18", 32),  # 7x7 first convolution at 32 px: the stem of the weights
        ("timm:resnet18", "torchvision", "resnet18", 96),
        ("torchvision:resnet18", "timm", "resnet18", 96),
        ("densenet121", "torchvision", "densenet121", 64),
        ("mobilenetv3_small_100", "torchvision", "mobilenet_v3_small", 96),
        ("mobilenet_v3_small", "torchvision", "mobilenet_v3_small", 96),
        ("mobilenetv2_100", "torchvision", "mobilenet_v2", 96),
        ("mobilenet_v2", "timm", "mobilenetv2_100", 96),
        ("efficientnet_b0", "torchvision", "efficientnet_b0", 96),
        pytest.param("convnext_tiny", "torchvision", "convnext_tiny", 96, marks=pytest.mark.slow),
        pytest.param("swin_tiny_patch4_window7_224", "torchvision", "swin_t", 224, marks=pytest.mark.slow),
        pytest.param("efficientnetv2_s", "torchvision", "efficientnet_v2_s", 96, marks=pytest.mark.slow),
        ("vit_tiny_patch16_224", "timm", "vit_tiny_patch16_224", 224),
    ],
)
def test_backbone_and_head_give_the_logits_of_the_original(name, library, member, side) -> None:
    original = _original(library, member)
    found, logits = _loaded(name, original, (3, side, side))
    assert found.record["fresh"] == []
    assert found.record["found"] == found.record["needed"]
    x = torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(2))
    with torch.inference_mode():
        wanted = original(x)
        torch.testing.assert_close(logits(x), wanted, rtol=1e-4, atol=1e-4 * float(wanted.abs().max()))
    renamed = name in _twins.TWINS or name == "mobilenet_v2"
    assert found.origin == ((library, member) if renamed and library != found.spec.name else (found.spec.name, member))


def test_inception_leaves_its_auxiliary_head_behind() -> None:
    original = _original("torchvision", "inception_v3", init_weights=False, aux_logits=True)
    found, logits = _loaded("inception_v3", original, (3, 96, 96))
    assert found.record["left_out"] == {"classifier": 2, "auxiliary": 12}
    assert "its auxiliary heads (12 weights) were left out" in found.said
    x = torch.rand(2, 3, 96, 96, generator=torch.Generator().manual_seed(2))
    with torch.inference_mode():
        wanted = original(x)
        torch.testing.assert_close(logits(x), wanted, rtol=1e-3, atol=1e-3 * float(wanted.abs().max()))


def test_vgg_keeps_its_convolutions() -> None:
    with torch.device("meta"):
        _optional.torchvision()
        from torchvision import models

        original = models.vgg11(num_classes=11)
    weights = {
        name: torch.rand(tensor.shape) for name, tensor in original.features.state_dict(prefix="features.").items()
    }
    rest = {f"classifier.{layer}.weight": torch.zeros(1, 1) for layer in (0, 3, 6)}
    found = _published.fit("vgg11", WeightsFile("x", "0" * 64, weights | rest, ""), shape=(3, 32, 32), arguments={})
    assert {name: id(t) for name, t in found.weights.items()} == {f"network.{n}": id(t) for n, t in weights.items()}
    assert "its classifier of several layers was left out (classifier.0.weight" in found.said


@pytest.mark.parametrize("size", ["base", pytest.param("large", marks=pytest.mark.slow)])
def test_transformers_have_the_same_blocks_under_other_names(size) -> None:
    """Names of the big ones, compared with what the two libraries mean; the arithmetic is tried on small ones."""
    names = _twins.renamed("timm", f"vit_{size}_patch16_224", "torchvision", f"vit_{size[0]}_16")
    inside = {
        "norm1": "ln_1", "attn.proj": "self_attention.out_proj", "norm2": "ln_2",
        "mlp.fc1": "mlp.0", "mlp.fc2": "mlp.3",
    }  # fmt: skip
    expected = {
        "cls_token": "class_token", "pos_embed": "encoder.pos_embedding", "patch_embed.proj.weight": "conv_proj.weight",
        "patch_embed.proj.bias": "conv_proj.bias", "norm.weight": "encoder.ln.weight", "norm.bias": "encoder.ln.bias",
    }  # fmt: skip
    for number in range(12 if size == "base" else 24):
        theirs = f"encoder.layers.encoder_layer_{number}"
        for kind in ("weight", "bias"):
            expected[f"blocks.{number}.attn.qkv.{kind}"] = f"{theirs}.self_attention.in_proj_{kind}"
            expected |= {f"blocks.{number}.{mine}.{kind}": f"{theirs}.{other}.{kind}" for mine, other in inside.items()}
    assert names == expected


def test_a_small_transformer_computes_the_same_under_those_names() -> None:
    _optional.torchvision()
    from timm.models.vision_transformer import VisionTransformer as Timms
    from torchvision.models.vision_transformer import VisionTransformer as Torchvisions

    torch.manual_seed(0)
    theirs = Torchvisions(
        image_size=32, patch_size=16, num_layers=2, num_heads=2, hidden_dim=32, mlp_dim=128, num_classes=7
    )
    ours = Timms(img_size=32, patch_size=16, depth=2, num_heads=2, embed_dim=32, num_classes=7)
    theirs, ours = _varied(theirs), _varied(ours)
    names = _twins.renamed("timm", "vit_base_patch16_224", "torchvision", "vit_b_16")
    given = theirs.state_dict()
    weights = {name: given[names[name]] for name in ours.state_dict() if name in names}
    weights |= {"head.weight": given["heads.head.weight"], "head.bias": given["heads.head.bias"]}
    ours.load_state_dict(weights, strict=True)
    x = torch.randn(3, 3, 32, 32)
    with torch.inference_mode():
        torch.testing.assert_close(ours(x), theirs(x), rtol=1e-4, atol=1e-5)


def test_twins_that_compute_otherwise_are_none() -> None:
    assert _twins.twin_of("torchvision", "mobilenet_v3_small") is None  # timm's statistics need another epsilon
    assert _twins.twin_of("torchvision", "mobilenet_v2") == ("timm", "mobilenetv2_100", {})
    assert _twins.twin_of("timm", "regnety_004") is None


SMALL = ("convnext_tiny", "efficientnet_b0", "mobilenetv2_100", "mobilenetv3_small_100", "swin_tiny_patch4_window7_224")


@pytest.mark.parametrize(
    "member", [pytest.param(name, marks=() if name in SMALL else pytest.mark.slow) for name in sorted(_twins.TWINS)]
)
def test_every_pair_shares_all_its_weights(member) -> None:
    other, _ = _twins.TWINS[member]
    names = _twins.renamed("timm", member, "torchvision", other)
    assert len(names) == len(set(names.values()))
    assert names.keys() == {
        key for key, tensor in _twins.layout("timm", model=member).items() if tensor.is_floating_point()
    }
