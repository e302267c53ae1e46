"""Every export format of the catalog passes the shipped suite."""

from __future__ import annotations

from pathlib import Path

import pytest

from bodh import _catalog
from bodh.model.loaded import LoadedModel, load_model
from bodh.testing.formats import CHECKS, small_model


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    return load_model(small_model(tmp_path_factory.mktemp("formats") / "model"))


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("name", _catalog.names("exporters/formats"))
def test_format(name: str, check, model: LoadedModel, tmp_path: Path):
    if name == "onnx":
        pytest.importorskip("onnx")
        pytest.importorskip("onnxscript")
        pytest.importorskip("onnxruntime")
    check(name, model, tmp_path)
