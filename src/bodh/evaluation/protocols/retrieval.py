"""Retrieval: do the training records nearest to a test record have its class, and is its class mean nearest? By cosine.

Recall@k: the share of test records with one of their class among the k nearest. MRR: the mean of 1 / rank of the first
of its class. Nearest class mean: a class is the mean of its records' directions (Snell et al. 2017, "Prototypical
networks", section 2.2, with cosines). Nothing is fitted.

Axes: `n` test records, `m` training records, `d` features, `k` classes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from bodh.contracts import Json
from bodh.errors import DataError
from bodh.evaluation.cosine import class_means, similarities
from bodh.evaluation.protocols._tables import explain
from bodh.evaluation.result import TITLES, Grid, ProtocolResult
from bodh.metrics.intervals import mean_interval

if TYPE_CHECKING:
    from bodh.evaluation.context import Context

LABELS = True
HEAD = False
DEPTHS = (1, 5, 10)


def run(context: Context) -> ProtocolResult:
    """Return recall@1, 5 and 10, MRR and the accuracy of the nearest class mean, of every arm.

    Raises:
        DataError: records with several labels each.
    """
    train, test = context.targets("train"), context.targets("test")
    if train.ndim != 1:
        raise DataError("records have several labels each; what should be found is not told by that")
    figures: dict[str, Json] = {}
    rows: list[Json] = []
    for arm in context.arms:
        draws = [
            measure(
                context.features(arm, "train", draw=draw), train, context.features(arm, "test", draw=draw), test,
                device=context.device,
            )
            for draw in range(context.draws(arm))
        ]  # fmt: skip
        row: Json = {"features": TITLES[arm]}
        for name in draws[0]:
            interval = mean_interval([found[name] for found in draws])
            row[name] = interval.mean
        figures[arm] = {name: value for name, value in row.items() if name != "features"}
        rows.append(row | {"networks": len(draws)})
    how = f"cosine, exact, nothing fitted; {explain(context)}"
    return ProtocolResult("retrieval", figures=figures, tables={"retrieval": Grid("Retrieval", rows, how)})


def measure(train: Any, targets: np.ndarray, test: Any, wanted: np.ndarray, *, device: str = "cpu") -> Json:
    """Return recall@k, MRR and the accuracy of the nearest class mean, by name.

    Args:
        train: [m d], dense or sparse.
        targets: [m] class index.
        test: [n d].
        wanted: [n] class index; of a class that no training record has, the record is never found.
        device: where to compute.
    """
    rank = first_ranks(train, targets, test, wanted, device=device)
    means, known = class_means(train, targets)
    nearest = np.concatenate(
        [known[found.argmax(dim=1).cpu().numpy()] for _, found in similarities(test, means, device=device)]
    )
    return {
        **{f"recall@{depth}": float((rank <= depth).mean()) for depth in DEPTHS},
        "MRR": float((1 / rank).mean()),
        "nearest class mean": float((nearest == wanted).mean()),
    }


def first_ranks(train: Any, targets: np.ndarray, test: Any, wanted: np.ndarray, *, device: str = "cpu") -> np.ndarray:
    """Return at which rank, from 1, the first training record of the class `wanted` [n] comes; inf: none has it.

    Records that are exactly as near as the first of the class come before it: ties are no merit.
    """
    import torch

    ranks = np.empty(len(wanted), np.float64)
    for start, cosines in similarities(test, train, device=device):
        stop = start + len(cosines)
        own = torch.as_tensor(targets[None] == wanted[start:stop, None], device=cosines.device)  # [b m]
        best = cosines.masked_fill(~own, -np.inf).amax(dim=1)
        before = ((cosines >= best[:, None]) & ~own).sum(dim=1).double()
        ranks[start:stop] = torch.where(best.isfinite(), before + 1, np.inf).cpu().numpy()
    return ranks
