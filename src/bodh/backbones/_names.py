"""From the name that a person types to what builds the backbone."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from bodh import _catalog
from bodh.contracts import NetworkSpec
from bodh.errors import ConfigError, UnknownName, suggestion

FAMILIES = ("resnet_cifar", "timm", "torchvision")
"""Families of many members, in the order in which a bare name is looked up."""


def spec_for(name: str, *, shape: Sequence[int], arguments: Mapping[str, Any] | None = None) -> NetworkSpec:
    """Return how to build the backbone `name` for inputs of `shape`.

    Args:
        name: a file of this room ("cnn"), a member of a family ("resnet18", looked up in `FAMILIES`), or both
            ("timm:convnext_atto", "torchvision:resnet18").
        shape: of one prepared input, (c, h, w) or (d,).
        arguments: further keyword arguments of that file's `build`.

    Raises:
        UnknownName: there is no such backbone; the message suggests the nearest name.
        ConfigError: it takes no such argument, or the name is a family's without a member.
    """
    family, separator, member = name.partition(":")
    own = _catalog.names("backbones")
    if separator:
        module = _catalog.get("backbones", family)
        if member not in module.members():
            raise UnknownName(f"network of {family}", member, _nearby(member, module.members()))
        return _spec(family, shape, {"model": member, **(arguments or {})})
    if name in FAMILIES:
        example = "resnet20" if name == "resnet_cifar" else "resnet18"
        raise ConfigError(f"{name!r} is a family of backbones; name one of it, for example {name}:{example}")
    if name in own:
        return _spec(name, shape, dict(arguments or {}))
    everything: list[str] = [one for one in own if one not in FAMILIES]
    for family in FAMILIES:
        module = _catalog.get("backbones", family)
        if name in module.members():
            return _spec(family, shape, {"model": name, **(arguments or {})})
        everything += module.members()
    raise UnknownName("backbone", name, _nearby(name, everything))


def build(spec: NetworkSpec) -> Any:
    """Build the backbone that `spec` describes."""
    return _catalog.get(spec.room, spec.name).build(**spec.arguments)


def _spec(name: str, shape: Sequence[int], arguments: dict[str, Any]) -> NetworkSpec:
    parameters = inspect.signature(_catalog.get("backbones", name).build).parameters
    if not any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        allowed = sorted(set(parameters) - {"shape"})
        unknown = [key for key in arguments if key not in allowed]
        if unknown:
            told = ", ".join(f"{key!r}{suggestion(key, allowed)}" for key in unknown)
            raise ConfigError(f"the backbone {name!r} takes no argument {told}; it takes: {', '.join(allowed)}")
    return NetworkSpec("backbones", name, {"shape": list(shape), **arguments})


def _nearby(given: str, names: Sequence[str], most: int = 12) -> list[str]:
    """Return the names worth showing: those that look most like `given`, since a family has a thousand."""
    from difflib import get_close_matches

    if len(names) <= most:
        return list(names)
    return get_close_matches(given, names, n=most, cutoff=0.4) or ["small", "cnn", "mlp", "resnet18", "convnext_atto"]
