"""`bodh generate`: how written texts look, at once or as they come."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from bodh.cli._command import Command
from bodh.cli._tables import heading, paragraph
from bodh.contracts import Json

if TYPE_CHECKING:
    from rich.console import Console


def show(payload: Json, console: Console) -> None:
    """Print every text, its prompt first."""
    records = payload["records"]
    for number, record in enumerate(records, start=1):
        score = f", score {record['score']:.3f}" if "score" in record else ""
        if len(records) > 1 or score:
            heading(console, f"Text {number}{score}")
        paragraph(console, record["prompt"] + record["text"] + ("" if record["ended"] else " …"))


def live(result: Any) -> bool:
    """Print a text as it comes; return False where the result is no such text."""
    if not hasattr(result, "prompt"):
        return False
    sys.stdout.write(result.prompt)
    for piece in result:
        sys.stdout.write(piece)
        sys.stdout.flush()
    sys.stdout.write("\n")
    return True


def lines(payload: Json) -> list[Json]:
    """Return one object a text: what a program reads from a pipe."""
    return list(payload["records"])


COMMAND = Command("generate", show, lines, live=live)
