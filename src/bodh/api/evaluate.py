"""`evaluate`: did learning without labels help?"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from bodh.contracts import Json
from bodh.errors import ConfigError, DataError, OutputError

if TYPE_CHECKING:
    import numpy as np

    from bodh.api._versus import Versus
    from bodh.api.load import Model
    from bodh.config.base import Config
    from bodh.contracts import RecordStore
    from bodh.evaluation.config import EvaluationConfig
    from bodh.evaluation.context import Context
    from bodh.evaluation.verdict import Verdict
    from bodh.model.loaded import LoadedModel

logger = logging.getLogger("bodh")


def evaluate(
    model: Model | str | Path,
    data: Any,
    *,
    against: Model | str | Path | None = None,
    protocol: str | Sequence[str] = "auto",
    baselines: str | Sequence[str] = "auto",
    seeds: int = 3,
    blocks: str | Sequence[str] = "last",
    remember: bool = False,
    out: str | Path | None = None,
    device: str = "auto",
    config: str | Path | None = None,
    **settings: Any,
) -> Verdict:
    """Say whether learning without labels helped, with the evidence.

    The model's frozen features are compared with an untrained network, with the raw input, and with the same
    network trained from scratch on the same labels: by nearest neighbours, by a linear probe, and over label
    budgets, several draws each, on test records that choose nothing. Writes `evaluation.json` and `report.html`; of a
    classifier also confusion and figures of every class as text, CSV, JSON and pictures. Given two models (`A B DATA`)
    it says which is better: McNemar's test, and a bootstrap interval of the difference; of translators a paired
    bootstrap of BLEU and chrF.

    Args:
        model: a model folder, or the folder of the run that made it.
        data: labelled folder, file, named data set or array; without labels little can be said, and is.
        against: a second model, to compare with on the same test records; as words: MODEL AGAINST DATA. With protocol
            auto nothing else is measured then but the classifier (or the linear probe), without baselines.
        protocol: auto, or some of: budget, linear, knn, retrieval, novelty, task, cluster, label_free. Novelty wants to
            be told what is novel: novel=CLASS, or novel=DATA of records that are of no known class.
        baselines: auto (all), none, or some of: untrained, raw, scratch.
        seeds: label draws, and networks of the untrained and the scratch baseline; fewer than 3 cannot tell.
        blocks: which blocks of the backbone the linear probe reads: last, all, or names; says which is best, chosen on
            held-out training records.
        remember: write that block into the model, so that embed, search and predict --shots use it from now on;
            probes all blocks unless `blocks` names some.
        out: folder for the report; by default the run of the model, else ./MODEL-evaluation; in it against-NAME for
            two models.
        device: auto, cpu, cuda, cuda:N or mps.
        config: TOML file with any of these and all settings.
        **settings: any other setting, as in `key=value` on the command line: budgets=1,5,10% (labels a class, or
            shares), grid, metric, seed, neighbours, records, scratch_views, data.label …

    Returns:
        the verdict: yes, no or cannot tell; its sentence, evidence, tables and report; `.versus` of two models.

    Raises:
        UserError: something given was wrong; one line says what, where and what to do.

    Example:
        bodh evaluate runs/photos-simclr labelled/
        bodh evaluate runs/photos-simclr labelled/ --seeds 5 budgets=1,2,5,10,20
        bodh evaluate runs/photos-rotation labelled/ --protocol linear --blocks all --remember
        bodh evaluate runs/photos-finetune runs/photos-scratch labelled/
    """
    from bodh.api._best_block import tell_best, to_probe
    from bodh.api._evaluation_files import write_files
    from bodh.api._evaluation_report import write_report
    from bodh.api._inputs import open_records
    from bodh.api.load import load
    from bodh.config.files import overlay
    from bodh.evaluation.prove import prove

    arguments = {
        "against": against, "protocol": protocol, "baselines": baselines, "seeds": seeds, "blocks": blocks,
        "remember": remember, "out": out, "device": device,
    }  # fmt: skip
    given, settings = overlay(config, evaluate, arguments, settings)
    handle = load(model)
    other = None if given["against"] is None else load(given["against"])
    if other is not None:
        given |= _only_what_compares(given, handle, other)
    given["blocks"] = to_probe(given)
    chosen = evaluation_config(given, settings)
    folder = _open_out(given["out"], handle, other)
    loaded = handle.loaded(given["device"])
    store = open_records(loaded.modality, data, _data_settings(settings))
    scratch = None
    if "scratch" in chosen.arms:
        scratch = scratch_of(loaded, store, chosen)
    outside = novel_records(loaded, store, chosen, _data_settings(settings))
    proof = prove(loaded, store, config=chosen, train_scratch=scratch, outside=outside)
    report = folder / "report.html"
    verdict = proof.verdict.written_to(report)
    versus: Versus | None = None
    first: list[Any] = []
    if other is not None:
        versus, first = _versus(proof.context, handle, other, data, _data_settings(settings))
        verdict = replace(verdict, versus=versus.told, tables=versus.tables | verdict.tables)
    _write_json(folder / "evaluation.json", proof.to_json() | verdict.to_json() | {"model": str(handle.folder)})
    write_report(report, proof, handle, versus, first)
    if files := write_files(folder, proof):
        logger.info("beside the report: %s", ", ".join(files))
    tell_best(handle, proof, store.name, remember=given["remember"])
    return verdict


def _only_what_compares(given: Json, one: Model, other: Model) -> Json:
    """Return the arguments that leave out what two models need not: baselines and protocols, where nobody asked."""
    from bodh.api._versus import with_heads
    from bodh.model.translate import verb_of

    tasks = {one.manifest.task, other.manifest.task}
    if tasks == {"sequence"} and verb_of(one.manifest) == verb_of(other.manifest):
        changed: Json = {"protocol": verb_of(one.manifest)} if given["protocol"] == "auto" else {}
        return changed | ({"baselines": "none"} if given["baselines"] == "auto" else {})
    for task, what in (("sequence", "write texts"), ("tags", "tag words"), ("span", "answer questions")):
        if task in tasks:
            raise ConfigError(
                f"against: models that {what} are measured one by one; type: bodh evaluate MODEL DATA for each, and "
                "compare their figures with their intervals"
            )
    protocol = "task" if with_heads((one, other)) else "linear"
    changed = {"protocol": protocol} if given["protocol"] == "auto" else {}
    return changed | ({"baselines": "none"} if given["baselines"] == "auto" else {})


def _versus(context: Context, one: Model, other: Model, data: Any, settings: Json) -> tuple[Versus, list[Any]]:
    """Return how `other` compares with `one`, and what the page shows of that."""
    from bodh.api import _versus_texts
    from bodh.api._inputs import open_records
    from bodh.api._versus import blocks, compare_two, with_heads
    from bodh.evaluation.context import Context

    loaded = other.loaded(str(context.model.device))
    contexts = context, Context(loaded, open_records(loaded.modality, data, settings), config=context.config)
    if one.manifest.task == "sequence":
        found = _versus_texts.compare_writers((one, other), contexts)
        return found, _versus_texts.blocks(found)
    found = compare_two((one, other), contexts, heads=with_heads((one, other)))
    return found, blocks(found, contexts)


def _data_settings(settings: Json) -> Json:
    return {key: value for key, value in settings.items() if key.split(".")[0] == "data"}


def evaluation_config(given: Json, settings: Json) -> EvaluationConfig:
    """Return the settings of an evaluation; all mistakes are told at once.

    Raises:
        ConfigError: a setting is unknown or out of its range.
    """
    from bodh.api._settings import DataConfig
    from bodh.config.resolve import resolve
    from bodh.evaluation.config import EvaluationConfig

    own = {
        "protocols": given["protocol"], "baselines": given["baselines"], "seeds": given["seeds"],
        "blocks": given.get("blocks", "last"),
    }  # fmt: skip
    sections: dict[str, type[Config]] = {"": EvaluationConfig, "data": DataConfig}
    return cast("EvaluationConfig", resolve(own | settings, sections)[""])


def scratch_of(model: LoadedModel, store: RecordStore, config: EvaluationConfig) -> Any:
    """Return what trains the supervised baseline: (train positions, test positions, seed) -> probabilities."""
    from bodh.api._scratch import fit_scratch

    def train(positions: np.ndarray, test: np.ndarray, seed: int) -> np.ndarray:
        return fit_scratch(model, store, positions, test, seed=seed % 2**31, views=config.scratch_views)

    return train


def novel_records(model: LoadedModel, store: RecordStore, config: EvaluationConfig, settings: Json) -> Any:
    """Return the records that `novel=` names; None where it names a class of the data, or nothing.

    Raises:
        DataError: it is neither, or of another modality.
    """
    from bodh.api._inputs import open_records

    if config.novel is None or config.novel in store.class_names:
        return None
    own = {key: value for key, value in settings.items() if key not in ("data.input", "data.label")}
    given = {"data.input": config.novel_input} if config.novel_input is not None else {}
    try:
        return open_records(model.modality, config.novel, own | given)
    except DataError as error:
        raise DataError(f"novel={config.novel!r} is no class of {store.name!r}, and as data: {error}") from None


def _open_out(out: str | Path | None, model: Model, other: Model | None) -> Path:
    """Make and return the folder for the report, before anything is computed.

    Raises:
        OutputError: it cannot be made or written.
    """
    folder = Path(out) if out is not None else model.run or Path(f"{model.folder.name}-evaluation")
    if out is None and other is not None:
        folder /= f"against-{(other.run or other.folder).name}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot make the folder {folder}: {error.strerror}; choose another --out") from error
    if not os.access(folder, os.W_OK):
        raise OutputError(f"cannot write into {folder}; choose another --out")
    return folder


def _write_json(path: Path, content: Json) -> None:
    draft = path.with_name(f".{path.name}.draft")
    try:
        draft.write_text(json.dumps(content, ensure_ascii=False, indent=1, allow_nan=False), encoding="utf-8")
        draft.replace(path)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise OutputError(f"cannot write {path}: {error.strerror}; choose another --out") from error
