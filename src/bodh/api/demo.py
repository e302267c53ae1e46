"""`demo`: the whole way on real data that ships with a dependency."""

from __future__ import annotations

import base64
import json
import logging
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bodh.contracts import Json
from bodh.errors import BodhError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bodh.api.load import Model

logger = logging.getLogger("bodh")

DATA = "sklearn:digits"
PER_CLASS = (1, 2, 5, 10, 20)
SERVER_SECONDS = 60.0


@dataclass(frozen=True)
class DemoResult:
    """What the demo found.

    Attributes:
        helped: the verdict, "yes", "no" or "cannot tell".
        sentence: the verdict in words.
        budget: one row a number of labels: accuracy of every arm.
        parity: the parity table of the exported model.
        served: what the real server answered to one picture, with the milliseconds it took.
        seconds: wall-clock seconds of every step.
        out: folder with everything.
        next: lines to type next, on one's own data.
    """

    helped: str
    sentence: str
    budget: list[Json]
    parity: list[Json]
    served: Json
    seconds: dict[str, float]
    out: Path
    next: tuple[str, ...]

    def to_json(self) -> Json:
        """Return everything as JSON values."""
        return {**self.__dict__, "out": str(self.out), "next": list(self.next), "report": str(self.out / "report.html")}


def demo(*, out: str | Path | None = None, seed: int = 0) -> DemoResult:
    """Go the whole way on scikit-learn's handwritten digits, in about a minute on two CPU cores, without network.

    Learns without labels, compares with training from scratch, an untrained network and raw pixels at 1 to 20
    labels a class, gives the verdict, fine-tunes with 20 labels a class, exports to ONNX with parity, asks a real
    server, and writes the report.

    Args:
        out: folder for everything; by default runs/demo with a number where that exists.
        seed: root of all randomness.

    Returns:
        verdict, label budget, parity, the server's answer, and what to try next.

    Raises:
        OutputError: `out` exists already.

    Example:
        bodh demo
        bodh demo --out /tmp/demo
    """
    from bodh.api._run import open_run
    from bodh.api.evaluate import evaluate
    from bodh.api.export import export
    from bodh.api.finetune import finetune
    from bodh.api.pretrain import pretrain

    folder = open_run(out, name="demo", resume=False)
    seconds: dict[str, float] = {}
    with _timed(seconds, "pretrain without labels"):
        model = pretrain(DATA, out=folder / "pretrain", seed=seed, **RECIPE)
    with _timed(seconds, "evaluate"):
        verdict = evaluate(
            model, DATA, protocol="knn,linear,budget", seeds=3, out=folder, budgets=PER_CLASS, scratch_views=4000
        )
    with _timed(seconds, "finetune with 20 labels a class"):
        classifier = finetune(DATA, start=model, labels_per_class=20, out=folder / "finetune", seed=seed)
    with _timed(seconds, "export and check"):
        exported = export(classifier, format="onnx", out=folder / "digits.onnx")
    with _timed(seconds, "serve and ask"):
        served = _ask_a_server(classifier)
    return DemoResult(
        helped=verdict.helped,
        sentence=verdict.sentence,
        budget=verdict.tables["budget"],
        parity=exported.to_json()["parity"],
        served=served,
        seconds={name: round(value, 1) for name, value in seconds.items()},
        out=folder,
        next=(
            "bodh data photos/                              what is in a folder of yours, and what is wrong",
            "bodh pretrain photos/ --minutes 20             learn from it without labels",
            "bodh evaluate runs/photos-simclr labelled/     did it help?",
            "bodh finetune labelled/ --from runs/photos-simclr",
            "bodh serve runs/labelled-finetune              a web page and a REST API",
        ),
    )


RECIPE: dict[str, Any] = {"epochs": 20}
"""Everything else is what bodh chooses by itself."""


@contextmanager
def _timed(seconds: dict[str, float], name: str) -> Iterator[None]:
    logger.info("demo: %s …", name)
    start = time.monotonic()
    yield
    seconds[name] = time.monotonic() - start


def _ask_a_server(model: Model) -> Json:
    """Start `bodh serve` as a process of its own, send one picture, stop it, return its answer.

    Raises:
        BodhError: the server ended or did not answer in time; its own words are in the message.
    """
    from bodh.model.loaded import load_model

    loaded = load_model(model.folder)
    picture = loaded.modality.show(loaded.records()[0])
    port = _free_port()
    line = [sys.executable, "-m", "bodh", "serve", str(model.folder), "--port", str(port)]
    environment = os.environ | {"PYTHONUTF8": "1"}
    with subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=environment) as process:
        try:
            _wait(f"http://127.0.0.1:{port}/health", process)
            start = time.perf_counter()
            answer = _post(f"http://127.0.0.1:{port}/predict", {"image": base64.b64encode(picture).decode()})
            return {"milliseconds": round(1000 * (time.perf_counter() - start), 1), "answer": answer}
        finally:
            process.terminate()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait(address: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + SERVER_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            said = process.stderr.read().decode("utf-8", "replace") if process.stderr else ""
            raise BodhError(f"the server ended by itself: {said.strip()[-300:]}")
        try:
            with urllib.request.urlopen(address, timeout=2) as response:  # noqa: S310 -- our own loopback address
                if response.status == 200:
                    return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.1)
    raise BodhError(f"the server did not answer at {address} within {SERVER_SECONDS:.0f} seconds")


def _post(address: str, body: Json) -> Any:
    request = urllib.request.Request(  # noqa: S310 -- our own loopback address
        address, json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=30) as response:  # noqa: S310
        return json.loads(response.read())
