from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from fastapi import FastAPI

from bodh.serving.app import create_app, open_models
from bodh.serving.config import ServingConfig
from bodh.serving.index import NeighbourIndex, unit
from tests.unit.serving import tiny

MakeApp = Callable[..., FastAPI]


class Caller:
    """Sends requests to an application in this process."""

    def __init__(self, app: FastAPI) -> None:
        self.app = app

    def __call__(self, method: str, path: str, **more: Any) -> httpx.Response:
        return self.together([(method, path, more)])[0]

    def together(self, requests: list[tuple[str, str, dict[str, Any]]]) -> list[httpx.Response]:
        async def send() -> list[httpx.Response]:
            transport = httpx.ASGITransport(app=self.app, raise_app_exceptions=False)
            async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
                return await asyncio.gather(*(client.request(m, p, timeout=20, **more) for m, p, more in requests))

        return asyncio.run(send())


@pytest.fixture
def make_app(tmp_path: Path) -> Iterator[MakeApp]:
    """Return a function that makes an application of tiny models; all of them are closed at the end."""
    made: list[FastAPI] = []

    def make(*, index: bool = True, models: dict[str, dict[str, Any]] | None = None, **limits: Any) -> FastAPI:
        config = ServingConfig(**{"threads": 1, "decoders": 2, **limits})
        files = {
            name: tiny.write(tmp_path / f"{name}.onnx", **how)
            for name, how in (models or {"colours": {}, "features": {"predict": False}}).items()
        }
        known = NeighbourIndex(
            vectors=unit(np.array(tiny.COLOURS, dtype=np.float32)),
            ids=["red.png", "हरा.png", "blue.png"],
            labels=["लाल", "green <b>", ""],
            thumbnails=[tiny.picture(colour, size=(4, 4)) for colour in tiny.COLOURS],
        )
        indexes = {next(iter(files)): known} if index else {}
        app = create_app(open_models(files, config=config), config=config, indexes=indexes)
        made.append(app)
        return app

    yield make
    for app in made:
        app.state.engine.close()


@pytest.fixture
def call(make_app: MakeApp) -> Caller:
    return Caller(make_app())
