"""The few shapes in which verbs print: headings, tables, facts, paragraphs. One look for all of them."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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
    """Print rows under `columns`: figures to the right, text to the left, wrapped between words, never cut.

    Where not even the words fit side by side, rows and columns change places, as many rows at a time as fit.
    """
    cells = [[text(value) for value in row] for row in rows]
    grids = [_Grid.of(columns if header else [""] * len(columns), cells, header)]
    if len(columns) > 2 and header and not grids[0].fits(console.width):
        for count in range(len(cells), 0, -1):
            grids = [_turned(columns, cells[start : start + count]) for start in range(0, len(cells), count)]
            if all(grid.fits(console.width) for grid in grids):
                break
    for number, grid in enumerate(grids):
        if number:
            console.print()
        console.print(grid.drawn(console.width))


def _turned(columns: Sequence[str], cells: Sequence[Sequence[str]]) -> _Grid:
    """Return a grid with a column a row, under its first cell."""
    first, *others = [[name, *(row[place] for row in cells)] for place, name in enumerate(columns)]
    return _Grid.of(first, others, header=True)


_GAP = 3
"""Places between two columns."""
_FIGURE = re.compile(r"[+-]?[\d.,]+(e[+-]?\d+)?( ± [\d.,]+)?|–|yes|no|nan|inf")
_SPACES = re.compile(r"(?<!±)\s+(?!±)")


@dataclass(frozen=True)
class _Grid:
    """Texts in columns, and how many places every column takes."""

    names: Sequence[str]
    cells: Sequence[Sequence[str]]
    header: bool
    figures: Sequence[bool]
    """of a column: whether all its cells are figures, which stand to the right and are never wrapped"""
    whole: Sequence[int]
    """places of a column's longest entry; wide letters and signs above a letter are counted right"""
    least: Sequence[int]
    """places that it must have: its longest word, or figure"""

    @classmethod
    def of(cls, names: Sequence[str], cells: Sequence[Sequence[str]], header: bool) -> _Grid:
        """Measure the columns."""
        from rich.cells import cell_len

        columns = [[row[place] for row in cells] for place in range(len(names))]
        figures = [bool(cells) and all(_FIGURE.fullmatch(entry) for entry in column) for column in columns]
        whole = [max(map(cell_len, (name, *column))) for name, column in zip(names, columns, strict=True)]
        words = [
            [word for entry in (name, *(() if figure else column)) for word in _SPACES.split(entry)]
            for name, column, figure in zip(names, columns, figures, strict=True)
        ]
        least = [
            max(map(cell_len, (*parts, *(column if figure else ()))))
            for parts, column, figure in zip(words, columns, figures, strict=True)
        ]
        return cls(names, cells, header, figures, whole, least)

    def fits(self, width: int) -> bool:
        """Return whether words and figures of all columns fit side by side into `width` places."""
        return sum(self.least) <= self._room(width)

    def widths(self, width: int) -> list[int]:
        """Return how wide every column is drawn: whole where there is room, narrow ones first, else as its words need.

        Args:
            width: of the terminal.
        """
        room = self._room(width)
        # where not even words fit, columns share what there is, and words are broken
        share = max(1, room // len(self.least))
        given = list(self.least) if self.fits(width) else [min(whole, share) for whole in self.whole]
        for place in sorted(range(len(given)), key=lambda place: self.whole[place]):
            given[place] += min(max(0, self.whole[place] - given[place]), max(0, room - sum(given)))
        return given

    def drawn(self, width: int) -> Any:
        """Return a table for rich."""
        from rich.box import SIMPLE_HEAD
        from rich.table import Table

        shown = Table(
            box=SIMPLE_HEAD if self.header else None, show_header=self.header, pad_edge=False, show_edge=False,
            padding=(0, 2, 0, 0),
        )  # fmt: skip
        for name, figures, places in zip(self.names, self.figures, self.widths(width), strict=True):
            shown.add_column(name, justify="right" if figures else "left", width=places, overflow="fold")
        for row in self.cells:
            shown.add_row(*row)
        return shown

    def _room(self, width: int) -> int:
        return width - _GAP * (len(self.names) - 1)


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
