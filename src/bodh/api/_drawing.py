"""How the records of an epoch are drawn: classes equally often, labelled beside unlabelled, or of similar length."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import numpy as np

from bodh.errors import ConfigError

if TYPE_CHECKING:
    from bodh.api._training import Data, Job
    from bodh.records.feed import Draw


def draw_of(job: Job) -> Draw:
    """Return how the records that `job` passes over are drawn.

    Raises:
        ConfigError: classes should be drawn equally often, and there are none.
    """
    from bodh.records.feed import Draw

    store, drawn = job.rows
    return Draw(
        groups=class_groups(store.targets, drawn) if job.config.balance else (),
        ratio=cast("Any", job.sections["objective"]).ratio if job.unlabelled else 0,
        lengths=bucket_lengths(job.data, job.positions) if job.windows is None else None,
    )


def bucket_lengths(data: Data, positions: np.ndarray) -> np.ndarray | None:
    """Return how many tokens each text at `positions` has once it is cut; None where rows are of one length anyway."""
    if not hasattr(data.modality, "cut") or data.store.shape is not None:
        return None
    found: np.ndarray = data.modality.cut(data.store.lengths()[positions])
    return found


def class_groups(targets: np.ndarray | None, positions: np.ndarray) -> list[np.ndarray]:
    """Return, for every class that occurs, the places in `positions` of its records.

    Of several labels at once, records without any are a class of their own.

    Raises:
        ConfigError: there are no classes.
    """
    if targets is None or targets.dtype.kind == "f":
        raise ConfigError("balance: these labels are no classes, so none can be drawn equally often; leave balance out")
    chosen = np.asarray(targets)[positions]
    if chosen.ndim == 2:
        member = np.column_stack([chosen > 0, ~(chosen > 0).any(axis=1)])
    else:
        member = chosen[:, None] == np.unique(chosen)
    return [np.flatnonzero(column) for column in member.T if column.any()]
