"""What `model.json` says, checked before anything else of a model folder is read. Imports no torch."""

from __future__ import annotations

import json
import math
import re
import unicodedata
from collections.abc import Iterable
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, field_validator, model_validator

from bodh.config.base import Config
from bodh.contracts import WRITTEN, Json, NetworkSpec, Task
from bodh.errors import ModelError

SCHEMA_VERSION: Literal[1] = 1
"""Written today; every version from 1 on is read for ever."""

LARGEST_MANIFEST = 16 * 2**20
"""Bytes of `model.json` that are read at most."""

LARGEST_NUMBER = 2**24
"""Network arguments above this are refused: no width, depth or size of ours is near it."""

FETCHING = {
    *("cache_dir", "checkpoint_path", "weights", "weights_backbone"),
    *("pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "pretrained_strict"),
}
"""Arguments with which the libraries behind backbones read files or the network; a model folder may not name them."""

_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)
_WORD = re.compile(r"[A-Za-z0-9._-]{0,128}")
_COMPONENT = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}")

ComponentName = Annotated[str, Field(pattern=rf"^{_COMPONENT.pattern}$")]
DType = Literal["uint8", "int64", "int32", "float32", "float16", "bool"]


class TensorSpec(Config):
    """One named tensor that goes into or comes out of a capability."""

    name: ComponentName = Field(description="name of the tensor, the same in every exported file")
    dtype: DType = Field(description="type of its elements")
    shape: tuple[int | str, ...] = Field(description="axes: a number where fixed, a letter where it varies")


class CapabilitySpec(Config):
    """One thing that the model can do: a pure function from named tensors to named tensors."""

    inputs: tuple[TensorSpec, ...] = Field(min_length=1, description="what goes in: raw standardised records")
    outputs: tuple[TensorSpec, ...] = Field(min_length=1, description="what comes out, in this order")


class ModalityEntry(Config):
    """How raw records become tensors."""

    name: ComponentName = Field(description="file name of the modality")
    config: dict[str, Any] = Field(description="its complete configuration, fitted on the training records")


class NetworkEntry(Config):
    """How to build one network again: a component of bodh and plain arguments."""

    room: Literal["backbones", "heads"] = Field(description="where the component lives")
    name: ComponentName = Field(description="file name of the component in that room")
    arguments: dict[str, Any] = Field(description="keyword arguments of its `build`")

    @field_validator("arguments")
    @classmethod
    def _leaves_are_plain(cls, value: dict[str, Any]) -> dict[str, Any]:
        if fetching := sorted(FETCHING & value.keys()):
            raise ValueError(f"{fetching[0]!r} would fetch or read other weights; it is not allowed")
        for leaf in _leaves(value):
            if isinstance(leaf, str) and not _WORD.fullmatch(leaf):
                raise ValueError(f"{leaf!r} is not a plain name; paths and addresses are not allowed")
            if isinstance(leaf, int | float) and abs(leaf) > LARGEST_NUMBER:
                raise ValueError(f"{leaf} is out of range; at most {LARGEST_NUMBER} is allowed")
        return value


class FileEntry(Config):
    """One file beside `model.json`, with what it must be."""

    bytes: int = Field(ge=0, le=2**44, description="size")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$", description="hash of the content")


class Manifest(Config):
    """All that a model folder says about itself; the weights lie beside it.

    `provenance` says where the model comes from: {"data": {name, fingerprint, records}, "objective": {name,
    config}, "seed", "versions", "steps", "checkpoint"}; a key may be absent where there is nothing to say.
    """

    schema_version: Literal[1] = Field(description="version of this layout")
    modality: ModalityEntry = Field(description="how raw records become tensors")
    networks: dict[Literal["backbone", "head"], NetworkEntry] = Field(description="what the weights belong to")
    capabilities: dict[ComponentName, CapabilitySpec] = Field(min_length=1, description="what the model can do")
    task: Task | None = Field(description="what labels mean; null without a head")
    class_names: tuple[str, ...] = Field(
        description="[k] in the order of the head's outputs; for measured numbers what each is called"
    )
    best_block: str | None = Field(description="block whose features `embed` gives; null: the pooled output")
    best_grid: int = Field(1, ge=1, le=64, description="its map is averaged over a grid of this side; 1: wholly")
    metrics: dict[str, Any] = Field(description="figures measured on this model")
    provenance: dict[str, Any] = Field(description="where the model comes from")
    files: dict[str, FileEntry] = Field(description="every file that belongs to the model")

    @field_validator("files")
    @classmethod
    def _names_stay_in_the_folder(cls, value: dict[str, FileEntry]) -> dict[str, FileEntry]:
        for name in value:
            check_file_name(name)
        if len({name.casefold() for name in value}) != len(value):
            raise ValueError("two files differ in capitals only")
        if "model.safetensors" not in value:
            raise ValueError("'model.safetensors' is not listed")
        return value

    @model_validator(mode="after")
    def _head_and_classes_agree(self) -> Manifest:
        if "backbone" not in self.networks:
            raise ValueError("networks: 'backbone' is missing")
        head = {"head" in self.networks, self.task is not None}
        classes = {bool(self.class_names), "predict" in self.capabilities}
        if self.task in WRITTEN and (head != {True} or classes != {False}):
            raise ValueError(f"a model of task {self.task!r} has a head, and neither class names nor 'predict'")
        if self.task not in WRITTEN and len(head | classes) > 1:
            raise ValueError("a head, a task, class names and 'predict' come together or not at all")
        for output in self.capabilities["predict"].outputs if self.class_names else ():
            if output.name in {"probabilities", "value"} and output.shape[-1:] != (len(self.class_names),):
                raise ValueError(f"{len(self.class_names)} class names for {output.name} of shape {output.shape}")
        gives = "value" if self.task == "regress" else "probabilities"
        if self.class_names and gives not in [output.name for output in self.capabilities["predict"].outputs]:
            raise ValueError(f"a model of task {self.task!r} predicts {gives!r}, which is missing")
        if "embed" not in self.capabilities:
            raise ValueError("capabilities: 'embed' is missing")
        return self

    def specs(self) -> dict[str, NetworkSpec]:
        """Return how to build every network again, by name."""
        return {name: NetworkSpec(entry.room, entry.name, entry.arguments) for name, entry in self.networks.items()}

    def to_json(self) -> Json:
        """Return the manifest as JSON values; `parse` reads it back."""
        told = self.model_dump(mode="json")
        if self.best_grid == 1:  # a bodh that knows of no grids reads the model too
            del told["best_grid"]
        return told


def check_file_name(name: str) -> None:
    """Raise ValueError unless `name` is a bare, portable file name.

    Only names without any separator are legal, so no path can leave the folder, on any system.
    """
    bare = _FILE_NAME.fullmatch(name) and not _RESERVED.fullmatch(name) and not name.endswith(".")
    if not bare or unicodedata.normalize("NFC", name) != name:
        raise ValueError(f"file name {name!r} is not allowed; a bare name such as 'model.safetensors' is")


def plain(value: Any) -> Any:
    """Return `value` as JSON values: arrays and tuples as lists, not-a-number as null."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, dict) or hasattr(value, "items"):
        return {str(key): plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple | set):
        return [plain(part) for part in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if value is None or isinstance(value, str | int | float | bool) else str(value)


def parse(content: bytes) -> Manifest:
    """Return the manifest that `content`, the bytes of a `model.json`, holds.

    Raises:
        ModelError: not JSON, an unknown schema version, or a field that is missing, unknown or out of range.
    """
    raw = read_json(content, "model.json")
    version = raw.get("schema_version")
    if version != SCHEMA_VERSION or isinstance(version, bool):
        raise ModelError(
            f"model.json has schema version {_short(repr(version))}; this bodh reads versions 1 to {SCHEMA_VERSION}; "
            "type: pip install --upgrade bodh"
        )
    try:
        return Manifest.model_validate_json(content, strict=True)
    except ValidationError as error:
        raise ModelError(f"model.json is not valid: {told(error)}") from None


def read_json(content: bytes, name: str) -> Json:
    """Return the JSON object in `content`; duplicate keys, NaN and absurd nesting are refused.

    Raises:
        ModelError: `content` is not such an object; `name` is the file's name for the message.
    """
    if len(content) > LARGEST_MANIFEST:
        raise ModelError(f"{name} has {len(content)} bytes; at most {LARGEST_MANIFEST} are read")
    try:
        value = json.loads(content.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{name} is not JSON: {_short(str(error) or 'nested too deep')}") from None
    if not isinstance(value, dict):
        raise ModelError(f"{name} holds a {type(value).__name__}; a JSON object is expected")
    return value


def _unique(pairs: list[tuple[str, Any]]) -> Json:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("a key occurs twice")
    return result


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a JSON number")


def _leaves(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        for part in value.values():
            yield from _leaves(part)
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _leaves(part)
    else:
        yield value


def told(error: ValidationError) -> str:
    """Return what pydantic found as one line, first faults first."""
    found = error.errors(include_url=False, include_context=False, include_input=False)
    parts = [f"{'.'.join(map(str, fault['loc'])) or 'model.json'}: {fault['msg']}" for fault in found[:5]]
    more = f" (and {len(found) - 5} more)" if len(found) > 5 else ""
    return _short("; ".join(parts), 600) + more


def _short(value: object, limit: int = 120) -> str:
    text = " ".join((value if isinstance(value, str) else repr(value)).split())
    return text if len(text) <= limit else text[:limit] + "…"
