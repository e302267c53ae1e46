"""Resolved configurations as TOML that can be read back, and as a digest."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

from pydantic import BaseModel

from bodh.config.base import Config

_NOTHING: Mapping[str, Any] = MappingProxyType({})
_BARE = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*")


def dump_toml(sections: Mapping[str, Config], arguments: Mapping[str, Any] = _NOTHING) -> str:
    """Return flat TOML, one dotted key a line, the same keys as on the command line.

    Args:
        sections: section name to configuration, as `resolve` returns them.
        arguments: further keys to write first (a verb's own arguments: objective, seed); None is left out.

    A key whose first part is a value of its own (`objective = "simclr"`) is quoted (`"objective.temperature"`),
    so that both can stand in one file; `read_toml` reads either.
    """
    lines = [f"{_key(name, arguments)} = {_value(value)}" for name, value in arguments.items() if value is not None]
    scalars = {**arguments, **(sections[""].model_dump() if "" in sections else {})}
    for section, config in sections.items():
        prefix = f"{section}." if section else ""
        for key, value in _leaves(config, prefix):
            lines.append(f"{_key(key, scalars)} = {_value(value)}")
    return "\n".join(lines) + "\n" if lines else ""


def digest(sections: Mapping[str, Config]) -> str:
    """Return the sha256 of the canonical JSON of all sections: equal digests, equal settings."""
    plain = {name: config.model_dump(mode="json") for name, config in sections.items()}
    text = json.dumps(plain, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _leaves(config: BaseModel, prefix: str) -> Iterator[tuple[str, Any]]:
    for name, field in type(config).model_fields.items():
        value = getattr(config, name)
        if isinstance(value, BaseModel):
            yield from _leaves(value, f"{prefix}{name}.")
        elif value is not None or field.get_default(call_default_factory=True, validated_data={}) is not None:
            yield f"{prefix}{name}", value  # None that is no default is written as "none", which `resolve` reads


def _key(key: str, scalars: Mapping[str, Any]) -> str:
    head, dot, _ = key.partition(".")
    clashes = bool(dot) and head in scalars and not isinstance(scalars[head], Mapping)
    return key if _BARE.fullmatch(key) and not clashes else _string(key)


def _value(value: Any) -> str:
    if value is None:
        return '"none"'
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, BaseModel):
        return _value(value.model_dump())
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_key(str(k), {k: {}})} = {_value(v)}" for k, v in value.items()) + "}"
    if isinstance(value, (list, tuple, set, frozenset)):
        return "[" + ", ".join(_value(part) for part in value) + "]"
    return _string(str(value))


def _string(text: str) -> str:
    escaped = json.dumps(text, ensure_ascii=False)  # TOML's basic strings are JSON's, but for one control character
    return escaped.replace("\x7f", "\\u007f")
