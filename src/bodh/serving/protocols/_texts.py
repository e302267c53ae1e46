"""The routes of models that write: fill, generate, translate. JSON in; JSON out, or server-sent events as text comes.

Events (https://html.spec.whatwg.org/multipage/server-sent-events.html): `text` with {"text": a piece}, none of which
ends within a character or between a letter and its signs; then `end` with what /generate answers without a stream; or
`error` with {"error": why}.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, cast

from fastapi import Request
from fastapi.responses import JSONResponse, StreamingResponse

from bodh.contracts import Json
from bodh.serving import asks, problems, written
from bodh.serving.body import read_json
from bodh.serving.engine import Engine, Served
from bodh.serving.protocols._waiting import unless_gone
from bodh.serving.runtimes.onnx import LOGITS

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

    from bodh.model.fill import Filler
    from bodh.model.writing import Translates, Writes
    from bodh.serving.turns import Job

NOT_KEPT = {"Cache-Control": "no-store"}


async def fill(engine: Engine, served: Served, request: Request) -> JSONResponse:
    """Answer which words belong into the gaps of texts."""
    with engine.admitted() as deadline:
        texts, ask = asks.fill(await read_json(request, engine.config), engine.config)
        started = time.monotonic()
        filler = cast("Filler", served.filler)

        async def work() -> list[Json]:
            rows = await engine.in_thread(lambda: written.gap_rows(filler, texts))
            ids = served.modality.standardise(rows)
            logits = (await engine.computed(served, ids, deadline=deadline))[LOGITS]
            told = [filler.told(*one, ask.top) for one in zip(ids, logits, strict=True)]
            return [one.to_json(text) for text, one in zip(texts, told, strict=True)]

        records = await unless_gone(request, work(), seconds=deadline - time.monotonic())
        return _answer(served, records, started)


async def translate(engine: Engine, served: Served, request: Request) -> JSONResponse:
    """Answer what the model writes for texts."""
    with engine.admitted() as deadline:
        texts, ask = asks.translate(await read_json(request, engine.config), engine.config)
        started = time.monotonic()

        async def work() -> Any:
            rows = await engine.in_thread(lambda: written.source_rows(served.modality, texts))
            writing = written.translation(cast("Translates", served.writer), served.modality, rows, ask)
            return await engine.written(engine.write(served, writing, deadline=deadline, tell=_nobody))

        records = await unless_gone(request, work(), seconds=deadline - time.monotonic())
        return _answer(served, records, started)


async def generate(engine: Engine, served: Served, request: Request) -> JSONResponse | StreamingResponse:
    """Answer how a text goes on: at once, or as it comes."""
    place = engine.admitted()
    deadline = place.__enter__()
    streams = False
    try:
        ask = asks.generate(await read_json(request, engine.config), engine.config)
        started = time.monotonic()
        writer = cast("Writes", served.writer)
        row = await engine.in_thread(
            lambda: written.prompt_row(served.modality, ask.prompt, context=writer.context, most=engine.config.tokens)
        )
        work = written.generation(writer, served.modality, row, ask)
        if not ask.stream:
            job = engine.write(served, work, deadline=deadline, tell=_nobody)
            records = await unless_gone(request, engine.written(job), seconds=deadline - time.monotonic())
            return _answer(served, records, started)
        pieces: asyncio.Queue[str | None] = asyncio.Queue()
        tell = _teller(pieces)
        job = engine.write(served, work, deadline=deadline, tell=tell)
        job.future.add_done_callback(lambda _: tell(None))
        streams = True
        return _Events(_events(engine, served, job, pieces, started), job, place)
    finally:
        if not streams:
            place.__exit__(None, None, None)


class _Events(StreamingResponse):
    """Server-sent events; whatever ends them, the job is left and the place is free again."""

    def __init__(self, events: AsyncIterator[str], job: Job, place: AbstractContextManager[float]) -> None:
        super().__init__(events, media_type="text/event-stream", headers=NOT_KEPT | {"X-Accel-Buffering": "no"})
        self._job, self._place = job, place

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._job.leave()
            self._place.__exit__(None, None, None)


async def _events(
    engine: Engine, served: Served, job: Job, pieces: asyncio.Queue[str | None], started: float
) -> AsyncIterator[str]:
    while (piece := await pieces.get()) is not None:
        more = [pieces.get_nowait() for _ in range(pieces.qsize())]  # what came while the last was sent goes together
        yield _event("text", {"text": "".join([piece, *(one for one in more if one is not None)])})
        if None in more:
            break
    try:
        records = await engine.written(job)
    except problems.Refused as refused:
        yield _event("error", {"error": refused.message})
    except Exception:  # noqa: BLE001 -- the answer has begun: it cannot become a 500 any more
        problems.log.exception("a stream of %s failed", served.name)
        yield _event("error", {"error": "internal error"})
    else:
        yield _event("end", _content(served, records, started))


def _event(name: str, data: Json) -> str:
    return f"event: {name}\ndata: {json.dumps(data, ensure_ascii=False)}\n\n"


def _teller(pieces: asyncio.Queue[str | None]) -> Any:
    """Return a function for another thread that puts pieces into the queue."""
    loop = asyncio.get_running_loop()

    def tell(piece: str | None) -> None:
        if not loop.is_closed():
            loop.call_soon_threadsafe(pieces.put_nowait, piece)

    return tell


def _nobody(piece: str) -> None:
    """Whoever asked wants the whole alone."""


def _answer(served: Served, records: list[Json], started: float) -> JSONResponse:
    return JSONResponse(_content(served, records, started), headers=NOT_KEPT)


def _content(served: Served, records: list[Json], started: float) -> Json:
    return {
        "model": served.name, "records": records, "milliseconds": round(1000 * (time.monotonic() - started), 2)
    }  # fmt: skip
