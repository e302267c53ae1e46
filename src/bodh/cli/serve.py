"""`bodh serve`: runs until it is stopped; its address is logged."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bodh.cli._command import Command
from bodh.cli._tables import anything
from bodh.contracts import Json

if TYPE_CHECKING:
    from rich.console import Console


def show(payload: Json, console: Console) -> None:
    """Print what the server said when it ended, if anything."""
    anything(payload, console)


COMMAND = Command("serve", show)
