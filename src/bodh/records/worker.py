"""A process that decodes records: the far end of `pool.Pool`.

It is started as a plain new interpreter, so that it inherits no threads and no locks, and so that a script without
an `if __name__ == "__main__"` guard works too. It speaks over its standard input and output; whatever a library
prints goes to standard error instead. It ends when its parent is gone.
"""

from __future__ import annotations

import os
import queue
import signal
import threading
from collections.abc import Iterator
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from bodh.contracts import Modality, Source
from bodh.errors import BadRecord

PART_BYTES = 4 << 20
"""Decoded bytes after which a worker passes on what it has."""
PARTS_AHEAD = 4
"""Parts that wait to be fetched before a worker pauses."""


def decode(source: Source, modality: Modality, index: int) -> np.ndarray | str:
    """Return record `index` in stored form, or the reason why it cannot be read."""
    try:
        row = np.ascontiguousarray(modality.decode(source.read(index)))
    except BadRecord as error:
        return " ".join(str(error).split()) or "cannot be read"
    except MemoryError:
        return "too large for the memory of this machine"
    except Exception as error:  # noqa: BLE001 - one odd file must not end a pass over a million; many of them will
        return " ".join(f"unexpected {type(error).__name__}: {error}".split())
    return row if row.size else "it is empty"


def parts(
    source: Source, modality: Modality, positions: np.ndarray
) -> Iterator[tuple[list[np.ndarray], list[tuple[int, str]], bool]]:
    """Decode in order, some at a time: rows, (position, reason) of broken ones, and whether these are the last."""
    rows: list[np.ndarray] = []
    reasons: list[tuple[int, str]] = []
    held = 0
    for position in positions.tolist():
        row = decode(source, modality, position)
        if isinstance(row, str):
            reasons.append((position, row))
            continue
        rows.append(row)
        held += row.nbytes
        if held >= PART_BYTES:
            yield rows, reasons, False
            rows, reasons, held = [], [], 0
    yield rows, reasons, True


def joined(rows: list[np.ndarray]) -> bytes:
    """Return the bytes of the rows, one after the other."""
    return b"".join(row.data.cast("B") for row in rows)


def main() -> None:
    """Serve decode requests until the parent closes the pipe."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent ends us in order
    requests, answers = Connection(os.dup(0), writable=False), Connection(os.dup(1), readable=False)
    os.dup2(2, 1)
    ready: queue.Queue[Any] = queue.Queue(PARTS_AHEAD)
    sender = threading.Thread(target=_send, args=(answers, ready), daemon=True)
    sender.start()
    try:
        source, modality = requests.recv()
        ready.put(True)
        while True:
            for part in parts(source, modality, requests.recv()):
                ready.put(part)
    except EOFError:
        os._exit(0)  # the parent is gone or done; what is still queued has no reader
    except Exception as error:  # noqa: BLE001 - told to the parent, which raises it
        import traceback

        ready.put(f"{type(error).__name__}: {error}\n{traceback.format_exc()}")
        ready.put(None)
        sender.join()


def _send(answers: Connection, ready: queue.Queue[Any]) -> None:
    try:
        while (part := ready.get()) is not None:
            if isinstance(part, str | bool):
                answers.send(part)
                continue
            rows, reasons, last = part
            kinds = sorted({(str(row.dtype), row.ndim) for row in rows})
            answers.send((kinds, [row.shape for row in rows], reasons, last))
            if rows:
                answers.send_bytes(joined(rows))
    except OSError:
        os._exit(0)  # the parent is gone
