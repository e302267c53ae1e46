"""What the OpenAPI document says of bodies and answers: they are read by hand, so they are described by hand."""

from __future__ import annotations

from typing import Any

from bodh.serving import asks

Schema = dict[str, Any]

_ERROR: Schema = {"type": "object", "properties": {"error": {"type": "string"}}, "required": ["error"]}
_CLASS: Schema = {
    "type": "object",
    "properties": {"class": {"type": "string"}, "probability": {"type": "number", "minimum": 0, "maximum": 1}},
}
_NEIGHBOURS: Schema = {
    "type": "array",
    "items": {
        "type": "object",
        "properties": {
            "id": {"type": "string"},
            "label": {"type": ["string", "null"]},
            "similarity": {"type": "number", "minimum": -1, "maximum": 1},
            "thumbnail": {"type": "string", "description": "data URI of a PNG or WebP"},
            "text": {
                "type": "string",
                "description": "the record's beginning, instead of a thumbnail, where it is one",
            },
        },
    },
}
_TEXT: Schema = {"type": "string"}
_ENDED: Schema = {"type": "boolean", "description": "whether it came to its end; else it was as long as it may be"}
_WORD: Schema = {
    "type": "object",
    "properties": {"word": _TEXT, "probability": {"type": "number", "minimum": 0, "maximum": 1}},
}


def _records(**properties: Schema) -> dict[str, Schema]:
    return {"records": {"type": "array", "items": {"type": "object", "properties": properties}}}


_ANSWERS: dict[str, Schema] = {
    "predict": {
        "predictions": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "input": {"type": "string"},
                    "class": {"type": "string", "description": "the likeliest class; absent for several labels"},
                    "probability": {"type": "number"},
                    "classes": {"type": "array", "items": {"type": "string"}, "description": "only for several labels"},
                    "top": {"type": "array", "items": _CLASS},
                    "values": {
                        "type": "object",
                        "additionalProperties": {"type": "number"},
                        "description": "only for measured numbers: each by its name; class and top are absent then",
                    },
                    "neighbours": _NEIGHBOURS,
                },
            },
        }
    },
    "embed": {
        "dim": {"type": "integer"},
        "embeddings": {"type": "array", "items": {"type": "array", "items": {"type": "number"}}},
    },
    "neighbours": {"neighbours": {"type": "array", "items": _NEIGHBOURS}},
    "fill": _records(
        text=_TEXT,
        filled={"type": "string", "description": "with every gap's likeliest word"},
        gaps={"type": "array", "items": {"type": "array", "items": _WORD}},
    ),
    "generate": _records(
        prompt=_TEXT,
        text={"type": "string", "description": "what follows the prompt"},
        tokens={"type": "integer", "description": "how many were written"},
        ended=_ENDED,
        score={"type": "number", "description": "of beams: the log-probability a token"},
    ),
    "translate": _records(
        text=_TEXT,
        translation=_TEXT,
        score={"type": "number", "description": "the log-probability a token"},
        ended=_ENDED,
    ),
}
_REFUSALS = {
    400: "malformed request",
    404: "no such model, or the model cannot do that",
    408: "the body did not arrive in time",
    413: "over a limit: body, records, or size of a picture",
    415: "content type that is not read",
    422: "not a readable record, or a field that is unknown or out of its range",
    429: "too many requests at once; Retry-After says when to try again",
    503: "not ready",
    504: "no answer within the time limit",
}


def name_in_path() -> Schema:
    """Return the description of the `name` in a path."""
    text = {"type": "string"}
    return {"parameters": [{"name": "name", "in": "path", "required": True, "schema": text}]}


def upload(*, named: bool) -> Schema:
    """Return the description of a request body: files, one raw file, or JSON."""
    binary = {"type": "string", "format": "binary"}
    body = {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {"type": "object", "properties": {"file": {"type": "array", "items": binary}}}
            },
            "image/*": {"schema": binary},
            "text/plain": {"schema": {"type": "string"}},
            "application/octet-stream": {"schema": binary},
            "application/json": {
                "schema": {
                    "type": "object",
                    "properties": {
                        "image": {"type": "string", "format": "byte", "description": "one picture in base64"},
                        "images": {"type": "array", "items": {"type": "string", "format": "byte"}},
                        "text": {"type": "string", "description": "one text, for a model that reads texts"},
                        "inputs": {
                            "type": "array",
                            "description": "nested lists of numbers, as the model takes them; or a list of texts",
                        },
                    },
                    "description": "exactly one of them",
                }
            },
        },
    }
    return {"requestBody": body, **(name_in_path() if named else {})}


def asked(word: str, *, named: bool) -> Schema:
    """Return the description of the body of route `word`: records, or for models that write a JSON object."""
    if word not in {"fill", "generate", "translate"}:
        return upload(named=named)
    body = {"required": True, "content": {"application/json": {"schema": asks.schema(word)}}}
    return {"requestBody": body, **(name_in_path() if named else {})}


def responses(word: str) -> dict[int | str, Schema]:
    """Return the description of all answers of route `word`."""
    if word in {"health", "model"}:
        kinds = {"health": (503,), "model": (404,)}[word]
        return {status: _refusal(status) for status in kinds}
    properties = {"model": {"type": "string"}, **_ANSWERS[word], "milliseconds": {"type": "number"}}
    schema = {"type": "object", "properties": properties}
    good: Schema = {"description": "what the model says", "content": {"application/json": {"schema": schema}}}
    if word == "generate":
        stream = "server-sent events, where a stream was asked for: text, …, then end, or error"
        good["content"]["text/event-stream"] = {"schema": {"type": "string", "description": stream}}
    return {200: good, **{status: _refusal(status) for status in _REFUSALS}}


def _refusal(status: int) -> Schema:
    return {"description": _REFUSALS[status], "content": {"application/json": {"schema": _ERROR}}}
