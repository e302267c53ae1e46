"""Models whose labels are measured numbers: what they say, how they are exported, what their card tells."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from bodh.api.predict import predict
from bodh.errors import ConfigError
from bodh.exporters.export import compare, export_model
from bodh.heads import scaled
from bodh.model.loaded import LoadedModel, load_model
from bodh.model.manifest import Manifest
from bodh.testing.formats import small_model

NAMES = ("कोण", "weight")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    folder = tmp_path_factory.mktemp("measured") / "model"
    return load_model(small_model(folder, classes=NAMES, task="regress"))


def test_a_scaled_head_answers_in_the_unit_of_the_labels():
    import torch

    head = scaled.build(inputs=3, outputs=2)
    head.set_unit([10.0, -1.0], [2.0, 0.5])
    x = torch.randn(4, 3)
    torch.testing.assert_close(head(x), head.linear(x) * torch.tensor([2.0, 0.5]) + torch.tensor([10.0, -1.0]))
    torch.testing.assert_close(head.standard(head(x)), head.linear(x))
    with pytest.raises(ConfigError, match="deviations above 0"):
        head.set_unit([1.0, 1.0], [1.0, 0.0])


def test_it_predicts_values(model: LoadedModel):
    outputs = model.compute(model.records()[:3], model.capability("all"))
    assert {name: value.shape for name, value in outputs.items()} == {"embedding": (3, 16), "value": (3, 2)}
    assert model.capability("predict").output_names == ("value",)
    assert model.capability("embed").output_names == ("embedding",)


def test_predictions_name_every_number(model: LoadedModel):
    assert model.folder is not None
    first, broken = predict(model.folder.path, [np.zeros((8, 8), np.uint8), b"no picture"])
    assert set(first) == {"id", "values"}
    assert tuple(first["values"]) == NAMES
    assert set(broken) == {"id", "error"}


@pytest.mark.parametrize("format_", ["onnx", "safetensors", "state_dict"])
def test_every_format_gives_the_same_numbers(model: LoadedModel, format_: str, tmp_path: Path):
    if format_ == "onnx":
        pytest.importorskip("onnxscript")
    suffix = {"onnx": ".onnx", "safetensors": ".safetensors", "state_dict": ".pt"}[format_]
    found = export_model(model, format_, tmp_path / f"m{suffix}")
    assert [parity.output for parity in found] == ["embedding", "value"]
    assert all(parity.holds for parity in found)


def test_tiny_numbers_are_compared_in_their_own_unit(model: LoadedModel):
    import torch

    class Tiny(torch.nn.Module):
        output_names, any_sides, any_length, name, task = ("value",), False, False, "predict", "regress"

        def forward(self, rows: torch.Tensor) -> dict[str, torch.Tensor]:
            return {"value": 1e-6 * rows.float().mean(dim=(1, 2, 3))[:, None]}

    tiny = Tiny()
    rows = model.records()
    (honest,) = compare(tiny, lambda batch: {"value": tiny(torch.from_numpy(batch))["value"].numpy()}, rows)  # type: ignore[arg-type]
    assert honest.holds
    (false,) = compare(tiny, lambda batch: {"value": np.zeros((len(batch), 1), np.float32)}, rows)  # type: ignore[arg-type]
    assert not false.holds


def test_the_card_says_what_is_measured(model: LoadedModel):
    assert model.folder is not None
    card = model.folder.read("README.md").decode()
    assert "it gives 2 numbers for each (`कोण`, `weight`)" in card
    assert 'record["values"]' in card
    assert 'outputs["value"]' in card
    assert "## Classes" not in card
    assert "probability" not in card


def test_a_manifest_must_say_values_for_numbers(model: LoadedModel):
    said = model.manifest.to_json()
    said["task"] = "single"
    with pytest.raises(ValidationError, match="predicts 'probabilities', which is missing"):
        Manifest.model_validate(said)
