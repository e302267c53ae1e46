"""What the plain HTTP protocol answers, and what it refuses with which words."""

from __future__ import annotations

import asyncio
import base64
import json
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bodh.serving import engine as engines
from bodh.serving.app import create_app, open_models
from bodh.serving.config import ServingConfig
from tests.unit.serving import tiny
from tests.unit.serving.conftest import Caller, MakeApp

RED, GREEN, BLUE = (tiny.picture(colour) for colour in tiny.COLOURS)
JSON = {"content-type": "application/json"}


def text(content: bytes) -> str:
    return base64.b64encode(content).decode()


def error(response: Any) -> str:
    assert list(response.json()) == ["error"], response.text
    return str(response.json()["error"])


# ------------------------------------------------------------------------------------------ good requests


def test_files_are_predicted_in_their_order(call: Caller) -> None:
    files = [("file", ("a.png", RED)), ("other", ("नीला.png", BLUE)), ("file", ("c.jpg", tiny.picture(kind="JPEG")))]
    body = call("POST", "/predict", files=files).json()
    assert body["model"] == "colours"
    assert [one["class"] for one in body["predictions"]] == ["लाल", "blue & co", "लाल"]
    assert [one["input"] for one in body["predictions"]] == ["a.png", "नीला.png", "c.jpg"]
    first = body["predictions"][0]
    assert first["top"][0]["class"] == "लाल"
    assert sum(one["probability"] for one in first["top"]) == pytest.approx(1, abs=1e-5)
    assert body["milliseconds"] > 0
    assert "neighbours" not in first


@pytest.mark.parametrize(
    "how",
    [
        {"content": GREEN, "headers": {"content-type": "image/png"}},
        {"content": GREEN, "headers": {"content-type": "application/octet-stream"}},
        {"json": {"image": text(GREEN)}},
        {"json": {"image": "data:image/png;base64," + text(GREEN)}},
        {"json": {"images": [text(GREEN)]}},
        {"json": {"inputs": np.full((1, 8, 8, 3), tiny.COLOURS[1]).tolist()}},
        {"json": {"inputs": np.full((5, 9, 3), tiny.COLOURS[1]).tolist()}},
        {"content": json.dumps({"image": text(GREEN)}).encode(), "headers": {"content-type": "application/json; x=y"}},
    ],
)
def test_every_form_of_a_body_says_the_same(call: Caller, how: dict[str, Any]) -> None:
    body = call("POST", "/predict?top=1", **how).json()
    assert [one["class"] for one in body["predictions"]] == ["green <b>"]
    assert len(body["predictions"][0]["top"]) == 1


def test_embeddings(call: Caller) -> None:
    body = call("POST", "/embed", files=[("a", ("a", RED)), ("b", ("b", GREEN))]).json()
    assert body["dim"] == 3
    assert np.array(body["embeddings"]) == pytest.approx(np.array(tiny.COLOURS[:2]) / 255, abs=1e-2)


def test_neighbours_come_the_nearest_first_with_thumbnails(call: Caller) -> None:
    body = call("POST", "/neighbours?top=2", content=GREEN, headers={"content-type": "image/png"}).json()
    [[first, second]] = body["neighbours"]
    assert first["id"] == "हरा.png"
    assert first["label"] == "green <b>"
    assert first["similarity"] == pytest.approx(1, abs=1e-4)
    assert second["similarity"] < first["similarity"]
    assert base64.b64decode(first["thumbnail"].removeprefix("data:image/png;base64,")).startswith(b"\x89PNG")


def test_neighbours_may_come_with_a_prediction_and_a_record_may_have_no_label(call: Caller) -> None:
    body = call("POST", "/predict?neighbours=1", content=BLUE, headers={"content-type": "image/png"}).json()
    [near] = body["predictions"][0]["neighbours"]
    assert near["id"] == "blue.png"
    assert near["label"] is None


def test_several_models_answer_by_name_and_the_first_without(call: Caller) -> None:
    assert call("POST", "/models/colours/predict", content=RED, headers={"content-type": "image/png"}).is_success
    assert call("POST", "/models/features/embed", content=RED, headers={"content-type": "image/png"}).is_success
    assert [one["name"] for one in call("GET", "/models").json()["models"]] == ["colours", "features"]
    assert call("GET", "/model").json()["name"] == "colours"
    facts = call("GET", "/models/features/model").json()
    assert facts["can"] == ["embed"]
    assert facts["input"] == {"name": "image", "dtype": "uint8", "shape": ["n", 8, 8, 3]}
    assert facts["manifest"]["schema_version"] == 1


def test_several_labels_at_once(make_app: MakeApp) -> None:
    call = Caller(make_app(models={"many": {"task": "multi"}}))
    body = call("POST", "/predict", files={"file": tiny.picture((250, 250, 5))}).json()
    [one] = body["predictions"]
    assert set(one["classes"]) == set(tiny.NAMES)  # sigmoid of a positive number is above one half
    assert "class" not in one


def test_measured_numbers_are_answered_by_name(make_app: MakeApp) -> None:
    call = Caller(make_app(models={"sizes": {"task": "regress"}}))
    answer = call("POST", "/predict", files={"file": ("a.png", tiny.picture((255, 0, 51)), "image/png")}).json()
    (said,) = answer["predictions"]
    assert set(said) == {"input", "values"}
    assert said["values"] == pytest.approx({"लाल": 10.0, "green <b>": 0.0, "blue & co": 2.0})
    assert call("GET", "/model").json()["can"] == ["embed", "predict", "neighbours"]


def test_health_says_ready(call: Caller) -> None:
    response = call("GET", "/health")
    assert response.status_code == 200
    assert response.json() == {"status": "ready", "waiting": {"colours": 0, "features": 0}}


def test_health_says_not_ready_when_a_model_stopped_or_the_server_ends(make_app: MakeApp) -> None:
    app = make_app()
    call = Caller(app)
    app.state.engine.stopping = lambda: True
    response = call("GET", "/health")
    assert (response.status_code, response.json()["error"]) == (503, "shutting down")
    app.state.engine.stopping = lambda: False
    app.state.engine.models["features"].batcher.close(seconds=5)
    response = call("GET", "/health")
    assert response.status_code == 503
    assert "features" in response.json()["error"]
    response = call("POST", "/predict", files={"file": RED})
    assert response.status_code == 503
    assert response.headers["retry-after"]


def test_numbers_are_records_too_and_null_is_a_missing_value(tmp_path: Path) -> None:
    config = ServingConfig(threads=1, decoders=1)
    app = create_app(open_models({"numbers": tiny.write_vector(tmp_path / "v.onnx")}), config=config)
    call = Caller(app)
    body = call("POST", "/predict?top=1", json={"inputs": [[1, 5.5, None], [0, 0, 1]]}).json()
    assert [one["class"] for one in body["predictions"]] == [tiny.NAMES[1], tiny.NAMES[2]]
    assert call("POST", "/predict", json={"inputs": [3, 1, 2]}).json()["predictions"][0]["class"] == tiny.NAMES[0]
    for inputs, status in (([[1, 2]], 422), ([[1, 2, 1e300]], 422), ([["1", 2, 3]], 400), ([[1, 2, 10**400]], 400)):
        response = call("POST", "/predict", json={"inputs": inputs})
        assert response.status_code == status, response.text
    assert call("POST", "/predict", files={"file": RED}).status_code == 422
    app.state.engine.close()


# --------------------------------------------------------------------------------------------- bad ones


@pytest.mark.parametrize(
    ("how", "status", "words"),
    [
        ({"content": b"{", "headers": JSON}, 400, "not valid JSON"),
        ({"content": b'{"image": "\xff"}', "headers": JSON}, 400, "not valid JSON"),
        ({"content": b'{"inputs": [NaN]}', "headers": JSON}, 400, "not valid JSON"),
        ({"content": b'{"inputs": [' + b"9" * 5000 + b"]}", "headers": JSON}, 400, "not valid JSON"),
        ({"json": [1]}, 400, "send an object"),
        ({"json": {}}, 400, "exactly one of"),
        ({"json": {"image": "", "images": []}}, 400, "exactly one of"),
        ({"json": {"images": []}}, 400, "at least one file"),
        ({"json": {"images": "abc"}}, 400, "must be a list"),
        ({"json": {"image": 5}}, 400, "must be a text in base64"),
        ({"json": {"images": [text(RED), "%%%"]}}, 400, r"images\[1\] is not valid base64"),
        ({"json": {"image": ""}}, 400, "image is empty"),
        ({"json": {"inputs": [[1, 2], [3]]}}, 400, "nested lists of numbers"),
        ({"json": {"inputs": "text"}}, 400, "nested lists of numbers"),
        ({"json": {"inputs": [True]}}, 400, "nested lists of numbers"),
        ({"json": {"inputs": [[[[256, 0, 0]]]]}}, 400, "whole numbers from 0 to 255"),
        ({"json": {"inputs": [[[[-1, 0, 0]]]]}}, 400, "whole numbers from 0 to 255"),
        ({"json": {"inputs": [[[[0.5, 0, 0]]]]}}, 400, "whole numbers from 0 to 255"),
        ({"json": {"inputs": [[[[10**30, 0, 0]]]]}}, 400, "nested lists of numbers|whole numbers"),
        ({"content": b'{"x": ' + b"[" * 20 + b"]" * 20 + b"}", "headers": JSON}, 400, "nested 21 deep"),
        ({"content": b"[" * 1_000_000, "headers": JSON}, 400, "nested 1000000 deep"),
        ({"content": b"", "headers": {"content-type": "image/png"}}, 400, "the body is empty"),
        ({"files": {"file": b""}}, 400, "is empty"),
        ({"data": {"file": "text"}, "files": {"x": RED}}, 400, "field 'file' is text"),
        ({"content": b"x", "headers": {"content-type": "multipart/form-data"}}, 400, "multipart body is broken"),
        (
            {"content": b"x", "headers": {"content-type": "multipart/form-data; boundary=b"}},
            400,
            "multipart|at least one",
        ),
        ({"content": RED, "headers": {"content-type": "text/plain"}}, 415, "'text/plain' is not read; send multipart"),
        ({"content": RED}, 415, "'none' is not read"),
        ({"data": {"a": "b"}}, 415, "x-www-form-urlencoded"),
        ({"files": {"file": ("notes.jpg", b"these are words")}}, 422, "notes.jpg: "),
        ({"files": {"file": ("half.jpg", tiny.picture(size=(300, 300), kind="JPEG")[:700])}}, 422, "half.jpg: "),
        ({"files": [("f", ("good.png", RED)), ("f", ("bad.png", b"x"))]}, 422, "bad.png: "),
    ],
)
def test_bad_bodies_get_a_status_and_one_sentence(call: Caller, how: dict[str, Any], status: int, words: str) -> None:
    import re

    response = call("POST", "/predict", **how)
    assert response.status_code == status, response.text
    assert re.search(words, error(response))
    assert call("POST", "/predict", files={"file": RED}).is_success, "the server goes on"


@pytest.mark.parametrize(
    ("method", "path", "status", "words"),
    [
        ("POST", "/models/nobody/predict", 404, "no model named 'nobody'; there are: colours, features"),
        ("GET", "/models/nobody/model", 404, "no model named"),
        ("GET", "/absent", 404, "nothing at '/absent'"),
        ("GET", "/predict", 405, "GET is not for this path"),
        ("POST", "/models/features/predict", 404, "bodh finetune"),
        ("POST", "/models/features/neighbours", 404, "--data DATA"),
        ("POST", "/predict?top=0", 422, "top: "),
        ("POST", "/predict?neighbours=many", 422, "neighbours: "),
    ],
)
def test_bad_paths_and_parameters(call: Caller, method: str, path: str, status: int, words: str) -> None:
    response = call(method, path)
    assert response.status_code == status
    assert words in error(response)


def test_neighbours_without_data_are_told_how_to_get_them(make_app: MakeApp) -> None:
    call = Caller(make_app(index=False))
    for path in ("/neighbours", "/predict?neighbours=3"):
        response = call("POST", path, files={"file": RED})
        assert response.status_code == 404
        assert "--data DATA" in error(response)


def test_limits_of_one_request(make_app: MakeApp) -> None:
    call = Caller(make_app(body_megabytes=0.01, records=2, json_values=1000))
    noise = np.random.default_rng(0).bytes(20_000)
    for how in (
        {"content": noise, "headers": {"content-type": "image/png"}},
        {"content": _pieces(noise), "headers": {"content-type": "image/png"}},
        {"files": {"file": noise}},
        {"json": {"image": text(noise)}},
    ):
        response = call("POST", "/predict", **how)
        assert response.status_code == 413
        assert error(response) == "the body is larger than 0.01 MB"
        assert response.headers["connection"] == "close"
    for how in (
        {"files": [("f", RED)] * 3},
        {"json": {"images": [text(RED)] * 3}},
        {"json": {"inputs": [[[[0, 0, 0]]]] * 3}},
    ):
        response = call("POST", "/predict", **how)
        assert response.status_code == 413
        assert "3 records in one request; at most 2" in error(response)
    response = call("POST", "/predict", json={"inputs": [0] * 1001})
    assert response.status_code == 413
    assert "more than 1000 values" in error(response)


def _pieces(content: bytes) -> Any:
    async def send() -> Any:
        for start in range(0, len(content), 1000):
            yield content[start : start + 1000]

    return send()


def test_a_long_text_is_not_taken_for_nesting(call: Caller) -> None:
    body = call("POST", "/predict", json={"image": text(RED), "note": '[[{"' * 1000 + "\\"})
    assert body.is_success


def test_a_picture_bomb_is_refused_at_once(call: Caller) -> None:
    import io
    import zlib

    from PIL import Image

    buffer = io.BytesIO()
    Image.new("1", (1, 1)).save(buffer, "PNG")
    png = bytearray(buffer.getvalue())
    png[16:24] = (60_000).to_bytes(4, "big") * 2
    png[29:33] = zlib.crc32(bytes(png[12:29])).to_bytes(4, "big")
    response = call("POST", "/predict", files={"file": ("bomb.png", bytes(png))})
    assert response.status_code in {413, 422}
    assert "bomb.png" in error(response)


def test_an_error_of_ours_says_nothing_of_the_inside(make_app: MakeApp, caplog: pytest.LogCaptureFixture) -> None:
    app = make_app()

    def fail(rows: np.ndarray) -> dict[str, np.ndarray]:
        raise RuntimeError("/secret/path")

    app.state.engine.models["colours"].batcher._compute = fail
    response = Caller(app)("POST", "/predict", files={"file": RED})
    assert response.status_code == 500
    assert "secret" not in response.text
    number = error(response).rsplit(" ", 1)[1]
    assert number in caplog.text
    assert "/secret/path" in caplog.text


def test_answers_that_are_not_finite_are_not_sent_as_json(make_app: MakeApp) -> None:
    app = make_app()
    app.state.engine.models["colours"].batcher._compute = lambda rows: {
        "probabilities": np.full((len(rows), 3), np.nan, dtype=np.float32)
    }
    response = Caller(app)("POST", "/predict", files={"file": ("a.png", RED)})
    assert response.status_code == 422
    assert "a.png" in error(response)


class Gate:
    """Stands before the model's computation and opens when told."""

    def __init__(self, app: Any) -> None:
        batcher = app.state.engine.models["colours"].batcher
        self.inner = batcher._compute
        self.open = threading.Event()
        self.rows: list[int] = []
        batcher._compute = self

    def __call__(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        assert self.open.wait(20)
        self.rows.append(len(rows))
        outputs: dict[str, np.ndarray] = self.inner(rows)
        return outputs


def test_too_many_at_once_get_429_and_the_others_their_answer(make_app: MakeApp) -> None:
    app = make_app(waiting=4, batch=4)
    gate = Gate(app)
    engine = app.state.engine
    admitted = engine.admitted

    def release_when_all_are_in() -> Any:
        if engine._active >= 11:
            threading.Timer(0.3, gate.open.set).start()
        return admitted()

    engine.admitted = release_when_all_are_in
    responses = Caller(app).together([("POST", "/predict", {"files": {"file": RED}})] * 12)
    states = sorted(response.status_code for response in responses)
    assert set(states) == {200, 429}
    assert states.count(200) >= 4
    refused = next(response for response in responses if response.status_code == 429)
    assert refused.headers["retry-after"] == "1"
    assert sum(gate.rows) == states.count(200)


def test_too_many_requests_are_refused_before_their_body_is_read(make_app: MakeApp) -> None:
    app = make_app(requests=1)
    app.state.engine._active = 1
    assert Caller(app)("POST", "/predict", files={"file": RED}).status_code == 429
    app.state.engine._active = 0
    assert Caller(app)("POST", "/predict", files={"file": RED}).status_code == 200
    assert app.state.engine._active == 0


def test_an_answer_that_takes_too_long_is_a_504(make_app: MakeApp) -> None:
    app = make_app(seconds=0.3)
    gate = Gate(app)
    response = Caller(app)("POST", "/predict", files={"file": RED})
    gate.open.set()
    assert response.status_code == 504
    assert "time limit" in error(response)


def scope(headers: list[tuple[bytes, bytes]]) -> dict[str, Any]:
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": "/predict",
        "raw_path": b"/predict",
        "query_string": b"",
        "root_path": "",
        "headers": headers,
        "client": ("test", 1),
        "server": ("test", 80),
    }


def test_work_of_a_caller_who_left_is_dropped(make_app: MakeApp) -> None:
    app = make_app()
    gate = Gate(app)
    batcher = app.state.engine.models["colours"].batcher
    first = batcher.submit(np.zeros((1, 8, 8, 3), dtype=np.uint8), deadline=1e12)

    async def leave() -> None:
        queue: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        await queue.put({"type": "http.request", "body": RED, "more_body": False})

        async def send(_: Any) -> None: ...

        task = asyncio.create_task(app(scope([(b"content-type", b"image/png")]), queue.get, send))
        async with asyncio.timeout(20):
            while not batcher.waiting:
                await asyncio.sleep(0.01)
            await queue.put({"type": "http.disconnect"})
            await task

    asyncio.run(leave())
    assert batcher.waiting == 0
    gate.open.set()
    first.result(20)
    batcher.close(seconds=20)
    assert gate.rows == [1]


def test_a_body_that_does_not_arrive_is_a_408(make_app: MakeApp) -> None:
    app = make_app(seconds=0.2)
    sent: list[dict[str, Any]] = []

    async def dawdle() -> None:
        pieces = iter([{"type": "http.request", "body": RED[:10], "more_body": True}])

        async def receive() -> dict[str, Any]:
            piece = next(pieces, None)
            if piece is None:
                await asyncio.sleep(60)
            return piece or {}

        async def send(message: Any) -> None:
            sent.append(message)

        async with asyncio.timeout(20):
            await app(scope([(b"content-type", b"image/png")]), receive, send)

    asyncio.run(dawdle())
    assert sent[0]["status"] == 408


def test_a_connection_that_breaks_while_sending_harms_nobody(make_app: MakeApp) -> None:
    app = make_app()

    async def break_off() -> None:
        messages = iter([{"type": "http.request", "body": RED[:10], "more_body": True}, {"type": "http.disconnect"}])

        async def receive() -> dict[str, Any]:
            return next(messages)

        async def send(_: Any) -> None: ...

        await app(scope([(b"content-type", b"image/png")]), receive, send)

    asyncio.run(break_off())
    assert app.state.engine._active == 0
    assert Caller(app)("POST", "/predict", files={"file": RED}).is_success


def test_the_engine_refuses_nothing_to_serve() -> None:
    from bodh.errors import ModelError

    with pytest.raises(ModelError, match="no model to serve"):
        engines.start({}, config=ServingConfig())


# ---------------------------------------------------------------------------------------------- OpenAPI


def test_the_openapi_document_names_every_route_and_answer(call: Caller) -> None:
    document = call("GET", "/openapi.json").json()
    assert set(document["paths"]) == {
        *("/predict", "/embed", "/neighbours", "/fill", "/generate", "/translate", "/model", "/models", "/health"),
        *(f"/models/{{name}}/{word}" for word in ("predict", "embed", "neighbours", "model")),
        *(f"/models/{{name}}/{word}" for word in ("fill", "generate", "translate")),
    }
    predict = document["paths"]["/models/{name}/predict"]["post"]
    assert {parameter["name"] for parameter in predict["parameters"]} == {"name", "top", "neighbours"}
    assert set(predict["requestBody"]["content"]) >= {"multipart/form-data", "application/json"}
    assert {"400", "404", "413", "415", "422", "429", "503"} <= set(predict["responses"])
    operations = [route["operationId"] for verbs in document["paths"].values() for route in verbs.values()]
    assert len(operations) == len(set(operations))
