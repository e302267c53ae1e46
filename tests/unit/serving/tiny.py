"""A tiny real model: says which colour a picture has most of. Made by hand with onnx.helper, no torch."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

NAMES = ("लाल", "green <b>", "blue & co")
COLOURS = ((250, 20, 20), (20, 250, 20), (20, 20, 250))


def manifest(*, predict: bool = True, task: str = "single", size: int = 8) -> dict[str, Any]:
    from bodh.modalities.image import ImageConfig

    entry = {"name": "image", "dtype": "uint8", "shape": ["n", size, size, 3]}
    outputs = [
        {"name": name, "dtype": "float32", "shape": ["n", 3]} for name in ("embedding", "logits", "probabilities")
    ]
    capabilities = {"embed": {"inputs": [entry], "outputs": outputs[:1]}}
    networks = {"backbone": {"room": "backbones", "name": "cnn", "arguments": {"shape": [3, size, size]}}}
    if predict:
        value = [{"name": "value", "dtype": "float32", "shape": ["n", 3]}]
        capabilities["predict"] = {"inputs": [entry], "outputs": value if task == "regress" else outputs[1:]}
        networks["head"] = {"room": "heads", "name": "linear", "arguments": {"inputs": 3, "outputs": 3}}
    config = ImageConfig(size=size, channels=3, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))
    return {
        "schema_version": 1,
        "modality": {"name": "image", "config": config.model_dump(mode="json")},
        "networks": networks,
        "capabilities": capabilities,
        "task": task if predict else None,
        "class_names": list(NAMES) if predict else [],
        "best_block": None,
        "metrics": {},
        "provenance": {},
        "files": {"model.safetensors": {"bytes": 1, "sha256": "0" * 64}},
    }


def write(path: Path, *, predict: bool = True, task: str = "single", size: int = 8, **changes: Any) -> Path:
    """Write the model; `changes` replace entries of its manifest."""
    nodes = [
        helper.make_node("Cast", ["image"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["float", "axes"], ["mean"], keepdims=0),
        helper.make_node("Div", ["mean", "full"], ["embedding"]),
    ]
    outputs = ["embedding"]
    if predict and task == "regress":
        nodes.append(helper.make_node("Mul", ["embedding", "scale"], ["value"]))
        outputs += ["value"]
    elif predict:
        nodes.append(helper.make_node("Mul", ["embedding", "scale"], ["logits"]))
        kind = "Sigmoid" if task == "multi" else "Softmax"
        nodes.append(helper.make_node(kind, ["logits"], ["probabilities"]))
        outputs += ["logits", "probabilities"]
    constants = {
        "axes": np.array([1, 2], dtype=np.int64),
        "full": np.array(255, dtype=np.float32),
        "scale": np.array(10, dtype=np.float32),
    }
    used = {name for node in nodes for name in node.input}
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["n", size, size, 3])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 3]) for name in outputs],
        [numpy_helper.from_array(value, name) for name, value in constants.items() if name in used],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    said = {**manifest(predict=predict, task=task, size=size), **changes}
    model.metadata_props.add(key="bodh.manifest", value=json.dumps(said, ensure_ascii=False))
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())
    return path


def picture(colour: tuple[int, int, int] = COLOURS[0], *, size: tuple[int, int] = (12, 10), kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, colour).save(buffer, kind)
    return buffer.getvalue()


def write_vector(path: Path) -> Path:
    """Write a model of three numbers, whose class is the largest of them."""
    from bodh.modalities.vector import VectorConfig

    entry = {"name": "features", "dtype": "float32", "shape": ["n", 3]}
    said = manifest()
    config = VectorConfig(mean=(0.0,) * 3, std=(1.0,) * 3)
    said["modality"] = {"name": "vector", "config": config.model_dump(mode="json")}
    for spec in said["capabilities"].values():
        spec["inputs"] = [entry]
    nodes = [
        helper.make_node("IsNaN", ["features"], ["missing"]),
        helper.make_node("Where", ["missing", "zero", "features"], ["embedding"]),
        helper.make_node("Identity", ["embedding"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"]),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["n", 3])],
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 3])
            for name in ("embedding", "logits", "probabilities")
        ],
        [numpy_helper.from_array(np.array(0, dtype=np.float32), "zero")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    model.metadata_props.add(key="bodh.manifest", value=json.dumps(said, ensure_ascii=False))
    path.write_bytes(model.SerializeToString())
    return path
