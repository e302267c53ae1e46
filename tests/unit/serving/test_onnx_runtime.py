"""An exported file says what it is, and is believed only where the graph agrees."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from bodh.errors import ModelError
from bodh.serving.runtimes import onnx as runtime
from tests.unit.serving import tiny


def test_it_computes_and_knows_what_it_can_do(tmp_path: Path) -> None:
    model = runtime.open_(tiny.write(tmp_path / "m.onnx"), threads=1)
    assert model.capabilities == ("embed", "predict")
    assert model.input.shape == ("n", 8, 8, 3)
    rows = np.stack([np.full((8, 8, 3), colour, dtype=np.uint8) for colour in tiny.COLOURS])
    outputs = model.compute(rows)
    assert outputs["probabilities"].argmax(axis=1).tolist() == [0, 1, 2]
    assert outputs["embedding"] == pytest.approx(np.array(tiny.COLOURS) / 255, abs=1e-5)
    assert model.compute(model.blank(3))["embedding"].shape == (3, 3)


def test_threads_are_what_was_said(tmp_path: Path) -> None:
    model = runtime.open_(tiny.write(tmp_path / "m.onnx"), threads=1)
    options = model._session.get_session_options()
    assert options.intra_op_num_threads == 1
    assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"


def test_a_model_without_classes_embeds_only(tmp_path: Path) -> None:
    assert runtime.open_(tiny.write(tmp_path / "m.onnx", predict=False), threads=1).capabilities == ("embed",)


def test_what_is_no_onnx_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_text("hello")
    with pytest.raises(ModelError, match="onnxruntime cannot open it"):
        runtime.open_(tmp_path / "m.onnx", threads=1)
    with pytest.raises(ModelError, match="cannot read"):
        runtime.open_(tmp_path / "absent.onnx", threads=1)


def test_an_onnx_file_of_somebody_else_is_told_what_to_do(tmp_path: Path) -> None:
    path = tiny.write(tmp_path / "m.onnx")
    model = onnx.load_model(str(path))
    del model.metadata_props[:]
    onnx.save_model(model, str(path))
    with pytest.raises(ModelError, match="bodh export MODEL --format onnx"):
        runtime.open_(path, threads=1)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"name": "picture", "dtype": "uint8", "shape": ["n", 8, 8, 3]}, "its manifest says picture uint8"),
        ({"name": "image", "dtype": "float32", "shape": ["n", 8, 8, 3]}, "its manifest says image float32"),
        ({"name": "image", "dtype": "uint8", "shape": ["n", 9, 8, 3]}, "its manifest says .*9"),
        ({"name": "image", "dtype": "uint8", "shape": ["n", 8, 8]}, "its manifest says"),
    ],
)
def test_a_manifest_that_lies_about_the_graph_is_refused(tmp_path: Path, entry: dict, message: str) -> None:
    capabilities = tiny.manifest()["capabilities"]
    for spec in capabilities.values():
        spec["inputs"] = [entry]
    with pytest.raises(ModelError, match=message):
        runtime.open_(tiny.write(tmp_path / "m.onnx", capabilities=capabilities), threads=1)


def test_weights_outside_the_file_are_not_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tiny.write(tmp_path / "m.onnx")
    (tmp_path / "secret").write_bytes(b"\0" * 4)
    model = onnx.load_model(str(path))
    for tensor in model.graph.initializer:
        if tensor.name == "scale":
            tensor.ClearField("raw_data")
            tensor.data_location = onnx.TensorProto.EXTERNAL
            tensor.external_data.add(key="location", value="../" + tmp_path.name + "/secret")
    path.write_bytes(model.SerializeToString())
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelError, match="onnxruntime cannot open it"):
        runtime.open_(path, threads=1)
