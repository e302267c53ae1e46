"""A real server around the application: one socket, draining shutdown, exit code 0 after SIGTERM."""

from __future__ import annotations

import asyncio
import errno
import logging
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from fastapi import FastAPI

from bodh import _optional
from bodh.errors import UserError

_ARRIVING = 0.5
"""Seconds in which requests on connections that were accepted may still arrive, after no more are accepted."""
_BACKLOG = 2048
_SEARCHED = 100


def bind(host: str, port: int) -> socket.socket:
    """Return a listening socket, so that a port in use is known before a model is loaded.

    Raises:
        UserError: the port is in use (the message names the next free one), or the address is not this machine's.
    """
    try:
        entries = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        raise UserError(f"cannot serve at host {host!r}: {_reason(error)}; type: --host 127.0.0.1") from None
    family, _, _, _, address = entries[0]
    try:
        return _listen(family, address)
    except PermissionError:
        raise UserError(f"port {port} may not be used by this user; type: --port 8000") from None
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise UserError(f"cannot serve at host {host!r}: {_reason(error)}; type: --host 127.0.0.1") from None
        free = _next_free(family, address)
        hint = f"the next free one is {free}, type: --port {free}" if free else "type: --port 0 for any free one"
        raise UserError(f"port {port} on {host} is in use; {hint}") from None


def run(app: FastAPI, listening: socket.socket, *, drain_seconds: int, announce: Callable[[], None]) -> None:
    """Serve until SIGINT or SIGTERM: then take no more, finish what was accepted, and return.

    Args:
        app: what `create_app` returned.
        listening: what `bind` returned; closed at the end.
        drain_seconds: time that accepted requests get.
        announce: called once, when requests are taken and a signal would be heeded.
    """
    for chatty in (
        "python_multipart",
        "PIL",
    ):  # they repeat what a stranger sent, line by line; the answer says it once
        logging.getLogger(chatty).setLevel(logging.CRITICAL)
    uvicorn = _optional.require("uvicorn", extra="serve", feature="serving a model")
    config = uvicorn.Config(
        app,
        log_config=None,
        log_level="warning",
        access_log=False,
        lifespan="on",
        timeout_keep_alive=15,
        timeout_graceful_shutdown=drain_seconds,
        server_header=False,
        h11_max_incomplete_event_size=64 * 1024,
    )
    server = _draining(uvicorn)(config)
    app.state.engine.stopping = lambda: server.should_exit

    def stop(*_: object) -> None:
        server.should_exit = True

    with _on_signals(stop):
        announce()
        server.run(sockets=[listening])


def _draining(uvicorn: Any) -> Any:
    """Return uvicorn's server, which would close a connection whose request it has not read yet, made to read it."""

    class Draining(uvicorn.Server):  # type: ignore[misc]
        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            for one in self.servers:
                one.close()
            for one in sockets or []:
                one.close()
            await asyncio.sleep(_ARRIVING)
            await super().shutdown(sockets)

    return Draining


@contextmanager
def _on_signals(stop: Callable[..., None]) -> Iterator[None]:
    """Call `stop` on SIGINT and SIGTERM while uvicorn does not listen to them itself.

    That is before it has begun, and after it has ended: then it raises the signal that stopped it once more, which
    would end the process as if nothing had been done about it.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _listen(family: int, address: Any) -> socket.socket:
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(_BACKLOG)
        listening.set_inheritable(False)
    except OSError:
        listening.close()
        raise
    return listening


def _next_free(family: int, address: Any) -> int | None:
    port = address[1]
    for candidate in range(port + 1, min(port + _SEARCHED, 65535) + 1):
        try:
            _listen(family, (address[0], candidate, *address[2:])).close()
        except OSError:
            continue
        return int(candidate)
    return None


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
