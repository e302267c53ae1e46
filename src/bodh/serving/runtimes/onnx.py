"""An exported .onnx on onnxruntime: what it is and how to prepare its input stand in the file itself. No torch."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from bodh import _optional
from bodh.errors import ModelError
from bodh.model.manifest import Manifest, TensorSpec, parse
from bodh.model.on_onnx import BEFORE, OnnxTranslator, OnnxWriter

if TYPE_CHECKING:
    from bodh.contracts import Tokens

SUFFIX = ".onnx"
EMBEDDING, LOGITS, PROBABILITIES, VALUE = "embedding", "logits", "probabilities", "value"
_TYPES = {
    "tensor(uint8)": "uint8",
    "tensor(int32)": "int32",
    "tensor(int64)": "int64",
    "tensor(float16)": "float16",
    "tensor(float)": "float32",
    "tensor(bool)": "bool",
}


WRITERS: dict[str, type[OnnxWriter] | type[OnnxTranslator]] = {"generate": OnnxWriter, "translate": OnnxTranslator}


class Steps(NamedTuple):
    """A file that writes texts token by token.

    Attributes:
        capability: "generate" or "translate".
        session: the runtime's.
        context: most tokens that the network sees; None: any number.
    """

    capability: str
    session: Any
    context: int | None

    def writer(self, tokens: Tokens) -> OnnxWriter | OnnxTranslator:
        """Return what writes, for a tokenizer."""
        return WRITERS[self.capability](self.session, tokens, self.context)


@dataclass(frozen=True)
class OnnxModel:
    """A model that is ready to compute.

    Attributes:
        manifest: the `model.json` that was exported with it.
        input: the one input: name, type, axes (letters vary).
        outputs: names of the outputs; none where it only writes texts.
        digest: sha256 of the file.
        files: what the modality needs to read raw records, by file name; as the manifest promises them.
        steps: how it writes texts, or None.
    """

    manifest: Manifest
    input: TensorSpec
    outputs: tuple[str, ...]
    digest: str
    _session: Any
    files: Mapping[str, bytes] = field(default_factory=dict)
    steps: Steps | None = None

    def with_steps_of(self, other: OnnxModel) -> OnnxModel:
        """Return this model, writing texts as `other` does, an export of the same one.

        Raises:
            ModelError: it is one of another model.
        """
        if other.manifest != self.manifest:
            raise ModelError("the files are exports of different models; export both again")
        return replace(self, steps=other.steps)

    def read(self, name: str) -> bytes:
        """Return the content of a file that the modality needs.

        Raises:
            ModelError: it is not in the exported file.
        """
        if name not in self.files:
            raise ModelError(f"the exported file holds no {name}; type: bodh export MODEL --format onnx")
        return self.files[name]

    @property
    def capabilities(self) -> tuple[str, ...]:
        """What it can do: "embed", "predict", "fill", and what its steps can."""
        able = {"embed": (EMBEDDING,), "predict": (PROBABILITIES, VALUE)}
        if "fill" in self.manifest.capabilities:
            able["fill"] = (LOGITS,)
        found = [name for name, any_of in able.items() if set(any_of) & set(self.outputs)]
        return (*found, self.steps.capability) if self.steps is not None else tuple(found)

    def compute(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """Return all outputs [n …] of standardised `rows` [n …]."""
        values = self._session.run(self.outputs, {self.input.name: np.ascontiguousarray(rows)})
        return dict(zip(self.outputs, values, strict=True))

    def blank(self, n: int = 1) -> np.ndarray:
        """Return `n` rows of zeros that fit the input (varying axes are 32, texts no longer than they may be)."""
        most = min(32, int(self.manifest.modality.config.get("length") or 32))
        shape = [n, *(axis if isinstance(axis, int) else most for axis in self.input.shape[1:])]
        return np.zeros(shape, dtype=self.input.dtype)


def open_(path: str | Path, *, threads: int) -> OnnxModel:
    """Open an .onnx file that bodh exported.

    The file is read once and used from memory: it cannot refer to files beside it. One thread pool of `threads`
    computes, and does not spin while it waits, so that decoding has the cores meanwhile.

    Args:
        path: the file.
        threads: threads for one computation; must be said, for two servers that each take all cores stall.

    Raises:
        ModelError: not an ONNX file, not one of bodh's, or not what its manifest says.
        MissingExtra: onnxruntime is not installed.
    """
    onnxruntime = _optional.require("onnxruntime", extra="serve", feature="serving a model")
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise ModelError(f"cannot read {str(path)!r}: {error.strerror}; give a file that bodh export wrote") from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # the runtime raises its own, all derived from Exception alone
        raise ModelError(f"{path}: onnxruntime cannot open it: {_first_line(error)}") from error
    metadata = session.get_modelmeta().custom_metadata_map
    manifest = _manifest(metadata, path)
    steps = _steps(session, metadata, path)
    model = OnnxModel(
        manifest=manifest,
        input=_said(manifest) if steps else _input(session, manifest, path),
        outputs=() if steps else tuple(output.name for output in session.get_outputs()),
        digest=hashlib.sha256(content).hexdigest(),
        _session=session,
        files=_files(metadata, manifest, path),
        steps=steps,
    )
    if not model.capabilities:
        raise ModelError(
            f"{path}: it has the outputs {', '.join(model.outputs)}; a server needs one of: "
            f"{EMBEDDING}, {PROBABILITIES}, {VALUE}, or the steps of a model that writes"
        )
    return model


def _manifest(metadata: dict[str, str], path: str | Path) -> Manifest:
    if "bodh.manifest" not in metadata:
        raise ModelError(f"{path}: it does not say how its input is prepared; type: bodh export MODEL --format onnx")
    try:
        return parse(metadata["bodh.manifest"].encode())
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from None


def _steps(session: Any, metadata: dict[str, str], path: str | Path) -> Steps | None:
    """Return how the file writes texts; None where it does not."""
    if not any(entry.name.startswith(BEFORE) for entry in session.get_inputs()):
        return None
    name, context = metadata.get("bodh.capability", ""), metadata.get("bodh.context", "")
    if name not in WRITERS or (context and not context.isdecimal()):
        raise ModelError(f"{path}: it does not say what it writes; type: bodh export MODEL --capability generate")
    return Steps(name, session, int(context) if context else None)


def _said(manifest: Manifest) -> TensorSpec:
    return next(iter(manifest.capabilities.values())).inputs[0]


def _files(metadata: dict[str, str], manifest: Manifest, path: str | Path) -> dict[str, bytes]:
    """Return the modality's files that lie in the metadata, checked against the manifest."""
    prefix = "bodh.file."
    found = {key.removeprefix(prefix): text.encode() for key, text in metadata.items() if key.startswith(prefix)}
    for name, content in found.items():
        entry = manifest.files.get(name)
        if entry is None or hashlib.sha256(content).hexdigest() != entry.sha256:
            raise ModelError(f"{path}: the {name} in it is not the one of its model; export it again")
    return found


def _input(session: Any, manifest: Manifest, path: str | Path) -> TensorSpec:
    """Return the input as the manifest says it, checked against the graph."""
    entries = session.get_inputs()
    said = _said(manifest)
    if len(entries) != 1 or entries[0].name != said.name or _TYPES.get(entries[0].type) != said.dtype:
        given = ", ".join(f"{entry.name} {entry.type}" for entry in entries)
        raise ModelError(f"{path}: its input is {given}, its manifest says {said.name} {said.dtype}")
    fixed = [(a, b) for a, b in zip(entries[0].shape, said.shape, strict=False) if isinstance(a, int) and a != b]
    if len(entries[0].shape) != len(said.shape) or fixed:
        raise ModelError(f"{path}: its input has shape {entries[0].shape}, its manifest says {json.dumps(said.shape)}")
    return said


def _first_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
