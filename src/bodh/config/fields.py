"""What settings a configuration has, as rows: for listings, help, and messages."""

from __future__ import annotations

import types
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting of a configuration.

    Attributes:
        key: dotted name inside the section ("views.flip").
        kind: type in words ("int", "float or none", "'cosine' or 'constant'").
        default: default value; None also where the setting must be given (see `required`).
        allowed: range in words ("> 0, <= 1"), empty where every value of that kind will do.
        meaning: the field's description.
        required: True where there is no default.
    """

    key: str
    kind: str
    default: Any
    allowed: str
    meaning: str
    required: bool


def settings_of(config: type[BaseModel], prefix: str = "") -> Iterator[Setting]:
    """Yield every setting of `config`, those of nested configurations under dotted keys."""
    for name, field in config.model_fields.items():
        nested = nested_config(field.annotation)
        if nested is not None:
            yield from settings_of(nested, f"{prefix}{name}.")
            continue
        default = field.get_default(call_default_factory=True, validated_data={})
        required = default is PydanticUndefined
        yield Setting(
            key=f"{prefix}{name}",
            kind=kind_of(field.annotation),
            default=None if required else default,
            allowed=range_of(field),
            meaning=field.description or "",
            required=required,
        )


def nested_config(annotation: Any) -> type[BaseModel] | None:
    """Return the configuration class in `annotation` (also of `Config | None`), or None."""
    for part in (annotation, *parts_of(annotation)):
        if isinstance(part, type) and issubclass(part, BaseModel):
            return part
    return None


def parts_of(annotation: Any) -> tuple[Any, ...]:
    """Return the members of a union, or the annotation alone."""
    if get_origin(annotation) in (Union, types.UnionType):
        return get_args(annotation)
    return (annotation,)


def kind_of(annotation: Any) -> str:
    """Return a type in words."""
    words = []
    for part in parts_of(annotation):
        origin = get_origin(part)
        if part is type(None):
            words.append("none")
        elif origin is Literal:
            words.extend(repr(choice) for choice in get_args(part))
        elif origin in (tuple, list):
            words.append(f"list of {kind_of(get_args(part)[0])}")
        elif origin is Annotated:
            words.append(kind_of(get_args(part)[0]))
        else:
            words.append(getattr(origin or part, "__name__", str(part)))
    return " or ".join(dict.fromkeys(words))


def range_of(field: FieldInfo) -> str:
    """Return the range of a field in words, from its constraints, also those of a union's members and of elements."""
    limits = _limits(field.metadata)
    for part in parts_of(field.annotation):
        limits += _limits(_metadata(part))
        inner = get_args(part)[0] if get_origin(part) is Annotated else part
        if get_origin(inner) in (tuple, list):
            each = dict.fromkeys(limit for element in get_args(inner) for limit in _limits(_metadata(element)))
            limits += [f"each {', '.join(each)}"] if each else []
    return ", ".join(dict.fromkeys(limits))


def _metadata(annotation: Any) -> list[Any]:
    """Return what Annotated adds to a type; a Field among it holds its own constraints."""
    found: list[Any] = []
    for item in get_args(annotation)[1:] if get_origin(annotation) is Annotated else ():
        found += item.metadata if isinstance(item, FieldInfo) else [item]
    return found


def _limits(metadata: Iterable[Any]) -> list[str]:
    signs = {"gt": ">", "ge": ">=", "lt": "<", "le": "<=", "multiple_of": "multiple of"}
    limits = []
    for constraint in metadata:
        for name, sign in signs.items():
            bound = getattr(constraint, name, None)
            if bound is not None:
                limits.append(f"{sign} {bound:g}" if isinstance(bound, float) else f"{sign} {bound}")
        if (pattern := getattr(constraint, "pattern", None)) is not None:
            limits.append(f"matches {pattern}")
    return limits
