"""Two classifiers on the same records: is one better, or was it the luck of these records?

Source: McNemar 1947, "Note on the sampling error of the difference between correlated proportions", Psychometrika 12;
continuity correction: Edwards 1948, Psychometrika 13. Only records that one tells rightly and the other wrongly count.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

FEW = 25
"""Below this many discordant records the binomial distribution is used as it is, not its normal approximation."""


@dataclass(frozen=True, slots=True)
class McNemar:
    """What the test says.

    Attributes:
        both, first_only, second_only, neither: records told rightly by both, by one alone, by none.
        test: "exact binomial", or "chi-square" (one degree of freedom, with continuity correction).
        statistic: of chi-square; None for the exact test.
        p: probability of a difference as large as this, or larger, where both are equally good; two-sided.
    """

    both: int
    first_only: int
    second_only: int
    neither: int
    test: Literal["exact binomial", "chi-square"]
    statistic: float | None
    p: float


def mcnemar(first: np.ndarray, second: np.ndarray) -> McNemar:
    """Return McNemar's test for `first` and `second` [n]: whether each record was told rightly.

    Exact where fewer than 25 records are told rightly by one alone, else (|b - c| - 1)² / (b + c) against chi-square.
    """
    from scipy.stats import binomtest, chi2

    first, second = np.asarray(first, bool), np.asarray(second, bool)
    only_first, only_second = int((first & ~second).sum()), int((~first & second).sum())
    counts = (int((first & second).sum()), only_first, only_second, int((~first & ~second).sum()))
    discordant = only_first + only_second
    if discordant < FEW:
        p = float(binomtest(only_first, discordant, 0.5).pvalue) if discordant else 1.0
        return McNemar(*counts, test="exact binomial", statistic=None, p=p)
    statistic = max(0, abs(only_first - only_second) - 1) ** 2 / discordant
    return McNemar(*counts, test="chi-square", statistic=statistic, p=float(chi2.sf(statistic, 1)))
