"""Settings as people write them: `key=value` words on a command line, and TOML files."""

from __future__ import annotations

import datetime as dt
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from bodh.errors import ConfigError

_KEY = re.compile(r"[^\s.=]+(\.[^\s.=]+)*")


def parse_assignments(items: Sequence[str]) -> dict[str, Any]:
    """Return {dotted key: value} of words such as `epochs=50` or `objective.temperature=0.1`.

    A value is read as TOML (numbers, true, false, quoted strings, lists, inline tables); what is no TOML is
    taken as a bare string, so that names and paths need no quotes. Hyphens in keys become underscores.

    Raises:
        ConfigError: words that are no assignment, and keys given twice; all of them at once.
    """
    settings: dict[str, Any] = {}
    problems = []
    for item in items:
        key, equals, text = item.partition("=")
        key = key.strip().replace("-", "_")
        if not equals or not _KEY.fullmatch(key):
            problems.append(f"{item!r} is no setting; write key=value, as in epochs=50 or objective.temperature=0.1")
            continue
        for name, value in flatten({key: parse_value(text)}):
            if name in settings:
                problems.append(f"{name} is given twice: {settings[name]!r} and {value!r}; give it once")
            settings[name] = value
    if problems:
        raise ConfigError("\n  ".join(problems))
    return settings


def parse_value(text: str) -> Any:
    """Return the TOML value that `text` spells, a list for `[a, b]` with bare words, else `text` itself."""
    text = text.strip()
    if "\n" not in text:
        try:
            return _plain(tomllib.loads(f"x = {text}")["x"])
        except tomllib.TOMLDecodeError:
            pass  # no TOML: a bare string
    if text.startswith("[") and text.endswith("]"):
        return split_list(text[1:-1])
    return text


def split_list(text: str) -> list[Any]:
    """Return the values of `a,b,c`, each read by `parse_value`."""
    return [parse_value(part) for part in text.split(",") if part.strip()]


def read_toml(path: str | Path) -> dict[str, Any]:
    """Return {dotted key: value} of a TOML file; tables and dotted keys say the same.

    Raises:
        ConfigError: the file is missing, unreadable, or no TOML (with the line), or gives a key twice.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(f"no config file {str(path)!r}; give the path of a TOML file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"config file {str(path)!r} cannot be read: {error}") from None
    try:
        tree = tomllib.loads(text.removeprefix("\ufeff"))
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"config file {str(path)!r} is no valid TOML: {error}") from None
    settings: dict[str, Any] = {}
    for key, value in flatten(tree):
        if key in settings:
            raise ConfigError(f"config file {str(path)!r} gives {key} twice: {settings[key]!r} and {value!r}")
        settings[key] = value
    return settings


def flatten(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield (dotted key, value) of a nested mapping; an empty mapping is a value."""
    for key, value in tree.items():
        name = f"{prefix}{key}".replace("-", "_")
        if isinstance(value, Mapping) and value:
            yield from flatten(value, f"{name}.")
        else:
            yield name, _plain(value)


def _plain(value: Any) -> Any:
    """Return `value` with TOML's dates as the strings that they were written as: no setting is a date."""
    if isinstance(value, (dt.date, dt.time)):
        return value.isoformat()
    if isinstance(value, list):
        return [_plain(part) for part in value]
    return value
