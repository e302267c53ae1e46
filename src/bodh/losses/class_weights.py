"""Weights of classes in a loss, so that rare ones count as much as common ones."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from bodh.errors import ConfigError

Asked = Literal["balanced"] | tuple[float, ...] | None
"""As settings name them: n / (k · count), a list in the order of the classes, or all alike."""


def insist_on_weights(asked: tuple[float, ...], names: Sequence[str]) -> Tensor:
    """Return weights that were given as a list, `[k]`.

    Raises:
        ConfigError: they are not as many as classes, or no weights.
    """
    if len(asked) != len(names) or not all(math.isfinite(value) and value >= 0 for value in asked) or not any(asked):
        raise ConfigError(
            f"class_weights={list(asked)} does not fit: {len(names)} finite numbers from 0 are needed, not all 0, "
            f"in the order of the classes {', '.join(names)}; or type: objective.class_weights=balanced"
        )
    return torch.tensor(asked)


def insist_on_counts(counts: Sequence[int], names: Sequence[str]) -> Tensor:
    """Return how many records are of each class, float `[k]`.

    Raises:
        ConfigError: the data does not tell.
    """
    if len(counts) != len(names):
        raise ConfigError(
            "class_weights='balanced' needs the number of records a class, which this data does not tell; give a list"
        )
    return torch.tensor(counts, dtype=torch.float32)


def balanced(counts: Tensor) -> Tensor:
    """Return n / (k · count) for each of `counts` [k]; 0 for a class without records."""
    return torch.where(counts > 0, counts.sum() / (len(counts) * counts.clamp(min=1)), 0)
