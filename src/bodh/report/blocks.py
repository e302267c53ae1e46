"""What a report is made of: plain data, no drawing. `report.render` turns it into one HTML file.

All texts are plain text (never markup): class names with `<`, `&` or Devanagari are shown as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

Tone = Literal["good", "bad", "neutral"]
"""How something is to be read; never by colour alone: good and bad have a mark beside it."""

Cell = str | float | int | None
"""A table cell; None is shown as a dash, floats with four significant digits, right-aligned."""


@dataclass(frozen=True, slots=True)
class Headline:
    """The verdict, first and big.

    Attributes:
        answer: one to three words ("Yes", "No", "Cannot tell", "97.3 % correct").
        tone: how it is to be read.
        sentence: one plain sentence that says what the answer means.
        evidence: a few short sentences with figures.
    """

    answer: str
    tone: Tone
    sentence: str
    evidence: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Series:
    """One line of a chart: points `(x[i], y[i])`, and a band from `low[i]` to `high[i]` where both are given.

    Values that are not finite leave a gap.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] | None = None
    high: Sequence[float] | None = None


@dataclass(frozen=True, slots=True)
class Lines:
    """A line chart: curves of a run, or accuracy against labels (`log_x`). The first series gets the accent colour."""

    title: str
    x_label: str
    y_label: str
    series: list[Series]
    log_x: bool = False
    note: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """A table; a cell is text, a number or None (shown as a dash). Wide tables scroll inside their box."""

    title: str
    columns: list[str]
    rows: list[list[Cell]]
    note: str = ""


@dataclass(frozen=True, slots=True)
class Heatmap:
    """Confusion counts: `counts[i][j]` records of true class `labels[i]` predicted as `labels[j]`.

    Shown row-normalised and as counts, with a switch.
    """

    title: str
    labels: list[str]
    counts: list[list[int]]
    note: str = ""


@dataclass(frozen=True, slots=True)
class Scatter:
    """A map of records: `x`, `y` [n], `group` [n] names the class ("" for none), `thumbnails` [n] PNGs or words."""

    title: str
    x: Sequence[float]
    y: Sequence[float]
    group: Sequence[str]
    thumbnails: Sequence[bytes | str] | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class Picture:
    """A small picture, or a record in words, with its caption; the tone frames it (right, wrong)."""

    png: bytes | str
    caption: str
    tone: Tone = "neutral"


@dataclass(frozen=True, slots=True)
class Gallery:
    """Rows of pictures: nearest neighbours (the query first), worst errors, samples, reconstructions."""

    title: str
    rows: list[list[Picture]]
    note: str = ""
    large: bool = False
    """pictures are twice as large, with room for sentences below"""


@dataclass(frozen=True, slots=True)
class Facts:
    """Names and values: config, provenance."""

    title: str
    items: dict[str, str]
    note: str = ""


Block = Lines | Table | Heatmap | Scatter | Gallery | Facts


@dataclass(frozen=True, slots=True)
class Report:
    """One page: a title, the verdict where there is one, and blocks from top to bottom."""

    title: str
    subtitle: str
    headline: Headline | None
    blocks: list[Block]
