"""`bodh fill`: how the words for gaps look."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bodh.cli._command import Command
from bodh.cli._tables import heading, table
from bodh.contracts import Json

if TYPE_CHECKING:
    from rich.console import Console


def show(payload: Json, console: Console) -> None:
    """Print every text with its likeliest words, and a table of words for each gap."""
    for record in payload["records"]:
        heading(console, record["filled"])
        for gap in record["gaps"]:
            table(console, ["word", "probability"], [[one["word"], f"{one['probability']:.1%}"] for one in gap])


def lines(payload: Json) -> list[Json]:
    """Return one object a text: what a program reads from a pipe."""
    return list(payload["records"])


COMMAND = Command("fill", show, lines)
