"""Every export format of the catalog passes the shipped suite."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest

from bodh import _catalog
from bodh.model.loaded import LoadedModel, load_model
from bodh.testing.formats import CHECKS, check_parity, model_for, small_text_model

NEEDS = {"onnx": ("onnx", "onnxscript", "onnxruntime"), "transformers": ("tokenizers", "transformers")}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], LoadedModel]:
    made: dict[str, LoadedModel] = {}

    def model(name: str) -> LoadedModel:
        for package in NEEDS.get(name, ()):
            if find_spec(package) is None:
                pytest.skip(f"{package} is not installed")
        if name not in made:
            made[name] = model_for(name, tmp_path_factory.mktemp(name) / "model")
        return made[name]

    return model


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("name", _catalog.names("exporters/formats"))
def test_format(name: str, check, models, tmp_path: Path):
    check(name, models(name), tmp_path)


@pytest.mark.parametrize(
    "arguments", [{"speaks": True}, {"causal": True, "pool": "last", "positions": "rotary"}], ids=["encoder", "decoder"]
)
@pytest.mark.parametrize("name", _catalog.names("exporters/formats"))
def test_texts(name: str, arguments, models, tmp_path: Path):
    models(name)
    pytest.importorskip("tokenizers")
    if name == "transformers":
        arguments = arguments | {"positions": "learned"}
    check_parity(name, load_model(small_text_model(tmp_path / "model", **arguments)), tmp_path)
