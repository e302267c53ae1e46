"""The plain HTTP protocol: predict, embed, neighbours, by upload or JSON; fill, generate, translate; model facts."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, cast

import numpy as np
from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse, StreamingResponse

from bodh.contracts import Json
from bodh.model.tagging import first_pieces, record
from bodh.serving import problems
from bodh.serving.batcher import Outputs
from bodh.serving.body import read_uploads
from bodh.serving.config import ServingConfig
from bodh.serving.engine import Engine, Served, Upload
from bodh.serving.protocols import _openapi as openapi
from bodh.serving.protocols import _texts
from bodh.serving.protocols._waiting import unless_gone
from bodh.serving.runtimes.onnx import EMBEDDING, PROBABILITIES, VALUE

Top = Annotated[int, Query(ge=1, le=1000, description="classes listed for each record, the likeliest first")]
Near = Annotated[int, Query(ge=0, le=50, description="nearest training records listed for each record")]
Found = Annotated[int, Query(ge=1, le=50, description="nearest training records listed for each record")]


def router() -> APIRouter:
    """Return the routes; every one that asks a model exists as `/predict` and as `/models/{name}/predict`."""
    routes = APIRouter(default_response_class=JSONResponse)
    asked: list[tuple[str, Callable[..., Any]]] = [
        ("predict", predict),
        ("embed", embed),
        ("neighbours", neighbours),
        ("fill", fill),
        ("generate", generate),
        ("translate", translate),
    ]
    for named in (False, True):
        prefix = "/models/{name}" if named else ""
        for word, handler in asked:
            routes.add_api_route(
                f"{prefix}/{word}",
                handler,
                methods=["POST"],
                operation_id=f"{word}_by_name" if named else word,
                openapi_extra=openapi.asked(word, named=named),
                responses=openapi.responses(word),
                response_model=None,
            )
        routes.add_api_route(
            f"{prefix}/model" if named else "/model",
            model,
            methods=["GET"],
            operation_id="model_by_name" if named else "model",
            openapi_extra=openapi.name_in_path() if named else {},
            responses=openapi.responses("model"),
            response_model=None,
        )
    routes.add_api_route("/models", models, methods=["GET"], operation_id="models", response_model=None)
    routes.add_api_route(
        "/health",
        health,
        methods=["GET"],
        operation_id="health",
        responses=openapi.responses("health"),
        response_model=None,
    )
    return routes


async def predict(request: Request, top: Top = 5, neighbours: Near = 0) -> JSONResponse:
    """Say what is on every record: classes with their probabilities, the likeliest first, or measured numbers.

    With `neighbours`, the nearest training records come along (where the server was started with data).
    """
    answer = await _ask(request, "predict")
    served = answer.served
    said = answer.outputs[VALUE if served.model.manifest.task == "regress" else PROBABILITIES]
    found = _found(served, answer.outputs, neighbours) if neighbours else None
    predictions = []
    for place, upload in enumerate(answer.uploads):
        if served.model.manifest.task == "tags":
            entry = {"input": upload.name, **tagged(upload.raw, said[place], served)}
        else:
            entry = {"input": upload.name, **decision(said[place], served, top)}
        if found is not None:
            entry["neighbours"] = found[place]
        predictions.append(entry)
    return answer.json({"predictions": predictions})


async def embed(request: Request) -> JSONResponse:
    """Return the embedding of every record: the features that the model learned."""
    answer = await _ask(request, "embed")
    vectors = answer.outputs[EMBEDDING]
    return answer.json({"dim": int(vectors.shape[1]), "embeddings": vectors.tolist()})


async def neighbours(request: Request, top: Found = 8) -> JSONResponse:
    """Return the nearest training records of every record, with thumbnails; needs a server started with data."""
    answer = await _ask(request, "neighbours")
    return answer.json({"neighbours": _found(answer.served, answer.outputs, top)})


async def fill(request: Request) -> JSONResponse:
    """Say which words belong where a text has a gap, [MASK] or ___, and how likely each is."""
    return await _texts.fill(*_able(request, "fill"), request)


async def generate(request: Request) -> JSONResponse | StreamingResponse:
    """Go on with a prompt; with "stream": true as server-sent events: text, text, …, end (or error).

    The same seed gives the same text. Whoever closes the connection stops the writing.
    """
    return await _texts.generate(*_able(request, "generate"), request)


async def translate(request: Request) -> JSONResponse:
    """Write for every text what the model learned to write from pairs: its translation."""
    return await _texts.translate(*_able(request, "translate"), request)


async def model(request: Request) -> JSONResponse:
    """Return what the model is: input, outputs, classes, limits, and the manifest that it was exported with."""
    engine = _engine(request)
    served = engine.find(request.path_params.get("name"))
    config = engine.config
    return JSONResponse(
        {
            **_summary(served),
            "outputs": list(served.model.outputs),
            "sha256": served.model.digest,
            "limits": {
                "records": config.records,
                "body_bytes": config.body_bytes,
                "seconds": config.seconds,
                **({} if served.writer is None else _limits(served, config)),
            },
            "manifest": served.model.manifest.to_json(),
        }
    )


def _limits(served: Served, config: ServingConfig) -> Json:
    """Return what a text that the model writes may be: tokens of a prompt and of a text, beams."""
    context = served.writer.context if served.writer is not None else None
    return {"tokens": config.tokens, "context": context, "beams": config.beams}


async def models(request: Request) -> JSONResponse:
    """List the models; the first is the one that paths without a name mean."""
    return JSONResponse({"models": [_summary(served) for served in _engine(request).models.values()]})


async def health(request: Request) -> JSONResponse:
    """Tell whether requests are answered now: 200 when every model computes, else 503 and why."""
    engine = _engine(request)
    trouble = engine.trouble()
    if trouble:
        return JSONResponse({"status": "not ready", "error": trouble}, status_code=503)
    waiting = {name: served.waiting for name, served in engine.models.items()}
    return JSONResponse({"status": "ready", "waiting": waiting})


@dataclass(frozen=True)
class _Answer:
    served: Served
    uploads: list[Upload]
    outputs: Outputs
    seconds: float

    def json(self, content: Json) -> JSONResponse:
        return JSONResponse(
            {"model": self.served.name, **content, "milliseconds": round(1000 * self.seconds, 2)},
            headers={"Cache-Control": "no-store"},
        )


async def _ask(request: Request, route: str) -> _Answer:
    """Read the records of a request and compute them.

    Raises:
        Refused: whatever stood in the way.
    """
    engine, served = _able(request, route)
    with engine.admitted() as deadline:
        uploads = await read_uploads(request, served.model.input, engine.config)
        started = time.monotonic()
        work = engine.outputs(served, uploads, deadline=deadline)
        outputs = await unless_gone(request, work, seconds=deadline - time.monotonic())
        return _Answer(served, uploads, outputs, time.monotonic() - started)


def _able(request: Request, route: str) -> tuple[Engine, Served]:
    """Return the engine, and the model that a request asks.

    Raises:
        Refused: 404, there is no such model, or it cannot do that.
    """
    engine = _engine(request)
    served = engine.find(request.path_params.get("name"))
    if route not in served.routes:
        raise problems.unknown(_cannot(served, route))
    return engine, served


def tagged(raw: Any, told: np.ndarray, served: Served) -> Json:
    """Return what probabilities [t k] of tokens say of the words of a text; words beyond what is read have no tag."""
    modality, names = cast("Any", served.modality), served.model.manifest.class_names
    text, spans = modality.spans(raw)
    first = first_pieces(modality.decode(raw), modality.prepared_shape[0])
    said = record(text, spans[: len(first)], told[first], names)
    return said | ({"unread": len(spans) - len(first)} if len(first) < len(spans) else {})


def decision(probabilities: np.ndarray, served: Served, top: int) -> Json:
    """Return what probabilities [k] say: the class, or the classes where a record may have several; or numbers [k]."""
    names = served.model.manifest.class_names
    if served.model.manifest.task == "regress":
        return {"values": {name: float(value) for name, value in zip(names, probabilities, strict=True)}}
    order = np.argsort(-probabilities, kind="stable")
    best = [{"class": names[i], "probability": round(float(probabilities[i]), 6)} for i in order[:top]]
    if served.model.manifest.task == "multi":
        return {"classes": [names[i] for i in order if probabilities[i] > 0.5], "top": best}
    return {**best[0], "top": best}


def _found(served: Served, outputs: Outputs, top: int) -> list[list[Json]]:
    if served.index is None or EMBEDDING not in outputs:
        raise problems.unknown(_cannot(served, "neighbours"))
    return served.index.nearest(outputs[EMBEDDING], top)


def _cannot(served: Served, route: str) -> str:
    hint = {
        "neighbours": "start the server with the training data: bodh serve MODEL --data DATA",
        "predict": "it has no classes; give it some: bodh finetune DATA --from MODEL",
        "embed": "export it with all capabilities: bodh export MODEL --format onnx",
        "fill": "it is no masked language model; train one: bodh pretrain TEXTS --objective masked_lm",
        "generate": "serve the folder of a model of objective causal_lm, or its export with --capability generate",
        "translate": "serve the folder of a model of objective seq2seq, or its export with --capability translate",
    }[route]
    return f"the model {served.name!r} cannot {route if route != 'neighbours' else 'show neighbours'}: {hint}"


def _summary(served: Served) -> Json:
    manifest = served.model.manifest
    return {
        "name": served.name,
        "can": list(served.routes),
        "modality": manifest.modality.name,
        "task": manifest.task,
        "input": served.model.input.model_dump(mode="json"),
        "class_names": list(manifest.class_names),
        "neighbours_among": len(served.index) if served.index is not None else 0,
    }


def _engine(request: Request) -> Engine:
    engine: Engine = request.app.state.engine
    return engine
