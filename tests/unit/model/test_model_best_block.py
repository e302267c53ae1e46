"""A model remembers which of its blocks is best: shapes, hashes and card follow, weights stay."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import bodh
from bodh.errors import UnknownName
from bodh.model.folder import read_folder
from bodh.model.loaded import load_model
from bodh.model.save import remember_block
from bodh.testing.formats import small_model


def test_what_is_remembered_is_what_embed_gives(tmp_path: Path) -> None:
    folder = small_model(tmp_path / "m")
    before = read_folder(folder)
    remember_block(folder, "conv1", 2, measured={"validation": 0.5})
    model = load_model(folder)
    rows = model.records()[:5]
    given = model.compute(rows, model.capability("embed"))["embedding"]
    with torch.no_grad():
        prepared = model.modality.prepare()(torch.from_numpy(rows))
        wanted = model.network["backbone"].blocks(prepared, grid=2)["conv1"].numpy()
    np.testing.assert_allclose(given, wanted, rtol=1e-6)
    assert given.shape == (5, 16)
    assert model.manifest.capabilities["embed"].outputs[0].shape == ("n", 16)
    assert model.manifest.metrics["best_block"] == {"validation": 0.5}
    assert read_folder(folder).digest == before.digest
    assert "block `conv1`, its map averaged over 2 by 2 places" in (folder / "README.md").read_text(encoding="utf-8")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m"]


def test_the_classifier_still_reads_the_pooled_output(tmp_path: Path) -> None:
    folder = small_model(tmp_path / "m")
    model = load_model(folder)
    rows = model.records()[:5]
    before = model.compute(rows, model.capability("predict"))
    remember_block(folder, "conv2", 1, measured={})
    after = load_model(folder)
    np.testing.assert_array_equal(before["logits"], after.compute(rows, after.capability("predict"))["logits"])


def test_a_choice_can_be_taken_back_and_leaves_no_trace_for_older_readers(tmp_path: Path) -> None:
    folder = small_model(tmp_path / "m", classes=())
    remember_block(folder, "conv1", 2, measured={})
    assert json.loads((folder / "model.json").read_text(encoding="utf-8"))["best_grid"] == 2
    remember_block(folder, None, 1, measured={})
    told = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    assert told["best_block"] is None
    assert "best_grid" not in told
    assert load_model(folder).manifest.capabilities["embed"].outputs[0].shape == ("n", 16)


def test_an_unknown_block_changes_nothing(tmp_path: Path) -> None:
    folder = small_model(tmp_path / "m")
    before = (folder / "model.json").read_bytes()
    with pytest.raises(UnknownName, match="no block named 'conv9'"):
        remember_block(folder, "conv9", 1, measured={})
    assert (folder / "model.json").read_bytes() == before


def test_onnx_gives_what_the_model_gives_from_a_remembered_block(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    folder = small_model(tmp_path / "m", classes=())
    remember_block(folder, "conv1", 3, measured={})  # 8 px in 3 parts: they overlap
    written = bodh.load(folder).export("onnx", tmp_path / "m.onnx")
    assert all(parity.holds for parity in written.parity)
