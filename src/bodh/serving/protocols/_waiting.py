"""Work for a caller that may leave: it is cancelled then."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from fastapi import Request

from bodh.serving import problems

T = TypeVar("T")


async def unless_gone(request: Request, work: Coroutine[Any, Any, T], *, seconds: float) -> T:
    """Return the result of `work`; cancel it where the caller leaves or the time is over.

    Raises:
        Refused: 499, the caller left; 504, the time is over.
    """
    task, gone = asyncio.ensure_future(work), asyncio.ensure_future(_disconnected(request))
    try:
        await asyncio.wait({task, gone}, timeout=max(0.0, seconds), return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        raise problems.Refused(499, "the caller left") if gone.done() else problems.too_late()
    finally:
        task.cancel()
        gone.cancel()
        await asyncio.gather(task, gone, return_exceptions=True)


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
