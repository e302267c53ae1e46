"""A real server around the application: one socket, draining shutdown, exit code 0 after SIGTERM."""

from __future__ import annotations

import logging
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from fastapi import FastAPI

from bodh import _optional
from bodh.errors import UserError

_BACKLOG = 2048
_SEARCHED = 100
log = logging.getLogger("bodh")


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
    except OSError as error:
        free = _next_free(family, address)
        hint = f"; the next free one is {free}, type: --port {free}" if free else "; choose another with --port"
        if isinstance(error, PermissionError):
            raise UserError(f"port {port} may not be used by this user; type: --port 8000") from None
        if free is None and port and not _could_bind(family, address):
            raise UserError(f"cannot serve at host {host!r}: {_reason(error)}; type: --host 127.0.0.1") from None
        raise UserError(f"port {port} on {host} is in use{hint}") from None


def run(app: FastAPI, listening: socket.socket, *, drain_seconds: int) -> None:
    """Serve until SIGINT or SIGTERM: then take no more, finish what was accepted, and return.

    Args:
        app: what `create_app` returned.
        listening: what `bind` returned; closed at the end.
        drain_seconds: time that accepted requests get.
    """
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
    server = uvicorn.Server(config)
    app.state.engine.stopping = lambda: server.should_exit
    with _quiet_signals():
        server.run(sockets=[listening])


@contextmanager
def _quiet_signals() -> Iterator[None]:
    """Uvicorn raises the signal that stopped it once more when it is done; by then it has been answered."""
    before: dict[signal.Signals, Any] = {}
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    for number in (signal.SIGINT, signal.SIGTERM):
        before[number] = signal.signal(number, lambda *_: None)
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


def _could_bind(family: int, address: Any) -> bool:
    """Return whether any port of this address can be had."""
    try:
        _listen(family, (address[0], 0, *address[2:])).close()
    except OSError:
        return False
    return True


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
