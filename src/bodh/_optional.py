"""The one place where optional and delicate dependencies are imported."""

from __future__ import annotations

import importlib
from functools import cache
from importlib.util import find_spec
from types import ModuleType
from typing import Any

from bodh.errors import MissingExtra


def require(module: str, *, extra: str, feature: str) -> ModuleType:
    """Import and return an optional module.

    Args:
        module: dotted name of the module.
        extra: bodh's extra that installs it.
        feature: what the user was about to do, as a noun phrase ("export to ONNX").

    Raises:
        MissingExtra: it is not installed; the message names the line to type.
    """
    if find_spec(module.split(".", 1)[0]) is None:
        raise MissingExtra(
            f"{feature} needs the package {module.split('.', 1)[0]!r}, which is not installed; "
            f"type: pip install 'bodh[{extra}]'"
        )
    return importlib.import_module(module)


_stub: Any = None


@cache
def torchvision() -> ModuleType:
    """Import and return torchvision, also where its compiled operators do not match torch.

    The registry's torchvision is a CUDA build: beside a CPU torch its library does not load, and the import
    fails on registering a meta function for `torchvision::nms`. Declaring the two operators' schemas first lets
    the Python half (models, transforms v2, and timm on top) import; bodh uses none of the compiled operators.
    """
    import torch

    global _stub  # noqa: PLW0603 -- the declarations live as long as this object
    try:
        return importlib.import_module("torchvision")
    except RuntimeError as error:
        if "torchvision::nms" not in str(error):
            raise
    library: Any = torch.library.Library("torchvision", "DEF")  # type: ignore[no-untyped-call]
    for name in ("nms", "qnms"):
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _stub = library
    return importlib.import_module("torchvision")


def timm() -> ModuleType:
    """Import and return timm, with torchvision made importable first."""
    torchvision()
    return importlib.import_module("timm")


def transformers(feature: str) -> Any:
    """Import and return transformers, with torchvision made importable first: its networks import that.

    Args:
        feature: see `require`.

    Raises:
        MissingExtra: it is not installed.
    """
    torchvision()
    return require("transformers", extra="text", feature=feature)
