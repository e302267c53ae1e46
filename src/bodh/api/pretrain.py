"""`pretrain`: learn from data without labels."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from bodh import _catalog
from bodh.contracts import Json, reads_tokens
from bodh.errors import ConfigError

if TYPE_CHECKING:
    from bodh.api._settings import DataConfig
    from bodh.api.load import Model


def pretrain(
    data: Any,
    *,
    objective: str = "auto",
    backbone: str = "auto",
    out: str | Path | None = None,
    epochs: float | None = None,
    minutes: float | None = None,
    device: str = "auto",
    seed: int = 0,
    resume: bool = False,
    start: Any = None,
    config: str | Path | None = None,
    **settings: Any,
) -> Model:
    """Learn from data without labels and return the model.

    Records are decoded once, a backbone and an objective that suit data and device are chosen (and said), the
    run can be stopped and resumed at any moment, and its folder keeps config, log, checkpoints, report and model.

    Args:
        data: folder, file, named data set ("sklearn:digits") or array.
        objective: what to learn from: simclr, byol, moco, …; `bodh list objectives` shows all.
        backbone: network: small, cnn, mlp, or any timm or torchvision name; `bodh list backbones` shows all. From
            published weights with weights=FILE, or weights=imagenet to fetch them; of language models transformer or
            huggingface with weights=FOLDER (config.json, weights, tokenizer.json), or weights=hf:NAME to fetch it.
        out: run folder; by default runs/NAME-OBJECTIVE.
        epochs: passes over the data; fractions are allowed.
        minutes: wall-clock budget instead of epochs; the schedule is planned to end in time.
        device: auto, cpu, cuda, cuda:N or mps.
        seed: root of all randomness; the same seed gives the same model.
        resume: continue the run in `out` where it was stopped, bit for bit.
        start: model whose backbone to start from, instead of random weights; also the folder of a published language
            model.
        config: TOML file with any of these and all settings.
        **settings: any other setting by its dotted name, as in `key=value` on the command line:
            batch, learning_rate, objective.temperature, modality.size, modality.views.flip, data.label …

    Returns:
        The model; `.run` is its run folder.

    Raises:
        UserError: something given was wrong; one line says what, where and what to do.
        Interrupted: a signal stopped the run after saving.

    Example:
        bodh pretrain photos/
        bodh pretrain photos/ --objective byol --minutes 20 --out runs/photos
        bodh pretrain photos/ --backbone resnet18 weights=resnet18.safetensors
        bodh pretrain sklearn:digits --epochs 100 objective.temperature=0.2 modality.views.flip=0
        bodh pretrain photos/ --out runs/photos --resume
        torchrun --nproc-per-node 2 -m bodh pretrain photos/
    """
    from bodh.api import _objective, _published, _run, _settings, _training
    from bodh.api._converted import started_from
    from bodh.api._windows import windows_of
    from bodh.api.load import load
    from bodh.config.files import overlay
    from bodh.train.engine import resolve_device

    started = time.monotonic()
    arguments = {
        "objective": objective, "backbone": backbone, "out": out, "epochs": epochs, "minutes": minutes,
        "device": device, "seed": seed,
    }  # fmt: skip
    given, settings = overlay(config, pretrain, arguments, settings)
    _refuse_heads(settings)
    settings, own = _settings.split_backbone(_settings.with_length(settings, given))
    where = resolve_device(given["device"])
    _run.check_out(given["out"], resume=resume)
    settings, ask = _published.asked(given["backbone"] if start is None else start, settings)
    begin = None if start is None else started_from(start)
    source = _training.open_data(data, _training.early_data_config(settings))
    choice = _settings.choose(source, objective=given["objective"], backbone=given["backbone"], device=where)
    module = _catalog.get("objectives", choice.objective)
    _training.check_labels(choice.objective, module.NEEDS, source)
    # resolved twice: mistakes are told before any record is decoded, the length is chosen when records are counted
    taught = _objective.asked_teacher(module.NEEDS, settings)
    settings = _published.reading(ask or taught, settings, source.modality)
    first = _training.resolve_job(settings, choice.objective, source.modality, {})
    teacher = _objective.teacher_for(choice.objective, module.NEEDS, settings)
    modality = begin.modality if begin is not None else None if teacher is None else teacher.modality
    ready = _training.prepare_data(
        source, first["modality"], cast("DataConfig", first["data"]), modality=modality, tested=module.NEEDS.packed
    )
    positions = _training.learnable(module.NEEDS, ready)
    if taught is not None:
        teacher, ready = _objective.published_teacher(taught, ready, settings, given["seed"])
    if ask is not None:
        begin, ready = _published.starting_model(ask, ready, own, settings, given["seed"])
    network = begin.network["backbone"] if begin else _settings.fresh(
        choice.backbone, ready.modality, own, given["seed"], getattr(module, "BACKBONE", None)
    )  # fmt: skip
    _objective.check(choice.objective, module.NEEDS, network, cast("Any", ready.modality).prepared_shape)
    windows = windows_of(module.NEEDS, ready, positions)
    rows = len(positions) if windows is None else len(windows.train)
    pace, reasons = _paced(
        network, choice.objective, f"{rows:,} {'records' if windows is None else 'rows'}", rows,
        settings=settings, device=where.type, trained=begin is not None,
    )  # fmt: skip
    vary = None
    if begin is None and teacher is None and given["backbone"] == "auto":
        vary = _settings.smaller_views(ready.modality, backbone=choice.backbone, device=where.type)
    notes: Json = ({} if teacher is None else teacher.notes) | ({} if begin is None else _origin(begin))
    if vary is not None:
        notes["view_size"] = cast("Any", vary.config).views.size
        reasons.append(f"views of {notes['view_size']} px: on a CPU, more and cheaper steps teach more")
    job = _training.Job(
        verb="pretrain", objective=choice.objective, reasons=(*choice.reasons, *reasons),
        sections=_training.resolve_job(settings, choice.objective, source.modality, pace),
        data=ready, positions=positions, network=network,
        device=given["device"], out=given["out"], resume=resume, started=started, notes=notes, vary=vary,
        teacher=None if teacher is None else teacher.backbone, windows=windows,
        validate=ready.val if getattr(ready.modality, "answers", False) else None,
        prepare=_objective.go_on(begin),
    )  # fmt: skip
    return load(_training.execute(job))


def _paced(
    network: Any, objective: str, of: str, rows: int, *, settings: Json, device: str, trained: bool
) -> tuple[Json, list[str]]:
    """Return batch, epochs and learning rate where the user said nothing of them, and why these."""
    from bodh.api import _settings

    needs = _catalog.get("objectives", objective).NEEDS
    tokens = reads_tokens(network) or (needs.target and not needs.labels)  # read, or written for each record
    length = _settings.default_length(
        rows, objective, smallest=needs.smallest_batch, given=settings, device=device, tokens=tokens
    )
    rate = _settings.default_rate(network, objective, trained=trained, given=settings)
    return length | rate, _settings.reasons(length, rate, of)


def _refuse_heads(settings: Json) -> None:
    """Raise ConfigError for settings of a training with labels."""
    for name in ("linear_first", "patience", "calibrate", "validation", "head"):
        if name in settings:
            raise ConfigError(f"{name}: pretrain fits no classes; leave it out, or type: bodh finetune")


def _origin(begin: Any) -> Json:
    """What provenance keeps of the start of training: its hash, what it heard of labels, its published weights."""
    from bodh.api import _objective, _published

    sha256 = begin.manifest.files["model.safetensors"].sha256
    return {"start": sha256, **_objective.heard(begin, "its start"), **_published.notes(begin)}
