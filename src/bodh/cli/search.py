"""`bodh search`: how neighbours look."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bodh.cli._command import Command
from bodh.cli._tables import heading, paragraph, table
from bodh.contracts import Json

if TYPE_CHECKING:
    from rich.console import Console


def show(payload: Json, console: Console) -> None:
    """Print the nearest records, the nearest first."""
    heading(console, f"Nearest to {payload['query']}")
    rows = [[row["rank"], row["id"], row["label"], f"{row['similarity']:.4f}"] for row in payload["rows"]]
    table(console, ["rank", "record", "label", "similarity"], rows)
    how = "all compared" if payload["exact"] else "through an index: near ones, not surely the nearest"
    paragraph(console, f"{payload['searched']} records, {how}", dim=True)


COMMAND = Command("search", show)
