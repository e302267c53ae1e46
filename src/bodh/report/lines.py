"""Line charts as SVG: quiet axes, a confidence band, and names beside the lines instead of a legend."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from bodh.report.axis import Axis, position_axis, value_axis
from bodh.report.blocks import Lines, Series
from bodh.report.text import number, shorten

COLOURS = 8
POINTS = 240
"""Points a line is thinned to: more than a screen shows apart."""
_LABEL_GAP = 17.0
_CHARACTER = 7.3  # average width of a 13 px letter, generous


@dataclass(frozen=True, slots=True)
class _Frame:
    width: int
    height: int
    left: float
    right: float
    top: float = 12.0
    bottom: float = 44.0


def thin(series: Series, points: int = POINTS) -> Series:
    """Return `series` with at most about `points` points, keeping the lowest and highest of every stretch."""
    count = len(series.y)
    if count <= points:
        return series
    keep = {0, count - 1}
    stretch = count / (points / 2)
    for start in range(points // 2):
        span = range(int(start * stretch), max(int((start + 1) * stretch), int(start * stretch) + 1))
        finite = [i for i in span if i < count and math.isfinite(series.y[i])]
        if finite:
            keep |= {min(finite, key=lambda i: series.y[i]), max(finite, key=lambda i: series.y[i])}
    order = sorted(keep)

    def pick(values: Sequence[float] | None) -> list[float] | None:
        return None if values is None else [values[i] for i in order]

    return Series(series.name, pick(series.x) or [], pick(series.y) or [], pick(series.low), pick(series.high))


def chart(block: Lines, *, narrow: bool) -> Markup:
    """Return the chart as inline SVG, 820 wide with names at the line ends, or 350 wide without (`narrow`)."""
    series = [thin(one) for one in block.series]
    names = not narrow and len(series) > 1
    room = max((len(shorten(one.name, 26)) for one in series), default=0) * _CHARACTER + 14 if names else 14
    y_values = [v for one in series for values in (one.y, one.low or (), one.high or ()) for v in values]
    height = 250 if narrow else 340
    x_values = [float(v) for one in series for v in one.x]
    probe = value_axis(y_values, 0, 1)
    left = max(len(probe.label(tick)) for tick in probe.ticks) * _CHARACTER + 14
    frame = _Frame(350 if narrow else 820, height, left, room)
    y = value_axis(y_values, frame.height - frame.bottom, frame.top)
    x = position_axis(x_values, frame.left, frame.width - frame.right, log=block.log_x, count=5 if narrow else 7)
    plot = f"{frame.left:.1f} {frame.width - frame.right:.1f} {frame.top:.1f} {frame.height - frame.bottom:.1f}"
    parts = [
        Markup('<svg class="chart {}" viewBox="0 0 {} {}" role="img" aria-label="{}" data-plot="{}">').format(
            "narrow" if narrow else "wide", frame.width, frame.height, describe(block), plot
        ),
        _grid(frame, x, y, block),
    ]
    parts += [_band(one, x, y, index) for index, one in enumerate(series)]
    parts += [_line(one, x, y, index) for index, one in reversed(list(enumerate(series)))]
    if names:
        parts.append(_end_names(series, y, frame))
    parts.append(
        Markup('<g class="cursor" hidden><line class="rule" y1="{}" y2="{}"/></g></svg>').format(
            frame.top, frame.height - frame.bottom
        )
    )
    return Markup("").join(parts)


def describe(block: Lines) -> str:
    """Return one sentence for readers who do not see the chart: where every line begins and ends."""
    ends = []
    for one in block.series:
        points = [(a, b) for a, b in zip(one.x, one.y, strict=True) if math.isfinite(b)]
        if points:
            (x0, y0), (x1, y1) = points[0], points[-1]
            ends.append(f"{one.name} from {number(float(y0))} at {x0:g} to {number(float(y1))} at {x1:g}")
    return f"{block.title}: {block.y_label} against {block.x_label}. " + "; ".join(ends)


def numbers(block: Lines, limit: int = 24) -> list[list[str]] | None:
    """Return the chart as table rows (x, then every series), or None where there are too many points to read."""
    positions = sorted({float(v) for one in block.series for v in one.x})
    if len(positions) > limit or not positions:
        return None
    rows = []
    for position in positions:
        row = [f"{position:g}"]
        for one in block.series:
            at = next((i for i, v in enumerate(one.x) if float(v) == position), None)
            row.append("–" if at is None else _with_interval(one, at))
        rows.append(row)
    return rows


def _with_interval(one: Series, at: int) -> str:
    text = number(float(one.y[at]))
    if one.low is None or one.high is None or not math.isfinite(one.low[at]):
        return text
    return f"{text} [{number(float(one.low[at]))}, {number(float(one.high[at]))}]"


def _grid(frame: _Frame, x: Axis, y: Axis, block: Lines) -> Markup:
    floor = frame.height - frame.bottom
    parts = []
    for tick in y.ticks:
        parts.append(
            Markup('<line class="grid" x1="{:.0f}" x2="{:.0f}" y1="{:.1f}" y2="{:.1f}"/>').format(
                frame.left, frame.width - frame.right, y(tick), y(tick)
            )
        )
        parts.append(
            Markup('<text class="tick" x="{:.0f}" y="{:.1f}" text-anchor="end">{}</text>').format(
                frame.left - 8, y(tick) + 4, y.label(tick)
            )
        )
    last = -1e9
    for tick in x.ticks:
        half = len(x.label(tick)) * _CHARACTER / 2
        if x(tick) - half < last:
            continue
        last = x(tick) + half + 8
        parts.append(
            Markup('<text class="tick" x="{:.1f}" y="{:.0f}" text-anchor="middle">{}</text>').format(
                x(tick), floor + 19, x.label(tick)
            )
        )
    parts.append(
        Markup('<text class="axis" x="{:.0f}" y="{}" text-anchor="middle">{}</text>').format(
            (frame.left + frame.width - frame.right) / 2, frame.height - 5, block.x_label
        )
    )
    return Markup("").join(parts)


def _pieces(xs: Sequence[float], ys: Sequence[float], x: Axis, y: Axis) -> list[list[str]]:
    """Return runs of "px,py" between gaps (values that are not finite, or not positive on a log axis)."""
    pieces: list[list[str]] = [[]]
    for a, b in zip(xs, ys, strict=True):
        if not math.isfinite(b) or not math.isfinite(a) or (x.log and a <= 0):
            if pieces[-1]:
                pieces.append([])
            continue
        pieces[-1].append(f"{x(float(a)):.1f},{y(float(b)):.1f}")
    return [piece for piece in pieces if piece]


def _line(one: Series, x: Axis, y: Axis, index: int) -> Markup:
    colour = index % COLOURS
    pieces = _pieces(one.x, one.y, x, y)
    drawn = [Markup('<path class="line c{}" d="M{}"/>').format(colour, "L".join(piece)) for piece in pieces]
    if len(one.y) <= 16:
        for point in (point for piece in pieces for point in piece):
            at_x, at_y = point.split(",")
            drawn.append(Markup('<circle class="dot c{}" cx="{}" cy="{}" r="3.2"/>').format(colour, at_x, at_y))
    return Markup("").join(drawn)


def _band(one: Series, x: Axis, y: Axis, index: int) -> Markup:
    if one.low is None or one.high is None:
        return Markup("")
    finite = [
        i
        for i in range(len(one.x))
        if math.isfinite(one.low[i]) and math.isfinite(one.high[i]) and not (x.log and one.x[i] <= 0)
    ]
    if len(finite) < 2:
        return Markup("")
    upper = [f"{x(float(one.x[i])):.1f},{y(float(one.high[i])):.1f}" for i in finite]
    lower = [f"{x(float(one.x[i])):.1f},{y(float(one.low[i])):.1f}" for i in reversed(finite)]
    return Markup('<path class="band c{}" d="M{}Z"/>').format(index % COLOURS, "L".join(upper + lower))


def _end_names(series: Sequence[Series], y: Axis, frame: _Frame) -> Markup:
    """Names right of the line ends, pushed apart where lines end close together."""
    ends = []
    for index, one in enumerate(series):
        finite = [i for i, v in enumerate(one.y) if math.isfinite(v)]
        if finite:
            ends.append([y(float(one.y[finite[-1]])), float(index)])
    ends.sort()
    for lower, upper in zip(ends[1:], ends, strict=False):
        lower[0] = max(lower[0], upper[0] + _LABEL_GAP)
    lowest = float(frame.height - frame.bottom)
    for end in reversed(ends):
        end[0] = min(end[0], lowest)
        lowest = end[0] - _LABEL_GAP
    at = frame.width - frame.right + 10
    return Markup("").join(
        Markup('<text class="name c{}" x="{:.0f}" y="{:.1f}">{}</text>').format(
            int(index) % COLOURS, at, height + 4.5, shorten(series[int(index)].name, 26)
        )
        for height, index in ends
    )


def hover(block: Lines) -> str:
    """Return JSON for the pointer: place (shares of the plot, from left and from below) and text of every point."""
    series = [thin(one) for one in block.series]
    y = value_axis([v for one in series for values in (one.y, one.low or (), one.high or ()) for v in values], 0, 1)
    x = position_axis([float(v) for one in series for v in one.x], 0, 1, log=block.log_x)
    lines = []
    for index, one in enumerate(series):
        points = [
            [round(x(float(one.x[i])), 4), round(y(float(one.y[i])), 4), f"{float(one.x[i]):g}", _with_interval(one, i)]
            for i in range(len(one.x))
            if math.isfinite(one.y[i]) and math.isfinite(one.x[i]) and not (x.log and one.x[i] <= 0)
        ]
        lines.append({"name": one.name, "c": index % COLOURS, "points": points})
    return json.dumps({"x": block.x_label, "lines": lines}, ensure_ascii=False)


def legend(block: Lines) -> Markup:
    """Return the names as an HTML list, for widths where they do not fit beside the lines."""
    if len(block.series) < 2:
        return Markup("")
    items = Markup("").join(
        Markup('<li><span class="swatch c{}"></span>{}</li>').format(i % COLOURS, escape(one.name))
        for i, one in enumerate(block.series)
    )
    return Markup('<ul class="legend">{}</ul>').format(items)
