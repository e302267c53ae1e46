"""How far numbers lie from what was measured: MAE, RMSE, R², median absolute error, with bootstrap intervals.

Axes: `n` records, `k` numbers a record. Not-a-number in the targets is unlabelled and left out.
"""

from __future__ import annotations

import numpy as np

from bodh.contracts import Json, derive_seed

FIGURES = ("mae", "rmse", "r2", "median_absolute_error")


def figures(given: np.ndarray, targets: np.ndarray) -> Json:
    """Return MAE, RMSE, R² and median absolute error; of several numbers the mean over them, R² each by itself.

    Agrees with scikit-learn's `mean_absolute_error`, `root_mean_squared_error`, `r2_score` and
    `median_absolute_error` (tests/parity). R² of a number that never varies is 0.

    Args:
        given: [n k].
        targets: [n] or [n k]; every column has at least one label.
    """
    columns = [_column(g[known], t[known]) for g, t, known in _columns(given, targets)]
    return {name: float(np.mean([column[name] for column in columns])) for name in FIGURES}


def each(given: np.ndarray, targets: np.ndarray, names: tuple[str, ...]) -> list[Json]:
    """Return one row a number: its name, its figures, and the labelled records."""
    columns = _columns(given, targets)
    return [
        {"value": name, **_column(g[known], t[known]), "records": int(known.sum())}
        for name, (g, t, known) in zip(names, columns, strict=True)
    ]


def intervals(
    given: np.ndarray, targets: np.ndarray, *, draws: int, seed: int, level: float = 0.95
) -> dict[str, tuple[float, float]]:
    """Return the ends of each figure's percentile interval over `draws` resamples of the records (Efron 1979)."""
    rng = np.random.default_rng(derive_seed("bootstrap", seed))
    wanted = targets.reshape(len(targets), -1)
    found: list[Json] = []
    for _ in range(draws):
        chosen = rng.integers(0, len(wanted), len(wanted))
        if not np.isnan(wanted[chosen]).all(axis=0).any():  # a column without any label has no figures
            found.append(figures(given[chosen], wanted[chosen]))
    if not found:
        return {}
    ends = [(1 - level) / 2, (1 + level) / 2]
    low_high = {name: np.quantile([one[name] for one in found], ends) for name in FIGURES}
    return {name: (float(pair[0]), float(pair[1])) for name, pair in low_high.items()}


def record_scores(given: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Return the score [n] of every record, 1 - squared error / variance; its mean over records is R².

    Of several numbers, those that a record has are averaged.
    """
    wanted = targets.reshape(len(targets), -1).astype(np.float64)
    spread = np.nanvar(wanted, axis=0)
    error = np.square(wanted - given.reshape(wanted.shape))
    scores: np.ndarray = 1 - np.nanmean(error / np.where(spread > 0, spread, 1.0), axis=1)
    return scores


def _columns(given: np.ndarray, targets: np.ndarray) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    wanted = targets.reshape(len(targets), -1).astype(np.float64)
    said = given.reshape(wanted.shape).astype(np.float64)
    return [(g, t, ~np.isnan(t)) for g, t in zip(said.T, wanted.T, strict=True)]


def _column(given: np.ndarray, targets: np.ndarray) -> Json:
    error = given - targets
    spread = float(np.square(targets - targets.mean()).mean())
    squared = float(np.square(error).mean())
    return {
        "mae": float(np.abs(error).mean()), "rmse": squared**0.5, "r2": 1 - squared / spread if spread > 0 else 0.0,
        "median_absolute_error": float(np.median(np.abs(error))),
    }  # fmt: skip
