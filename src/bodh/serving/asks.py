"""What is asked of models that write: JSON objects, every field of which is checked before anything is computed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import BaseModel, Field, ValidationError

from bodh.config.base import Config
from bodh.contracts import Json
from bodh.errors import suggestion
from bodh.model.generation import Generation
from bodh.serving import problems
from bodh.serving.config import ServingConfig

T = TypeVar("T", bound=BaseModel)
TEXT_BYTES = 2**20
"""Of one text: more are no prompt that any model reads."""


class Fill(Config):
    """What /fill takes."""

    text: str | None = Field(None, description="a text with gaps, each written [MASK] or ___")
    inputs: tuple[str, ...] | None = Field(None, description="several texts, instead of `text`")
    top: int = Field(5, ge=1, le=1000, description="words that are told for each gap")


class Translate(Config):
    """What /translate takes."""

    text: str | None = Field(None, description="a text")
    inputs: tuple[str, ...] | None = Field(None, description="several texts, instead of `text`")
    beams: int = Field(4, ge=1, description="beginnings that are kept at every step; 1: greedy, the quickest")
    length: int | None = Field(
        None, ge=1, description="most tokens of a translation; twice as many as were read and 16 more unless given"
    )
    penalty: float = Field(1.0, ge=0, le=4, description="scores are divided by the length to this power")


class Prompt(Config):
    """What /generate takes beside how it writes."""

    prompt: str = Field(description="what the text begins with; may be empty")
    stream: bool = Field(False, description="send the text as it comes, as server-sent events")


OMITTED = ("cache",)
"""How a text goes on is asked as in Python, but for these."""


@dataclass(frozen=True)
class Generate:
    """What /generate takes."""

    prompt: str
    stream: bool
    options: Generation


def fill(value: Json, config: ServingConfig) -> tuple[list[str], Fill]:
    """Return the texts of a request to /fill, and the rest of it.

    Raises:
        Refused: 422, a field is unknown, missing, or not what it may be; 413, too many texts.
    """
    ask = _checked(Fill, value)
    return _texts(ask, config), ask


def translate(value: Json, config: ServingConfig) -> tuple[list[str], Translate]:
    """Return the texts of a request to /translate, and the rest of it.

    Raises:
        Refused: 422, a field is unknown, missing, or not what it may be; 413, too many texts.
    """
    ask = _checked(Translate, value)
    _at_most("beams", ask.beams, config.beams)
    texts = _texts(ask, config)
    for place, text in enumerate(texts):
        if not text.strip():
            raise problems.unreadable(f"{_name(ask, place)} is empty; there is nothing to translate")
    return texts, ask


def generate(value: Json, config: ServingConfig) -> Generate:
    """Return a request to /generate.

    Raises:
        Refused: 422, a field is unknown, missing, or not what it may be.
    """
    own = {key: part for key, part in value.items() if key in Prompt.model_fields}
    known = [*Prompt.model_fields, *(key for key in Generation.model_fields if key not in OMITTED)]
    _refuse_unknown(value, known)
    prompt = _checked(Prompt, own)
    how = {key: part for key, part in value.items() if key not in own}
    length = {"length": min(Generation().length, config.tokens)}
    options = _checked(Generation, length | how)
    _at_most("length", options.length, config.tokens)
    _at_most("beams", options.beams, config.beams)
    _at_most("number", options.number, config.records)
    if prompt.stream and (options.number > 1 or options.beams > 1):
        raise problems.unreadable("stream: one text is sent as it comes; ask for no number and no beams")
    _insist_on_size({"prompt": prompt.prompt, "stop": "".join(options.stop)})
    return Generate(prompt.prompt, prompt.stream, options)


def schema(route: str) -> Json:
    """Return the JSON schema of the body of `route`, for the OpenAPI document."""
    kinds: dict[str, list[type[BaseModel]]] = {
        "fill": [Fill],
        "translate": [Translate],
        "generate": [Prompt, Generation],
    }
    properties: Json = {}
    required: list[str] = []
    for kind in kinds[route]:
        found = kind.model_json_schema()
        properties |= {name: part for name, part in found["properties"].items() if name not in OMITTED}
        required += found.get("required", [])
    for part in properties.values():
        part.pop("title", None)
        if kinds_ := [one["type"] for one in part.pop("anyOf", []) if one.get("type") != "null"]:
            part["type"] = kinds_[0]
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def _checked(kind: type[T], value: Mapping[str, Any]) -> T:
    """Return `value` as a `kind`: types are not bent, a number in quotes is none."""
    _refuse_unknown(value, kind.model_fields)
    try:
        return kind.model_validate_json(json.dumps(value, ensure_ascii=False).encode(), strict=True)
    except UnicodeEncodeError:
        raise problems.unreadable("a text in the request is not Unicode: it holds half of a character") from None
    except ValidationError as error:
        faults = {str(fault["loc"][:1]): fault for fault in reversed(error.errors(include_url=False))}
        told = "; ".join(_fault(fault) for fault in reversed(faults.values()))
        raise problems.unreadable(told) from None


def _fault(fault: Any) -> str:
    where = ".".join(str(part) for part in fault["loc"])
    message = fault["msg"].removeprefix("Value error, ").replace("Input should be", "should be")
    if fault["type"] == "missing":
        return f"{where}: is missing"
    given = json.dumps(fault["input"], ensure_ascii=False)
    shown = given if len(given) <= 40 else given[:39] + "…"
    return f"{where}: {message}, given {shown}" if where else message


def _refuse_unknown(value: Mapping[str, Any], known: Any) -> None:
    for key in value:
        if key not in known:
            raise problems.unreadable(
                f"there is no field {key[:60]!r}{suggestion(key, known)}; allowed are: {', '.join(known)}"
            )


def _texts(ask: Fill | Translate, config: ServingConfig) -> list[str]:
    if (ask.text is None) == (ask.inputs is None):
        raise problems.unreadable('give exactly one of "text" (a text) and "inputs" (a list of texts)')
    texts = [ask.text] if ask.text is not None else list(ask.inputs or ())
    if len(texts) > config.records:
        raise problems.too_large(f"{len(texts)} texts in one request; at most {config.records} are taken")
    if not texts:
        raise problems.unreadable("inputs is empty; give one text at least")
    _insist_on_size({_name(ask, place): text for place, text in enumerate(texts)})
    return texts


def _name(ask: Fill | Translate, place: int) -> str:
    return "text" if ask.text is not None else f"inputs[{place}]"


def _insist_on_size(texts: Mapping[str, str]) -> None:
    for name, text in texts.items():
        size = len(text.encode())
        if size > TEXT_BYTES:
            raise problems.too_large(f"{name} has {size} bytes; at most {TEXT_BYTES} are read")


def _at_most(name: str, value: int, most: int) -> None:
    if value > most:
        raise problems.unreadable(f"{name}: {value} is too large; this server allows up to {most}")
