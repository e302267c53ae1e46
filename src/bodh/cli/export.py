"""`bodh export`: the file and its proof."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bodh.cli._command import Command
from bodh.cli._tables import answer, paragraph, parity
from bodh.contracts import Json

if TYPE_CHECKING:
    from rich.console import Console


def show(payload: Json, console: Console) -> None:
    """Print the file and the parity table that it passed."""
    answer(console, f"{payload['out']} ({payload['bytes'] / 1e6:.2f} MB) computes what the model computes", "good")
    parity(console, payload["parity"])
    console.print()
    paragraph(console, f"the comparison is kept in {payload['proof']}", dim=True)


COMMAND = Command("export", show)
