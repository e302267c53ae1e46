"""`bodh compare`: one table of all objectives."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bodh.cli._command import Command
from bodh.cli._tables import answer, measured, paragraph, rows_of, table
from bodh.contracts import Json

if TYPE_CHECKING:
    from rich.console import Console


def show(payload: Json, console: Console) -> None:
    """Print what the table says, and the table."""
    answer(console, f"Ahead: {payload['best'] or 'none of them'}", "good" if payload["best"] else "neutral")
    paragraph(console, payload["sentence"])
    console.print()
    table(console, *rows_of(measured(payload["table"])))
    console.print()
    paragraph(console, f"report: {payload['report']}")


COMMAND = Command("compare", show)
