"""Networks that timm and torchvision both have, with other names for the same weights.

The two libraries register the same layers in the same order, so the k-th tensor of a shape here is the k-th of that
shape there. Checked with random weights carried over, which give the same features (`tests/parity`): one or two sizes
of every family; the other sizes by the names and shapes of all their tensors. RegNets register their shortcuts
elsewhere, so they are not among them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from bodh import _catalog

LOOSE = {"bn_eps": 0.001}
"""torchvision's batch normalisations of these networks add 1e-3 to the variance, timm's 1e-5 unless told."""

TWINS: dict[str, tuple[str, dict[str, Any]]] = {
    "mobilenetv2_100": ("mobilenet_v2", {}),
    "mobilenetv3_small_100": ("mobilenet_v3_small", LOOSE),
    "mobilenetv3_large_100": ("mobilenet_v3_large", LOOSE),
    **{f"efficientnet_b{number}": (f"efficientnet_b{number}", {}) for number in range(5)},
    **{f"efficientnetv2_{size}": (f"efficientnet_v2_{size}", LOOSE) for size in "sml"},
    **{f"convnext_{size}": (f"convnext_{size}", {}) for size in ("tiny", "small", "base", "large")},
    **{
        f"vit_{size}_patch{patch}_224": (f"vit_{size[0]}_{patch}", {})
        for size in ("base", "large")
        for patch in (16, 32)
    },
    **{f"swin_{size}_patch4_window7_224": (f"swin_{size[0]}", {}) for size in ("tiny", "small", "base")},
}
"""timm's name → torchvision's, and arguments with which timm's computes what torchvision's does."""


def twin_of(family: str, member: str) -> tuple[str, str, dict[str, Any]] | None:
    """Return (family, member) of the same network in the other library, and arguments that make this one like it.

    None where there is none, or where no arguments could make them compute the same.
    """
    if family == "timm" and member in TWINS:
        other, arguments = TWINS[member]
        return "torchvision", other, arguments
    if family == "torchvision":
        for ours, (other, arguments) in TWINS.items():
            if other == member and not arguments:
                return "timm", ours, {}
    return None


def renamed(family: str, member: str, other: str, twin: str) -> dict[str, str]:
    """Return {name of a weight in `member` of `family`: its name in `twin` of `other`}, of parameters and statistics.

    Names are those of the networks themselves, without the classifier.
    """
    mine, theirs = _by_shape(layout(family, model=member)), _by_shape(layout(other, model=twin))
    return {
        ours: other_name
        for shape, names in mine.items()
        if len(names) == len(theirs.get(shape, ()))
        for ours, other_name in zip(names, theirs[shape], strict=True)
    }


def layout(family: str, *, shape: tuple[int, int, int] = (3, 224, 224), **arguments: Any) -> Any:
    """Return the state dict of a network as it was published, without memory and without the word "network."."""
    with torch.device("meta"):
        network = _catalog.get("backbones", family).build(shape=shape, small_stem=False, **arguments)
    return {name.removeprefix("network."): tensor for name, tensor in network.state_dict().items()}


def _by_shape(state: Mapping[str, torch.Tensor]) -> dict[tuple[int, ...], list[str]]:
    """Return the names of each shape, sides of 1 left out: a linear layer may be a 1x1 convolution elsewhere."""
    found: dict[tuple[int, ...], list[str]] = {}
    for name, tensor in state.items():
        if tensor.is_floating_point():
            found.setdefault(tuple(side for side in tensor.shape if side != 1), []).append(name)
    return found
