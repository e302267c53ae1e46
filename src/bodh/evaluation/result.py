"""What a protocol gives back: plain data, from which verdict, tables and report are made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from bodh.contracts import Json

PRETRAINED = "pretrained"
TITLES = {
    PRETRAINED: "pretrained",
    "untrained": "untrained network",
    "raw": "raw input",
    "scratch": "trained from scratch",
}
"""The arms of every comparison, in the order in which they are shown."""


@dataclass(frozen=True, slots=True)
class Contest:
    """One comparison at one level of labels: the same label draws and test records for every arm.

    Attributes:
        level: in words ("2 labels a class", "all 50,000 labels").
        labels: labelled records used (mean over draws).
        share: of all training labels, 0 to 1.
        per_class: labels a class, where the budget was given so.
        scores: arm -> [s n] score of every draw (row) and test record (column); the mean is the metric.
    """

    level: str
    labels: float
    share: float
    per_class: int | None
    scores: Mapping[str, np.ndarray]


@dataclass(frozen=True, slots=True)
class Grid:
    """One table: rows of flat cells, fractions from 0 to 1; floors stand in the same table as the figure."""

    title: str
    rows: list[Json]
    note: str = ""


@dataclass(frozen=True, slots=True)
class Curve:
    """One line of a chart with its interval; None where there is none."""

    name: str
    x: list[float]
    y: list[float]
    low: list[float | None]
    high: list[float | None]


@dataclass(frozen=True, slots=True)
class Chart:
    """Lines over a common axis."""

    title: str
    x_label: str
    y_label: str
    curves: list[Curve]
    log_x: bool = False
    note: str = ""


@dataclass(frozen=True, slots=True)
class Confusion:
    """Counts [k k] of true class (row) and predicted class (column)."""

    title: str
    class_names: tuple[str, ...]
    counts: np.ndarray
    note: str = ""


@dataclass(frozen=True, slots=True)
class Mistake:
    """A test record that was told wrongly."""

    position: int
    """in the store"""
    true: str
    predicted: str
    confidence: float


@dataclass(frozen=True, slots=True)
class Judged:
    """What a classifier said of the test records, and how sure its figures are.

    Attributes:
        who: in words ("the classifier", "the linear probe").
        class_names: [k].
        probabilities: [n k].
        targets: [n] class index, or [n k] 0/1.
        positions: [n] in the store.
        figures: name -> value.
        intervals: name -> (low, high), 95 %, of the figures that have one.
        classes: one row a class: class, precision, recall, f1, each also with _low and _high, and records.
    """

    who: str
    class_names: tuple[str, ...]
    probabilities: np.ndarray
    targets: np.ndarray
    positions: np.ndarray
    figures: Json
    intervals: Mapping[str, tuple[float, float]]
    classes: list[Json]

    @property
    def several(self) -> bool:
        """Whether a record may have several labels at once."""
        return self.targets.ndim == 2


@dataclass(frozen=True, slots=True)
class Measured:
    """What a model said of test records whose labels are measured numbers.

    Attributes:
        names: [k] of the numbers.
        numbers: [n k] what the model said.
        targets: [n k] what was measured, not-a-number where unlabelled.
        positions: [n] in the store.
    """

    names: tuple[str, ...]
    numbers: np.ndarray
    targets: np.ndarray
    positions: np.ndarray


@dataclass(frozen=True, slots=True)
class Told:
    """What a model wrote for a test record.

    Attributes:
        position: in the store.
        written: by the model.
        references: what people wrote.
    """

    position: int
    written: str
    references: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ProtocolResult:
    """All that one protocol found.

    Attributes:
        protocol: its name.
        figures: arm -> figure -> value, for `evaluation.json` and the comparison verb.
        tables: short key ("budget") -> table, with how it was measured.
        contests: comparisons that the verdict may count, from few labels to many.
        charts, confusions, mistakes: what the report draws.
        judged: what the model's own classes said, for files beside the report.
        measured: what the model's own numbers said, for the report.
        told: what the model wrote for some records, for the report to show beside them.
    """

    protocol: str
    figures: Mapping[str, Json] = field(default_factory=dict)
    tables: Mapping[str, Grid] = field(default_factory=dict)
    contests: tuple[Contest, ...] = ()
    charts: tuple[Chart, ...] = ()
    confusions: tuple[Confusion, ...] = ()
    mistakes: tuple[Mistake, ...] = ()
    judged: Judged | None = None
    measured: Measured | None = None
    told: tuple[Told, ...] = ()
