"""Any classification network of torchvision by name, for any input size and number of channels.

Weights start at random. Up to 64 px the stem loses its stride and its first pooling, transformers get patches
of about an eighth of the side.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from bodh import _optional
from bodh.backbones._foreign import Foreign
from bodh.backbones._stages import SMALL_SIDE, image_shape, patch_side, replace_module, without_early_stride
from bodh.contracts import NetworkSpec
from bodh.errors import ConfigError, UnknownName


def members() -> tuple[str, ...]:
    """Return the names of all classification networks of the installed torchvision."""
    models = _models()
    return tuple(models.list_models(module=models))


def build(*, shape: Sequence[int], model: str, small_stem: bool | None = None, **arguments: Any) -> Foreign:
    """Build a network of torchvision without its classifier.

    Args:
        shape: (c, h, w) of the inputs.
        model: torchvision's name ("resnet18", "vit_b_16").
        small_stem: stem for small images; None: up to 64 px.
        arguments: passed on to torchvision's own constructor (`stochastic_depth_prob=0.1`).

    Raises:
        UnknownName: torchvision has no such network.
        ConfigError: the network takes no such inputs or arguments.
    """
    shape = image_shape(shape, name=f"torchvision:{model}")
    if model not in members():
        raise UnknownName("network of torchvision", model, members())
    given = {"shape": list(shape), "model": model, **arguments}
    if small_stem is not None:
        given["small_stem"] = small_stem
    small = max(shape[1:]) <= SMALL_SIDE if small_stem is None else small_stem
    try:
        network = _create(model, shape, small=small, arguments=arguments)
        return Foreign(
            network,
            spec=NetworkSpec("backbones", "torchvision", given),
            shape=shape,
            channels_last=type(network).__name__ == "SwinTransformer",
            prefix=int(hasattr(network, "class_token")),
        )
    except (RuntimeError, AssertionError, TypeError, ValueError, ZeroDivisionError, IndexError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ConfigError(
            f"torchvision's {model!r} cannot be built for inputs of shape {shape} with "
            f"{arguments or 'no arguments'}: {reason[:300]}; try another size (modality.size=…) or another backbone"
        ) from error


def _models() -> Any:
    _optional.torchvision()
    from torchvision import models

    return models


def _create(model: str, shape: tuple[int, int, int], *, small: bool, arguments: dict[str, Any]) -> nn.Module:
    channels, height, width = shape
    options: dict[str, Any] = dict(arguments)
    patch = 0
    if model.startswith(("googlenet", "inception")):
        options = {"aux_logits": False, "init_weights": True, "transform_input": False, **options}
    elif model.startswith("vit"):
        native = int(model.rsplit("_", 1)[1])
        patch = patch_side(height, native) if small else native
        if height != width or height % patch:
            raise ValueError(f"it takes square images whose side is a multiple of {patch}")
        options["image_size"] = height // patch * native  # as many patches as ours make of our images
    elif model.startswith("maxvit"):
        options["input_size"] = (height, width)
    network: nn.Module = _models().get_model(model, weights=None, **options)
    _without_classifier(network)
    _take_channels(network, channels)
    if patch:
        _set_patch(network, patch, height)
    elif small:
        _open_stem(network)
    return network


def _without_classifier(network: Any) -> None:
    """Take the layers off that make class scores; AlexNet, VGG and SqueezeNet keep their convolutions only."""
    if type(network).__name__ in {"AlexNet", "VGG"}:
        network.avgpool, network.classifier = nn.AdaptiveAvgPool2d(1), nn.Identity()
    elif type(network).__name__ == "SqueezeNet":
        network.classifier = nn.AdaptiveAvgPool2d(1)
    else:
        path = [name for name, module in network.named_modules() if isinstance(module, nn.Linear)][-1]
        replace_module(network, path, nn.Identity())


def _first_convolution(network: nn.Module) -> tuple[str, nn.Conv2d]:
    return next((name, module) for name, module in network.named_modules() if isinstance(module, nn.Conv2d))


def _take_channels(network: nn.Module, channels: int) -> None:
    path, conv = _first_convolution(network)
    if conv.in_channels != channels:
        fresh = nn.Conv2d(
            channels,
            conv.out_channels,
            conv.kernel_size,  # type: ignore[arg-type]
            stride=conv.stride,  # type: ignore[arg-type]
            padding=conv.padding,  # type: ignore[arg-type]
            bias=conv.bias is not None,
        )
        replace_module(network, path, fresh)


def _set_patch(network: Any, patch: int, side: int) -> None:
    old = network.conv_proj
    network.conv_proj = nn.Conv2d(old.in_channels, old.out_channels, patch, stride=patch)
    network.patch_size, network.image_size = patch, side


def _open_stem(network: Any) -> None:
    """Take stride and pooling out of the stem of a convolutional network; halve the patches of the others."""
    path, conv = _first_convolution(network)
    if conv.kernel_size == conv.stride and conv.stride[0] > 1:
        half = conv.stride[0] // 2
        fresh = nn.Conv2d(conv.in_channels, conv.out_channels, half, stride=half, bias=conv.bias is not None)
        replace_module(network, path, fresh)
    elif conv.stride[0] > 1:
        replace_module(network, path, without_early_stride(conv))
    for pool in ("maxpool", "features.pool0", "maxpool1"):
        parent, _, leaf = pool.rpartition(".")
        if hasattr(network, parent or leaf) and hasattr(network.get_submodule(parent), leaf):
            replace_module(network, pool, nn.Identity())
