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


def spec_for(
    name: str,
    *,
    shape: Sequence[int],
    arguments: Mapping[str, Any] | None = None,
    records: Mapping[str, Any] | None = None,
    defaults: Mapping[str, Any] | None = None,
) -> NetworkSpec:
    """Return how to build the backbone `name` for inputs of `shape`.

    Args:
        name: a file of this room ("cnn"), a member of a family ("resnet18", looked up in `FAMILIES`), or both
            ("timm:convnext_atto", "torchvision:resnet18").
        shape: of one prepared input, (c, h, w) or (d,).
        arguments: further keyword arguments of that file's `build`, as the user gave them.
        records: what it must be told of the records beside their shape: the vocabulary of texts.
        defaults: arguments where the user gave none; a backbone that knows no such argument goes without.

    Raises:
        UnknownName: there is no such backbone; the message suggests the nearest name.
        ConfigError: it takes no such argument, cannot read such records, or the name is a family's without a member.
    """
    return _completed(_named_spec(name, shape, arguments), name, records or {}, defaults or {})


def _completed(spec: NetworkSpec, name: str, records: Mapping[str, Any], defaults: Mapping[str, Any]) -> NetworkSpec:
    """Return `spec` with what the records and the objective ask for.

    Raises:
        ConfigError: it does not read such records, or the user gave what the records alone tell.
    """
    module = _catalog.get("backbones", spec.name)
    known = {*inspect.signature(module.build).parameters, *getattr(getattr(module, "Config", None), "model_fields", ())}
    if unread := sorted(records.keys() - known):
        raise ConfigError(
            f"the backbone {name!r} does not read texts (it takes no {unread[0]}); allowed are transformer, recurrent "
            "and huggingface:NAME; type --backbone transformer"
        )
    if given := sorted(records.keys() & spec.arguments.keys()):
        raise ConfigError(f"backbone.{given[0]}: the tokenizer tells it; leave it out, or choose modality.tokenizer")
    wanted = {key: value for key, value in defaults.items() if key in known}
    return NetworkSpec(spec.room, spec.name, {**wanted, **spec.arguments, **records})


def _named_spec(name: str, shape: Sequence[int], arguments: Mapping[str, Any] | None) -> NetworkSpec:
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
