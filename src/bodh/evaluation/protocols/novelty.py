"""Novelty: are records of a kind that was never trained on told from the others? Three scores, AUROC and AP of each.

Of the probe's classes, or the model's own: the largest probability (Hendrycks & Gimpel 2017, arXiv 1610.02136, section
3). Of the features: the cosine to the nearest class mean; the Mahalanobis distance to the nearest class mean with one
covariance for all classes (Lee et al. 2018, arXiv 1807.03888, equation 2; shrunk as by Ledoit & Wolf 2004). Whether a
record is novel is never trained on, and novel records are of test parts alone.

What is novel is said by novel=CLASS (a class of the data: its training records are left out) or novel=DATA (a data
set of its own; of several in one place novel_input=NAME). Without it, a tenth of the classes is drawn and left out.

Axes: `n` records, `d` features, `k` known classes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from bodh.contracts import Json, derive_seed
from bodh.errors import DataError
from bodh.evaluation.cosine import class_means, similarities
from bodh.evaluation.protocols._tables import explain
from bodh.evaluation.result import TITLES, Grid, ProtocolResult
from bodh.evaluation.words import is_sparse
from bodh.metrics.intervals import mean_interval

if TYPE_CHECKING:
    from bodh.evaluation.context import Context

LABELS = True
HEAD = False
SCORES = {
    "max_probability": "largest probability",
    "class_mean": "cosine to class mean",
    "mahalanobis": "Mahalanobis distance",
}


def run(context: Context) -> ProtocolResult:
    """Return AUROC and average precision of three scores for novel records, of every arm.

    Raises:
        DataError: records with several labels each, no such class, or no novel or no known test record.
    """
    if context.targets("train").ndim != 1:
        raise DataError("records have several labels each; of which kind they are is not told by that")
    novel, said = left_out(context)
    keep = ~np.isin(context.targets("train"), novel)
    known = ~np.isin(context.targets("test"), novel)
    outside = len(context.outside_positions)
    if len(np.unique(context.targets("train")[keep])) < 2:
        raise DataError("without the novel class, fewer than two classes have training records; nothing can be told")
    if not known.any() or (known.all() and not outside):
        raise DataError(
            f"no test record is {'known' if not known.any() else 'novel'} ({said}); nothing can be measured"
        )
    figures: dict[str, Json] = {}
    rows: list[Json] = []
    for arm in context.arms:
        draws = [_measure(context, arm, draw, keep, known) for draw in range(context.draws(arm))]
        figures[arm] = {
            score: {kind: float(np.mean([found[score][kind] for found in draws])) for kind in ("auroc", "ap")}
            for score in draws[0]
        }
        for score, found in figures[arm].items():
            spread = mean_interval([draw[score]["auroc"] for draw in draws]).half
            rows.append(
                {
                    "features": TITLES[arm],
                    "score": SCORES[score],
                    "AUROC": found["auroc"],
                    "±": spread,
                    "AP": found["ap"],
                }
            )
    share = (outside or int((~known).sum())) / (outside + len(known) if outside else len(known))
    note = f"novel: {said}; AP of chance: {share:.3f}; higher is better, 0.5 AUROC is chance; {explain(context)}"
    return ProtocolResult("novelty", figures=figures, tables={"novelty": Grid("Novel records", rows, note)})


def left_out(context: Context) -> tuple[np.ndarray, str]:
    """Return the classes [c] that count as novel, and in words what is.

    Raises:
        DataError: no class of that name.
    """
    names = context.class_names
    if context.outside is not None:
        return np.empty(0, np.int64), f"{len(context.outside_positions):,} records of {context.outside.name}"
    asked = context.config.novel
    if asked is not None:
        if asked not in names:
            raise DataError(f"no class is called {asked!r}; novel=CLASS or novel=DATA")
        return np.array([names.index(asked)]), f"the class {asked}"
    present = np.unique(context.targets("train"))
    rng = np.random.default_rng(derive_seed("novel", context.config.seed))
    drawn = np.sort(rng.permutation(present)[: max(1, len(present) // 10)])
    told = ", ".join(names[k] for k in drawn[:8]) + (" …" if len(drawn) > 8 else "")
    return drawn, f"a tenth of the classes, drawn ({told})"


def _measure(context: Context, arm: str, draw: int, keep: np.ndarray, known: np.ndarray) -> dict[str, Json]:
    """Return AUROC and AP of every score of one arm; [m] `keep` trains, [n] `known` test records are not novel."""
    train, test = (context.features(arm, part, draw=draw) for part in ("train", "test"))
    targets = context.targets("train")[keep]
    truth = ~known
    if context.outside is not None:
        test = stacked(test, context.outside_features(arm, draw=draw))
        truth = np.concatenate([truth, np.ones(len(context.outside_positions), bool)])
    seed = derive_seed("novelty", context.config.seed, draw)
    return {name: ranked(score, truth) for name, score in scores(context, train[keep], targets, test, seed).items()}


def scores(context: Context, train: Any, targets: np.ndarray, test: Any, seed: int) -> dict[str, np.ndarray]:
    """Return how novel every test record is by each score [n]; higher is more novel.

    Args:
        context: fits the probe.
        train: [m d] features of known classes, dense or sparse.
        targets: [m] class index.
        test: [n d].
        seed: of the probe's folds.
    """
    probabilities = context.fitted(train, test, targets, seed=seed)
    means, _ = class_means(train, targets)
    near = np.concatenate(
        [found.amax(dim=1).cpu().numpy() for _, found in similarities(test, means, device=context.device)]
    )
    found = {"max_probability": 1 - probabilities.max(axis=1), "class_mean": 1 - near}
    if not is_sparse(train):  # as many dimensions as there are words have no covariance to speak of
        found["mahalanobis"] = mahalanobis(train, targets, test)
    return found


def mahalanobis(train: np.ndarray, targets: np.ndarray, test: np.ndarray) -> np.ndarray:
    """Return the squared Mahalanobis distance [n] of `test` [n d] to the nearest class mean of `train` [m d]."""
    from sklearn.covariance import LedoitWolf

    known, own = np.unique(targets, return_inverse=True)
    x, y = train.astype(np.float64), test.astype(np.float64)
    means = np.stack([x[own == k].mean(axis=0) for k in range(len(known))])
    precision = LedoitWolf(assume_centered=True).fit(x - means[own]).precision_
    turn = np.linalg.cholesky((precision + precision.T) / 2)  # whitened, the distance is the plain one
    y, means = y @ turn, means @ turn
    squares = (y**2).sum(axis=1)[:, None] - 2 * y @ means.T + (means**2).sum(axis=1)
    nearest: np.ndarray = squares.min(axis=1)
    return nearest


def ranked(score: np.ndarray, truth: np.ndarray) -> Json:
    """Return {"auroc", "ap"} of `score` [n], higher for `truth` [n] bool."""
    from sklearn.metrics import average_precision_score, roc_auc_score

    return {"auroc": float(roc_auc_score(truth, score)), "ap": float(average_precision_score(truth, score))}


def stacked(first: Any, second: Any) -> Any:
    """Return both [n d] and [m d], dense or sparse, as one [n + m d]."""
    if not is_sparse(first):
        return np.concatenate([first, second])
    from scipy.sparse import vstack

    return vstack([first, second]).tocsr()
