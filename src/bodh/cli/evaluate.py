"""`bodh evaluate`: the verdict and its evidence."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bodh.cli._command import Command
from bodh.cli._tables import paragraph, tables, verdict
from bodh.contracts import Json

if TYPE_CHECKING:
    from rich.console import Console


def show(payload: Json, console: Console) -> None:
    """Print the verdict first, then the tables it rests on."""
    verdict(console, payload["helped"], payload["sentence"])
    tables(console, payload["tables"])
    if payload["report"]:
        console.print()
        paragraph(console, f"report: {payload['report']}")


COMMAND = Command("evaluate", show)
