"""What `finetune` does where its method learns from unlabelled records too."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from bodh import _catalog
from bodh.contracts import Task
from bodh.errors import ConfigError, DataError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bodh.api._settings import DataConfig
    from bodh.api._training import Data

logger = logging.getLogger("bodh")

BY_TASK: dict[Task | None, str] = {"regress": "regress", "tags": "tag", "span": "extract"}
"""The objective that learns each kind of labels where no method is asked for; classes of any kind: classify."""


def split_method(settings: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
    """Return (settings without `method`, what it was; "auto" where it was not given)."""
    rest = dict(settings)
    return rest, str(rest.pop("method", "auto"))


def objective_for(method: str, task: Task | None) -> str:
    """Return the objective that learns labels of `task` by `method`.

    Raises:
        ConfigError: no such method, or none for such labels.
    """
    if method == "auto":
        return BY_TASK.get(task, "classify")
    able = [name for name in _catalog.names("objectives") if _learns(name, task)]
    if method not in able:
        kinds = {"regress": "measured numbers", "multi": "several labels at once", "tags": "tags of words"}
        known = kinds.get(task or "", "classes")
        raise ConfigError(f"method: {method!r} is not one of those that learn {known}: auto, {', '.join(able)}")
    return method


def _learns(name: str, task: Task | None) -> bool:
    """Whether an objective learns a head for labels of `task`."""
    module = _catalog.get("objectives", name)
    able = getattr(module, "TASKS", ("single", "binary", "multi"))
    return module.FAMILY == "supervise" and (task or "single") in able


def wants_unlabelled(objective: str, *, frozen: bool) -> bool:
    """Return whether an objective learns from records without labels beside labelled ones.

    Raises:
        ConfigError: it does, but the network is frozen.
    """
    wants = bool(_catalog.get("objectives", objective).NEEDS.unlabelled)
    if wants and frozen:
        raise ConfigError(
            f"freeze: 'backbone' leaves {objective} nothing to train; leave it out, type --freeze none or --freeze 1"
        )
    return wants


def with_unlabelled(
    ready: Data, positions: np.ndarray, validate: np.ndarray, config: DataConfig
) -> tuple[Data, np.ndarray]:
    """Return data and positions to train on, with all other training records among them as unlabelled ones.

    Args:
        ready: labelled data.
        positions: [n] whose labels may be used.
        validate: [m] kept out.
        config: `unlabelled` names more records.

    Raises:
        DataError: there is no other training record, or the other records are of another kind.
    """
    from bodh.api._training import open_data
    from bodh.records.joined import JoinedStore
    from bodh.records.labels import relabelled
    from bodh.records.store import open_store

    others = np.setdiff1d(ready.train, np.union1d(positions, validate))
    hidden = np.array(ready.store.targets)
    hidden[others] = -1
    store = relabelled(ready.store, hidden, ready.store.class_names)
    if config.unlabelled is not None:
        plain = config.model_copy(update={"input": None, "label": None, "unlabelled": None, "task": "auto"})
        source = open_data(config.unlabelled, plain)
        if source.modality != ready.modality.name:
            raise DataError(
                f"data.unlabelled: {source.name} holds {source.modality} records, {ready.source.name} "
                f"{ready.modality.name} records; give records of the same kind"
            )
        more = open_store(source, ready.modality, cache=config.cache, workers=config.workers)
        chosen = np.flatnonzero(np.asarray(more.splits) == "train")
        others = np.concatenate([others, len(store) + chosen])
        store = JoinedStore(store, more)
    if not len(others):
        raise DataError(
            f"{ready.source.name} has a label for every training record, so there is nothing unlabelled to learn from; "
            "give more records with data.unlabelled=PATH, use fewer labels with --labels-per-class K, "
            "or leave method out"
        )
    logger.info("%s labelled and %s unlabelled records", f"{len(positions):,}", f"{len(others):,}")
    both = np.concatenate([positions, others])
    return replace(ready, store=store), np.sort(both)
