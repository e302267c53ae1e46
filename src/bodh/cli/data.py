"""`bodh data`: what is in there, and what is wrong with it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bodh.cli._command import Command
from bodh.cli._tables import answer, facts, heading, paragraph, rows_of, table, text, words
from bodh.contracts import Json

if TYPE_CHECKING:
    from rich.console import Console

SHOWN = 20
"""Rows of a long table; `--json` has all of them."""


def show(payload: Json, console: Console) -> None:
    """Print what is there, what to know about it, and the records that are broken or double."""
    tone = "bad" if payload["broken"] else "neutral" if payload["findings"] else "good"
    answer(console, f"{payload['name']}: {payload['records']} records, labels: {payload['labels']}", tone)
    paragraph(console, payload["reading"])
    if payload["freed"] is not None:
        paragraph(console, f"{payload['freed'] / 1e6:.1f} MB set free")
    for row in payload["findings"]:
        console.print(f"- {row['finding']}")
    _part(console, "Parts", payload["splits"])
    _part(console, "Classes", payload["classes"])
    _part(console, "Measured numbers", payload["numbers"])
    for name in ("sizes", "formats"):
        if payload[name]:
            heading(console, name.capitalize())
            facts(console, {words(str(key)): _counts(value) for key, value in payload[name].items()})
    _part(console, "Cannot be read", payload["broken"])
    _part(console, "There more than once", [_group(row) for row in payload["duplicates"]])


def _part(console: Console, title: str, rows: list[Json]) -> None:
    if rows:
        heading(console, title)
        table(console, *rows_of(rows[:SHOWN]))
        if len(rows) > SHOWN:
            paragraph(console, f"… and {len(rows) - SHOWN} more; --json tells all", dim=True)


def _counts(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {text(count)}" for name, count in value.items())
    return text(value)


def _group(row: Json) -> Json:
    names = row["ids"]
    more = f" … ({len(names)})" if len(names) > 4 else ""
    told = {"kind": row["kind"], "parts": text(row["parts"]), "records": ", ".join(names[:4]) + more}
    return told | ({"text": row["text"]} if "text" in row else {})


COMMAND = Command("data", show)
