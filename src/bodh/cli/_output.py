"""Where words go: the result to stdout, everything else to stderr."""

from __future__ import annotations

import contextlib
import json
import logging
import math
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, TextIO

from bodh.contracts import Json

if TYPE_CHECKING:
    from rich.console import Console


class Words(logging.Handler):
    """Writes what bodh logs to stderr: the bare line, warnings in yellow on a terminal that has colours.

    It looks `sys.stderr` up at every line, so that a progress bar that has taken stderr over prints above itself.
    """

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line; never raises (logging's own rule)."""
        try:
            text = self.format(record)
            if record.levelno >= logging.WARNING:
                text = coloured("bodh: " + text, "33", sys.stderr)
            elif record.levelno < logging.INFO:
                text = coloured(text, "2", sys.stderr)
            print(text, file=sys.stderr, flush=True)
        except (OSError, ValueError):
            self.handleError(record)


@contextlib.contextmanager
def logged(level: int) -> Iterator[None]:
    """Send what bodh logs from `level` on to stderr while the context lasts."""
    logger, handler = logging.getLogger("bodh"), Words()
    before = logger.level, logger.propagate
    logger.addHandler(handler)
    logger.setLevel(level)
    logger.propagate = False
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before[0])
        logger.propagate = before[1]


@contextlib.contextmanager
def reserved_stdout() -> Iterator[TextIO]:
    """Yield a stream that alone reaches stdout; what anything else prints there goes to stderr.

    The file descriptor is moved too, so that libraries in C and child processes are caught.
    """
    sys.stdout.flush()
    try:
        number = sys.stdout.fileno()
    except (OSError, ValueError, AttributeError):  # no real stdout, as under a test's capture
        stdout = sys.stdout
        with contextlib.redirect_stdout(sys.stderr):
            yield stdout
        return
    saved = os.dup(number)
    os.dup2(sys.stderr.fileno(), number)
    try:
        with contextlib.redirect_stdout(sys.stderr), os.fdopen(saved, "w", encoding="utf-8", closefd=False) as stream:
            stream.reconfigure(errors="backslashreplace")
            yield stream
    finally:
        os.dup2(saved, number)
        os.close(saved)


def use_utf8() -> None:
    """Make both streams write UTF-8 whatever the locale says, and never fail on a character."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(encoding="utf-8", errors="backslashreplace")


def console() -> Console:
    """Return a rich console on stdout: colours and width of the terminal, plain and 100 wide where there is none."""
    from rich.console import Console

    width = None if sys.stdout.isatty() or "COLUMNS" in os.environ else 100
    return Console(file=sys.stdout, width=width, highlight=False, markup=False, emoji=False, soft_wrap=False)


def coloured(text: str, code: str, stream: TextIO) -> str:
    """Return `text` in an ANSI colour where `stream` is a terminal and NO_COLOR is not set."""
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb" or not stream.isatty():
        return text
    return f"\x1b[{code}m{text}\x1b[0m"


def to_json(result: Any) -> Json:
    """Return a verb's result as what JSON can say: `result.to_json()`, paths as text, not-a-number as null."""
    return {} if result is None else dict(_plain(result.to_json()))


def as_line(payload: Json) -> str:
    """Return one line of strict JSON, not ASCII-escaped: names in any script stay readable."""
    return json.dumps(_plain(payload), ensure_ascii=False, allow_nan=False)


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _plain(part) for key, part in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_plain(part) for part in value]
    if isinstance(value, PurePath):
        return str(value)
    if hasattr(value, "tolist"):  # numpy, not imported here
        return _plain(value.tolist())
    raise TypeError(f"a result holds a {type(value).__name__}, which JSON cannot say: {value!r}")
