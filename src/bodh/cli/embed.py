"""`bodh embed`: how its result looks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bodh.cli._command import Command
from bodh.cli._tables import answer, heading, table
from bodh.contracts import Json

if TYPE_CHECKING:
    from rich.console import Console


def show(payload: Json, console: Console) -> None:
    """Print where the vectors are, and which records could not be read."""
    answer(console, f"{payload['records']} vectors of {payload['dim']} numbers: {payload['out']}", "good")
    if payload["skipped"]:
        heading(console, f"{len(payload['skipped'])} records left out")
        table(console, ["record", "reason"], [[row["id"], row["reason"]] for row in payload["skipped"][:20]])


COMMAND = Command("embed", show)
