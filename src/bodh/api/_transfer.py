"""What transfer needs around the one loop: which stages are frozen, a first head, a validation part, a temperature."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from bodh.contracts import Json, Task
from bodh.errors import ConfigError

if TYPE_CHECKING:
    import torch
    from torch import nn

    from bodh.api._training import Data, Job
    from bodh.model.loaded import LoadedModel
    from bodh.train.config import TrainConfig

logger = logging.getLogger("bodh")

FEW = 100
"""Labels a class up to which a backbone is left as it is where nothing else is asked for: seconds instead of minutes.

Measured on 700 small grey images with a backbone pretrained on them for 48 seconds, 200 test records: with 20 labels a
class 68 % frozen, 71 % trained (60 % without the head fitted first); with 63 a class 75 % and 74 % (64 %).
"""
SET_ASIDE = 0.1


def held_stages(freeze: str | int, names: tuple[str, ...], *, trained: bool) -> tuple[str, ...]:
    """Return the stages that `freeze` holds: all for "backbone", none for "none", all but the last N for N.

    Args:
        freeze: as the verb was given it.
        names: stages from input to output.
        trained: whether the backbone has learned anything yet.

    Raises:
        ConfigError: no such choice, or nothing was learned that could be kept.
    """
    text = str(freeze)
    number = int(text) if text.isdecimal() else None
    if number is None and text not in {"backbone", "none"}:
        raise ConfigError(
            f"freeze: {freeze!r} is not one of: auto, backbone, none, all (published weights), or N from 1 to "
            f"{len(names)}, to train the last N of the stages {', '.join(names)}"
        )
    if number is not None and not 1 <= number <= len(names):
        raise ConfigError(
            f"freeze: {number} is out of range; N trains the last N of the {len(names)} stages {', '.join(names)}: "
            f"from 1 to {len(names)}, or type --freeze backbone to train none of them"
        )
    held = names if text == "backbone" else names[: len(names) - (number or len(names))]
    if held and not trained:
        raise ConfigError(f"freeze: {text!r} with a bare backbone would keep random weights; type --freeze none")
    return held


def describe(held: tuple[str, ...], names: tuple[str, ...]) -> str:
    """Return in words which stages train."""
    if not held:
        return "training: all stages and the head"
    return f"training: {', '.join(name for name in names if name not in held)} and the head; frozen: {', '.join(held)}"


def few(labels: int, classes: int) -> bool:
    """Return whether labels are so few that a linear head on frozen features is the better choice."""
    return labels <= FEW * max(1, classes)


def at_once(task: Task | None) -> bool:
    """Return whether a head for labels of `task` is fitted on frozen features in one go; else step by step."""
    return task != "span"


def validation_part(data: Data, positions: np.ndarray, config: TrainConfig) -> tuple[np.ndarray, np.ndarray]:
    """Return (positions to train on, positions to validate on, maybe none).

    The data's own validation part where it has one; else, where `patience`, `calibrate` or `validation` asks for it,
    a share of the training labels, class by class. Never test records.

    Raises:
        ConfigError: too few labels to set any aside.
    """
    from bodh.api import _extraction
    from bodh.records.splits import labelled, stratified_split

    brought = data.store.targets is None  # records tell themselves what is to be told: none is without
    targets = np.zeros(len(data.store), np.int64) if brought else np.asarray(data.store.targets)
    own = data.val[labelled(targets[data.val])] if len(data.val) else data.val
    if data.task == "span":
        own = _extraction.told(data, own)
        if config.calibrate:
            raise ConfigError("calibrate: answers from a text have no temperature to set; leave it out")
    if len(own) or not (config.patience is not None or config.calibrate or config.validation is not None):
        return positions, own
    share = config.validation or SET_ASIDE
    if len(positions) * share < 2:
        raise ConfigError(
            f"{len(positions)} labelled records are too few to set {share:g} of them aside for patience or calibrate; "
            "leave both out, or give more labels"
        )
    if data.task == "span":
        train, rest = _extraction.divided(data, positions, share=share, seed=config.seed)
    else:
        kept, aside = stratified_split(targets[positions], fraction=1 - share, seed=config.seed)
        train, rest = positions[kept], positions[aside]
    logger.info(
        "%s has no validation part: %d of %d labelled records are set aside", data.source.name, len(rest),
        len(positions),
    )  # fmt: skip
    return train, rest


def at_best_block(begin: LoadedModel) -> LoadedModel:
    """Return the model cut off behind the block that it remembers as its best; as it is where it remembers none.

    A network that cannot be cut stays whole, and its pooled output is read; that is said.
    """
    import torch

    from bodh.backbones import upto
    from bodh.model.networks import entries_of, specs_of

    block, grid = begin.manifest.best_block, begin.manifest.best_grid
    if block is None:
        return begin
    whole = cast("Any", begin.network["backbone"])
    if not upto.can_cut(whole):
        name = begin.manifest.networks["backbone"].name
        logger.info("the head reads the pooled output: networks of %r cannot be cut behind block %s", name, block)
        return begin
    network = torch.nn.ModuleDict({"backbone": upto.cut(whole, block, grid).to(begin.device)})
    logger.info("the head reads block %s, the best one remembered; what comes after it is left out", block)
    changes = {"best_block": None, "best_grid": 1, "networks": entries_of(specs_of(network))}
    return replace(begin, manifest=begin.manifest.model_copy(update=changes), network=network)


def head_first(begin: LoadedModel | None, job: Job, device: torch.device) -> Callable[[nn.Module], None] | None:
    """Return what fits an objective's head on frozen features, before the network is trained.

    Linear probing, then fine-tuning: Kumar et al. 2022, arXiv 2202.10054. A random head's first gradients would
    disturb the features that were learned. None from a bare backbone, whose features are random.

    Raises:
        ConfigError: it was asked for from a bare backbone.
    """
    from bodh.records.splits import labelled

    if begin is None:
        if job.config.linear_first:
            raise ConfigError("linear_first: a bare backbone has learned no features to fit a head on; leave it out")
        return None

    def prepare(objective: nn.Module) -> None:
        place = replace(begin, network=begin.network.to(device), device=device)
        head = cast("Any", objective).keep()["head"].to(device)
        fit_linear(place, job.data, job.positions, head, seed=job.config.seed)
        targets = job.data.store.targets
        count = len(job.positions) if targets is None else int(labelled(np.asarray(targets)[job.positions]).sum())
        logger.info("the head was fitted on frozen features of %d records first", count)

    return prepare


def fit_linear(begin: LoadedModel, data: Data, positions: np.ndarray, head: nn.Module, *, seed: int) -> Json:
    """Fit the linear `head` on features of `begin`, which are kept for the next time; return what is to be told.

    Classes are fitted by logistic regression, measured numbers by ridge regression; tags on features of words, which
    are not kept.
    """
    from bodh.api import _regress, _tagging
    from bodh.api._cached import cached_features
    from bodh.evaluation import logistic
    from bodh.records.splits import labelled

    store = data.store
    if data.task == "tags":
        return _tagging.fit_linear(begin, data.modality, store, positions, head, seed=seed)
    positions = positions[labelled(np.asarray(store.targets)[positions])]
    features = cached_features(begin, store, positions)
    targets = np.asarray(store.targets)[positions]
    if targets.dtype.kind == "f":
        fitted_head, told = _regress.linear_head(features, targets)
        head.load_state_dict(fitted_head.state_dict())
        return told
    scale = logistic.Scale.fit(features)
    fitted = logistic.fit(scale(features), targets, len(store.class_names), seed=seed)
    fill(head, fitted, scale)
    return {"l2": fitted.l2}


def fill(head: nn.Module, fitted: Any, scale: Any) -> None:
    """Write the classifier into the head, with the features' shift and scale folded in."""
    import torch

    weights = scale.factor[:, None] * fitted.weights  # [d k]
    bias = fitted.bias - (scale.shift * scale.factor) @ fitted.weights  # [k]
    if head.out_features == 1:  # one logit of "yes" against "no"
        weights, bias = weights[:, 1:] - weights[:, :1], bias[1:] - bias[:1]
    head.load_state_dict({"weight": torch.from_numpy(weights.T.copy()), "bias": torch.from_numpy(bias)})


def calibrate(data: Data, network: nn.ModuleDict, positions: np.ndarray) -> Json:
    """Divide the head's logits by the temperature that suits records at `positions`; return what changed.

    The temperature lies in the head's weights and bias afterwards, so every export has it.
    """
    import torch

    from bodh.api import _tagging
    from bodh.metrics.temperature import fit_temperature, log_loss
    from bodh.model.capabilities import LOGITS, build

    capability = build(network, data.modality, "predict", task=data.task)
    device = next(network.parameters()).device

    def logits_of(rows: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            found = capability(torch.from_numpy(np.ascontiguousarray(rows)).to(device))[LOGITS]
            return np.asarray(found.float().cpu())

    if data.task == "tags":
        logits, targets = _tagging.told_of_words(data, positions, logits_of)
    else:
        parts = (data.store.rows(positions[start : start + 256]) for start in range(0, len(positions), 256))
        logits = np.concatenate([logits_of(data.modality.standardise(rows)) for rows in parts])
        targets = np.asarray(data.store.targets)[positions]
    temperature = fit_temperature(logits, targets)
    with torch.no_grad():
        for parameter in network["head"].parameters():
            parameter.div_(temperature)
    told: Json = {"temperature": temperature, "validation_records": len(positions)}
    for when, values in (("before", logits), ("after", logits / temperature)):
        told[f"log_loss_{when}"] = log_loss(values, targets)
        told[f"calibration_error_{when}"] = _calibration_error(values, targets)
    logger.info(
        "temperature %.3f: calibration error %.3f, was %.3f (on %d validation records)", temperature,
        told["calibration_error_after"], told["calibration_error_before"], len(positions),
    )  # fmt: skip
    return told


def _calibration_error(logits: np.ndarray, targets: np.ndarray) -> float:
    """Return the expected calibration error; yes-or-no labels count each as an answer of its own."""
    from scipy.special import expit, softmax

    from bodh.metrics.classification import calibration_error

    if targets.ndim == 1 and logits.shape[1] > 1:
        return calibration_error(softmax(logits, axis=1), targets)
    yes = expit(logits.astype(np.float64).reshape(-1))
    return calibration_error(np.stack([1 - yes, yes], axis=1), targets.reshape(-1).astype(np.int64))
