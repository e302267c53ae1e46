"""The application: models in, FastAPI out. Protocols, the page, and errors as JSON; no torch."""

from __future__ import annotations

import logging
import secrets
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse
from starlette.exceptions import HTTPException

from bodh import __version__, _catalog
from bodh.serving import engine as engines
from bodh.serving import pages
from bodh.serving.config import ServingConfig, cores
from bodh.serving.index import NeighbourIndex
from bodh.serving.problems import Refused
from bodh.serving.runtimes import onnx
from bodh.serving.runtimes.onnx import OnnxModel

log = logging.getLogger("bodh")
_SAFE = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}


def open_models(
    files: Mapping[str, str | Path | Sequence[Path]], *, config: ServingConfig | None = None
) -> dict[str, OnnxModel]:
    """Open exported .onnx files, sharing the threads of the machine among them.

    Args:
        files: by name of the model; two where what it tells and what it writes are in files of their own.
        config: the limits.

    Raises:
        ModelError: one of them is not a model that bodh exported.
    """
    threads = max(1, ((config or ServingConfig()).threads or cores()) // max(1, len(files)))
    models = {}
    for name, given in files.items():
        paths = [given] if isinstance(given, str | Path) else given
        model, *more = (onnx.open_(path, threads=threads) for path in paths)
        for other in more:
            model = model.with_steps_of(other)
        models[name] = model
    return models


def create_app(
    models: Mapping[str, OnnxModel],
    *,
    config: ServingConfig | None = None,
    indexes: Mapping[str, NeighbourIndex] | None = None,
    protocols: Sequence[str] = ("rest",),
) -> FastAPI:
    """Return the application; `app.state.engine` holds what runs.

    Args:
        models: by name, see `open_models`; the first answers paths without a name.
        config: the limits.
        indexes: training records to show as neighbours, by name of the model.
        protocols: file names in `serving/protocols`.

    Raises:
        ModelError: there is no model, or one cannot compute.
    """
    engine = engines.start(models, config=config or ServingConfig(), indexes=indexes)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        engine.close()

    app = FastAPI(title="bodh", version=__version__, docs_url=None, redoc_url=None, lifespan=lifespan)
    app.state.engine = engine
    for protocol in protocols:
        app.include_router(_catalog.get("serving/protocols", protocol).router())
    _add_pages(app)
    _add_errors(app)
    return app


def _add_pages(app: FastAPI) -> None:
    index, reference = pages.page("index"), pages.page("docs")

    async def home() -> HTMLResponse:
        return _page(index)

    async def docs() -> HTMLResponse:
        return _page(reference)

    app.add_api_route("/", home, methods=["GET"], include_in_schema=False)
    app.add_api_route("/docs", docs, methods=["GET"], include_in_schema=False)


def _page(page: pages.Page) -> HTMLResponse:
    return HTMLResponse(page.html, headers={**_SAFE, "Content-Security-Policy": page.policy})


def _add_errors(app: FastAPI) -> None:
    """Every error is {"error": "one sentence"}; what went wrong inside stays inside."""

    async def refused(_: Request, error: Exception) -> JSONResponse:
        known = error if isinstance(error, Refused) else Refused(500, "internal error")
        return JSONResponse({"error": known.message}, status_code=known.status, headers={**_SAFE, **known.headers})

    async def plain(request: Request, error: Exception) -> JSONResponse:
        known = error if isinstance(error, HTTPException) else HTTPException(500)
        message = {
            404: f"nothing at {request.url.path[:80]!r}; see /docs",
            405: f"{request.method} is not for this path; see /docs",
        }.get(known.status_code, str(known.detail))
        return JSONResponse({"error": message}, known.status_code, headers={**_SAFE, **(known.headers or {})})

    async def invalid(_: Request, error: Exception) -> JSONResponse:
        faults = error.errors() if isinstance(error, RequestValidationError) else []
        told = "; ".join(f"{fault['loc'][-1]}: {fault['msg']}" for fault in faults)
        return JSONResponse({"error": told or "the request is not valid"}, 422, headers=_SAFE)

    async def broken(_: Request, error: Exception) -> JSONResponse:
        number = secrets.token_hex(4)
        log.error("request %s failed", number, exc_info=error)
        return JSONResponse({"error": f"internal error; the server's log has it under {number}"}, 500, headers=_SAFE)

    app.add_exception_handler(Refused, refused)
    app.add_exception_handler(HTTPException, plain)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(Exception, broken)
