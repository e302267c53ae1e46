"""What there is to choose from, read from the folders that hold it."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

from bodh import _catalog
from bodh.contracts import Json
from bodh.errors import UnknownName

if TYPE_CHECKING:
    from pydantic import BaseModel

KINDS = {
    "objectives": "objectives",
    "backbones": "backbones",
    "modalities": "modalities",
    "formats": "exporters/formats",
    "protocols": "evaluation/protocols",
    "sources": "records/sources",
}
"""Word of the command line → room of the catalog."""

SECTIONS = {
    "train": ("bodh.train.config", "TrainConfig", ""),
    "data": ("bodh.api._settings", "DataConfig", "data."),
    "evaluate": ("bodh.evaluation.config", "EvaluationConfig", ""),
}
"""Settings that belong to no component: name → module, class, and what stands before each key."""


@dataclass(frozen=True)
class Listing:
    """What was found.

    Attributes:
        kind: what was asked for, None for an overview of all kinds.
        name: the component that was asked for, None for all of the kind.
        rows: [{"kind", "name", "summary"}], one a component.
        text: the component's header: paper, figures, when not to use it.
        settings: [{"key", "kind", "default", "allowed", "meaning"}], as they are typed on the command line.
        members: further names that the component offers (the networks of a backbone family).
        stages: of a network, from input to output: [{"stage", "parameters", "share", "so_far", "freeze"}]. `share`
            and `so_far` (this stage and those before) are of all parameters; `freeze` is the N of `--freeze N` that
            trains from this stage on.
    """

    kind: str | None
    name: str | None
    rows: tuple[Json, ...] = ()
    text: str = ""
    settings: tuple[Json, ...] = ()
    members: tuple[str, ...] = ()
    stages: tuple[Json, ...] = ()

    def to_json(self) -> Json:
        """Return the listing as plain values."""
        return dict(vars(self))


def list(kind: str | None = None, name: str | None = None) -> Listing:  # noqa: A001 the verb is called so
    """List what there is to choose from, or tell all about one of it.

    With a name: what it is, when not to use it, and every setting that it has, with default and range. A network is
    shown stage by stage, with what `finetune --freeze N` would train.

    Args:
        kind: what to list: objectives, backbones, modalities, formats, protocols, sources, or settings.
            Without it, all kinds are listed.
        name: one of that kind, to be told all about it.

    Returns:
        names with one line each, or header and settings of the one that was named.

    Raises:
        UnknownName: no such kind, or nothing of that name; the message suggests the nearest.

    Example:
        bodh list
        bodh list objectives
        bodh list objectives simclr
        bodh list backbones resnet18
        bodh list settings train
    """
    if kind is None:
        return Listing(None, None, tuple(row for word in (*KINDS, "settings") for row in _rows(word)))
    word = _kind(kind)
    if name is None:
        return Listing(word, None, tuple(_rows(word)))
    if word == "settings":
        return _settings_listing(name)
    if word == "backbones" and name not in _catalog.names("backbones"):
        return _network(name)
    module = _catalog.get(KINDS[word], name)
    header = inspect.cleandoc(module.__doc__ or "")
    members = _members(module)
    stages = _stages(name) if word == "backbones" and not members else ()
    return Listing(word, name, (_row(word, name),), header, tuple(_settings(module, word)), members, stages)


def _kind(given: str) -> str:
    """Return the kind meant; the singular will do."""
    words = (*KINDS, "settings")
    singular = {"modality": "modalities", **{word.removesuffix("s"): word for word in words}}
    word = singular.get(given, given)
    if word not in words:
        raise UnknownName("kind", given, words)
    return word


def _rows(word: str) -> Iterator[Json]:
    names = SECTIONS if word == "settings" else _catalog.names(KINDS[word])
    for name in names:
        yield _row(word, name)


def _row(word: str, name: str) -> Json:
    if word == "settings":
        return {
            "kind": word,
            "name": name,
            "summary": inspect.cleandoc(_section(name).__doc__ or "").partition("\n")[0],
        }
    return {"kind": word, "name": name, "summary": _catalog.summary(KINDS[word], name)}


def _settings_listing(name: str) -> Listing:
    config = _section(name)
    text = inspect.cleandoc(config.__doc__ or "")
    return Listing("settings", name, (_row("settings", name),), text, tuple(_fields(config, SECTIONS[name][2])))


def _section(name: str) -> type[BaseModel]:
    """Return the configuration class of a group of settings."""
    if name not in SECTIONS:
        raise UnknownName("group of settings", name, SECTIONS)
    place, kind, _ = SECTIONS[name]
    found: type[BaseModel] = getattr(import_module(place), kind)
    return found


def _settings(module: ModuleType, word: str) -> Iterator[Json]:
    """Yield the settings of a component: its configuration class, or the arguments of a backbone's `build`."""
    prefix = {"objectives": "objective.", "modalities": "modality.", "backbones": "backbone."}.get(word, "")
    config = _config_of(module)
    if config is not None:
        yield from _fields(config, prefix)
    elif word == "backbones":
        for parameter in inspect.signature(module.build).parameters.values():
            if parameter.kind is parameter.KEYWORD_ONLY and parameter.name not in ("shape", *TEXTS):
                given = parameter.default is not parameter.empty
                default = parameter.default if given else None
                yield _setting(f"backbone.{parameter.name}", str(parameter.annotation), default, required=not given)


def _config_of(module: ModuleType) -> type[BaseModel] | None:
    """Return the outermost configuration class that a component's file defines, or None."""
    from bodh.config.base import Config
    from bodh.config.fields import nested_config

    own = [
        value
        for value in vars(module).values()
        if inspect.isclass(value) and issubclass(value, Config) and value.__module__ == module.__name__
    ]
    inner = {nested_config(field.annotation) for kind in own for field in kind.model_fields.values()}
    outer = [kind for kind in own if kind not in inner]
    return outer[0] if outer else None


def _fields(config: type[BaseModel], prefix: str) -> Iterator[Json]:
    from bodh.config.fields import settings_of

    for row in settings_of(config, prefix):
        yield _setting(row.key, row.kind, row.default, row.allowed, row.meaning, required=row.required)


def _setting(key: str, kind: str, default: Any, allowed: str = "", meaning: str = "", *, required: bool) -> Json:
    shown = "required" if required else default if isinstance(default, (bool, int, float, str)) else str(default)
    return {
        "key": key,
        "kind": kind,
        "default": "none" if default is None and not required else shown,
        "allowed": allowed,
        "meaning": meaning,
    }


def _members(module: ModuleType) -> tuple[str, ...]:
    members = getattr(module, "members", None)
    return tuple(members()) if members is not None else ()


def _network(name: str) -> Listing:
    """Describe a network that is a member of a family (resnet18, timm:convnext_atto)."""
    from bodh.backbones._names import spec_for

    spec = spec_for(name, shape=(3, 32, 32))
    header = f"{name}: a network of the family {spec.name!r}; see: bodh list backbones {spec.name}"
    row = {"kind": "backbones", "name": name, "summary": header}
    return Listing("backbones", name, (row,), header, stages=_stages(name))


SHAPES: tuple[tuple[int, ...], ...] = ((3, 32, 32), (3, 224, 224), (64,))
"""Inputs that a network is shown for: the first that it takes, family members from the second on."""
TEXTS = {"vocabulary": 8192, "padding": 0}
"""What one that reads texts is told besides; a tokenizer tells it otherwise, so these are no settings."""


def _stages(name: str) -> tuple[Json, ...]:
    """Return the stages of a network from input to output; it is laid out without memory."""
    import torch

    from bodh.backbones import _names
    from bodh.errors import ConfigError

    family = _names.spec_for(name, shape=SHAPES[0]).name
    texts = "vocabulary" in inspect.signature(_catalog.get("backbones", family).build).parameters
    shapes = ((128,),) if texts else SHAPES[family in ("timm", "torchvision") :]
    network: Any = None
    for shape in shapes:
        try:
            with torch.device("meta"):
                network = _names.build(_names.spec_for(name, shape=shape, records=TEXTS if texts else None))
            break
        except ConfigError:
            continue
    if network is None:
        return ()
    blocks = {
        block: {p: p.numel() for m in modules for p in m.parameters()}
        for block, modules in network.block_modules().items()
    }
    counts = [sum(found.values()) for found in blocks.values()]
    total = max(1, sum(counts))
    return tuple(
        {
            "stage": block, "parameters": count, "share": count / total, "so_far": sum(counts[: place + 1]) / total,
            "freeze": len(counts) - place,
        }
        for place, (block, count) in enumerate(zip(blocks, counts, strict=True))
    )  # fmt: skip
