"""Weighted nearest neighbours by cosine on frozen features: nothing is fitted, so nothing can be tuned.

Source: Wu et al. 2018, arXiv 1805.01978, section 3.4: each of the k nearest training records votes for its class
with weight exp(similarity / 0.1). Exact search, in blocks of test records.

Axes: `n` test records, `m` training records, `d` features, `k` classes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bodh.evaluation.cosine import similarities
from bodh.evaluation.protocols._tables import arm_row, every_draw, explain
from bodh.evaluation.result import Contest, Grid, ProtocolResult

if TYPE_CHECKING:
    from bodh.evaluation.context import Context

LABELS = True
HEAD = False


def run(context: Context) -> ProtocolResult:
    """Return kNN scores of the model, untrained networks and the raw input."""
    neighbours = context.config.neighbours or usual_neighbours(len(context.positions["train"]), context.classes)
    scores = {}
    for arm in context.arms:
        draws = [
            context.scores(
                vote(
                    context.features(arm, "train", draw=draw),
                    context.targets("train"),
                    context.features(arm, "test", draw=draw),
                    context.classes,
                    neighbours=neighbours,
                    temperature=context.config.temperature,
                    device=context.device,
                )
            )
            for draw in range(context.draws(arm))
        ]
        scores[arm] = np.stack(draws)
    how = f"k = {neighbours}, temperature {context.config.temperature:g}, cosine, exact; {explain(context)}"
    labels = len(context.positions["train"])
    contest = Contest(f"{neighbours} neighbours of {labels:,}", labels, 1.0, None, every_draw(context, scores))
    return ProtocolResult(
        "knn",
        figures={arm: {context.metric: float(s.mean())} for arm, s in scores.items()},
        tables={"knn": Grid("Nearest neighbours", [arm_row(context, arm, s) for arm, s in scores.items()], how)},
        contests=(contest,),
    )


def usual_neighbours(records: int, classes: int) -> int:
    """Return k: 200 with 2,000 training records a class or more (CIFAR-10), else 20, at most a class's share."""
    share = max(1, records // max(1, classes))
    return 200 if share >= 2000 else min(20, share)


def vote(
    train: np.ndarray,
    targets: np.ndarray,
    test: np.ndarray,
    classes: int,
    *,
    neighbours: int,
    temperature: float,
    device: str = "cpu",
) -> np.ndarray:
    """Return the votes [n k] as shares of their sum (several labels at once: of each label by itself).

    Args:
        train: [m d], dense or sparse.
        targets: [m] class index, or [m k] 0/1.
        test: [n d].
        classes: k.
        neighbours: how many vote, at most m.
        temperature: of the weights; smaller counts the nearest more.
        device: where to compute.
    """
    import torch

    labels = torch.as_tensor(targets, device=device)
    one_hot = labels.float() if targets.ndim == 2 else torch.nn.functional.one_hot(labels, classes).float()
    neighbours = min(neighbours, train.shape[0])
    result = np.empty((test.shape[0], classes), np.float32)
    for start, cosines in similarities(test, train, device=device):
        similar, index = cosines.to(labels.device).topk(neighbours, dim=1)
        weight = ((similar - similar[:, :1]) / temperature).exp()  # less the largest: no overflow at any temperature
        votes = torch.einsum("nj,njk->nk", weight, one_hot[index]) / weight.sum(dim=1, keepdim=True)
        result[start : start + len(votes)] = votes.cpu().numpy()
    return result
