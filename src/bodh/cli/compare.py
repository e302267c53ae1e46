"""`bodh compare`: one table of all objectives, or of all ways to transfer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bodh.cli._command import Command
from bodh.cli._tables import answer, measured, paragraph, rows_of, table
from bodh.contracts import Json

if TYPE_CHECKING:
    from rich.console import Console


def show(payload: Json, console: Console) -> None:
    """Print what the table says, and the table."""
    word = "Recommended" if payload.get("line") else "Ahead"
    answer(console, f"{word}: {payload['best'] or 'none of them'}", "good" if payload["best"] else "neutral")
    paragraph(console, payload["sentence"])
    console.print()
    table(console, *rows_of(measured(payload["table"])))
    console.print()
    if payload.get("line"):
        paragraph(console, payload["line"])
    paragraph(console, f"report: {payload['report']}")


COMMAND = Command("compare", show)
