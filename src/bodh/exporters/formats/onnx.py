"""ONNX: runs on onnxruntime, OpenVINO, in the browser, without PyTorch.

One file, weights inside, from raw input (image: uint8) to named outputs; every axis that is a letter in the model's
input spec may have any size. The file says all that a server needs in its metadata: `bodh.manifest` (the whole
`model.json`), `bodh.class_names`, `bodh.capability`, and what the modality needs beside it (`bodh.file.NAME`).
"""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bodh import _optional
from bodh.contracts import Json
from bodh.exporters import onnx_steps
from bodh.model.on_onnx import OnnxTranslator, OnnxWriter

if TYPE_CHECKING:
    from torch import nn

    from bodh.contracts import Tokens
    from bodh.model.capabilities import Capability
    from bodh.model.steps import Stepwise
    from bodh.model.writing import Translates, Writes

SUFFIX = ".onnx"
EXTRA = "export"
OPSET = 20
"""What is asked for; the one that was written stands in the file (`opset_import`)."""

_PENDING = "bodh.output."
"""What outputs are called until the graph is there: the exporter does not see that a layer has their name."""

_EXPORTER_CHATTER = (
    # torch 2.13 deep-copies its own deprecated tree specs
    (r"`isinstance\(treespec, LeafSpec\)` is deprecated", FutureWarning),
)


def write(capability: Capability, example: np.ndarray, path: Path, *, manifest: Json) -> None:
    """Write `capability` as one ONNX file.

    Args:
        capability: in evaluation mode, on the CPU.
        example: real standardised records `[n …]`.
        path: the file to write.
        manifest: `model.json` as JSON values.

    Raises:
        MissingExtra: onnx or onnxscript is not installed.
    """
    onnx = _optional.require("onnx", extra=EXTRA, feature="export to ONNX")
    import torch

    axes = _axes(manifest)
    letters = {place: None for place, axis in enumerate(axes) if isinstance(axis, str)}
    # two records at least: with a single one the exporter takes the batch for a constant
    rows = torch.from_numpy(np.resize(example, (2, *example.shape[1:])))
    model = _built(
        capability, (rows,), (letters,), [capability.input_name], [_PENDING + name for name in capability.output_names]
    )
    _clean(model)
    for place, axis in enumerate(axes):
        if isinstance(axis, str):
            model.graph.input[0].type.tensor_type.shape.dim[place].dim_param = axis
    for output in model.graph.output:
        output.type.tensor_type.shape.dim[0].dim_param = str(axes[0])
    _name_outputs(model.graph, capability.output_names)
    for key, value in _metadata(capability, manifest).items():
        model.metadata_props.add(key=key, value=value)
    onnx.checker.check_model(model)
    onnx.save_model(model, str(path), save_as_external_data=False)


def write_steps(steps: Stepwise, example: np.ndarray, path: Path, *, manifest: Json) -> None:
    """Write `steps` as one ONNX file; see `exporters.onnx_steps`.

    Args:
        steps: in evaluation mode, on the CPU.
        example: real standardised ids `[n t]`.
        path: the file to write.
        manifest: `model.json` as JSON values.

    Raises:
        MissingExtra: onnx or onnxscript is not installed.
    """
    onnx = _optional.require("onnx", extra=EXTRA, feature="export to ONNX")
    rows = np.resize(example, (2, max(2, example.shape[1])))
    model = onnx_steps.program(steps, rows, _built)
    _clean(model)
    context = "" if steps.context is None else str(steps.context)
    for key, value in {**_metadata(steps, manifest), "bodh.context": context}.items():
        model.metadata_props.add(key=key, value=value)
    onnx.checker.check_model(model)
    onnx.save_model(model, str(path), save_as_external_data=False)


def load_steps(path: Path, tokens: Tokens, *, steps: Stepwise) -> Writes | Translates:
    """Return the file as what writes texts, on onnxruntime's CPU provider.

    Raises:
        MissingExtra: onnxruntime is not installed.
    """
    session = _session(path)
    if steps.context is not None and steps.read is not None:
        return OnnxTranslator(session, tokens, steps.context)
    return OnnxWriter(session, tokens, steps.context)


def _built(
    module: nn.Module, arguments: tuple[Any, ...], letters: tuple[Any, ...], inputs: list[str], outputs: list[str]
) -> Any:
    """Return the ModelProto of a module; `letters` says of every argument which axes vary."""
    _optional.require("onnxscript", extra=EXTRA, feature="export to ONNX")
    import torch

    def dynamic(place: Any) -> Any:
        if isinstance(place, list):
            return [dynamic(one) for one in place]
        return dict.fromkeys(place, torch.export.Dim.DYNAMIC)

    with _quiet(), torch.no_grad():
        program = torch.onnx.export(
            module,
            arguments,
            dynamo=True,
            opset_version=OPSET,
            input_names=inputs,
            output_names=outputs,
            dynamic_shapes=tuple(dynamic(one) for one in letters),
            external_data=False,
            verbose=False,
        )
    if program is None:
        raise RuntimeError("torch.onnx.export gave no program")
    return program.model_proto


def load(path: Path, *, capability: Capability) -> Callable[[np.ndarray], dict[str, np.ndarray]]:  # noqa: ARG001
    """Return the file as a function from an input array to named arrays, on onnxruntime's CPU provider.

    Raises:
        MissingExtra: onnxruntime is not installed.
    """
    session = _session(path)
    names = [output.name for output in session.get_outputs()]
    entry = session.get_inputs()[0].name

    def compute(rows: np.ndarray) -> dict[str, np.ndarray]:
        return dict(zip(names, session.run(names, {entry: rows}), strict=True))

    return compute


def _session(path: Path) -> Any:
    onnxruntime = _optional.require("onnxruntime", extra=EXTRA, feature="the check of an ONNX file")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors only; the checks are ours
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def describe(path: Path) -> Json:
    """Return what the file says of itself, for the parity record: the opset that was really written."""
    onnx = _optional.require("onnx", extra=EXTRA, feature="export to ONNX")
    model = onnx.load_model(str(path))
    return {"opset": {entry.domain or "ai.onnx": entry.version for entry in model.opset_import}}


def _axes(manifest: Json) -> list[int | str]:
    """Return the axes of the input, from the capability that every model has."""
    axes: list[int | str] = list(manifest["capabilities"]["embed"]["inputs"][0]["shape"])
    return axes


def _metadata(capability: Capability | Stepwise, manifest: Json) -> dict[str, str]:
    return {
        "bodh.manifest": json.dumps(manifest, ensure_ascii=False),
        "bodh.class_names": json.dumps(manifest["class_names"], ensure_ascii=False),
        "bodh.capability": capability.name,
        **{f"bodh.file.{name}": content.decode("utf-8") for name, content in capability.files.items()},
    }


def _clean(model: Any) -> None:
    """Take out what the exporter left of this machine (paths, stack traces).

    Intermediate shapes go as well: quantisers and other readers stumble over the exporter's (measured).
    """
    graphs = [model.graph]
    for graph in graphs:
        for holder in (graph, *graph.node, *graph.input, *graph.output, *graph.initializer):
            del holder.metadata_props[:]
            holder.doc_string = ""
        del graph.value_info[:]
        graphs += [part.g for node in graph.node for part in node.attribute if part.HasField("g")]
    for holder in (model, *model.functions):
        del holder.metadata_props[:]
        holder.doc_string = ""


def _name_outputs(graph: Any, names: Sequence[str]) -> None:
    """Give the outputs their names; whatever inside has one already ("embedding": a network's layer) is renamed."""
    table = {name: f"{name}.inside" for name in names} | {_PENDING + name: name for name in names}
    for node in graph.node:
        for values in (node.input, node.output):
            values[:] = [table.get(value, value) for value in values]
    for holder in (*graph.initializer, *graph.output):
        holder.name = table.get(holder.name, holder.name)


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence what the exporter says about itself, for its own time only."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            for message, category in _EXPORTER_CHATTER:
                warnings.filterwarnings("ignore", message=message, category=category)
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
