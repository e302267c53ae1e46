"""Texts on the server: unlike lengths in one request, and models that read few tokens."""

from __future__ import annotations

import numpy as np
import pytest

from tests.unit.model.test_language_models import _model

for module in ("tokenizers", "onnxruntime", "onnxscript", "fastapi", "httpx"):
    pytest.importorskip(module)


def test_texts_of_unlike_lengths_in_one_request(tmp_path):
    from fastapi.testclient import TestClient

    from bodh.serving.app import create_app, open_models

    model = _model(tmp_path / "m", length=16)
    model.export("onnx", tmp_path / "m.onnx", capability="embed")
    texts = ["a cat", "the cat sat on the mat and ran and ran", "बोध का अर्थ है समझ।"]
    with TestClient(create_app(open_models({"m": tmp_path / "m.onnx"}))) as client:
        answer = client.post("/embed", json={"inputs": texts})
    assert answer.status_code == 200, answer.text
    np.testing.assert_allclose(answer.json()["embeddings"], model.embed(texts, device="cpu"), atol=1e-4)
