"""Writing token by token as one ONNX file: the steps, and of a translator the reading before them; see `model.steps`.

A graph's inputs and outputs are named as `model.on_onnx` says. A translator's two networks are one graph: an `If`,
told by the input `reads`, either reads `tokens` or passes on what was held of them.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

from bodh import _optional
from bodh.model.on_onnx import AFTER, BEFORE, HELD, READS, WRITTEN

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from torch import Tensor

    from bodh.model.steps import Axes, Stepwise

Build = Any
"""(module, arguments, dynamic axes, input names, output names) -> ModelProto"""


def program(steps: Stepwise, rows: np.ndarray, build: Build) -> Any:
    """Return the ModelProto of `steps`.

    Args:
        steps: what is exported.
        rows: real ids `[n t]` to lay the graph out with, at least two rows and two tokens.
        build: the exporter.
    """
    import torch

    ids = torch.from_numpy(rows)
    with torch.no_grad():
        begun = {} if steps.read is None else dict(zip(steps.read.begins, steps.read(ids), strict=True))
    step = steps.step
    held = [begun[name] if name in begun else _example(axes, len(ids)) for name, axes in step.axes.items()]
    entry = "tokens" if steps.read is None else WRITTEN
    model = build(
        step,
        (ids if steps.read is None else ids[:, :1].clone(), held),
        ({0: None, 1: None} if steps.read is None else {0: None}, [_letters(axes) for axes in step.axes.values()]),
        [entry, *(BEFORE + name for name in step.axes)],
        ["logits", *(AFTER + name for name in step.changing)],
    )
    _name_axes(model, {entry: ("n", "t"), **{BEFORE + name: axes for name, axes in step.axes.items()}})
    if steps.read is None:
        return model
    read = build(steps.read, (ids,), ({0: None, 1: None},), ["tokens"], [HELD + name for name in steps.read.begins])
    _name_axes(read, {"tokens": ("n", "s")})
    return _joined(read, model)


def _example(axes: Axes, rows: int) -> Tensor:
    import torch

    return torch.zeros([{"n": rows}.get(axis, 3) if isinstance(axis, str) else axis for axis in axes])


def _letters(axes: Sequence[int | str]) -> dict[int, None]:
    return {place: None for place, axis in enumerate(axes) if isinstance(axis, str)}


def _name_axes(model: Any, axes: dict[str, Axes]) -> None:
    for entry in model.graph.input:
        for place, axis in enumerate(axes[entry.name]):
            if isinstance(axis, str):
                entry.type.tensor_type.shape.dim[place].dim_param = axis
    for output in model.graph.output:
        output.type.tensor_type.shape.dim[0].dim_param = "n"


def _joined(read: Any, step: Any) -> Any:
    """Return one model of both: what is held of the text comes from `read`, or from outside, as `reads` tells."""
    onnx = _optional.require("onnx", extra="export", feature="export to ONNX")
    helper = onnx.helper
    names = [one.name.removeprefix(HELD) for one in read.graph.output]
    reading, graph = read.graph, step.graph
    entry, given = copy.deepcopy(reading.input[0]), copy.deepcopy(list(reading.output))
    _rename(reading, "reading/")
    table = {BEFORE + name: HELD + name for name in names}
    for node in graph.node:
        node.input[:] = [table.get(name, name) for name in node.input]
    passing = [helper.make_node("Identity", [BEFORE + name], [f"passing/{name}"]) for name in names]
    passed = [
        helper.make_tensor_value_info(f"passing/{name}", one.type.tensor_type.elem_type, None)
        for name, one in zip(names, given, strict=True)
    ]
    either = helper.make_node(
        "If", [READS], [HELD + name for name in names],
        then_branch=helper.make_graph(list(reading.node), "read", [], list(reading.output)),
        else_branch=helper.make_graph(passing, "pass_on", [], passed),
    )  # fmt: skip
    nodes = [either, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    graph.initializer.extend(reading.initializer)
    graph.input.insert(0, entry)
    graph.input.append(helper.make_tensor_value_info(READS, onnx.TensorProto.BOOL, []))
    graph.output.extend(given)
    known = {(one.domain, one.name) for one in step.functions}
    step.functions.extend(one for one in read.functions if (one.domain, one.name) not in known)
    return step


def _rename(graph: Any, prefix: str) -> None:
    """Put `prefix` before all names of a graph and of the graphs within it, but for its input, the tokens."""

    def named(name: str) -> str:
        return name if name in ("", "tokens") else prefix + name

    for node in graph.node:
        node.name = prefix + node.name
        for values in (node.input, node.output):
            values[:] = [named(name) for name in values]
        for part in node.attribute:
            if part.HasField("g"):
                _rename(part.g, prefix)
    for holder in (*graph.initializer, *graph.input, *graph.output, *graph.value_info):
        holder.name = named(holder.name)
