"""What `finetune` does otherwise where labels are measured numbers: the linear head is a ridge regression."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import numpy as np

from bodh.contracts import Json
from bodh.errors import DataError
from bodh.records.splits import labelled

if TYPE_CHECKING:
    from torch import nn

    from bodh.api._training import Data

logger = logging.getLogger("bodh")

FEWEST = 5
"""Labelled records below which no penalty can be chosen."""


def insist_on_numbers(data: Data) -> None:
    """Raise DataError where the training records hold no numbers that could be learned.

    Raises:
        DataError: too few labelled records, or a number that is the same for all of them.
    """
    chosen = np.asarray(data.store.targets)[data.train]
    count = int(labelled(chosen).sum())
    if count < FEWEST:
        raise DataError(
            f"{data.source.name} has {count} training records with a number; at least {FEWEST} are needed to learn from"
        )
    for name, column in zip(data.store.class_names, chosen.reshape(len(chosen), -1).T, strict=True):
        known = column[~np.isnan(column)]
        if len(known) < FEWEST or float(np.ptp(known)) == 0.0:
            told = f"is {known[0]:g} in every record" if len(known) >= FEWEST else f"is given in {len(known)} records"
            raise DataError(f"{name!r} of {data.source.name} {told}: there is nothing to learn; choose other columns")


def linear_head(features: np.ndarray, targets: np.ndarray) -> tuple[nn.Module, Json]:
    """Return a head fitted on frozen features, in the labels' unit, and what is to be told of it.

    Args:
        features: [n d] of labelled records.
        targets: [n] or [n k] float, not-a-number where unlabelled.
    """
    import torch

    from bodh.api._training import mean_and_deviation
    from bodh.evaluation import ridge
    from bodh.evaluation.logistic import Scale
    from bodh.heads import scaled

    mean, deviation = mean_and_deviation(targets)
    scale = Scale.fit(features)
    fitted = ridge.fit(scale(features), (targets.reshape(len(targets), -1) - mean) / deviation)
    weights = scale.factor[:, None] * fitted.weights  # [d k], the features' shift and scale folded in
    bias = fitted.bias - (scale.shift * scale.factor) @ fitted.weights  # [k]
    head = scaled.build(inputs=features.shape[1], outputs=len(mean))
    head.set_unit(mean.tolist(), deviation.tolist())
    head.linear.load_state_dict({"weight": torch.from_numpy(weights.T.copy()), "bias": torch.from_numpy(bias)})
    return head, {"l2": list(fitted.l2)}
