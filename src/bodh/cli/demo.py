"""`bodh demo`: what the whole way gave."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bodh.cli._command import Command
from bodh.cli._tables import TITLES, facts, heading, measured, paragraph, parity, rows_of, table, verdict
from bodh.contracts import Json

if TYPE_CHECKING:
    from rich.console import Console


def show(payload: Json, console: Console) -> None:
    """Print the verdict, the label budget, the parity, the server's answer, and what to try next."""
    verdict(console, payload["helped"], payload["sentence"])
    heading(console, TITLES["budget"])
    table(console, *rows_of(measured(payload["budget"], percent=True)))
    heading(console, "The exported file against the model")
    parity(console, payload["parity"])
    heading(console, "Steps")
    facts(console, {name: f"{seconds:.1f} s" for name, seconds in payload["seconds"].items()})
    paragraph(console, f"a real server answered one picture in {payload['served']['milliseconds']} ms", dim=True)
    heading(console, "Next, with your own data")
    for line in payload["next"]:
        console.print(f"  {line}", soft_wrap=True)
    console.print()
    paragraph(console, f"report: {payload['report']}")


COMMAND = Command("demo", show)
