"""Many settings by dotted key in, one validated configuration a section out, or all mistakes at once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from types import MappingProxyType
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from bodh.config.assignments import flatten, split_list
from bodh.config.base import Config
from bodh.config.fields import nested_config, parts_of, settings_of
from bodh.errors import ConfigError, suggestion

Tree = dict[str, Any]
NO_SUCH = "no such setting"
_NONE: Mapping[str, Mapping[str, Any]] = MappingProxyType({})


def resolve(
    settings: Mapping[str, Any],
    sections: Mapping[str, type[Config]],
    defaults: Mapping[str, Mapping[str, Any]] = _NONE,
) -> dict[str, Config]:
    """Return one validated configuration a section.

    Args:
        settings: dotted key to value. "objective.temperature" belongs to section "objective" where there is one;
            keys without a section's name in front belong to section "". Nested mappings are flattened.
        sections: section name to its class; "" is the section without a name.
        defaults: section name to values that lie below `settings` and above the class's own defaults.

    Raises:
        ConfigError: unknown keys (with the nearest known one) and invalid values of all sections, at once.
    """
    trees: dict[str, Tree] = {name: {} for name in sections}
    problems: list[str] = []
    for name in sections:
        for key, value in flatten(defaults.get(name, {})):
            _insert(trees[name], key, value)
    given: dict[str, Tree] = {name: {} for name in sections}
    for key, value in flatten(settings):
        head, _, rest = key.partition(".")
        section, inner = (head, rest) if rest and head in sections else ("", key)
        if section not in sections:
            problems.append(_unknown(key, value, sections))
        elif not _insert(given[section], inner, value):
            problems.append(f"{key} = {value!r}: clashes with another setting that is named like a part of it")
    resolved: dict[str, Config] = {}
    for name, kind in sections.items():
        try:
            resolved[name] = kind.model_validate(_adapt(_merge(trees[name], given[name]), kind))
        except ValidationError as error:
            problems.extend(_explain(name, kind, error.errors(include_url=False), sections))
    if problems:
        raise ConfigError(_join(problems, sections))
    return resolved


def _insert(tree: Tree, key: str, value: Any) -> bool:
    """Put `value` at dotted `key`; False where a part of the key is a value already, or the other way round."""
    *path, last = key.split(".")
    node: Any = tree
    for part in path:
        node = node.setdefault(part, {})
        if not isinstance(node, dict):
            return False
    if last in node:
        return False
    node[last] = value
    return True


def _merge(below: Tree, above: Tree) -> Tree:
    merged = dict(below)
    for key, value in above.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _merge(merged[key], value) if both else value
    return merged


def _adapt(tree: Tree, kind: type[BaseModel]) -> Tree:
    """Return `tree` with "none" as None and "a,b" as a list, where the field wants them."""
    adapted = {}
    for key, value in tree.items():
        field = kind.model_fields.get(key)
        if field is None:
            adapted[key] = value
            continue
        nested = nested_config(field.annotation)
        parts = parts_of(field.annotation)
        if nested is not None and isinstance(value, dict):
            value = _adapt(value, nested)
        elif value == "none" and type(None) in parts and "none" not in _choices(parts):
            value = None
        elif isinstance(value, str) and str not in parts and value not in _choices(parts) and _wants_list(parts):
            value = split_list(value)
        elif not isinstance(value, (str, list, tuple)) and value is not None and _wants_only_list(parts):
            value = [value]
        adapted[key] = value
    return adapted


def _choices(parts: Iterable[Any]) -> list[Any]:
    return [choice for part in parts if get_origin(part) is Literal for choice in get_args(part)]


def _wants_list(parts: Iterable[Any]) -> bool:
    return any(get_origin(part) in (list, tuple) for part in parts)


def _wants_only_list(parts: Iterable[Any]) -> bool:
    return all(get_origin(part) in (list, tuple) or part is type(None) for part in parts)


# ------------------------------------------------------------------------------------------- messages


def _join(problems: list[str], sections: Mapping[str, type[Config]]) -> str:
    allowed = _allowed(problems, sections)
    if len(problems) == 1:
        return "; ".join([f"wrong setting: {problems[0]}", *allowed])
    return "\n  ".join([f"{len(problems)} settings are wrong:", *problems, *allowed])


def _explain(
    section: str, kind: type[Config], errors: list[ErrorDetails], sections: Mapping[str, type[Config]]
) -> list[str]:
    """Return one line a setting; a value that fits no member of a union is one mistake, not one a member."""
    reasons: dict[str, list[str]] = {}
    values: dict[str, Any] = {}
    meanings: dict[str, str] = {}
    for error in errors:
        place = _field_place(kind, error["loc"])
        key = ".".join(part for part in (section, *place) if part)
        # the input of a list's element is the element: say the whole where it is at hand
        values.setdefault(key, error.get("input"))
        meanings[key] = _meaning(kind, place)
        reasons.setdefault(key, []).append(_reason(error))
    lines: list[str] = []
    for key, texts in reasons.items():
        if "unknown" in texts:
            lines.extend(_unknown(name, value, sections) for name, value in flatten({key: values[key]}))
        elif "missing" in texts:
            lines.append(f"{key} is missing and must be given{meanings[key]}")
        else:
            given = f"{key} = {values[key]!r}" if key else f"{section or 'run'} settings"
            lines.append(f"{given}: {', or '.join(dict.fromkeys(texts))}{meanings[key]}")
    return lines


def _reason(error: ErrorDetails) -> str:
    if error["type"] in ("extra_forbidden", "missing"):
        return "unknown" if error["type"] == "extra_forbidden" else "missing"
    text = error["msg"].removeprefix("Value error, ").removeprefix("Assertion failed, ")
    text = text.replace("Input should be", "must be").replace("Input should have", "must have")
    return text + _near_choice(error)


def _field_place(kind: type[BaseModel], location: tuple[int | str, ...]) -> list[str]:
    """Return the parts of a location that name fields: pydantic adds union members and list positions."""
    place = []
    current: type[BaseModel] | None = kind
    for part in location:
        if current is None or not isinstance(part, str):
            break
        if part not in current.model_fields:
            if part == current.__name__:
                continue  # the member of a union that was tried
            place.append(part)
            break
        place.append(part)
        current = nested_config(current.model_fields[part].annotation)
    return place


def _meaning(kind: type[BaseModel], place: list[str]) -> str:
    wanted = ".".join(place)
    for setting in settings_of(kind):
        if setting.key == wanted and setting.meaning:
            return f" ({setting.meaning.rstrip('.')})"
    return ""


def _near_choice(error: ErrorDetails) -> str:
    value = error.get("input")
    if error["type"] != "literal_error" or not isinstance(value, str):
        return ""
    expected = str(error.get("ctx", {}).get("expected", ""))
    return suggestion(value, [word.strip("' ") for word in expected.replace(" or ", ",").split(",")])


def _unknown(key: str, value: Any, sections: Mapping[str, type[Config]]) -> str:
    prefix, own = _own(key, sections)
    known = [f"{name}.{s.key}".lstrip(".") for name, kind in sections.items() for s in settings_of(kind)]
    near = _nearest(key.removeprefix(prefix), own) if prefix else _nearest(key, known)
    return f"{key} = {value!r}: {NO_SUCH}" + (f" (did you mean {prefix + near!r}?)" if near else "")


def _own(key: str, sections: Mapping[str, type[Config]]) -> tuple[str, list[str]]:
    """Return (prefix, names) of the section that `key` belongs to; "" also leads to the other sections."""
    head, dot, _ = key.partition(".")
    if dot and head in sections:
        return f"{head}.", [setting.key for setting in settings_of(sections[head])]
    own = [setting.key for setting in settings_of(sections[""])] if "" in sections else []
    return "", [*own, *(f"{name}.*" for name in sections if name)]


def _allowed(problems: list[str], sections: Mapping[str, type[Config]]) -> list[str]:
    """Return what there is in each section in which something unknown was named, once a section."""
    keys = [problem.partition(" = ")[0] for problem in problems if NO_SUCH in problem]
    found = dict(_own(key, sections) for key in keys)
    return [
        f"{prefix.removesuffix('.') + ' has' if prefix else 'there are'}: {', '.join(names) or 'no settings'}"
        for prefix, names in found.items()
    ]


def _nearest(key: str, known: list[str]) -> str | None:
    """Return the known key that was probably meant: same last part, else most alike, else alike in the last part."""
    last = key.rpartition(".")[2]
    for name in known:
        if name.rpartition(".")[2] == last:
            return name
    if near := get_close_matches(key, known, n=1, cutoff=0.6):
        return near[0]
    by_last = {name.rpartition(".")[2]: name for name in reversed(known)}
    near = get_close_matches(last, by_last, n=1, cutoff=0.75)
    return by_last[near[0]] if near else None
