"""Files that write texts: proven on real ones, and not left behind where they write something else."""

from __future__ import annotations

import json

import numpy as np
import pytest

from bodh.errors import ModelError, ParityError, UnknownName
from bodh.exporters import writing
from bodh.exporters.formats import onnx
from bodh.model.beam import finished
from bodh.model.generation import Generation, continued
from bodh.model.on_torch import TorchTranslator, TorchWriter
from bodh.model.steps import stepwise
from bodh.model.translate import translating
from tests.unit.serving.writers import TEXTS, language_model, translator

for module in ("tokenizers", "onnxruntime", "onnxscript"):
    pytest.importorskip(module)

OPTIONS = (
    {"temperature": 0}, {"seed": 3}, {"top_k": 5, "top_p": 0.9, "repetition_penalty": 1.3}, {"beams": 3, "number": 2},
    {"length": 60},
)  # fmt: skip


def _opened(path, model):
    return onnx.load_steps(path, model.modality.tokens(), steps=stepwise(model))


@pytest.mark.parametrize("backbone", [{"positions": "rotary"}, {"kind": "lstm", "layers": 2}], ids=["rotary", "lstm"])
def test_a_language_model_writes_the_same(tmp_path, backbone):
    model = language_model(tmp_path / "m", **backbone)
    found = model.export("onnx", tmp_path / "m.onnx", capability="generate")
    assert [(one.output, one.holds) for one in found.parity] == [("logits", True), ("texts", True)]
    proof = json.loads((tmp_path / "m.onnx.parity.json").read_text())
    assert proof["parity"][1]["changed"] == 0
    loaded = model.loaded("cpu")
    replay = _opened(tmp_path / "m.onnx", loaded)
    prompts = [[2, 10, 11, 30], [2, 20], [2, 10, 11, 30], list(range(5, 45))]
    for options in OPTIONS:
        how = Generation(**{"length": 20, **options})
        wanted, given = (continued(one, prompts, how) for one in (TorchWriter(loaded), replay))
        assert [[text.ids for text in own] for own in given] == [[text.ids for text in own] for own in wanted]


@pytest.mark.parametrize("head", [{}, {"kind": "gru", "depth": 1, "attention": False}], ids=["transformer", "gru"])
def test_a_translator_writes_the_same(tmp_path, head):
    model = translator(tmp_path / "m", encoder="recurrent" if head else "transformer", **head)
    model.export("onnx", tmp_path / "m.onnx", capability="translate")
    loaded = model.loaded("cpu")
    replay = _opened(tmp_path / "m.onnx", loaded)
    rows = [loaded.modality.decode(text.encode()) for text in TEXTS[:6]]
    for beams in (1, 4):
        wanted, given = (
            finished(translating(one, loaded.modality, rows, beams=beams, length=None, penalty=1.0))
            for one in (TorchTranslator(loaded), replay)
        )
        assert [one.text for one in given] == [one.text for one in wanted]
        np.testing.assert_allclose([one.score for one in given], [one.score for one in wanted], atol=1e-4)


def test_a_file_that_writes_something_else_is_not_left_behind(tmp_path, monkeypatch):
    model = language_model(tmp_path / "m")
    load_steps = onnx.load_steps

    class Wrong:
        """Forgets what it has read."""

        def __init__(self, right):
            self.right, self.on, self.tokens, self.context = right, right.on, right.tokens, right.context

        def start(self, rows, length):
            state = self.right.start(rows, length)
            advance = state.advance
            state.advance = lambda ids: (state.held.update(self.right.empty(len(ids))), advance(ids))[1]
            return state

    monkeypatch.setattr(onnx, "load_steps", lambda *given, **more: Wrong(load_steps(*given, **more)))
    with pytest.raises(ParityError, match="logits: largest difference"):
        model.export("onnx", tmp_path / "m.onnx", capability="generate")
    assert not list(tmp_path.glob("*.onnx*"))


def test_refusals(tmp_path):
    model = language_model(tmp_path / "m", causal=False)
    for capability in ("generate", "translate"):
        with pytest.raises(UnknownName, match="all, embed, fill"):
            model.export("onnx", tmp_path / "m.onnx", capability=capability)


def test_a_network_that_keeps_things_in_its_own_form_is_refused_in_one_line(tmp_path):
    loaded = language_model(tmp_path / "m").loaded("cpu")

    class Foreign:
        causal, spec = True, type("Spec", (), {"name": "huggingface"})

    foreign = type("Model", (), {
        "network": {"backbone": Foreign(), "head": None}, "manifest": loaded.manifest, "modality": loaded.modality
    })  # fmt: skip
    with pytest.raises(ModelError, match=r"a huggingface backbone cannot be exported to generate.*transformer"):
        stepwise(foreign)  # type: ignore[arg-type]


def test_rows_without_a_text_prove_nothing(tmp_path):
    loaded = language_model(tmp_path / "m").loaded("cpu")
    with pytest.raises(Exception, match="no records with a text"):
        writing.compare_writing(
            loaded, TorchWriter(loaded), np.zeros((3, 8), np.int64), capability="generate", tolerance=1e-4
        )
