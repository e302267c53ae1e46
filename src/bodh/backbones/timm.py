"""Any network of timm by name, for any input size and number of channels.

Weights start at random. Networks made for 224 px get a stem for small images up to 64 px: ResNets a 3x3 first
convolution without stride and no first pooling (as in Chen et al. 2020, appendix B.9), others a first
convolution without stride, transformers and ConvNeXts smaller patches.
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
    """Return the names of all networks of the installed timm."""
    return tuple(_optional.timm().list_models())


def build(*, shape: Sequence[int], model: str, small_stem: bool | None = None, **arguments: Any) -> Foreign:
    """Build a network of timm without its classifier.

    Args:
        shape: (c, h, w) of the inputs.
        model: timm's name of the architecture, without a tag ("resnet18", "convnext_atto").
        small_stem: stem for small images; None: up to 64 px.
        arguments: passed on to timm's own constructor (`drop_path_rate=0.1`, `global_pool="avg"`).

    Raises:
        UnknownName: timm has no such network.
        ConfigError: the network takes no such inputs or arguments.
    """
    shape = image_shape(shape, name=f"timm:{model}")
    library = _optional.timm()
    if "." in model and library.is_model(model.split(".", 1)[0]):
        name, tag = model.split(".", 1)
        raise ConfigError(
            f"the backbone {model!r} asks for published weights ({tag}), but networks of timm start from random "
            f"weights; type: backbone={name}, and weights={tag} to fetch those"
        )
    if not library.is_model(model):
        raise UnknownName("network of timm", model, members())
    given = {"shape": list(shape), "model": model, **arguments}
    if small_stem is not None:
        given["small_stem"] = small_stem
    small = max(shape[1:]) <= SMALL_SIDE if small_stem is None else small_stem
    try:
        network = _create(library, model, shape, small=small, arguments=arguments)
        if small:
            _open_stem(network)
        if type(network).__name__ == "VGG":
            network.pre_logits = nn.Identity()  # its convolutions only: the hidden layers of its head are for classes
            network.head_hidden_size = network.num_features
        return Foreign(
            network,
            spec=NetworkSpec("backbones", "timm", given),
            shape=shape,
            stages=tuple(str(info["module"]) for info in getattr(network, "feature_info", None) or ()),
            channels_last=getattr(network, "output_fmt", "NCHW") == "NHWC",
            prefix=int(getattr(network, "num_prefix_tokens", 0)),
        )
    except (RuntimeError, AssertionError, TypeError, ValueError, ZeroDivisionError, IndexError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ConfigError(
            f"timm's {model!r} cannot be built for inputs of shape {shape} with {arguments or 'no arguments'}: "
            f"{reason[:300]}; try another size (modality.size=…) or another backbone"
        ) from error


def _create(library: Any, model: str, shape: tuple[int, int, int], *, small: bool, arguments: dict[str, Any]) -> Any:
    """Create the network; those with a fixed input size are told it, small images get small patches."""
    options = {"pretrained": False, "num_classes": 0, "in_chans": shape[0], **arguments}
    published = library.get_pretrained_cfg(model)
    height, width = shape[1:]
    if published is not None and published.fixed_input_size:
        options.setdefault("img_size", (height, width))
    elif small and model.startswith("convnext"):
        options.setdefault("patch_size", 2 if min(height, width) > 32 else 1)
    network = library.create_model(model, **options)
    native = _native_patch(network)
    if not small or "patch_size" in options or native is None:
        return network
    patch = min(patch_side(height, native), patch_side(width, native)) if native > 4 else max(1, native // 2)
    try:
        return library.create_model(model, **options, patch_size=patch)
    except TypeError:  # its patches cannot be chosen
        return network


def _native_patch(network: Any) -> int | None:
    """Return the side of the patches that a transformer or a mixer cuts images into; None for other networks."""
    for name in ("patch_embed", "stem"):
        side = getattr(getattr(network, name, None), "patch_size", None)
        if side is not None:
            return int(side if isinstance(side, int) else side[0])
    return None


def _open_stem(network: Any) -> None:
    """Take stride and pooling out of the stem of a convolutional network."""
    if network.pretrained_cfg.get("fixed_input_size"):
        return  # it counts on its stem's shrinking
    first = network.pretrained_cfg.get("first_conv")
    for path in (first,) if isinstance(first, str) else tuple(first or ()):
        conv = network.get_submodule(path)
        if not isinstance(conv, nn.Conv2d) or conv.stride[0] != 2 or conv.kernel_size[0] == conv.stride[0]:
            continue  # patches have been made smaller already
        if conv.kernel_size[0] > 3 and type(conv) is nn.Conv2d:
            replace_module(network, path, without_early_stride(conv))
        else:
            conv.stride = (1, 1)
    if isinstance(getattr(network, "maxpool", None), nn.Module):
        network.maxpool = nn.Identity()
