"""The serving process needs no torch: a server image without it must work."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = ("torch", "torchvision", "timm", "sklearn", "scipy", "matplotlib", "lightly")

ROOMS = """
import bodh.api.serve, bodh.serving.app, bodh.serving.server, bodh.serving.index
import bodh.serving.protocols.rest, bodh.serving.runtimes.onnx, bodh.modalities.image, bodh.modalities.text
import bodh.modalities.pairs, bodh.model.telling, bodh.model.translate, bodh.model.fill, bodh.model.on_onnx
"""


@pytest.mark.parametrize("code", [ROOMS, "import bodh.report.render"])
def test_nothing_heavy_is_imported(code: str) -> None:
    check = (
        f"{code}\nimport sys\nfound = [m for m in {HEAVY!r} if m in sys.modules]\nsys.exit(str(found) if found else 0)"
    )
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr


def test_a_request_is_answered_where_torch_cannot_be_imported(tmp_path) -> None:
    from tests.unit.serving import tiny

    path = tiny.write(tmp_path / "colours.onnx")
    code = f"""
import sys
for name in {HEAVY!r}:
    sys.modules[name] = None  # importing it fails
import asyncio, httpx
from bodh.serving.app import create_app, open_models
app = create_app(open_models({{"colours": {str(path)!r}}}))
async def ask():
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://test") as client:
        body = {tiny.picture(tiny.COLOURS[2])!r}
        return await client.post("/predict", content=body, headers={{"content-type": "image/png"}})
answer = asyncio.run(ask())
assert answer.json()["predictions"][0]["class"] == "blue & co", answer.text
app.state.engine.close()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr


def test_texts_are_written_where_torch_cannot_be_imported(tmp_path) -> None:
    for module in ("tokenizers", "onnxruntime", "onnxscript"):
        pytest.importorskip(module)
    from tests.unit.serving import writers

    model = writers.language_model(tmp_path / "m", depth=1)
    model.export("onnx", tmp_path / "m.onnx", capability="generate")
    wanted = model.generate("The cat", length=12, seed=4, device="cpu")[0]
    code = f"""
import sys
for name in {HEAVY!r}:
    sys.modules[name] = None  # importing it fails
import asyncio, httpx
from bodh.serving.app import create_app, open_models
app = create_app(open_models({{"m": {str(tmp_path / "m.onnx")!r}}}))
async def ask():
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://test") as client:
        return await client.post("/generate", json={{"prompt": "The cat", "length": 12, "seed": 4}})
answer = asyncio.run(ask())
assert answer.json()["records"] == [{wanted!r}], answer.text
app.state.engine.close()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
