"""The supervised-from-scratch baseline: what the same network learns from the same labels alone."""

from __future__ import annotations

import math
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from bodh.errors import Interrupted

if TYPE_CHECKING:
    from bodh.contracts import Objective, RecordStore
    from bodh.model.loaded import LoadedModel


def fit_scratch(
    model: LoadedModel,
    store: RecordStore,
    positions: np.ndarray,
    test_positions: np.ndarray,
    *,
    seed: int,
    views: int = 30_000,
) -> np.ndarray:
    """Train the backbone of `model` from random weights on `positions`; return probabilities, or numbers, `[n_test k]`.

    Of words with tags `[words k]`, one sentence after the other; of questions the answers [n_test], texts, after as
    many steps as `finetune` takes. The same loop, views and objective as
    `finetune --freeze none`, on the model's device.

    Args:
        model: gives architecture and modality; its weights are not used.
        store: decoded, labelled records.
        positions: [n] labelled records to train on.
        test_positions: [n_test] records to predict.
        seed: of weights, order and views.
        views: augmented records to train on in all; at least ten passes over `positions` are made.
    """
    import torch

    from bodh.api import _semi
    from bodh.api._settings import default_length, default_rate
    from bodh.api._training import Data, Job, resolve_job, run_training, task_of
    from bodh.model.answers import answer_rows
    from bodh.model.tagging import probabilities
    from bodh.train.engine import Engine, resolve_precision

    started = time.monotonic()
    # a short training needs small batches: measured on digits, 4,000 views in batches of 32 are worth 12,000 in 64
    batch = min(64 if len(positions) < 2000 else 256, max(16, 2 ** int(math.log2(views / 100))))
    task = task_of(store.targets, store.class_names, model.modality)
    objective = _semi.objective_for("auto", task)
    length: dict[str, Any] = {}
    if task == "span":  # of texts that long no 30,000 are read
        length = default_length(
            len(positions), objective, smallest=1, given={}, device=model.device.type, tokens=True
        )  # fmt: skip
        batch = length["batch"]
    # a few records fill a batch with several views of each: the same views in fewer, steadier steps
    positions = np.tile(positions, -(-batch // len(positions)))
    epochs = max(10.0, views / (len(positions) // batch * batch))  # an epoch leaves the last, partial batch out
    settings = {
        "seed": seed,
        "batch": batch,
        "learning_rate": max(4e-3, 2e-3 * 256 / batch),  # that of the objective, but at its peak 0.002 at least
        "epochs": epochs,
        "monitor_records": 0,
        "progress": "none",
        "checkpoint_minutes": 1e9,
    } | length  # fmt: skip
    fresh = model.untrained(seed=seed)
    settings |= default_rate(fresh.network["backbone"], objective, trained=False, given={})  # as finetune has it
    sections = resolve_job(settings, objective, model.modality.name, {})
    job = Job(
        verb="scratch", objective=objective, reasons=(), sections=sections,
        data=Data(store, model.modality, store, positions),  # type: ignore[arg-type]
        positions=positions, network=fresh.network["backbone"], device=str(model.device), out=None, resume=False,
        started=started, notes={},
    )  # fmt: skip
    engine = Engine(
        torch.device(model.device), precision=resolve_precision(job.config.precision, torch.device(model.device))
    )
    with tempfile.TemporaryDirectory(prefix="bodh-scratch-") as folder:
        try:
            trained, _ = run_training(engine, job, Path(folder))
        except Interrupted as stopped:  # its own words speak of a run that can be resumed
            raise Interrupted(stopped.signal, "stopped; a baseline was in training, nothing was written") from None
    told = {"task": job.data.task, "class_names": tuple(store.class_names), "best_block": None}
    network = cast("Objective", trained).keep().eval()
    twin = replace(fresh, network=network, manifest=fresh.manifest.model_copy(update=told))
    if task == "span":
        best = (told.best() for told in answer_rows(twin, list(store.rows(test_positions))))
        return np.array(["" if one is None else one.text for one in best], object)
    if task == "tags":
        return np.concatenate(probabilities(twin, store.rows(test_positions)))
    return twin.predict_rows(store, test_positions)
