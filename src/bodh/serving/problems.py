"""What a server says instead of an answer: a status, one clear sentence, and never anything of its inside."""

from __future__ import annotations

import logging
from collections.abc import Mapping

log = logging.getLogger("bodh")


class Refused(Exception):  # noqa: N818 -- an answer, not a failure of ours
    """A request that gets no result; protocols write it in their own form.

    Attributes:
        status: HTTP status.
        message: one sentence for the caller: what was wrong, what is allowed.
        headers: further headers (Retry-After).
    """

    def __init__(self, status: int, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.headers = dict(headers or {})


def malformed(message: str) -> Refused:
    """Return a 400: the request is not what it should be."""
    return Refused(400, message)


def unknown(message: str) -> Refused:
    """Return a 404: no such thing here."""
    return Refused(404, message)


def too_large(message: str) -> Refused:
    """Return a 413: over a limit. The connection is closed, for the rest of the body is not read."""
    return Refused(413, message, {"Connection": "close"})


def unreadable(message: str) -> Refused:
    """Return a 422: the request is well formed, but its content is not a record."""
    return Refused(422, message)


def busy() -> Refused:
    """Return a 429: try again shortly. Not a 5xx: proxies would take the server for broken."""
    return Refused(429, "too many requests at once; try again in a second", {"Retry-After": "1"})


def not_ready(why: str) -> Refused:
    """Return a 503."""
    return Refused(503, why, {"Retry-After": "5"})


def too_late(what: str = "send fewer records at once") -> Refused:
    """Return a 504: the answer would have come too late; `what` would have been quicker."""
    return Refused(504, f"no answer within the time limit; {what}, or try again later")


SHORTER = "ask for fewer or shorter texts"
"""What is quicker to write."""
