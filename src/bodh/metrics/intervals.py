"""Means with 95 % intervals, and paired differences that count both kinds of luck: which labels, which test records."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bodh.contracts import Json

LEVEL = 0.95


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean and its 95 % interval; the ends are None where nothing can be said (one value only)."""

    mean: float
    low: float | None
    high: float | None
    number: int
    """values that went in: seeds or draws"""

    @property
    def half(self) -> float | None:
        """Half the width of the interval: the figure after ±."""
        return None if self.low is None or self.high is None else (self.high - self.low) / 2

    def to_json(self) -> Json:
        """Return the four values by name."""
        return {"mean": self.mean, "low": self.low, "high": self.high, "number": self.number}


def mean_interval(values: np.ndarray | list[float]) -> Interval:
    """Return the mean of `values` [s] with Student's t interval; open where there is one value only."""
    x = np.asarray(values, dtype=np.float64)
    mean = float(x.mean())
    if len(x) < 2:
        return Interval(mean, None, None, len(x))
    half = _t(len(x) - 1) * float(x.std(ddof=1)) / math.sqrt(len(x))
    return Interval(mean, mean - half, mean + half, len(x))


def paired_interval(first: np.ndarray, second: np.ndarray) -> Interval:
    """Return the mean of `first` - `second` [s n] with an interval for other draws *and* other test records.

    Both hold one score for every draw (row) and test record (column), of the same draws and records. The variance is
    that of the rows' means over s, plus that of the columns' means over n (which counts their interaction twice: a
    little too careful), with Welch and Satterthwaite's degrees of freedom. A t interval over draws alone would treat
    the one test set as if it were all the records there are.
    """
    difference = np.asarray(first, dtype=np.float64) - np.asarray(second, dtype=np.float64)
    draws, records = difference.shape
    mean = float(difference.mean())
    if draws < 2 or records < 2:
        return Interval(mean, None, None, draws)
    by_draw = float(difference.mean(axis=1).var(ddof=1)) / draws
    by_record = float(difference.mean(axis=0).var(ddof=1)) / records
    total = by_draw + by_record
    if total <= 0:
        return Interval(mean, mean, mean, draws)
    freedom = total**2 / (by_draw**2 / (draws - 1) + by_record**2 / (records - 1))
    half = _t(freedom) * math.sqrt(total)
    return Interval(mean, mean - half, mean + half, draws)


def pooled_interval(parts: Sequence[np.ndarray]) -> Interval:
    """Return the mean of `parts` with an interval for other draws *and* other records, as `paired_interval` has it.

    Each part [n_i] holds scores, or paired differences, of its own draw on its own records. With few draws the records
    still say how far off a mean may be; open where there is one draw only.
    """
    means = np.array([part.mean() for part in parts], dtype=np.float64)
    mean, draws = float(means.mean()), len(parts)
    if draws < 2:
        return Interval(mean, None, None, draws)
    scores = np.concatenate(parts).astype(np.float64)
    by_draw = float(means.var(ddof=1)) / draws
    by_record = float(scores.var(ddof=1)) / len(scores)
    total = by_draw + by_record
    if total <= 0:
        return Interval(mean, mean, mean, draws)
    half = _t(total**2 / (by_draw**2 / (draws - 1) + by_record**2 / (len(scores) - 1))) * math.sqrt(total)
    return Interval(mean, mean - half, mean + half, draws)


def _t(freedom: float) -> float:
    from scipy.stats import t

    return float(t.ppf((1 + LEVEL) / 2, freedom))


def wilson(share: float, records: int) -> tuple[float, float]:
    """Return Wilson's 95 % interval of a share of `records` that were right; it never leaves 0 to 1.

    Source: Wilson 1927, "Probable inference", JASA 22.
    """
    from scipy.stats import norm

    z = float(norm.ppf((1 + LEVEL) / 2))
    middle = (share + z * z / (2 * records)) / (1 + z * z / records)
    half = z / (1 + z * z / records) * math.sqrt(share * (1 - share) / records + z * z / (4 * records**2))
    return max(0.0, middle - half), min(1.0, middle + half)
