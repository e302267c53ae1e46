"""Clusters: do features group by class without being told? k-means on directions, against the true classes.

With labels: normalised mutual information and adjusted Rand index with as many clusters as classes. Without labels:
the silhouette for a few numbers of clusters, which says how separate they are and nothing about meaning.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bodh.contracts import Json, derive_seed
from bodh.evaluation.protocols._tables import explain
from bodh.evaluation.result import TITLES, Grid, ProtocolResult
from bodh.evaluation.words import is_sparse, reduced
from bodh.metrics.clusters import agreement, clusters, unit

if TYPE_CHECKING:
    from bodh.evaluation.context import Context

LABELS = False
HEAD = False
FEWEST = 8
"""Test records below which it says nothing, unless it is asked for by name."""
MOST = 10_000
NUMBERS = (2, 5, 10, 20)


def run(context: Context) -> ProtocolResult:
    """Return NMI and ARI of every arm on the test records, or silhouettes where there are no labels."""
    several = context.labelled and context.targets("test").ndim == 2
    if several or context.measured or not context.labelled:
        figures, note = _silhouettes(context)
    else:
        figures, note = _agreement(context)
    rows = [{"features": TITLES[arm], **values} for arm, values in figures.items()]
    return ProtocolResult("cluster", figures=figures, tables={"clusters": Grid("Clusters", rows, note)})


def _agreement(context: Context) -> tuple[dict[str, Json], str]:
    figures = {}
    for arm in context.arms:
        found = []
        for draw in range(context.draws(arm)):
            features, chosen = _sample(context, arm, draw)
            seed = derive_seed("clusters", context.config.seed, draw)
            groups = clusters(unit(features), context.classes, seed=seed)
            found.append(agreement(groups, context.targets("test")[chosen]))
        figures[arm] = {key: float(np.mean([one[key] for one in found])) for key in ("nmi", "ari")}
    return figures, f"k-means on directions, {context.classes} clusters, on test records; {explain(context)}"


def _silhouettes(context: Context) -> tuple[dict[str, Json], str]:
    from sklearn.metrics import silhouette_score

    figures = {}
    for arm in context.arms:
        features = unit(_sample(context, arm, 0)[0][:2000])
        values: Json = {}
        for number in NUMBERS:
            groups = clusters(features, number, seed=derive_seed("clusters", context.config.seed, 0))
            usable = 1 < len(np.unique(groups)) < len(features)
            values[f"{number} clusters"] = float(silhouette_score(features, groups)) if usable else None
        figures[arm] = values
    return figures, "silhouette of k-means clusters on directions, -1 to 1; says how separate, not how meaningful"


def _sample(context: Context, arm: str, draw: int) -> tuple[np.ndarray, np.ndarray]:
    """Return features of at most 10,000 test records and their indices in the test part."""
    features = context.features(arm, "test", draw=draw)
    count = len(context.positions["test"])
    chosen = np.arange(count)
    if count > MOST:
        rng = np.random.default_rng(derive_seed("cluster records", context.config.seed))
        chosen = np.sort(rng.permutation(count)[:MOST])
    found = features[chosen]
    return reduced(found, seed=context.config.seed) if is_sparse(found) else found, chosen
