"""The confusion heat map as a real table: readable aloud, searchable, coloured by the share of each row."""

from __future__ import annotations

from dataclasses import dataclass

from bodh.report.blocks import Heatmap
from bodh.report.text import number

LARGEST = 60
"""Classes shown at most; of more, those with the most errors."""
WITH_NUMBERS = 30
"""Up to this many classes the cells carry their number."""


@dataclass(frozen=True, slots=True)
class HeatCell:
    """One cell: its count, its share of the row in percent, and how strongly each of the two readings is coloured."""

    count: int
    percent: str
    by_row: float
    by_count: float
    right: bool


@dataclass(frozen=True, slots=True)
class HeatView:
    """What the template draws."""

    labels: list[str]
    rows: list[list[HeatCell]]
    totals: list[int]
    numbers: bool
    confusions: list[str]
    left_out: int


def view(block: Heatmap) -> HeatView:
    """Return the table of a heat map: all classes, or the `LARGEST` with the most errors.

    Raises:
        ValueError: `counts` is not square with one row a label.
    """
    size = len(block.labels)
    if len(block.counts) != size or any(len(row) != size for row in block.counts):
        raise ValueError(f"a heat map of {size} labels needs {size} rows of {size} counts")
    errors = [
        sum(block.counts[i]) - block.counts[i][i] + sum(row[i] for row in block.counts) - block.counts[i][i]
        for i in range(size)
    ]
    shown = sorted(sorted(range(size), key=lambda i: -errors[i])[:LARGEST])
    largest = max((block.counts[i][j] for i in shown for j in shown), default=0) or 1
    rows = [[_cell(block.counts[i][j], sum(block.counts[i]), largest, right=i == j) for j in shown] for i in shown]
    return HeatView(
        labels=[block.labels[i] for i in shown],
        rows=rows,
        totals=[sum(block.counts[i]) for i in shown],
        numbers=len(shown) <= WITH_NUMBERS,
        confusions=_confusions(block),
        left_out=size - len(shown),
    )


def _cell(count: int, total: int, largest: int, *, right: bool) -> HeatCell:
    share = count / total if total else 0.0
    # Errors are the news: the root lets 2 % be seen beside 98 %.
    return HeatCell(count, _percent(share), round(share**0.6, 3), round((count / largest) ** 0.6, 3), right)


def _percent(share: float) -> str:
    if share == 0:
        return ""
    if 0.995 <= share < 1:
        return ">99"
    return "<1" if share < 0.01 else f"{100 * share:.0f}"


def _confusions(block: Heatmap) -> list[str]:
    """Sentences of the commonest confusions, the largest first."""
    pairs = [(count, i, j) for i, row in enumerate(block.counts) for j, count in enumerate(row) if i != j and count > 0]
    pairs.sort(key=lambda pair: (-pair[0], pair[1], pair[2]))
    return [
        f"{block.labels[i]} taken for {block.labels[j]}: {number(count)} of {number(sum(block.counts[i]))}"
        for count, i, j in pairs[:3]
    ]
