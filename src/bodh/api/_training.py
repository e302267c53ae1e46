"""From DATA to a trained model: the one way that `pretrain`, `finetune` and the scratch baseline share."""

from __future__ import annotations

import csv
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from bodh import _catalog
from bodh.api import _objective, _run
from bodh.api._reading import reader_of
from bodh.api._settings import DataConfig, check_batch, check_divisible
from bodh.api._windows import Windows
from bodh.config.base import Config
from bodh.contracts import WRITTEN, Facts, Json, Modality, Needs, Objective, RecordStore, Source, Task
from bodh.errors import DataError

if TYPE_CHECKING:
    from torch import nn

    from bodh.train.config import TrainConfig
    from bodh.train.engine import Engine
    from bodh.train.loop import Outcome

logger = logging.getLogger("bodh")

FEWEST_SCORED = 64
"""Texts below which the label-free scores are of packed rows instead: one long document has none of its own."""
SPLIT_SEED = 0
"""Pretraining and evaluation must set aside the same records, whatever the seed of the run."""


@dataclass(frozen=True)
class Data:
    """Opened data: the source, its modality, its decoded records, and which of them train."""

    source: Source
    modality: Modality
    store: RecordStore
    train: np.ndarray
    """[n] positions"""
    val: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))
    """[m] positions of the source's own validation part; often none"""
    aside: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))
    """[m] positions that `evaluate` will test on, where the source brings no test part"""

    @property
    def task(self) -> Task | None:
        """What the labels mean, or None without labels."""
        return task_of(self.store.targets, self.store.class_names, self.modality)


def open_data(data: Any, config: DataConfig) -> Source:
    """Return the source that DATA names, read as `config` says."""
    from bodh.records.open import open_source

    return open_source(
        data, input=config.input, label=config.label, modality=config.modality, task=config.task,
        split_lines=config.split_lines, target=config.target, where=config.where, negative=config.negative,
    )  # fmt: skip


def prepare_data(
    source: Source,
    modality_config: Config | None,
    config: DataConfig,
    *,
    modality: Modality | None = None,
    tested: bool = False,
) -> Data:
    """Fit the modality (unless a model brings its own), decode into the store, and tell which records train.

    Where a labelled source has no test part, the fifth that `evaluate` will set aside is left out here too; and
    where the objective is one that can be measured without labels (`tested`), of an unlabelled one.
    """
    from bodh.model.modality import adopted, asked
    from bodh.records.divided import divided
    from bodh.records.store import open_store

    if modality is None:
        kind = _catalog.get("modalities", source.modality).Modality
        modality = cast("Modality", kind.fit(source, modality_config))
    elif modality.name != source.modality:
        modality = adopted(modality, source, modality_config)
    else:
        modality = asked(modality, modality_config)
    budget = None if config.budget_gb is None else int(config.budget_gb * 1e9)
    store: RecordStore = open_store(source, modality, cache=config.cache, workers=config.workers, budget=budget)
    measured = store.targets is not None or getattr(modality, "answers", False) or (tested and config.set_aside)
    own = set(np.asarray(store.splits).tolist())
    if not measured and own <= {"train"}:
        return Data(source, modality, store, np.arange(len(store)))
    store, parts = divided(store, modality, SPLIT_SEED)
    aside = parts["test"] if own <= {"train"} else np.empty(0, np.int64)
    return Data(source, modality, store, parts["train"], parts["val"], aside)


def task_of(targets: np.ndarray | None, class_names: tuple[str, ...], kind: Any = None) -> Task | None:
    """Return what `targets` mean: numbers, several labels a record, one of two classes, one of k, or None.

    Args:
        targets: of a source or store.
        class_names: likewise.
        kind: modality, or its class, of the records: what they are to tell themselves (`task`), where they bring it.
    """
    if targets is None:
        own: Task | None = getattr(kind, "task", None)
        return own if class_names or own in WRITTEN else None
    if targets.dtype.kind == "f":
        return "regress"
    if targets.ndim == 2:
        return "multi"
    return "binary" if len(class_names) == 2 else "single"


LABELS = {
    "single": "one class a record", "binary": "one class of two", "multi": "several labels a record",
    "regress": "measured numbers", "tags": "a tag for every word",
}  # fmt: skip
"""What each kind of labels is called in messages."""


def check_labels(objective: str, needs: Needs, source: Source) -> None:
    """Refuse data whose labels the objective cannot learn from, before anything is decoded.

    Raises:
        DataError: no labels where some are needed, or labels of another kind.
    """
    if not needs.labels:
        return
    task = task_of(source.targets, source.class_names, _catalog.get("modalities", source.modality).Modality)
    if task is None:
        raise DataError(
            f"objective {objective!r} learns from labels, and {source.name} has none; put every class into a folder "
            "of its own, name the column with data.label=NAME, or type --objective simclr to learn without"
        )
    if needs.tasks is not None and task not in needs.tasks:
        raise DataError(
            f"objective {objective!r} learns from {' or '.join(LABELS[kind] for kind in needs.tasks)}, and "
            f"{source.name} has {LABELS[task]}; choose another with --objective"
        )
    if task == "single" and len(source.class_names) < 2:
        raise DataError(
            f"objective {objective!r} learns from labels, and {source.name} has one class only "
            f"({', '.join(source.class_names) or 'none'}); at least two are needed, or type --objective simclr"
        )


def learnable(needs: Needs, data: Data) -> np.ndarray:
    """Return the positions that an objective of `needs` can learn from: labelled ones, where it needs labels."""
    if data.task == "span":
        from bodh.api import _extraction

        return _extraction.answered(data)
    if not needs.labels or needs.unlabelled or data.store.targets is None:
        return data.train
    from bodh.records.splits import labelled, unseen

    found: np.ndarray = data.train[labelled(data.store.targets[data.train])]
    if len(found) < len(data.train):
        logger.info("%d of %d training records have a label; the others are left out", len(found), len(data.train))
    if missing := unseen(data.store.targets[found], data.store.class_names):
        logger.warning("no training record is of class %s, so it cannot be learned", ", ".join(missing[:8]))
    return found


def facts_of(store: RecordStore, positions: np.ndarray, *, steps: int, batch: int) -> Facts:
    """Return what an objective may know, for training on `positions` of `store`."""
    counts: tuple[int, ...] = ()
    middle: tuple[float, ...] = ()
    spread: tuple[float, ...] = ()
    if store.targets is not None:
        chosen = store.targets[positions]
        if chosen.dtype.kind == "f":
            mean, deviation = mean_and_deviation(chosen)
            middle, spread = tuple(mean.tolist()), tuple(deviation.tolist())
        elif chosen.ndim == 2:
            counts = tuple(int(count) for count in chosen.sum(axis=0))
        else:
            counts = tuple(int(count) for count in np.bincount(chosen[chosen >= 0], minlength=len(store.class_names)))
    return Facts(
        records=len(positions), steps=steps, batch_size=batch,
        task=task_of(store.targets, store.class_names), class_names=tuple(store.class_names), class_counts=counts,
        target_mean=middle, target_deviation=spread,
    )  # fmt: skip


def mean_and_deviation(numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and deviation [k] of measured `numbers` [n] or [n k] without not-a-numbers; no deviation is 0."""
    columns = numbers.reshape(len(numbers), -1).astype(np.float64).T
    known = [column[~np.isnan(column)] for column in columns]
    mean = np.array([column.mean() if len(column) else 0.0 for column in known])
    deviation = np.array([column.std() if len(column) else 0.0 for column in known])
    return mean, np.where(deviation > 1e-12 * np.abs(mean), deviation, 1.0)


def planned_steps(config: TrainConfig, records: int) -> int:
    """Return the optimiser steps of `epochs` passes; with a time budget an estimate, which the loop replaces.

    The estimate depends on the settings alone, for a resumed run must build the same objective: three steps a second.
    """
    if config.minutes is not None:
        return max(1, round(180 * config.minutes))
    return max(1, round((config.epochs or 0) * (records // config.batch)))


@dataclass(frozen=True)
class Job:
    """A training that is fully decided: what `plan_job` returns and `execute` carries out."""

    verb: str
    objective: str
    reasons: tuple[str, ...]
    sections: dict[str, Config]
    """"" (TrainConfig), "objective", "modality", "data" """
    data: Data
    positions: np.ndarray
    """[n] records to train on"""
    network: Any
    """the backbone to start from: an nn.Module and a contracts.Backbone"""
    device: str
    out: str | Path | None
    resume: bool
    started: float
    notes: Json
    """what provenance should tell beside the settings"""
    vary: Modality | None = None
    """makes the training's views, where the data's own modality should not"""
    teacher: nn.Module | None = None
    """a trained backbone that the objective learns from"""
    validate: np.ndarray | None = None
    """[m] labelled records to look at every epoch; None: none"""
    windows: Windows | None = None
    """rows over all texts, drawn in place of the records where the objective packs (`Needs.packed`)"""
    held: tuple[str, ...] = ()
    """stages of the backbone that never train"""
    prepare: Callable[[nn.Module], None] | None = None
    """changes the objective before the first step of a run; not again when it is resumed"""
    finish: Callable[[nn.ModuleDict], nn.ModuleDict] = lambda kept: kept
    """changes what was trained before it is saved"""

    @property
    def rows(self) -> tuple[RecordStore, np.ndarray]:
        """What an epoch passes over: a store, and positions in it."""
        if self.windows is None:
            return self.data.store, self.positions
        return self.windows.train, np.arange(len(self.windows.train))

    @property
    def checked(self) -> tuple[RecordStore, np.ndarray]:
        """What is looked at every epoch: a store, and positions in it, maybe none."""
        if self.windows is None or self.windows.val is None:
            return self.data.store, np.empty(0, np.int64) if self.validate is None else self.validate
        return self.windows.val, np.arange(len(self.windows.val))

    @property
    def unlabelled(self) -> bool:
        """Whether the objective learns from unlabelled records beside labelled ones."""
        return bool(_catalog.get("objectives", self.objective).NEEDS.unlabelled)

    @property
    def config(self) -> TrainConfig:
        """The settings of the loop."""
        return cast("TrainConfig", self.sections[""])


def resolve_job(
    settings: Mapping[str, Any], objective: str, modality: str, length: Mapping[str, Any]
) -> dict[str, Config]:
    """Return every section of a training's settings; all mistakes are told at once.

    Args:
        settings: dotted names as the user gave them.
        objective: its `DEFAULTS` lie below `settings`.
        modality: name.
        length: chosen batch and epochs; between the two.
    """
    from bodh.config.resolve import resolve
    from bodh.model.modality import config_class
    from bodh.train.config import TrainConfig

    module = _catalog.get("objectives", objective)
    sections: dict[str, type[Config]] = {
        "": TrainConfig,
        "objective": module.Config,
        "modality": cast("type[Config]", config_class(_catalog.get("modalities", modality))),
        "data": DataConfig,
    }
    return resolve(settings, sections, {"": {**module.DEFAULTS, **length}})


def early_data_config(settings: Mapping[str, Any]) -> DataConfig:
    """Return `data.*` alone: DATA must be opened before the other settings have a meaning."""
    from bodh.config.resolve import resolve

    chosen = {key: value for key, value in settings.items() if key == "data" or key.startswith("data.")}
    return cast("DataConfig", resolve(chosen, {"data": DataConfig})["data"])


def execute(job: Job) -> Path:
    """Train, save the model and the report, and return the run folder.

    Under torchrun every process comes here; the first one writes.
    """
    from bodh.api._training_report import write_report
    from bodh.train.engine import engine as start_engine
    from bodh.train.log import pace

    with start_engine(job.device, job.config.precision) as engine:
        check_batch(job.config.batch, len(job.rows[1]), job.data.source)
        check_divisible(job.config.batch, job.config.accumulate, engine.world)
        name = f"{job.data.source.name}-{job.objective if job.verb == 'pretrain' else job.verb}"
        run = Path(engine.same(str(_run.open_run(job.out, name=name, resume=job.resume)) if engine.leads else ""))
        spec = cast("Any", job.network).spec
        arguments = {"objective": job.objective, "backbone": spec.name, "network": dict(spec.arguments), **job.notes}
        identity = _run.Identity(job.verb, arguments, job.sections, job.data.store.fingerprint, _reusable(job))
        if job.resume:
            _run.check_plan(run, identity)
            if (run / "model" / "model.json").is_file():
                logger.info("%s is finished already", run)
                return run
        elif engine.leads:
            tell(job.reasons)
            _run.record_plan(run, identity)
        engine.wait()
        trained, outcome = run_training(engine, job, run)
        if engine.leads:
            provenance = {
                "verb": job.verb,
                "objective": {
                    "name": job.objective, "family": _catalog.get("objectives", job.objective).FAMILY,
                    "config": job.sections["objective"].model_dump(mode="json"),
                },
                "seed": job.config.seed, "steps": outcome.steps, "epochs": outcome.epochs, "seconds": outcome.seconds,
                "settings": job.config.model_dump(mode="json"), "choice": outcome.choice, "notes": job.notes,
            }  # fmt: skip
            kept = job.finish(cast("Objective", trained).keep())
            told = {"skipped_steps": outcome.skipped, **pace(run / "log.jsonl")}
            metrics = {**outcome.scores, **told, **calibrated(job, kept)}
            save_result(run, job.data, kept, provenance=provenance, metrics=metrics)
            write_report(run, job)
        engine.wait()
    return run


def _reusable(job: Job) -> Json:
    """Return the arguments of the verb as they can be typed again."""
    if job.verb != "pretrain":
        return {}
    told = {"shape", *getattr(job.data.modality, "network_arguments", ())}  # by the data
    arguments = {key: value for key, value in job.network.spec.arguments.items() if key not in told}
    member = arguments.pop("model", None)
    name = job.network.spec.name if member is None else f"{job.network.spec.name}:{member}"
    return {"objective": job.objective, "backbone": name} | {
        f"backbone.{key}": value for key, value in arguments.items()
    }


def run_training(engine: Engine, job: Job, run: Path) -> tuple[nn.Module, Outcome]:
    """Build the objective around the backbone and train it; return it with what the loop reports."""
    import torch

    from bodh.api._drawing import draw_of
    from bodh.contracts import derive_seed
    from bodh.records.feed import Feed, Place
    from bodh.train.loop import Training, train
    from bodh.train.monitor import Monitor
    from bodh.train.optimise import Plan
    from bodh.train.validate import Validation

    config, data = job.config, job.data
    store, drawn = job.rows
    steps = planned_steps(config, len(drawn))
    facts = facts_of(store, drawn, steps=steps, batch=config.batch)
    facts = _objective.tell(facts, data.store, job.positions, data.modality, job.teacher)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed("heads", config.seed))
        task = _catalog.get("objectives", job.objective).build(job.network, job.sections["objective"], facts)
    if job.prepare is not None and engine.leads and not any((run / "checkpoints").glob("step-*")):
        job.prepare(task)  # other processes get the weights of this one
    feed = Feed(
        store, drawn, job.vary or data.modality, task.views(), batch=config.batch,
        accumulate=config.accumulate, seed=config.seed, place=Place(engine.device, engine.rank, engine.world),
        draw=draw_of(job),
    )  # fmt: skip
    monitor = None
    if config.monitor_records:
        read = (data.store, job.positions) if len(job.positions) >= FEWEST_SCORED else (store, drawn)
        monitor = Monitor(
            *read, data.modality, records=config.monitor_records, seed=config.seed, device=engine.device,
        )  # fmt: skip
    spent = time.monotonic() - job.started
    plan = Plan(steps) if config.minutes is None else Plan(steps, seconds=60 * config.minutes, spent=spent)
    training = Training(task, feed, config, engine, plan, job.held)
    validation = None
    if len(job.checked[1]):
        validation = Validation(*job.checked, data.modality, device=engine.device)
    title = f"{job.verb} {job.objective}"
    return task, train(training, run=run, monitor=monitor, title=title, validation=validation)


def save_result(run: Path, data: Data, network: nn.ModuleDict, *, provenance: Json, metrics: Json) -> None:
    """Write the model folder and, where records were left out, `skipped.csv` into `run`."""
    from bodh.model.save import save_model

    few = data.train[np.linspace(0, len(data.train) - 1, num=min(64, len(data.train))).astype(int)]
    task: Task | None = getattr(network["head"], "task", data.task) if "head" in network else None
    origin = {"name": data.source.name, "fingerprint": data.store.fingerprint, "records": len(data.train)}
    origin |= {"set_aside": len(data.aside)} if len(data.aside) else {}
    origin |= {"labelled": True} if data.store.targets is not None else {}
    save_model(
        run / "model",
        network=network,
        modality=data.modality if "head" in network else reader_of(data.modality),
        task=task,
        class_names=data.store.class_names if task is not None and task not in WRITTEN else (),
        records=data.modality.standardise(data.store.rows(few)),
        provenance={"data": origin, **provenance},
        metrics=metrics,
        overwrite=True,
    )
    skipped = getattr(data.store, "skipped", [])
    if skipped:
        with (run / "skipped.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["id", "reason"])
            writer.writerows(skipped)


def calibrated(job: Job, network: nn.ModuleDict) -> Json:
    """Set the temperature of a classifier's probabilities on its validation part; return what is to be told of it."""
    from bodh.api._transfer import calibrate

    wanted = job.config.calibrate is not False and "head" in network and job.data.task not in {None, "regress", "span"}
    if not wanted or job.validate is None or not len(job.validate):
        return {}
    return calibrate(job.data, network, job.validate)


def tell(reasons: tuple[str, ...]) -> None:
    """Say what was chosen and why."""
    for reason in reasons:
        logger.info("chose %s", reason)
