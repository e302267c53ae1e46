"""The few shapes in which verbs print: headings, tables, facts, paragraphs. One look for all of them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

TITLES = {
    "knn": "Nearest neighbours, %", "linear": "Linear probe, %", "linear_blocks": "Linear probe of every block, %",
    "budget": "Label budget, %",
}  # fmt: skip
"""Tables of shares that are shown in percent."""

TONES = {"good": "bold green", "bad": "bold red", "neutral": "bold yellow"}


def heading(console: Console, text: str) -> None:
    """Print a heading with an empty line above."""
    console.print()
    console.print(text, style="bold")


def answer(console: Console, text: str, tone: str) -> None:
    """Print the one line that matters, in the colour of its tone: good, bad, neutral."""
    console.print()
    console.print(text, style=TONES[tone])


def paragraph(console: Console, text: str, *, dim: bool = False) -> None:
    """Print text; lines that were wrapped in the source are joined, short lines and empty ones stay."""
    if not text:
        return
    joined, before = "", ""
    for line in text.splitlines():
        wrapped = len(before) > 80 and line.strip()
        joined += f" {line.strip()}" if wrapped else f"\n{line}"
        before = line
    console.print(joined.removeprefix("\n"), style="dim" if dim else None)


def table(console: Console, columns: Sequence[str], rows: Sequence[Sequence[Any]], *, header: bool = True) -> None:
    """Print rows under `columns`: numbers to the right, text to the left, wrapped where it is too wide, never cut."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    shown = Table(
        box=SIMPLE_HEAD if header else None, show_header=header, pad_edge=False, show_edge=False, padding=(0, 2, 0, 0)
    )
    widths = [
        max([len(name) * header, *(len(text(row[number])) for row in rows)], default=0)
        for number, name in enumerate(columns)
    ]
    # the last column wraps alone where it is a text beside short names; else all of them share the width
    last_wraps = sum(widths[:-1]) + 3 * len(widths) < 0.75 * console.width
    for number, name in enumerate(columns):
        numeric = bool(rows) and all(isinstance(row[number], (int, float, type(None))) for row in rows)
        firm = numeric or (last_wraps and number < len(columns) - 1)
        shown.add_column(
            name, justify="right" if numeric else "left", min_width=widths[number] if firm else None, overflow="fold"
        )
    for row in rows:
        shown.add_row(*(text(value) for value in row))
    console.print(shown)


def rows_of(rows: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[list[Any]]]:
    """Return (columns, rows) of flat dictionaries, columns in order of first appearance."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    return columns, [[row.get(column) for column in columns] for row in rows]


def measured(rows: Sequence[Mapping[str, Any]], *, percent: bool = False) -> list[dict[str, Any]]:
    """Return rows of figures with their intervals in the same cell, as people read them.

    "± X" (or "±" alone, of the column before) joins X; "from" and "to" join "difference".

    Args:
        rows: flat rows; floats are figures.
        percent: shares from 0 to 1 are shown as 0 to 100, with one decimal.
    """
    return [
        _with_intervals(row, *((100, "{:.1f}", "{:+.1f}") if percent else (1, "{:.3f}", "{:+.3f}"))) for row in rows
    ]


def _with_intervals(row: Mapping[str, Any], times: int, plain: str, signed: str) -> dict[str, Any]:
    row = {key: value * times if isinstance(value, float) else value for key, value in row.items()}
    joined: dict[str, Any] = {}
    before = ""
    for key, value in row.items():
        of = before if key == "±" else key.removeprefix("± ")
        if key.startswith("±") and of in row:
            joined[of] = f"{joined[of]} ± {plain.format(value)}" if isinstance(value, float) else joined[of]
        elif key in ("from", "to") and isinstance(row.get("difference"), float):
            low, high = signed.format(row["from"]), signed.format(row["to"])
            joined["difference"] = f"{signed.format(row['difference'])} ({low} to {high})"
        else:
            joined[key] = plain.format(value) if isinstance(value, float) else value
            before = key
    return joined


def facts(console: Console, items: Mapping[str, Any]) -> None:
    """Print names and values in two columns, leaving empty values out."""
    table(
        console,
        ["", ""],
        [[key, text(value)] for key, value in items.items() if value not in (None, "", [])],
        header=False,
    )


def text(value: Any) -> str:
    """Return a value as people read it: four significant digits, yes and no, a dash for nothing."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return number(value)
    if isinstance(value, (list, tuple)):
        return ", ".join(text(part) for part in value)
    return str(value)


def number(value: float) -> str:
    """Return a float with four significant digits."""
    if not math.isfinite(value):
        return str(value)
    if value == int(value) and abs(value) < 1e6:
        return str(int(value))
    return f"{value:.4g}"


def anything(payload: Mapping[str, Any], console: Console) -> None:
    """Print any result: single values as facts, lists of rows as tables, text as text."""
    single = {key: value for key, value in payload.items() if not isinstance(value, (Mapping, list, tuple))}
    facts(console, {words(key): value for key, value in single.items()})
    for key, value in payload.items():
        if isinstance(value, Mapping) and value:
            heading(console, words(key))
            facts(console, {words(str(name)): part for name, part in value.items()})
        elif isinstance(value, (list, tuple)) and value:
            heading(console, words(key))
            if all(isinstance(row, Mapping) for row in value):
                table(console, *rows_of(value))
            else:
                paragraph(console, text(value))


def words(key: str) -> str:
    """Return a key as words: `labels_per_class` as "labels per class"."""
    return key.replace("_", " ")


def parity(console: Console, rows: Sequence[Mapping[str, Any]]) -> None:
    """Print how an exported file compares with the model on real records."""
    shown = [
        [
            row["capability"],
            row["output"],
            row["records"],
            ", ".join(str(size) for size in row["batches"]),
            f"{row['largest_difference']:.1e}",
            f"{row['tolerance']:.0e}",
            row["changed"],
            "yes" if row["holds"] else "NO",
        ]
        for row in rows
    ]
    console.print()
    columns = ["capability", "output", "records", "batches", "largest difference", "allowed", "changed", "holds"]
    table(console, columns, shown)


def tables(console: Console, named: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
    """Print each list of rows under its name."""
    for name, rows in named.items():
        if rows:
            heading(console, TITLES.get(name, words(name).capitalize()))
            table(console, *rows_of(measured(rows, percent=name in TITLES)))


def verdict(console: Console, helped: str, sentence: str) -> None:
    """Print whether learning without labels helped, and why."""
    answer(console, f"Did it help? {helped.capitalize()}.", {"yes": "good", "no": "bad"}.get(helped, "neutral"))
    paragraph(console, sentence)


def trained(console: Console, payload: Mapping[str, Any], following: Sequence[str]) -> None:
    """Print what a run left behind: model, network, figures, report, and lines to type next."""
    answer(console, f"model: {payload['model']}", "good")
    backbone = payload["networks"]["backbone"]
    names = payload["class_names"]
    shown = {
        "backbone": backbone["arguments"].get("model", backbone["name"]),
        "can": ", ".join(payload["capabilities"]),
        "measures" if payload["task"] == "regress" else "classes": ", ".join(names[:10]) + (" …" * (len(names) > 10)),
        **{words(name): value for name, value in payload["metrics"].items() if isinstance(value, (int, float, str))},
    }
    facts(console, shown)
    heading(console, "Next")
    for line in following:
        console.print(f"  {line}", soft_wrap=True)
