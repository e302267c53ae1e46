"""`finetune`: adapt a model to labels, many or few."""

from __future__ import annotations

import logging
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from bodh import _catalog
from bodh.contracts import reads_tokens
from bodh.errors import ConfigError, DataError

if TYPE_CHECKING:
    import torch

    from bodh.api._published import Asked
    from bodh.api._settings import DataConfig
    from bodh.api._training import Data, Job
    from bodh.api.load import Model
    from bodh.model.loaded import LoadedModel
    from bodh.train.config import TrainConfig

logger = logging.getLogger("bodh")

TRAINING = (
    "epochs", "minutes", "patience", "gradual", "layer_decay", "frozen_norms", "linear_first", "balance",
)  # fmt: skip
"""Settings that mean nothing where only a head is fitted; with one of them, "auto" trains."""
TASKS = ("auto", "classify", "regress", "tag", "extract")


def finetune(
    data: Any,
    *,
    start: Any,
    task: str = "auto",
    freeze: str | int = "auto",
    labels_per_class: int | None = None,
    out: str | Path | None = None,
    epochs: float | None = None,
    minutes: float | None = None,
    device: str = "auto",
    seed: int = 0,
    resume: bool = False,
    config: str | Path | None = None,
    **settings: Any,
) -> Model:
    """Adapt a model to labels and return the classifier.

    With a frozen backbone its features are computed once, kept beside the decoded records for the next time, and a
    linear head is fitted on them (seconds). Else the head is fitted so first, and then head and stages are trained
    together: linear_first=false leaves the first part out. Where the data has a validation part, loss and accuracy
    are measured on it every epoch, and the probabilities' temperature is set on it.

    Args:
        data: labelled folder, file, named data set or array.
        start: model or run folder to start from, or the name of a backbone: to train from scratch, or to start from
            published weights (weights=FILE, or weights=imagenet to fetch them; head=published trains their classifier
            on, whose classes are then those of the data, in the data's order). Language models: transformer or
            huggingface with weights=FOLDER (config.json, weights, tokenizer.json), or weights=hf:NAME to fetch it; the
            folder, or hf:NAME, alone is a start too.
        task: auto: as the labels are; classify: one class of two or more, or several labels at once; regress:
            measured numbers, also where they are whole; tag: a tag for every word; extract: answers that are a piece
            of the text that a question comes with.
        freeze: backbone (linear head on frozen features, of the best block where the model remembers one), N (train
            the last N stages and the head; `bodh list backbones NAME` shows the stages), none (train everything), or
            auto: none for a bare backbone, and for a model with more than 100 labels a class, or where epochs, minutes
            or other settings of a training are given; else backbone. all: published weights with their own classifier,
            nothing trained.
        labels_per_class: use only this many labels of every class, drawn by the seed; of measured numbers, which
            have no classes, and of sentences of tagged words and of questions this many in all.
        out: run folder; by default runs/NAME-finetune.
        epochs: passes over the labelled data, where anything but a head is trained.
        minutes: wall-clock budget instead of epochs.
        device: auto, cpu, cuda, cuda:N or mps.
        seed: root of all randomness; the same seed gives the same model.
        resume: continue the run in `out` where it was stopped, bit for bit.
        config: TOML file with any of these and all settings.
        **settings: any other setting by its dotted name, as in `key=value` on the command line:
            batch, learning_rate (a number, or find), layer_decay, gradual, frozen_norms, balance, patience,
            calibrate, objective.mixup, objective.cutmix, objective.label_smoothing, objective.view=randaugment,
            objective.class_weights, modality.size, data.label …; method=fixmatch learns from
            unlabelled records too: those beside --labels-per-class, and data.unlabelled=PATH. lora=8 trains adapters
            of that rank beside the linear layers of a Transformer instead of its weights, and adds them in the end.

    Returns:
        The classifier; `.run` is its run folder.

    Raises:
        UserError: something given was wrong; one line says what, where and what to do.
        Interrupted: a signal stopped the run after saving.

    Example:
        bodh finetune labelled/ --from runs/photos
        bodh finetune labelled/ --from runs/photos --labels-per-class 10
        bodh finetune labelled/ --from runs/photos --freeze none --epochs 20 patience=3 layer_decay=0.7
        bodh finetune labelled/ --from runs/photos --freeze 2 learning_rate=find objective.mixup=0.2
        bodh finetune reviews.csv --from runs/news lora=8
        bodh finetune squad/ --from transformer weights=bert/ --task extract
        bodh finetune labelled/ --from resnet18 weights=resnet18.safetensors --freeze 1
        bodh finetune labelled/ --from resnet20 weights=resnet20.th --freeze all
        bodh finetune digits/ --from cnn modality.size=48 modality.views.rotation=10 batch=64
    """
    from bodh.api import _lora, _published, _run, _semi, _settings, _tagging, _training, _transfer
    from bodh.api.load import load
    from bodh.config.files import overlay
    from bodh.train.engine import resolve_device

    started = time.monotonic()
    arguments = {
        "task": task, "freeze": freeze, "labels_per_class": labels_per_class, "out": out, "epochs": epochs,
        "minutes": minutes, "device": device, "seed": seed,
    }  # fmt: skip
    given, settings = overlay(config, finetune, arguments, settings)
    settings, method = _semi.split_method(settings)
    rank = _lora.take_rank(settings)
    settings, own = _settings.split_backbone(_settings.with_length(settings, given))
    where = resolve_device(given["device"])
    _run.check_out(given["out"], resume=resume)
    settings, ask = _published.asked(start, settings, whole=given["freeze"] == "all")
    begin = _starting_model(start)
    if begin is not None and given["freeze"] != "auto":
        _transfer.held_stages(given["freeze"], begin.block_names, trained=True)  # mistakes are told early
    settings = _with_task(settings, given["task"])
    source = _training.open_data(data, _training.early_data_config(settings))
    kind = _catalog.get("modalities", source.modality).Modality
    objective = _semi.objective_for(method, _training.task_of(source.targets, source.class_names, kind))
    settings = _published.reading(ask, settings, source.modality)
    first = _training.resolve_job(settings, objective, source.modality, {})
    modality = None if begin is None else begin.modality
    ready = _training.prepare_data(source, first["modality"], cast("DataConfig", first["data"]), modality=modality)
    if begin is not None and begin.modality.name != ready.modality.name:  # of a model that writes, what reads
        begin = replace(begin, modality=ready.modality)
    positions = _labelled(ready, given["labels_per_class"], given["seed"])
    if ask is not None:
        begin, ready = _published.starting_model(ask, ready, own, settings, given["seed"])
    network = begin.network["backbone"] if begin else _settings.fresh(
        start, ready.modality, own, given["seed"], getattr(_catalog.get("objectives", objective), "BACKBONE", None)
    )  # fmt: skip
    names = cast("tuple[str, ...]", network.block_names)
    labels = _tagging.words(ready, positions) if ready.task == "tags" else len(positions)
    fits = _transfer.at_once(ready.task)
    few = method == "auto" and rank is None and fits and _transfer.few(labels, len(ready.store.class_names))
    held = _held(given["freeze"], names, settings, trained=begin is not None, few=few, fits=fits)
    frozen = begin is not None and held == names and fits
    positions, validate = _transfer.validation_part(ready, positions, cast("TrainConfig", first[""]))
    if _semi.wants_unlabelled(objective, frozen=frozen):
        ready, positions = _semi.with_unlabelled(ready, positions, validate, cast("DataConfig", first["data"]))
    chosen: dict[str, float] = {}
    reasons: tuple[str, ...] = ()
    if not frozen:  # adapters are new weights, and learn at the rate of these
        learned = begin is not None and rank is None and held != names
        chosen, reasons = _chosen(network, objective, settings, len(positions), where, learned=learned)
    job = _training.Job(
        verb="finetune", objective=objective, reasons=reasons, data=ready, positions=positions, network=network,
        sections=_training.resolve_job(settings, objective, source.modality, chosen),
        device=given["device"], out=given["out"], resume=resume, started=started,
        notes=_notes(start, begin, given["labels_per_class"], held)
        | _lora.insert(network, rank, held, trained=begin is not None, seed=given["seed"]),
        validate=validate, held=held, finish=_lora.merge,
    )  # fmt: skip
    if begin is not None and given["freeze"] == "all":
        return load(_published.keep_as_it_is(job, begin))
    return load(_carry_out(job, begin, ask, where))


def _chosen(
    network: Any, objective: str, settings: dict[str, Any], records: int, where: torch.device, *, learned: bool
) -> tuple[dict[str, float], tuple[str, ...]]:
    """Return batch, epochs and learning rate, as far as they were not given, and why.

    Args:
        network: the backbone.
        objective: its name.
        settings: what was given.
        records: labelled ones to train on.
        where: the device.
        learned: whether what is trained has learned already.
    """
    from bodh.api import _settings

    length = _settings.default_length(
        records, objective, smallest=1, given=settings, device=where.type, tokens=reads_tokens(network)
    )  # fmt: skip
    rate = _settings.default_rate(network, objective, trained=learned, given=settings)
    return length | rate, tuple(_settings.reasons(length, rate, f"{records:,} labelled records"))


def _notes(start: Any, begin: LoadedModel | None, per_class: int | None, held: tuple[str, ...]) -> dict[str, Any]:
    """Return what provenance tells of how a fine-tuning began."""
    from bodh.api import _published

    return {
        "start": start if begin is None else begin.manifest.files["model.safetensors"].sha256,
        "freeze": list(held),
        "labels_per_class": per_class,
        **_published.notes(begin),
    }


def _with_task(settings: dict[str, Any], task: str) -> dict[str, Any]:
    """Return `settings` with what the labels are to mean, where that was said."""
    if task not in TASKS:
        raise ConfigError(f"task: {task!r} is not one of: {', '.join(TASKS)}")
    return settings if task == "auto" else settings | {"data.task": task}


def _carry_out(job: Job, begin: LoadedModel | None, ask: Asked | None, where: torch.device) -> Path:
    """Fit a head where all stages are held, else train; return the run folder."""
    from bodh.api import _objective, _published, _training, _transfer

    names = cast("tuple[str, ...]", job.network.block_names)
    fits = _transfer.at_once(job.data.task)
    if begin is not None and job.held == names and fits:
        _published.refuse_refit(ask)
        return _fit_head(job, replace(begin, network=begin.network.to(where), device=where))
    logger.info("%s", _transfer.describe(job.held, names))
    first_head = _published.first_head(ask, begin)
    if first_head is None and not fits:
        first_head = _objective.go_on(begin)
    elif first_head is None and job.config.linear_first is not False:
        first_head = _transfer.head_first(begin, job, where)
    return _training.execute(replace(job, prepare=first_head))


def _starting_model(start: Any) -> LoadedModel | None:
    """Return the model to start from, or None where `start` names a backbone."""
    from bodh.api._converted import is_published, started_from

    if isinstance(start, str) and not Path(start).exists() and "/" not in start and not is_published(start):
        return None
    return started_from(start)


def _held(
    freeze: str | int,
    names: tuple[str, ...],
    settings: dict[str, Any],
    *,
    trained: bool,
    few: bool,
    fits: bool,
) -> tuple[str, ...]:
    """Return the stages that stay frozen; "auto" leaves a trained backbone as it is where labels are few.

    Raises:
        ConfigError: no such choice, or settings of a training beside a backbone that is not trained.
    """
    from bodh.api import _transfer

    freeze = "backbone" if freeze == "all" else freeze  # the head of published weights is kept too
    trains = sorted(key for key in settings if key in TRAINING)
    if freeze == "auto":
        return names if trained and few and not trains else ()
    held = _transfer.held_stages(freeze, names, trained=trained)
    if fits and held == names and set(trains) & {*TRAINING[2:]}:
        raise ConfigError(
            f"freeze: 'backbone' trains nothing but a head, in one go, so {', '.join(trains)} would change nothing; "
            "leave that out, or type --freeze none"
        )
    return held


def _labelled(data: Data, per_class: int | None, seed: int) -> np.ndarray:
    """Return positions of training records that have a label.

    Raises:
        DataError: no labels, or only one class.
    """
    from bodh.api import _extraction, _tagging
    from bodh.api._regress import insist_on_numbers
    from bodh.records.splits import label_budget, labelled

    targets = data.store.targets
    if data.task == "tags":
        return _tagging.labelled(data, per_class, seed)
    if data.task == "span":
        return _extraction.answered(data, per_class, seed)
    if targets is None:
        raise DataError(
            f"{data.source.name} has no labels; put every class into a folder of its own, "
            "or name the column with data.label=NAME"
        )
    chosen = targets[data.train]
    usable = np.flatnonzero(labelled(chosen))
    if data.task == "regress":
        insist_on_numbers(data)
    present = np.unique(chosen[usable]) if chosen.ndim == 1 else np.flatnonzero(chosen.any(axis=0))
    if chosen.ndim == 1 and len(present) < 2:
        only = data.store.class_names[int(present[0])] if len(present) else "none"
        raise DataError(f"{data.source.name} has one class only ({only}); a classifier needs at least two")
    if per_class is not None:
        usable = usable[label_budget(chosen[usable], per_class=per_class, seed=seed)]
    return np.asarray(data.train[usable])


def _fit_head(job: Job, begin: LoadedModel) -> Path:
    """Fit a linear head on features that are computed once; save the model, return the run folder."""
    from bodh.api import _run, _training
    from bodh.api._transfer import at_best_block, fit_linear
    from bodh.heads import scaled
    from bodh.heads.linear import build as linear

    store, positions = job.data.store, job.positions
    name = f"{job.data.source.name}-finetune"
    run = _run.open_run(job.out, name=name, resume=False) if not job.resume else Path(str(job.out))
    measured = job.data.task == "regress"
    begin = begin if job.data.task == "tags" else at_best_block(begin)  # which is pooled
    dim, k = cast("Any", begin.network["backbone"]).dim, len(store.class_names)
    head = scaled.build(inputs=dim, outputs=k) if measured else linear(inputs=dim, outputs=k)
    told = fit_linear(begin, job.data, positions, head, seed=job.config.seed)
    network = begin.network
    network["head"] = head.to(begin.device)
    logger.info("fitted a linear head on %d records in %.1f s", len(positions), time.monotonic() - job.started)
    _run.record_plan(run, _run.Identity("finetune", job.notes, job.sections, store.fingerprint, {}))
    provenance = {
        "verb": "finetune", "objective": {"name": "linear head", "config": told}, "seed": job.config.seed,
        "notes": job.notes, "pretrained": begin.manifest.provenance, "seconds": time.monotonic() - job.started,
    }  # fmt: skip
    metrics = {"labelled_records": len(positions), **_training.calibrated(job, network)}
    _training.save_result(run, job.data, network, provenance=provenance, metrics=metrics)
    return run
