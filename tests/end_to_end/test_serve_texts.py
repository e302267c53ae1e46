"""Models that write, in a real server: real sockets, streams read event by event, callers who leave, many at once."""

from __future__ import annotations

import json
import sys
import time
import unicodedata
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest

import bodh
from tests.end_to_end.test_serve_process import serving
from tests.unit.serving.writers import language_model, translator

for module in ("tokenizers", "onnxruntime", "onnxscript", "fastapi", "uvicorn"):
    pytest.importorskip(module)
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals of another kind there")
PROMPT = "हिन्दी में"


class Served(NamedTuple):
    client: httpx.Client
    models: dict[str, bodh.Model]


@pytest.fixture(name="served", scope="module")
def _served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server of three exported files, as other processes know them: exported, not folders."""
    folder: Path = tmp_path_factory.mktemp("served")
    models = {
        "writer": language_model(folder / "a", positions="rotary", depth=1, tokenizer="characters", endless=True),
        "translator": translator(folder / "b"),
        "filler": language_model(folder / "c", causal=False, depth=1),
    }
    for (name, model), capability in zip(models.items(), ("generate", "translate", None), strict=True):
        model.export("onnx", folder / f"{name}.onnx", capability=capability)
    files = [str(folder / f"{name}.onnx") for name in models]
    with serving(*files, "tokens=2000", "writing=4", "seconds=60") as server:
        with httpx.Client(base_url=server.address, timeout=60) as client:
            yield Served(client, models)
        assert server.stop() == 0


def events(response: httpx.Response) -> Iterator[tuple[str, Any]]:
    """Yield the events of a stream as they come; every one is valid UTF-8 by itself."""
    held = b""
    for chunk in response.iter_raw():
        held += chunk
        while b"\n\n" in held:
            event, _, held = held.partition(b"\n\n")
            name, data = event.decode("utf-8").split("\n")
            yield name.removeprefix("event: "), json.loads(data.removeprefix("data: "))
    assert not held


def stream(served: Served, **ask: Any) -> list[tuple[str, Any]]:
    with served.client.stream("POST", "/generate", json={"stream": True, **ask}) as response:
        assert response.status_code == 200
        assert response.headers["content-type"].startswith("text/event-stream")
        return list(events(response))


def test_it_says_what_it_can(served: Served) -> None:
    told = {one["name"]: one["can"] for one in served.client.get("/models").json()["models"]}
    assert told == {"writer": ["generate"], "translator": ["translate"], "filler": ["embed", "fill"]}
    facts = served.client.get("/models/writer/model").json()
    assert facts["limits"]["tokens"] == 2000
    assert facts["limits"]["context"] is None
    paths = served.client.get("/openapi.json").json()["paths"]
    body = paths["/generate"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert {"prompt", "stream", "length", "top_p", "stop"} <= set(body["properties"])
    assert body["required"] == ["prompt"]
    assert "cache" not in body["properties"]


@pytest.mark.parametrize(
    "ask",
    [
        {}, {"temperature": 0}, {"seed": 5, "top_k": 9, "repetition_penalty": 1.3}, {"top_p": 0.7, "number": 3},
        {"beams": 3, "number": 2, "length_penalty": 0.5}, {"stop": ["a", "क"]}, {"stop": "e", "temperature": 1.5},
    ],
)  # fmt: skip
def test_generate_gives_what_python_gives(served: Served, ask: dict[str, Any]) -> None:
    answer = served.client.post("/generate", json={"prompt": PROMPT, "length": 40, **ask})
    assert answer.status_code == 200, answer.text
    wanted = served.models["writer"].generate(PROMPT, length=40, device="cpu", **ask)
    records = answer.json()["records"]
    for one, other in zip(records, wanted.records, strict=True):
        assert one.pop("score", 0.0) == pytest.approx(other.pop("score", 0.0), abs=1e-3)
        assert one == other
    if "stop" in ask:
        assert not any(stop in records[0]["text"] for stop in ask["stop"])


def test_translate_and_fill_give_what_python_gives(served: Served) -> None:
    texts = ["The cat sat on the mat.", "बोध का अर्थ है समझ।", "a dog"]
    answer = served.client.post("/models/translator/translate", json={"inputs": texts, "beams": 3, "penalty": 0.7})
    wanted = served.models["translator"].translate(texts, beams=3, penalty=0.7, device="cpu")
    for one, other in zip(answer.json()["records"], wanted, strict=True):
        assert one["score"] == pytest.approx(other["score"], abs=1e-3)
        assert {**one, "score": 0} == {key: other[key] for key in one} | {"score": 0}
    texts = ["The ___ sat on [MASK].", "बोध का ___ है"]
    answer = served.client.post("/models/filler/fill", json={"inputs": texts, "top": 3})
    for one, record in zip(answer.json()["records"], served.models["filler"].fill(texts, top=3), strict=True):
        assert (one["text"], one["filled"]) == (record["text"], record["filled"])
        for gap, other in zip(one["gaps"], record["gaps"], strict=True):
            assert [word["word"] for word in gap] == [word["word"] for word in other]
            assert [word["probability"] for word in gap] == pytest.approx(
                [word["probability"] for word in other], abs=1e-4
            )


def test_a_stream_comes_in_whole_clusters_and_is_the_text(served: Served) -> None:
    found = stream(served, prompt=PROMPT, length=300, seed=2)
    assert {name for name, _ in found[:-1]} == {"text"}
    assert len(found) > 3
    name, last = found[-1]
    assert name == "end"
    pieces = [data["text"] for _, data in found[:-1]]
    assert "".join(pieces) == last["records"][0]["text"]
    whole = served.client.post("/generate", json={"prompt": PROMPT, "length": 300, "seed": 2}).json()
    assert last["records"] == whole["records"]
    for before, piece in zip([PROMPT, *pieces], pieces, strict=False):
        assert piece
        joined = unicodedata.category(piece[0])[0] == "M" or piece[0] in "\u200c\u200d"
        assert not (joined and before[-1].isalpha() and before[-1] >= "\u0300"), (before, piece)
    text = "".join(pieces)
    stopped = stream(served, prompt=PROMPT, length=300, seed=2, stop=[text[40:43]])
    assert "".join(data["text"] for name, data in stopped if name == "text") == text[: text.find(text[40:43])]
    assert stopped[-1][1]["records"][0]["ended"] is True


def _waiting(client: httpx.Client) -> int:
    return int(client.get("/health").json()["waiting"]["writer"])


def test_who_leaves_stops_the_writing(served: Served) -> None:
    with served.client.stream("POST", "/generate", json={"prompt": "a", "length": 2000, "stream": True}) as response:
        reading = events(response)  # kept: dropping it closes the connection
        next(reading)
        assert _waiting(served.client) == 1
    end = time.monotonic() + 10
    while _waiting(served.client):
        assert time.monotonic() < end, "it went on though nobody read it"
    with pytest.raises(httpx.ReadTimeout):  # nor does one that is not streamed go on
        served.client.post("/generate", json={"prompt": "a", "length": 2000, "number": 64}, timeout=0.3)
    end = time.monotonic() + 10
    while _waiting(served.client):
        assert time.monotonic() < end


def test_a_long_text_holds_up_nothing_else(served: Served) -> None:
    with served.client.stream("POST", "/generate", json={"prompt": "a", "length": 2000, "stream": True}) as response:
        reading = events(response)
        next(reading)
        with httpx.Client(base_url=served.client.base_url, timeout=60) as other:
            assert other.get("/health").status_code == 200
            assert other.post("/models/filler/embed", json={"text": "a cat"}).status_code == 200
            short = other.post("/generate", json={"prompt": "a", "length": 2})
            assert short.json()["records"][0]["tokens"] <= 2
            assert _waiting(other) == 1  # the long one is still being written


def test_many_at_once_each_get_their_own(served: Served) -> None:
    wanted = {
        seed: served.models["writer"].generate(PROMPT, length=25, seed=seed, device="cpu")[0] for seed in range(16)
    }

    def ask(seed: int) -> Any:
        with httpx.Client(base_url=served.client.base_url, timeout=60) as client:
            again = Served(client, served.models)
            if seed % 2:
                return stream(again, prompt=PROMPT, length=25, seed=seed)[-1][1]["records"][0]
            answer = client.post("/generate", json={"prompt": PROMPT, "length": 25, "seed": seed})
            return answer.json()["records"][0]

    with ThreadPoolExecutor(16) as pool:
        found = dict(zip(wanted, pool.map(ask, wanted), strict=True))
    assert found == wanted


REFUSED = [
    ("/generate", {}, 422, "prompt: is missing"),
    ("/generate", {"prompt": 1}, 422, "prompt: should be a valid string, given 1"),
    ("/generate", {"prompt": "a", "topk": 3}, 422, "there is no field 'topk' (did you mean 'top_k'?)"),
    ("/generate", {"prompt": "a", "length": "12"}, 422, 'length: should be a valid integer, given "12"'),
    ("/generate", {"prompt": "a", "length": True}, 422, "length: should be a valid integer, given true"),
    ("/generate", {"prompt": "a", "length": 2001}, 422, "length: 2001 is too large; this server allows up to 2000"),
    ("/generate", {"prompt": "a", "length": 0}, 422, "length: should be greater than or equal to 1, given 0"),
    ("/generate", {"prompt": "a " * 2000}, 422, "tokens; this server reads 2000; give a shorter one"),
    ("/generate", {"prompt": "a", "stop": ["b", ""]}, 422, "stop: an empty text ends nothing"),
    ("/generate", {"prompt": "a", "beams": 17}, 422, "beams: 17 is too large; this server allows up to 16"),
    ("/generate", {"prompt": "a", "number": 100}, 422, "number: 100 is too large; this server allows up to 64"),
    ("/generate", {"prompt": "a", "beams": 2, "stream": True}, 422, "stream: one text is sent as it comes"),
    ("/generate", {"prompt": "\ud800"}, 422, "is not Unicode"),
    ("/generate", {"prompt": "a", "cache": False}, 422, "there is no field 'cache'"),
    ("/generate", {"prompt": "a" * 2**21}, 413, "bytes; at most"),
    ("/models/filler/fill", {"text": "no gap"}, 422, "has no gap to fill; write [MASK]"),
    ("/models/filler/fill", {"text": ""}, 422, "has no gap to fill"),
    ("/models/filler/fill", {"text": "w " * 200 + "___"}, 422, "this model reads 31 tokens"),
    ("/models/filler/fill", {"text": "___", "inputs": ["___"]}, 422, "give exactly one of"),
    ("/models/filler/fill", {"inputs": []}, 422, "inputs is empty"),
    ("/models/filler/fill", {"inputs": ["___"] * 65}, 413, "65 texts in one request; at most 64"),
    ("/models/filler/fill", {"text": "___", "top": 0}, 422, "top: should be greater than or equal to 1, given 0"),
    ("/models/translator/translate", {"text": " "}, 422, "text is empty; there is nothing to translate"),
    ("/models/translator/translate", {"text": "w " * 90}, 422, "tokens; this model reads 32; give shorter texts"),
    ("/models/translator/translate", {"text": "w", "length": 32}, 422, "this model writes texts of up to 31 tokens"),
    ("/models/translator/generate", {"prompt": "w"}, 404, "cannot generate: serve the folder of a model of objective"),
    ("/models/writer/fill", {"text": "___"}, 404, "cannot fill: it is no masked language model"),
    ("/models/writer/embed", {"text": "w"}, 404, "cannot embed"),
]


@pytest.mark.parametrize(("path", "body", "status", "message"), REFUSED)
def test_what_cannot_be_asked_is_one_clear_line(
    served: Served, path: str, body: dict[str, Any], status: int, message: str
) -> None:
    content = json.dumps(body).encode()
    answer = served.client.post(path, content=content, headers={"content-type": "application/json"})
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert message in error
    assert "\n" not in error


def test_bodies_that_are_no_json_objects_are_refused(served: Served) -> None:
    for content, kind, status in (
        (b"{", "application/json", 400), (b"[]", "application/json", 400), (b"prompt", "text/plain", 415)
    ):  # fmt: skip
        answer = served.client.post("/generate", content=content, headers={"content-type": kind})
        assert (answer.status_code, list(answer.json())) == (status, ["error"])
