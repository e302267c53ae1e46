"""What a request carries: multipart uploads, one raw body, or JSON; read within limits, before anything is believed."""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import re
from collections.abc import AsyncGenerator
from typing import Any

import numpy as np
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request

from bodh.contracts import Json
from bodh.model.manifest import TensorSpec
from bodh.serving import problems
from bodh.serving.config import ServingConfig
from bodh.serving.engine import Upload

ALLOWED = (
    "multipart/form-data with files, one file as the body (Content-Type: image/jpeg, image/png, … or "
    "application/octet-stream), or application/json"
)
TOKENS = "tokens"
"""Name of the input of models that read texts."""
_STRINGS = re.compile(rb'"(?:[^"\\]++|\\.)*+"', re.DOTALL)  # possessive: no memory for each letter of a picture
_STEPS = np.zeros(256, dtype=np.int8)
_STEPS[[ord("["), ord("{")]] = 1
_STEPS[[ord("]"), ord("}")]] = -1


async def read_uploads(request: Request, spec: TensorSpec, config: ServingConfig) -> list[Upload]:
    """Return the records of a request, one at least.

    Args:
        request: multipart files, a raw body, or JSON: {"image": base64}, {"images": [base64]}, {"inputs": arrays}; for
            a model that reads texts {"text": "…"} or {"inputs": ["…"]}.
        spec: the model's input; tells the type of "inputs" and how many axes one record has.
        config: the limits.

    Raises:
        Refused: 400 malformed, 408 too slow, 413 over a limit, 415 of no known content type.
    """
    kind = request.headers.get("content-type", "").split(";")[0].strip().lower()
    try:
        async with asyncio.timeout(config.seconds):
            if kind == "multipart/form-data":
                uploads = await _multipart(request, config)
            elif kind == "application/json":
                content = await _whole(request, config)
                uploads = await asyncio.to_thread(_from_json, content, spec, config)
            elif kind.startswith(_raw_kinds(spec)) or kind == "application/octet-stream":
                uploads = [Upload(await _whole(request, config), "the body")]
            else:
                raise problems.Refused(415, f"content type {kind[:80] or 'none'!r} is not read; send {ALLOWED}")
    except TimeoutError:
        raise problems.Refused(408, "the body did not arrive in time", {"Connection": "close"}) from None
    if not uploads:
        raise problems.malformed("no record in the request; send at least one file")
    if len(uploads) > config.records:
        raise problems.too_large(f"{len(uploads)} records in one request; at most {config.records} are taken")
    empty = next((upload for upload in uploads if len(upload.raw) == 0), None)
    if empty is not None:
        raise problems.malformed(f"{empty.name} is empty")
    return uploads


async def read_json(request: Request, config: ServingConfig) -> Json:
    """Return the JSON object that a request is.

    Raises:
        Refused: 400 malformed, 408 too slow, 413 over a limit, 415 not JSON.
    """
    kind = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if kind != "application/json":
        raise problems.Refused(415, f"content type {kind[:80] or 'none'!r} is not read here; send application/json")
    try:
        async with asyncio.timeout(config.seconds):
            content = await _whole(request, config)
    except TimeoutError:
        raise problems.Refused(408, "the body did not arrive in time", {"Connection": "close"}) from None
    return await asyncio.to_thread(parse_json, content, config)


def _raw_kinds(spec: TensorSpec) -> tuple[str, ...]:
    return ("text/",) if spec.name == TOKENS else ("image/", "audio/", "video/")


async def _limited(request: Request, config: ServingConfig) -> AsyncGenerator[bytes, None]:
    """Yield the body, and refuse it as soon as it is known to be too large: by what it says, or by what came."""
    message = f"the body is larger than {config.body_megabytes:g} MB"
    said = request.headers.get("content-length", "0")
    if said.isdigit() and int(said) > config.body_bytes:
        raise problems.too_large(message)
    total = 0
    try:
        async for chunk in request.stream():
            total += len(chunk)
            if total > config.body_bytes:
                raise problems.too_large(message)
            yield chunk
    except ClientDisconnect:
        raise problems.malformed("the connection was closed before the body ended") from None


async def _whole(request: Request, config: ServingConfig) -> bytes:
    return b"".join([chunk async for chunk in _limited(request, config)])


async def _multipart(request: Request, config: ServingConfig) -> list[Upload]:
    # more files than records are allowed is told as a number of records, not as a parser's complaint
    parser = MultiPartParser(request.headers, _limited(request, config), max_files=4 * config.records, max_fields=16)
    try:
        form = await parser.parse()
    except MultiPartException as error:
        raise problems.malformed(f"the multipart body is broken: {error.message[:120]}") from None
    except (KeyError, ValueError, UnicodeDecodeError, LookupError):
        raise problems.malformed("the multipart body is broken") from None
    try:
        uploads = []
        for field, value in form.multi_items():
            if not isinstance(value, UploadFile):
                raise problems.malformed(f"the field {field[:80]!r} is text; send files (curl: -F file=@photo.jpg)")
            uploads.append(Upload(await value.read(), printable(value.filename or field)))
        return uploads
    finally:
        await form.close()


def printable(name: str) -> str:
    """Return a file name fit for a message: no control characters, not endless."""
    return "".join(letter if letter.isprintable() else "?" for letter in name)[:120]


def parse_json(content: bytes, config: ServingConfig) -> Json:
    """Return the JSON object in `content`; nesting and number of values are checked before anything is built.

    Raises:
        Refused: 400, not such an object; 413, too many values.
    """
    plain = np.frombuffer(_STRINGS.sub(b"", content), dtype=np.uint8)
    depth = int(np.cumsum(_STEPS[plain], dtype=np.int32).max(initial=0))
    if depth > config.json_depth:
        raise problems.malformed(f"the JSON is nested {depth} deep; at most {config.json_depth} levels are read")
    values = int(np.isin(plain, np.frombuffer(b",[{", dtype=np.uint8)).sum())
    if values > config.json_values:
        raise problems.too_large(f"the JSON holds more than {config.json_values} values; send files instead")
    try:
        value = json.loads(content.decode("utf-8"), parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise problems.malformed("the body is not valid JSON in UTF-8") from None
    if not isinstance(value, dict):
        raise problems.malformed(f'the JSON is a {type(value).__name__}; send an object, such as {{"image": base64}}')
    return value


def _from_json(content: bytes, spec: TensorSpec, config: ServingConfig) -> list[Upload]:
    value = parse_json(content, config)
    given = [key for key in ("image", "images", "text", "inputs") if key in value]
    if len(given) != 1:
        raise problems.malformed(
            'the JSON needs exactly one of "image" (base64), "images" (a list), "text", "inputs" (arrays or texts)'
        )
    if given == ["text"] or (given == ["inputs"] and _are_texts(value["inputs"])):
        return _texts(value, spec, config)
    if given == ["inputs"]:
        return _arrays(value["inputs"], spec, config)
    texts = [value["image"]] if given == ["image"] else value["images"]
    if not isinstance(texts, list):
        raise problems.malformed('"images" must be a list of base64 texts')
    names = ["image"] if given == ["image"] else [f"images[{place}]" for place in range(len(texts))]
    if len(texts) > config.records:
        raise problems.too_large(f"{len(texts)} records in one request; at most {config.records} are taken")
    return [Upload(_base64(text, name), name) for text, name in zip(texts, names, strict=True)]


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(one, str) for one in value)


def _texts(value: Json, spec: TensorSpec, config: ServingConfig) -> list[Upload]:
    """Return the texts of a request as UTF-8."""
    if spec.name != TOKENS:
        raise problems.malformed(f"this model takes {spec.name!r}, not texts")
    texts = [value["text"]] if "text" in value else value["inputs"]
    if not isinstance(texts[0], str):
        raise problems.malformed('"text" must be a text')
    if len(texts) > config.records:
        raise problems.too_large(f"{len(texts)} records in one request; at most {config.records} are taken")
    names = ["text"] if "text" in value else [f"inputs[{place}]" for place in range(len(texts))]
    return [Upload(one.encode(errors="replace"), name) for one, name in zip(texts, names, strict=True)]


def _base64(text: Any, name: str) -> bytes:
    if not isinstance(text, str):
        raise problems.malformed(f"{name} must be a text in base64")
    if text.startswith("data:"):
        text = text.partition(",")[2]
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        raise problems.malformed(f"{name} is not valid base64") from None


def _arrays(value: Any, spec: TensorSpec, config: ServingConfig) -> list[Upload]:
    """Return nested lists as records of the model's input type; a single record may come without a batch axis."""
    floats = np.issubdtype(np.dtype(spec.dtype), np.floating)
    try:
        array = np.asarray(value)
        if floats and array.dtype == object and all(type(x) in (int, float, type(None)) for x in array.ravel()):
            array = np.array(value, dtype=np.float64)  # null is a missing value
    except (ValueError, OverflowError):
        array = np.empty(0, dtype=object)
    axes = len(spec.shape)
    numbers = np.issubdtype(array.dtype, np.number)
    if not numbers or array.ndim not in (axes, axes - 1) or 0 in array.shape:
        raise problems.malformed(
            f'"inputs" must be nested lists of numbers with the axes {list(spec.shape)}, all rows of one length'
        )
    if not floats:
        limits = np.iinfo(spec.dtype)
        whole = np.issubdtype(array.dtype, np.integer)
        if not whole or array.min() < limits.min or array.max() > limits.max:
            raise problems.malformed(f'"inputs" must be whole numbers from {limits.min} to {limits.max}')
    records = array if array.ndim == axes else array[None]
    if len(records) > config.records:
        raise problems.too_large(f"{len(records)} records in one request; at most {config.records} are taken")
    with np.errstate(over="ignore"):
        records = records.astype(spec.dtype)
    return [Upload(record, f"inputs[{place}]") for place, record in enumerate(records)]


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")
