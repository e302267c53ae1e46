"""What the page of an evaluation shows of measured numbers: told against true, residuals, the largest errors."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bodh.evaluation.context import Context
    from bodh.evaluation.result import Measured
    from bodh.report.blocks import Block, Headline

POINTS = 1500
ERRORS = 24
RANGES = 5
TOLD = "across: what was measured; upwards: what the model told. On the diagonal it is right"
RESIDUALS = (
    "across: what was measured; upwards: told less measured. A falling slope: large numbers are told too small and "
    "small ones too large, as it is where the records do not tell enough"
)


def blocks(context: Context, found: Measured) -> list[Block]:
    """Return a map of told against true for every number, its residuals, and the records that are told worst."""
    from bodh.api._evaluation_report import show
    from bodh.report.blocks import Gallery, Picture, Scatter

    made: list[Block] = []
    for name, given, wanted in zip(found.names, found.numbers.T, found.targets.T, strict=True):
        known = np.flatnonzero(~np.isnan(wanted))
        some = known[np.linspace(0, len(known) - 1, min(POINTS, len(known))).astype(int)]
        x, y, error = wanted[some], given[some], given[some] - wanted[some]
        none = [""] * len(some)
        for title, height, note in (("told against true", y, TOLD), ("residuals", error, RESIDUALS)):
            made.append(Scatter(f"{name}: {title}", x.tolist(), height.tolist(), none, note=note))
        worst = known[np.argsort(-np.abs(given[known] - wanted[known]), kind="stable")][:ERRORS]
        pictures = []
        for i in worst:
            caption = f"{given[i]:.4g} · is {wanted[i]:.4g}"
            pictures.append(Picture(show(context, int(found.positions[i])), caption, "bad"))
        rows = [pictures[start : start + 8] for start in range(0, len(pictures), 8)]
        made.append(Gallery(f"{name}: largest errors", rows, note="what the model told; the true number after the dot"))
    return made


def headline(figures: dict[str, float], names: Sequence[str], sentence: str) -> Headline:
    """Return the figure that stands on top where a model was trained with numbers."""
    from bodh.report.blocks import Headline

    what = names[0] if len(names) == 1 else "mean over the numbers"
    told = f"On {figures['records']:,} test records ({what}): mean absolute error {figures['mae']:.4g}. {sentence}"
    return Headline(f"R² {figures['r2']:.3f}", "neutral", told, [])


def range_of(values: np.ndarray, own: float) -> str:
    """Return between which quantiles of `values` a number lies, in words; "" for not-a-number."""
    known = values[~np.isnan(values)]
    if np.isnan(own) or not len(known):
        return ""
    edges = np.quantile(known, np.linspace(0, 1, RANGES + 1))
    place = int(np.clip(np.searchsorted(edges, own, side="right") - 1, 0, RANGES - 1))
    return f"{edges[place]:.3g} to {edges[place + 1]:.3g}"
