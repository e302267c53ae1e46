"""Pictures for papers and slides: confusion, classes, curves, drawn by matplotlib with letters for the class names.

matplotlib joins the letters of Devanagari and the like from 3.11 on. Where it cannot, or where no installed font has
the letters, classes are numbered in the PNG, and an SVG beside it leaves the names to the browser that shows it.
"""

from __future__ import annotations

import unicodedata
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bodh.errors import OutputError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WITH_NUMBERS = 20
"""Up to this many classes the cells of a confusion carry their number."""
NAMED = 60
"""Up to this many classes the axes carry names."""
_PLAIN = "DejaVu Sans"
"""Ships with matplotlib."""


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a picture: name, positions and heights [m]."""

    name: str
    x: np.ndarray
    y: np.ndarray


@dataclass(frozen=True, slots=True)
class Lettering:
    """How class names can be written.

    Attributes:
        fonts: families, the first that has a letter writes it.
        problem: why the names cannot be written in a PNG; "" where they can.
    """

    fonts: tuple[str, ...]
    problem: str = ""


def lettering(names: Sequence[str]) -> Lettering:
    """Return the fonts that have all letters of `names`, looked for among those installed."""
    needed = {ord(letter) for name in names for letter in name if not letter.isspace()}
    fonts, missing = [_PLAIN], needed - _letters(_PLAIN)
    for family in _families() if missing else ():
        if missing & _letters(family):
            fonts.append(family)
            missing -= _letters(family)
    if missing:
        example = next(name for name in names if {ord(letter) for letter in name} & missing)
        return Lettering((_PLAIN,), f"no font installed here has all letters of {example!r}")
    if any(_joined(name) for name in names) and not _joins():
        return Lettering((_PLAIN,), "this matplotlib does not join letters (from 3.11 on it does)")
    return Lettering(tuple(fonts))


def confusion(counts: np.ndarray, names: Sequence[str], written: Lettering) -> Figure:
    """Return the confusion as two heat maps: counts, and shares of each row.

    Args:
        counts: [k k], row = true class.
        names: [k].
        written: how names can be written.
    """
    from matplotlib.figure import Figure

    k = len(names)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    side = min(14.0, max(4.6, 0.42 * k + 2))
    figure = Figure(figsize=(2 * side, side), layout="constrained")
    for axes, values, title in zip(figure.subplots(1, 2), (counts, shares), ("Counts", "Share of row, %"), strict=True):
        picture = axes.imshow(values, cmap="Blues", vmin=0, vmax=None if values is counts else 1)
        figure.colorbar(picture, ax=axes, shrink=0.8)
        axes.set(title=title, xlabel="predicted", ylabel="true")
        _name_axes(axes, names, k)
        dark = values.max() / 2 or 1
        for i, j in np.ndindex(k, k) if k <= WITH_NUMBERS else ():
            text = f"{counts[i, j]}" if values is counts else f"{100 * values[i, j]:.0f}"
            if counts[i, j]:
                colour = "white" if values[i, j] > dark else "black"
                axes.text(j, i, text, ha="center", va="center", fontsize=8, color=colour)
    _legend_of_numbers(figure, written)
    return figure


def classes(rows: Sequence[Mapping[str, Any]], names: Sequence[str], written: Lettering) -> Figure:
    """Return precision, recall and F1 of every class as bars, with intervals where rows have them.

    Args:
        rows: [k] with precision, recall, f1, and perhaps precision_low, precision_high ….
        names: [k].
        written: how names can be written.
    """
    from matplotlib.figure import Figure

    k = len(rows)
    figure = Figure(figsize=(6.4, min(24.0, 1.6 + 0.5 * k)), layout="constrained")
    axes = figure.subplots()
    place = np.arange(k)
    for number, (name, colour) in enumerate((("precision", "#4477aa"), ("recall", "#ccbb44"), ("f1", "#228833"))):
        values = np.array([row[name] for row in rows])
        error = None
        if f"{name}_low" in rows[0]:
            ends = np.array([(row[f"{name}_low"], row[f"{name}_high"]) for row in rows])
            error = np.abs(ends - values[:, None]).T
        axes.barh(
            place + 0.27 * (number - 1), values, 0.25, xerr=error, color=colour, label="F1" if name == "f1" else name,
            error_kw={"elinewidth": 0.8, "ecolor": "#555555"},
        )  # fmt: skip
    axes.set(xlim=(0, 1), ylim=(k - 0.5, -0.5), title="Precision, recall, F1")
    if k <= NAMED:
        axes.set_yticks(place, list(names))
    figure.legend(loc="outside lower center", ncols=3, frameon=False)
    _legend_of_numbers(figure, written)
    return figure


def curves(
    lines: Sequence[Line], *, title: str, x_label: str, y_label: str, diagonal: bool, steps: bool, written: Lettering
) -> Figure:
    """Return lines in the unit square.

    Args:
        lines: what to draw.
        title: above.
        x_label: below.
        y_label: beside.
        diagonal: draw it dashed: chance for ROC, perfection for reliability.
        steps: heights hold until the next position (precision and recall).
        written: how names can be written.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 5.6), layout="constrained")
    axes = figure.subplots()
    if diagonal:
        axes.plot([0, 1], [0, 1], "--", color="#999999", linewidth=1)
    for line in lines:
        axes.plot(
            line.x, line.y, label=line.name, linewidth=1.4, drawstyle="steps-pre" if steps else "default",
            marker="o" if len(line.x) <= 15 else None, markersize=3,
        )  # fmt: skip
    axes.set(xlim=(0, 1), ylim=(0, 1.01), title=title, xlabel=x_label, ylabel=y_label)
    axes.grid(alpha=0.25)
    axes.legend(fontsize=8)
    _legend_of_numbers(figure, written)
    return figure


def save(figure: Figure, path: Path, written: Lettering) -> None:
    """Write a picture; the suffix says as what. An SVG keeps its text as text, for the reader's own fonts.

    Raises:
        OutputError: it cannot be written.
    """
    draft = path.with_name(f".{path.stem}.draft{path.suffix}")
    try:
        with style(written), warnings.catch_warnings():
            if path.suffix == ".svg":  # its letters are the reader's business, here they are only measured
                warnings.filterwarnings("ignore", message="Glyph .* missing from font")
            figure.savefig(draft, dpi=130)
        draft.replace(path)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise OutputError(f"cannot write {path}: {error.strerror}; choose another --out") from error


@contextmanager
def style(written: Lettering) -> Iterator[None]:
    """Hold matplotlib's settings while figures are made and saved: text takes its font when it is made."""
    import matplotlib as mpl

    with mpl.rc_context({"font.family": list(written.fonts), "svg.fonttype": "none", "svg.hashsalt": "bodh"}):
        yield


def _name_axes(axes: Any, names: Sequence[str], k: int) -> None:
    if k <= NAMED:
        size = 9 if k <= 30 else 6
        axes.set_xticks(range(k), list(names), rotation=90 if k > 3 else 0, fontsize=size)
        axes.set_yticks(range(k), list(names), fontsize=size)


def _legend_of_numbers(figure: Figure, written: Lettering) -> None:
    if written.problem:
        figure.supxlabel("numbers are those of the rows of classes.csv", fontsize=8)


@cache
def _families() -> dict[str, str]:
    """Return the installed font families, sans before serif, upright ones only, each with one of its files."""
    from matplotlib import font_manager

    entries = [entry for entry in font_manager.fontManager.ttflist if entry.style == "normal"]
    files = {entry.name: entry.fname for entry in entries}
    return {name: files[name] for name in sorted(files, key=lambda name: ("Sans" not in name, "Mono" in name, name))}


@cache
def _letters(family: str) -> frozenset[int]:
    """Return the code points that a family has letters for; none where its file cannot be read."""
    from matplotlib.ft2font import FT2Font

    try:
        return frozenset(FT2Font(_families()[family]).get_charmap())
    except (KeyError, OSError, RuntimeError):  # gone since matplotlib listed it, or no font at all
        return frozenset()


def _joined(name: str) -> bool:
    """Return whether letters of `name` change beside others: it has marks, or runs from right to left."""
    return any(
        unicodedata.category(letter) in ("Mn", "Mc") or unicodedata.bidirectional(letter) in ("R", "AL")
        for letter in unicodedata.normalize("NFC", name)
    )


def _joins() -> bool:
    from matplotlib import ft2font

    return hasattr(ft2font, "__libraqm_version__")
