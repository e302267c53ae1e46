"""Scales and ticks of the charts: from values to pixels, with round numbers where a reader looks for them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bodh.report.text import number


@dataclass(frozen=True, slots=True)
class Axis:
    """A scale from values `[low, high]` to pixels `[start, stop]`, linear or logarithmic, with its ticks."""

    low: float
    high: float
    start: float
    stop: float
    log: bool
    ticks: tuple[float, ...]

    def __call__(self, value: float) -> float:
        """Return the pixel of `value`."""
        low, high = (math.log10(self.low), math.log10(self.high)) if self.log else (self.low, self.high)
        at = math.log10(max(value, self.low * 1e-3)) if self.log else value
        return self.start + (at - low) / (high - low) * (self.stop - self.start)

    def label(self, tick: float) -> str:
        """Return the text of a tick, with just the digits that its step needs."""
        if self.log or len(self.ticks) < 2:
            return compact(tick)
        step = self.ticks[1] - self.ticks[0]
        if abs(tick) >= 10_000 or (step < 1e-4 and abs(tick) < 1e4 * step):
            return compact(0.0 if abs(tick) < step / 1e6 else tick)
        digits = max(0, -math.floor(math.log10(step) + 1e-9))
        if round(step, digits) != round(step, digits + 2):
            digits += 1
        return f"{tick:,.{digits}f}".replace(",", "\u202f").replace("-", "−")


def compact(value: float) -> str:
    """Return a tick text such as 250, 10k, 1.5M or 2·10⁻⁵."""
    for limit, letter in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= limit:
            unit = 1e3 if letter == "k" else limit
            return f"{value / unit:.3g}{letter}".replace("-", "−")
    return f"{value:g}".replace("-", "−") if value == 0 or abs(value) >= 1e-4 else number(value)


def value_axis(values: Iterable[float], start: float, stop: float, *, count: int = 5) -> Axis:
    """Return a linear axis over `values` with about `count` round ticks that enclose them."""
    low, high = _range(values)
    step = _round_step((high - low) / max(1, count - 1))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    if last == first:
        last += 1
    ticks = tuple(index * step for index in range(first, last + 1))
    return Axis(ticks[0], ticks[-1], start, stop, log=False, ticks=ticks)


def position_axis(values: Sequence[float], start: float, stop: float, *, log: bool, count: int = 6) -> Axis:
    """Return the axis of positions (steps, epochs, labels), from the first to the last one.

    A logarithmic axis has ticks at the values themselves where they are few (1, 2, 5, 10, 20 labels a class).
    """
    if log:
        positive = sorted({value for value in values if value > 0 and math.isfinite(value)}) or [1.0]
        low, high = positive[0], positive[-1]
        if low == high:
            low, high = low / 2, high * 2
        return Axis(low, high, start, stop, log=True, ticks=_log_ticks(positive, low, high))
    low, high = _range(values)
    step = _round_step((high - low) / max(1, count - 1))
    if all(float(value).is_integer() for value in values if math.isfinite(value)):
        step = max(1.0, step)  # there is nothing between two steps
    first = math.ceil(low / step - 1e-9)
    ticks = tuple(i * step for i in range(first, math.floor(high / step + 1e-9) + 1))
    return Axis(low, high, start, stop, log=False, ticks=ticks)


def _log_ticks(positive: Sequence[float], low: float, high: float) -> tuple[float, ...]:
    if len(positive) <= 8:
        return tuple(positive)
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    marks = (1, 2, 5) if len(decades) <= 4 else (1,)
    ticks = [mark * 10.0**decade for decade in decades for mark in marks]
    return tuple(tick for tick in ticks if low <= tick * (1 + 1e-9) and tick <= high * (1 + 1e-9))


def _range(values: Iterable[float]) -> tuple[float, float]:
    finite = [float(value) for value in values if math.isfinite(value)]
    if not finite:
        return 0.0, 1.0
    low, high = min(finite), max(finite)
    if low == high:
        margin = abs(low) * 0.1 or 1.0
        return low - margin, high + margin
    return low, high


def _round_step(rough: float) -> float:
    power = 10.0 ** math.floor(math.log10(rough))
    return next(step * power for step in (1, 2, 2.5, 5, 10) if step * power >= rough * (1 - 1e-9))
