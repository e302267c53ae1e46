"""`bodh list`: how listings look."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bodh.cli._command import Command
from bodh.cli._tables import heading, paragraph, table
from bodh.contracts import Json

if TYPE_CHECKING:
    from rich.console import Console


def show(payload: Json, console: Console) -> None:
    """Print names with one line each, or everything about one of them."""
    if payload["name"] is not None:
        _one(payload, console)
        return
    kinds = list(dict.fromkeys(row["kind"] for row in payload["rows"]))
    for kind in kinds:
        heading(console, kind)
        rows = [[row["name"], row["summary"]] for row in payload["rows"] if row["kind"] == kind]
        table(console, ["name", "what it is"], rows, header=False)
    console.print()
    paragraph(console, f"More about one: bodh list {payload['kind'] or 'KIND'} NAME", dim=True)


def _one(payload: Json, console: Console) -> None:
    heading(console, f"{payload['kind']} · {payload['name']}")
    paragraph(console, payload["text"])
    if payload["stages"]:
        _stages(payload["stages"], console)
    if payload["settings"]:
        console.print()
        rows = [[s["key"], s["default"], s["allowed"] or s["kind"], s["meaning"]] for s in payload["settings"]]
        table(console, ["setting", "default", "allowed", "meaning"], rows)
    if payload["members"]:
        heading(console, f"{len(payload['members'])} networks")
        paragraph(console, "  ".join(payload["members"]))


def _stages(stages: list[Json], console: Console) -> None:
    """Print the stages from input to output, and what each --freeze would leave as it is."""
    heading(console, "stages, from input to output")
    rows = []
    for place, stage in enumerate(stages):
        before = ", ".join(one["stage"] for one in stages[:place][-3:])
        frozen = "none" if not place else f"{'… ' if place > 3 else ''}{before}"
        share = f"{100 * (1 - stage['so_far'] + stage['share']):.1f} %"
        rows.append(
            [stage["stage"], f"{stage['parameters']:,}", f"{100 * stage['so_far']:.1f} %",
             f"--freeze {stage['freeze']}", share, frozen]
        )  # fmt: skip
    table(console, ["stage", "parameters", "so far", "trained from here", "of the network", "then frozen"], rows)
    total = sum(stage["parameters"] for stage in stages)
    text = f"{total:,} parameters. --freeze backbone trains a head only; --freeze none trains everything."
    paragraph(console, text, dim=True)


COMMAND = Command("list", show)
