# ruff: noqa: ARG005 -- stand-ins have the signature of what they stand for
"""What an export proves, and how a false one is found out."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from bodh.errors import DataError, OutputError, ParityError, UnknownName
from bodh.exporters import export as exporting
from bodh.exporters.export import compare, export_model
from bodh.model.loaded import LoadedModel, load_model
from bodh.testing.formats import small_model


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    return load_model(small_model(tmp_path_factory.mktemp("exported") / "model"))


def replay_of(model: LoadedModel, change=lambda name, value, rows: value):
    capability = model.capability("all").cpu()
    return lambda rows: {
        name: change(name, value.copy(), rows) for name, value in model.compute(rows, capability).items()
    }


def test_an_honest_replay_holds_at_every_batch_size(model: LoadedModel):
    sizes: list[int] = []
    found = compare(
        model.capability("all"),
        replay_of(model, lambda name, value, rows: sizes.append(len(rows)) or value),
        model.records(),
    )
    assert [parity.output for parity in found] == ["embedding", "logits", "probabilities"]
    assert all(parity.holds for parity in found)
    assert found[0].batches[:4] == (1, 3, 8, 52)
    assert {1, 3, 8, 52} <= set(sizes)
    assert [parity.changed for parity in found] == [None, 0, 0]


def test_few_records_still_make_every_batch(model: LoadedModel):
    found = compare(model.capability("embed"), replay_of(model), model.records()[:2])
    assert found[0].batches[:3] == (1, 3, 8)
    assert found[0].holds


@pytest.mark.parametrize(
    "change",
    [
        lambda name, value, rows: value + (2e-2 if name == "embedding" else 0),
        lambda name, value, rows: value + (1e-1 if len(rows) == 8 and name == "embedding" else 0),
        lambda name, value, rows: np.full_like(value, np.nan),
        lambda name, value, rows: value[:, :-1] if name == "embedding" else value,
        lambda name, value, rows: value[:1],
        lambda name, value, rows: value[:, ::-1] if name == "probabilities" else value,
    ],
    ids=["offset", "one batch size", "nan", "narrower", "batch of one", "classes swapped"],
)
def test_a_false_replay_is_found_out(model: LoadedModel, change):
    found = compare(model.capability("all"), replay_of(model, change), model.records())
    assert not all(parity.holds for parity in found)


def test_a_missing_output_is_found_out(model: LoadedModel):
    honest = replay_of(model)
    found = compare(model.capability("all"), lambda rows: {"embedding": honest(rows)["embedding"]}, model.records())
    assert [parity.holds for parity in found] == [True, False, False]
    assert found[1].largest_difference == float("inf")


def test_changed_predictions_are_counted_though_the_difference_is_small(model: LoadedModel):
    def swapped(name: str, value: np.ndarray, rows: np.ndarray) -> np.ndarray:
        if name != "probabilities":
            return value
        order = np.argsort(value, axis=1)
        best, second = order[:, -1], order[:, -2]
        line = np.arange(len(value))
        value[line, best], value[line, second] = value[line, second].copy(), value[line, best].copy()
        return value

    found = compare(model.capability("all"), replay_of(model, swapped), model.records(), tolerance=10)
    assert found[2].largest_difference <= found[2].tolerance
    assert found[2].changed > 60  # a record or two may be a tie
    assert not found[2].holds


def test_the_tolerance_grows_with_the_values(model: LoadedModel):
    found = compare(model.capability("all"), replay_of(model), model.records(), tolerance=1e-4)
    largest = np.abs(model.compute(model.records(), model.capability("all"))["probabilities"]).max()
    assert largest < 1
    assert found[2].tolerance == 1e-4


def test_nothing_is_left_when_writing_fails(model: LoadedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from bodh.exporters.formats import state_dict

    def full(capability, example, path: Path, *, manifest) -> None:
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(state_dict, "write", full)
    with pytest.raises(OutputError, match="the disk is full"):
        export_model(model, "state_dict", tmp_path / "m.pt")
    assert list(tmp_path.iterdir()) == []


def test_a_false_file_raises_in_one_line(model: LoadedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from bodh.exporters.formats import safetensors

    monkeypatch.setattr(
        safetensors, "load", lambda path, capability: replay_of(model, lambda n, value, r: value * 2 + 1)
    )
    with pytest.raises(ParityError) as caught:
        export_model(model, "safetensors", tmp_path / "m.safetensors")
    assert "embedding: largest difference" in str(caught.value)
    assert "predictions changed" not in str(caught.value)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_names_and_places_that_are_refused(model: LoadedModel, tmp_path: Path):
    with pytest.raises(UnknownName, match=r"no format named 'onx' \(did you mean 'onnx'\?\)"):
        export_model(model, "onx", tmp_path / "m.onnx")
    with pytest.raises(OutputError, match=r"should end in \.pt; type: --out .*m\.pt"):
        export_model(model, "state_dict", tmp_path / "m.onnx")
    with pytest.raises(OutputError, match="is a folder; give a file"):
        export_model(model, "state_dict", tmp_path)
    with pytest.raises(UnknownName, match="no capability named 'generate'; there are: all, embed, predict"):
        export_model(model, "state_dict", tmp_path / "m.pt", capability="generate")
    with pytest.raises(DataError, match="no records to replay"):
        export_model(model, "state_dict", tmp_path / "m.pt", records=model.records()[:0])
    assert list(tmp_path.iterdir()) == []


def test_the_proof_names_the_very_file(model: LoadedModel, tmp_path: Path):
    import hashlib

    path = tmp_path / "deep" / "मॉडल.pt"
    found = export_model(model, "state_dict", path)
    proof = json.loads(exporting.parity_path(path).read_text(encoding="utf-8"))
    assert proof["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert [entry["output"] for entry in proof["parity"]] == [parity.output for parity in found]


def test_a_state_dict_is_weights_and_nothing_else(model: LoadedModel, tmp_path: Path):
    import torch

    export_model(model, "state_dict", tmp_path / "m.pt", capability="embed")
    weights = torch.load(tmp_path / "m.pt", weights_only=True)
    assert all(isinstance(value, torch.Tensor) for value in weights.values())
    assert all(name.startswith("backbone.") for name in weights)
    export_model(model, "state_dict", tmp_path / "all.pt")
    assert "head.bias" in torch.load(tmp_path / "all.pt", weights_only=True)


def test_safetensors_carries_the_manifest(model: LoadedModel, tmp_path: Path):
    from safetensors import safe_open

    from bodh.model.manifest import parse

    export_model(model, "safetensors", tmp_path / "m.safetensors")
    with safe_open(tmp_path / "m.safetensors", framework="pt") as file:
        assert parse(file.metadata()["bodh.manifest"].encode()) == model.manifest


def test_an_onnx_file_says_all_that_a_server_needs(model: LoadedModel, tmp_path: Path):
    onnx = pytest.importorskip("onnx")
    onnxruntime = pytest.importorskip("onnxruntime")
    from bodh.model.manifest import parse

    path = tmp_path / "m.onnx"
    export_model(model, "onnx", path)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    said = session.get_modelmeta().custom_metadata_map
    assert parse(said["bodh.manifest"].encode()) == model.manifest
    assert json.loads(said["bodh.class_names"])[0] == "शून्य"
    assert said["bodh.capability"] == "all"
    (entry,) = session.get_inputs()
    wanted = model.manifest.capabilities["embed"].inputs[0]
    assert (entry.name, entry.type, tuple(entry.shape)) == (wanted.name, "tensor(uint8)", wanted.shape)
    assert {output.name: output.shape for output in session.get_outputs()} == {
        "embedding": ["n", 16],
        "logits": ["n", 10],
        "probabilities": ["n", 10],
    }
    assert [found.name for found in tmp_path.iterdir() if found.suffix != ".json"] == ["m.onnx"]
    graph = onnx.load(path).graph
    assert not graph.value_info
    assert not any(node.metadata_props or node.doc_string for node in graph.node)
    proof = json.loads(exporting.parity_path(path).read_text(encoding="utf-8"))
    assert proof["opset"]["ai.onnx"] >= 18
    assert model.folder is not None
    card = (model.folder.path / "README.md").read_text(encoding="utf-8")
    code = card.split("without PyTorch")[1].split("```python\n")[1].split("```")[0]
    found: dict = {}
    exec(code.replace('"model.onnx"', repr(str(path))), found)  # what the model card tells people to type
    assert found["outputs"]["probabilities"].shape == (8, 10)


def test_loading_an_onnx_file_takes_no_torch(model: LoadedModel, tmp_path: Path):
    pytest.importorskip("onnxruntime")
    import subprocess
    import sys

    path = tmp_path / "m.onnx"
    export_model(model, "onnx", path, capability="predict")
    code = (
        "import sys, numpy as np; from bodh.exporters.formats import onnx; "
        f"replay = onnx.load({str(path)!r}, capability=None); "
        "print(sorted(replay(np.zeros((2, 8, 8, 1), np.uint8))), 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['logits', 'probabilities'] False"
