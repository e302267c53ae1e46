"""What an objective needs, checked before a run begins, and what it is told when it is built."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from bodh.contracts import WRITTEN, Facts, Json, Modality, Needs, RecordStore, Shard, View, can_mask, reads_tokens
from bodh.errors import ConfigError, DataError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from bodh.api._published import Asked
    from bodh.api._training import Data
    from bodh.model.loaded import LoadedModel

logger = logging.getLogger("bodh")

COUNTED, LONGEST_COUNTED = 256, 10_000
"""Texts whose bytes are counted, and tokens of each."""


@dataclass(frozen=True)
class Teacher:
    """A trained network that an objective learns from.

    Attributes:
        backbone: the network, in evaluation mode.
        modality: how records are prepared for it; the student sees the same.
        notes: what provenance should tell; a resumed run must find the same.
    """

    backbone: nn.Module
    modality: Modality
    notes: Json


def asked_teacher(needs: Needs, settings: Mapping[str, Any]) -> Asked | None:
    """Return the published network that `objective.teacher` and `objective.teacher_weights` name, or None.

    Raises:
        ConfigError: weights without the name of a backbone.
        ModelError: the file cannot be used, or the weights could not be fetched.
        UnknownName: there is no such backbone.
    """
    weights = settings.get("objective.teacher_weights") if needs.teacher else None
    if weights is None:
        return None
    from bodh.api._published import asked

    named = settings.get("objective.teacher")
    if not isinstance(named, str) or Path(named).exists():
        raise ConfigError(
            f"objective.teacher_weights: {str(weights)!r} are of some network, and objective.teacher is {named!r}; "
            "name the network: objective.teacher=resnet18. A model of bodh brings its own weights"
        )
    return asked(named, {"weights": weights})[1]


def teacher_for(objective: str, needs: Needs, settings: Mapping[str, Any]) -> Teacher | None:
    """Return the model that `objective.teacher` names as the teacher.

    Args:
        objective: its name, for messages.
        needs: what it needs.
        settings: as the user gave them, dotted.

    Returns:
        None where the objective needs none, or a published one (see `published_teacher`).

    Raises:
        ConfigError: none is named.
        ModelError: it is no model, or damaged.
    """
    if not needs.teacher or settings.get("objective.teacher_weights") is not None:
        return None
    from bodh.model.loaded import load_model

    named = settings.get("objective.teacher")
    if named is None:
        raise ConfigError(
            f"objective {objective!r} learns from a teacher, and none is named; allowed is a model or run folder; "
            "type objective.teacher=PATH, or name a network and its weights: objective.teacher=resnet18 "
            "objective.teacher_weights=FILE"
        )
    return _teacher(load_model(Path(getattr(named, "folder", named))))


def published_teacher(ask: Asked, data: Data, settings: Json, seed: int) -> tuple[Teacher, Data]:
    """Return the published network as the teacher, and the data as its weights expect it.

    Raises:
        ModelError: the weights are of another network.
    """
    from bodh.api._published import starting_model

    taught, data = starting_model(ask, data, {}, settings, seed)
    return _teacher(taught), data


def _teacher(model: LoadedModel) -> Teacher:
    backbone = model.network["backbone"].requires_grad_(False).eval()
    notes = {"teacher": model.manifest.files["model.safetensors"].sha256}
    return Teacher(backbone, model.modality, notes | heard(model, "its teacher"))


def heard(model: LoadedModel, what: str) -> Json:
    """Return the note that `model`, from which a run learns, was trained with labels itself; nothing where it was not.

    Args:
        model: start or teacher.
        what: it is, in words.
    """
    from bodh.evaluation.context import labels_in

    how = labels_in(model.manifest.provenance)
    return {"labels": f"{what} did: {how}"} if how else {}


def go_on(begin: LoadedModel | None) -> Callable[[nn.Module], None] | None:
    """Return what gives the head of a model that writes to the objective that trains it on; None: there is nothing.

    Args:
        begin: the model to start from.
    """
    if begin is None or begin.manifest.task not in WRITTEN:
        return None
    trained = begin.network["head"]

    def prepare(objective: nn.Module) -> None:
        kept = cast("Any", objective).keep()
        if "head" in kept and type(kept["head"]) is type(trained):
            cast("Any", kept["head"]).take_over(trained)

    return prepare


def check(objective: str, needs: Needs, backbone: Any, shape: tuple[int, ...]) -> None:
    """Refuse a backbone or records that the objective cannot work with, before a run begins.

    Args:
        objective: its name, for messages.
        needs: what it needs.
        backbone: what it would train.
        shape: of one prepared record.

    Raises:
        ConfigError: the backbone does not offer what is needed.
        DataError: the records do not.
    """
    if needs.channels is not None and len(shape) == 3 and shape[0] != needs.channels:
        kind = {1: "grey", 3: "colour"}
        raise DataError(
            f"objective {objective!r} needs {kind.get(needs.channels, str(needs.channels))} images "
            f"({needs.channels} channels), given {kind.get(shape[0], 'images')} of {shape[0]}; "
            "choose another with --objective"
        )
    if needs.masking and not can_mask(backbone):
        raise ConfigError(
            f"objective {objective!r} needs a backbone that can leave patches out, given {_named(backbone)!r}; "
            "allowed are vit and plain Vision Transformers of timm (vit_tiny_patch16_224, …); type --backbone vit"
        )
    if needs.features != "pooled":
        _check_features(objective, needs.features, backbone, shape)


def _check_features(objective: str, kind: str, backbone: Any, shape: tuple[int, ...]) -> None:
    import torch

    from bodh.backbones._modes import evaluating

    first = next(backbone.parameters())
    dtype = torch.int64 if reads_tokens(backbone) else first.dtype
    with evaluating(backbone), torch.no_grad():
        seen = backbone.features(torch.zeros(2, *shape, device=first.device, dtype=dtype))
    if getattr(seen, kind) is None and (kind == "map" or seen.map is None):  # a map's positions are tokens
        word = {"map": "gives a map of positions", "tokens": "gives tokens or a map of positions"}[kind]
        fitting = "transformer or recurrent" if reads_tokens(backbone) else "small, vit or resnet18"
        raise ConfigError(
            f"objective {objective!r} needs a backbone that {word}, given {_named(backbone)!r}; "
            f"type --backbone with one that does: {fitting}"
        )


def _named(backbone: Any) -> str:
    return str(backbone.spec.arguments.get("model", backbone.spec.name))


def tell(facts: Facts, store: RecordStore, positions: np.ndarray, modality: Modality, teacher: Any) -> Facts:
    """Return `facts` with what is known of the records, and with the teacher.

    Args:
        facts: of the run.
        store: decoded records.
        positions: [n] of those that train.
        modality: prepares them.
        teacher: a backbone, or None.
    """
    config = modality.config
    pictures = config if modality.name == "image" else getattr(config, "image", None)

    def sample(most: int) -> Tensor:
        import torch

        chosen = positions[np.linspace(0, len(positions) - 1, num=min(most, len(positions))).astype(int)]
        shard = Shard(0, len(chosen), len(chosen))
        return modality.views(store.rows(chosen), (View("plain"),), 0, shard, torch.device("cpu"))[0]

    if getattr(modality, "task", None) == "tags":
        from bodh.api import _tagging

        facts = _tagging.tell(facts, store, positions, modality)
    return replace(
        facts,
        shape=tuple(cast("Any", modality).prepared_shape),
        mean=tuple(getattr(pictures, "mean", None) or ()),
        std=tuple(getattr(pictures, "std", None) or ()),
        sample=sample,
        tokens=cast("Any", modality).tokens() if hasattr(modality, "tokens") else None,
        length=getattr(config, "length", None) or 0 if hasattr(modality, "tokens") else 0,
        bytes_per_token=_bytes_per_token(store, positions, modality),
        sides=_sides(store, positions, modality),
        teacher=teacher,
    )


def _sides(store: RecordStore, positions: np.ndarray, modality: Modality) -> int:
    """Return what a record is made of: as many texts as the first one that trains has."""
    if not hasattr(modality, "sides") or not len(positions):
        return 1
    return len(modality.sides(store.rows(positions[:1])[0]))


def _bytes_per_token(store: RecordStore, positions: np.ndarray, modality: Modality) -> float:
    """Return the bytes of UTF-8 that a token of text stands for, over evenly spaced records; 0 where it is no text."""
    if modality.name != "text" or not len(positions):
        return 0.0
    chosen = positions[np.linspace(0, len(positions) - 1, num=min(COUNTED, len(positions))).astype(int)]
    rows = [np.asarray(row)[:LONGEST_COUNTED] for row in store.rows(chosen)]
    read = cast("Any", modality).text
    return sum(len(read(row).encode()) for row in rows) / max(1, sum(len(row) for row in rows))
