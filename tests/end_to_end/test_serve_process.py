"""A real server in a process of its own: real sockets, real signals, a real model folder."""

from __future__ import annotations

import io
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

from tests.unit.serving import tiny

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals of another kind there")
RED = tiny.picture()


@dataclass
class Server:
    process: subprocess.Popen[str]
    lines: list[str] = field(default_factory=list)
    address: str = ""

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(30)


@contextmanager
def serving(*words: str, seconds: float = 120) -> Iterator[Server]:
    """Run `bodh serve` with these words at a free port, until it says where it is."""
    process = subprocess.Popen(
        [sys.executable, "-m", "bodh", "serve", *words, "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    server = Server(process)
    ready = threading.Event()

    def listen() -> None:
        for line in process.stdout or ():
            server.lines.append(line)
            found = re.search(r"serving .* at (http://\S+) ", line)
            if found:
                server.address = found[1]
                ready.set()
        ready.set()

    reader = threading.Thread(target=listen)
    reader.start()
    try:
        assert ready.wait(seconds), server.lines
        assert server.address, "".join(server.lines)
        yield server
    finally:
        process.kill()
        process.wait(30)
        reader.join(30)
        if process.stdout:
            process.stdout.close()


def test_a_server_answers_and_ends_cleanly(tmp_path: Path) -> None:
    path = str(tiny.write(tmp_path / "रंग.onnx"))
    with serving(path) as server, httpx.Client(base_url=server.address, timeout=60) as client:
        assert client.get("/health").json()["status"] == "ready"
        assert client.get("/models").json()["models"][0]["name"] == "रंग"
        answer = client.post("/models/रंग/predict", files={"file": RED}).json()
        assert answer["predictions"][0]["class"] == "लाल"
        assert "<title>" in client.get("/").text
        for mode, kind in (("L", "PNG"), ("RGBA", "PNG"), ("P", "GIF"), ("CMYK", "JPEG"), ("I;16", "TIFF")):
            buffer = io.BytesIO()
            Image.new(mode, (31, 17)).save(buffer, kind)
            response = client.post("/predict", files={"file": (f"x.{kind}", buffer.getvalue())})
            assert response.status_code == 200, (mode, kind, response.text)
        refused = client.post("/predict", content=b"\0" * (33 * 2**20), headers={"content-type": "image/png"})
        assert refused.status_code == 413
        assert client.post("/predict", files={"file": RED}).status_code == 200
        assert server.stop() == 0
    assert "everything accepted was answered" in "".join(server.lines)


def test_sigterm_under_load_fails_no_accepted_request(tmp_path: Path) -> None:
    path = tiny.write(tmp_path / "m.onnx")
    large = tiny.picture(size=(1000, 1000), kind="JPEG")  # decoding takes a while
    answers: list[object] = []
    with serving(str(path), "decoders=1", "requests=256", "waiting=1024") as server:
        began = threading.Semaphore(0)

        def ask(_: int) -> object:
            with httpx.Client(base_url=server.address, timeout=60) as client:
                began.release()
                try:
                    return client.post("/predict", files={"file": large}).status_code
                except httpx.ConnectError:
                    return "not accepted"

        with ThreadPoolExecutor(16) as pool:
            futures = [pool.submit(ask, i) for i in range(32)]
            for _ in range(16):
                began.acquire()
            while sum(future.done() for future in futures) < 4:
                time.sleep(0.01)
            assert server.stop() == 0
            answers = [future.result() for future in futures]
    assert set(answers) <= {200, "not accepted"}, answers
    assert answers.count(200) >= 4


def test_a_port_in_use_is_one_line_and_exit_2(tmp_path: Path) -> None:
    path = tiny.write(tmp_path / "m.onnx")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = subprocess.run(
            [sys.executable, "-m", "bodh", "serve", str(path), "--port", str(port)],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert done.returncode == 2
    [line] = done.stderr.strip().splitlines()
    assert re.search(rf"port {port} on 127\.0\.0\.1 is in use; the next free one is \d+, type: --port \d+", line)
    assert not done.stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["absent"], "no model at 'absent'"),
        (["m.onnx", "bach=3"], "bach"),
        (["m.onnx", "--host", "203.0.113.7"], "cannot serve at host"),
        (["m.onnx", "--data", "absent"], "absent"),
    ],
)
def test_mistakes_are_one_line_and_exit_2(tmp_path: Path, words: list[str], message: str) -> None:
    tiny.write(tmp_path / "m.onnx")
    done = subprocess.run(
        [sys.executable, "-m", "bodh", "serve", *words, "--port", "0"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=tmp_path,
    )
    assert done.returncode == 2, done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_overload_is_refused_with_429_and_nothing_else_fails(tmp_path: Path) -> None:
    path = tiny.write(tmp_path / "m.onnx")
    large = tiny.picture(size=(800, 800), kind="JPEG")
    with serving(str(path), "requests=4", "decoders=1") as server:

        def ask(_: int) -> httpx.Response:
            with httpx.Client(base_url=server.address, timeout=60) as client:
                return client.post("/predict", files={"file": large})

        with ThreadPoolExecutor(24) as pool:
            responses = list(pool.map(ask, range(48)))
        states = [response.status_code for response in responses]
        assert set(states) == {200, 429}
        assert states.count(200) >= 4
        assert all(response.headers["retry-after"] for response in responses if response.status_code == 429)
        assert httpx.get(server.address + "/health").status_code == 200


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real model folder with a head, and beside it the pictures it belongs to."""
    from torch import nn

    from bodh import _catalog
    from bodh.modalities.image import ImageConfig, Modality
    from bodh.model.save import save_model

    root = tmp_path_factory.mktemp("served")
    generator = np.random.default_rng(0)
    for name in ("बिल्ली", "dog"):
        for split, n in (("train", 6), ("test", 2)):
            place = root / "data" / split / name
            place.mkdir(parents=True)
            for i in range(n):
                Image.fromarray(generator.integers(0, 256, (20, 24, 3), dtype=np.uint8)).save(place / f"{i}.png")
    modality = Modality(ImageConfig(size=16, channels=3, mean=(0.5,) * 3, std=(0.2,) * 3, stored_size=18))
    backbone = _catalog.get("backbones", "cnn").build(shape=(3, 16, 16))
    head = _catalog.get("heads", "linear").build(inputs=backbone.dim, outputs=2)
    records = generator.integers(0, 256, (8, 16, 16, 3), dtype=np.uint8)
    save_model(
        root / "model",
        network=nn.ModuleDict({"backbone": backbone, "head": head}),
        modality=modality,
        task="single",
        class_names=("बिल्ली", "dog"),
        records=records,
        provenance={},
        metrics={},
    )
    return root


def test_a_model_folder_is_exported_once_proven_and_served_with_its_data(folder: Path) -> None:
    from bodh.model.loaded import load_model

    picture = folder / "data" / "train" / "dog" / "3.png"
    words = (str(folder / "model"), "--data", str(folder / "data"))
    with serving(*words) as server, httpx.Client(base_url=server.address, timeout=60) as client:
        assert any("exporting" in line for line in server.lines)
        answer = client.post("/predict?neighbours=3", files={"file": picture.read_bytes()}).json()
        embedded = client.post("/embed", files={"file": picture.read_bytes()}).json()
        assert server.stop(signal.SIGINT) == 0
    [prediction] = answer["predictions"]
    nearest = prediction["neighbours"][0]
    assert nearest["similarity"] == pytest.approx(1, abs=1e-4)
    assert nearest["id"].endswith("dog/3.png")
    assert nearest["label"] == "dog"
    model = load_model(folder / "model")
    rows = model.modality.standardise([model.modality.decode(picture.read_bytes())])
    outputs = model.compute(rows, model.capability("all"))
    assert np.array(embedded["embeddings"]) == pytest.approx(outputs["embedding"], abs=1e-4)
    by_name = {one["class"]: one["probability"] for one in prediction["top"]}
    assert [by_name["बिल्ली"], by_name["dog"]] == pytest.approx(outputs["probabilities"][0].tolist(), abs=1e-4)
    with serving(*words) as server:
        assert not any("exporting" in line or "embedding" in line for line in server.lines), "both are kept"
        assert server.stop() == 0


def test_an_export_that_was_tampered_with_is_made_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from bodh.api import serve

    [path] = serve.onnx_files(folder / "model")
    monkeypatch.setattr(serve, "_export", lambda _, out, _capability: made.append(out))
    made: list[Path] = []
    assert serve.onnx_files(folder / "model") == [path]
    assert made == []
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    serve.onnx_files(folder / "model")
    assert made == [path]


def test_what_goes_wrong_in_the_export_is_raised_here(folder: Path, tmp_path: Path) -> None:
    import json
    import shutil

    from bodh.api import serve
    from bodh.errors import ModelError

    broken = tmp_path / "model"
    shutil.copytree(folder / "model", broken)
    manifest = json.loads((broken / "model.json").read_text(encoding="utf-8"))
    manifest["networks"]["backbone"]["arguments"]["shape"] = [3, 32, 32]
    (broken / "model.json").write_text(json.dumps(manifest), encoding="utf-8")
    with pytest.raises(ModelError, match=r"\w"):
        serve._export(broken, tmp_path / "out.onnx", None)
    assert not (tmp_path / "out.onnx").exists()
