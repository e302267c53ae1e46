"""`bodh caption`: how captions look, on a terminal and in a pipe."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bodh.cli._command import Command
from bodh.cli._tables import heading, paragraph, table
from bodh.contracts import Json

if TYPE_CHECKING:
    from rich.console import Console


def show(payload: Json, console: Console) -> None:
    """Print a picture and its caption a row, or why it cannot be read."""
    rows = [
        [record["id"], f"unreadable: {record['error']}"]
        if "error" in record
        else [record["id"], record["caption"] + ("" if record["ended"] else " …")]
        for record in payload["records"]
    ]
    if rows:
        console.print()
        table(console, ["picture", "caption"], rows)
    if payload["out"]:
        heading(console, f"{payload['count']} pictures, {payload['broken']} unreadable")
        paragraph(console, payload["out"])


def lines(payload: Json) -> list[Json]:
    """Return one object a picture: what a program reads from a pipe."""
    return list(payload["records"])


COMMAND = Command("caption", show, lines)
