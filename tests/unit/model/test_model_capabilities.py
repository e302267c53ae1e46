"""Capabilities are one definition for use, export and service."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from bodh.model.capabilities import changed_decisions, decisions, probabilities
from bodh.model.loaded import load_model
from bodh.testing.formats import small_model


def test_probabilities_of_every_task():
    logits = torch.tensor([[2.0, 0.0, -1.0]])
    torch.testing.assert_close(probabilities(logits, "single"), torch.softmax(logits, 1))
    torch.testing.assert_close(probabilities(logits, "multi"), torch.sigmoid(logits))
    one = probabilities(torch.tensor([[0.0], [3.0]]), "binary")
    torch.testing.assert_close(one, torch.tensor([[0.5, 0.5], [1 - 0.95257413, 0.95257413]]))
    torch.testing.assert_close(probabilities(logits[:, :2], "binary"), torch.softmax(logits[:, :2], 1))


@pytest.mark.parametrize(("task", "classes"), [("single", 3), ("binary", 2), ("multi", 3)])
def test_predict_has_one_probability_a_class(tmp_path: Path, task, classes: int):
    names = tuple(f"c{number}" for number in range(classes))
    model = load_model(small_model(tmp_path / "m", classes=names, task=task))
    out = model.compute(model.records(), model.capability("predict"))
    assert list(out) == ["logits", "probabilities"]
    assert out["probabilities"].shape == (64, classes)
    if task != "multi":
        np.testing.assert_allclose(out["probabilities"].sum(1), 1, atol=1e-6)


def test_all_is_embed_and_predict_in_one(tmp_path: Path):
    model = load_model(small_model(tmp_path / "m", best_block="conv1"))
    rows = model.records()[:5]
    both = {**model.compute(rows, model.capability("embed")), **model.compute(rows, model.capability("predict"))}
    once = model.compute(rows, model.capability("all"))
    assert list(once) == list(model.capability("all").output_names) == ["embedding", "logits", "probabilities"]
    for name, value in both.items():
        np.testing.assert_array_equal(once[name], value)


def test_decisions_and_what_counts_as_changed():
    reference = np.array([[0.6, 0.4], [0.5, 0.5], [0.2, 0.8]])
    assert decisions(reference, "single").tolist() == [0, 0, 1]
    assert decisions(reference, "multi").tolist() == [[True, False], [False, False], [False, True]]
    assert changed_decisions(reference, reference, "single") == 0
    flipped = reference[:, ::-1]
    assert changed_decisions(reference, flipped, "single") == 2
    tie = np.array([[0.5, 0.5 + 1e-9]])
    assert changed_decisions(tie, tie[:, ::-1], "single") == 0
    assert changed_decisions(reference, flipped, "multi") == 2
