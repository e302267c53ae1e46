"""A configuration file below the arguments of a verb."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from bodh.config.assignments import flatten, read_toml


def overlay(
    file: str | Path | None, verb: Callable[..., Any], arguments: Mapping[str, Any], settings: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return (arguments, settings) with what `file` says below both.

    A key of the file that is a parameter of `verb` (`objective = "simclr"`, `seed = 3`) takes the place of an
    argument that still has its default; every other key is a setting, unless `settings` has it already.

    Args:
        file: TOML file, or None for nothing to add.
        verb: the API function, whose signature knows the defaults.
        arguments: its arguments by name, as they were given.
        settings: its `**settings`, dotted keys or nested mappings.

    Raises:
        ConfigError: the file cannot be read.
    """
    merged, given = dict(arguments), dict(flatten(settings))
    if file is None:
        return merged, given
    parameters = inspect.signature(verb).parameters
    for key, value in read_toml(file).items():
        if key in merged:
            if merged[key] == parameters[key].default:
                merged[key] = value
        else:
            given.setdefault(key, value)
    return merged, given
