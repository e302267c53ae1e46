"""What the verbs that read data or train have in common: their settings, and what is chosen when nothing is said."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from pydantic import Field, field_validator

from bodh import _catalog
from bodh.config.base import Config
from bodh.contracts import Modality, Needs, Source, reads_tokens
from bodh.errors import ConfigError, DataError, UnknownName

if TYPE_CHECKING:
    import torch
    from torch import nn

logger = logging.getLogger("bodh")


class DataConfig(Config):
    """How DATA is read; `data.*` on the command line."""

    input: str | None = Field(None, description="column that holds the records")
    label: str | None = Field(None, description="column that holds the labels")
    target: str | None = Field(
        None,
        description="of pairs of texts, and of pictures with sentences: column or language to be written, as "
        "`input` names the one to be read",
    )
    where: str | None = Field(
        None, description="of the same, in tables: the rows that count, as COLUMN=VALUE; the others are left out"
    )
    negative: str | None = Field(
        None, description="of pairs in a table: column of texts that are like the target, and yet none (simcse)"
    )
    modality: str | None = Field(None, description="kind of records, where it is not what bodh infers")
    task: Literal["auto", "classify", "regress", "tag", "extract"] = Field(
        "auto",
        description="what labels are: classes, measured numbers (regress; also whole ones; auto: floats are), or a tag "
        "for every word (tag; auto: where files are of words with tags), or answers that are a piece of a text "
        "(extract; auto: where files are of questions with their texts)",
    )
    split_lines: bool | None = Field(
        None, description="plain text in one file: every line is a document (None: so), or the file is one (false)"
    )
    set_aside: bool = Field(
        True,
        description="of texts without parts and labels that a language model learns from: a fifth (of a single "
        "document its last tenth) is kept for validation and for evaluate; false: all of them train",
    )
    unlabelled: str | None = Field(
        None, description="more records of the same kind, without labels, for a method that learns from them"
    )
    cache: Path | None = Field(None, description="folder of decoded records; None: the cache folder of this user")
    budget_gb: float | None = Field(None, gt=0, description="disk for decoded records; None: half of what is free")
    workers: int | None = Field(None, ge=0, description="processes that decode; None: one a core")

    @field_validator("input", "label", "target", "negative", mode="before")
    @classmethod
    def _by_number(cls, given: Any) -> Any:
        """Columns of files without a header are called 1, 2, …, which reads as a number."""
        return str(given) if isinstance(given, int) and not isinstance(given, bool) else given


@dataclass(frozen=True)
class Choice:
    """What was settled before anything was built, each with its reason."""

    objective: str
    backbone: str
    reasons: tuple[str, ...]


def choose(source: Source, *, objective: str, backbone: str, device: torch.device) -> Choice:
    """Replace "auto" by what suits the data and the device.

    Args:
        source: the data; its modality decides the network.
        objective: name, or "auto".
        backbone: name, or "auto".
        device: a GPU affords the network that papers use.

    Raises:
        UnknownName: no such objective.
        DataError: the objective cannot learn from this kind of data.
    """
    reasons = []
    if objective == "auto":
        objective, why = _default_objective(source.modality)
        reasons.append(f"objective {objective}: {why}")
    if objective not in _catalog.names("objectives"):
        raise UnknownName("objective", objective, _catalog.names("objectives"))
    needs: Needs = _catalog.get("objectives", objective).NEEDS
    if needs.modalities is not None and source.modality not in needs.modalities:
        raise DataError(
            f"objective {objective!r} learns from {', '.join(needs.modalities)}, but {source.name} holds "
            f"{source.modality} records; choose another with --objective"
        )
    kind = _catalog.get("modalities", source.modality).Modality
    if needs.target and not needs.labels and not hasattr(kind, "verb"):
        raise DataError(
            f"objective {objective!r} learns to write texts, and {source.name} holds {source.modality} records without "
            "any; name what is read and what is written: data.input=NAME data.target=NAME"
        )
    if backbone == "auto":
        backbone = default_backbone(source.modality, device.type, needs)
        why = f"the default for {source.modality} records on {device.type}"
        reasons.append(f"backbone {backbone}: {f'{objective} leaves patches out' if needs.masking else why}")
    return Choice(objective, backbone, tuple(reasons))


def _default_objective(modality: str) -> tuple[str, str]:
    """Return what to learn from where nothing was said, and why."""
    told: tuple[str, str] | None = getattr(_catalog.get("modalities", modality), "OBJECTIVE", None)
    return told or ("simclr", "it works on every modality with views, also with small batches and budgets")


def default_backbone(modality: str, device: str, needs: Needs | None = None) -> str:
    """Return the network to start with: the fast one on a CPU (benchmarks/choose_backbone.py), ResNet-18 on a GPU.

    An objective that leaves patches out needs a transformer.
    """
    module = _catalog.get("modalities", modality)
    if getattr(module.Modality, "reads", modality) != "image":
        return str(getattr(module, "BACKBONE", "mlp"))
    if needs is not None and needs.masking:
        return "vit"
    return "resnet18" if device == "cuda" else "small"


def default_length(
    records: int, objective: str, *, smallest: int, given: dict[str, Any], device: str, tokens: bool = False
) -> dict[str, Any]:
    """Return batch and epochs that suit `records` training records, without what the user gave.

    Short sets are passed over more often: about 2,500 steps, between 10 and 500 epochs. A CPU takes smaller
    batches, for its throughput does not grow with them and more steps teach more. Texts, of which a batch is many
    tokens, are passed over less: about 2,000 steps of half the batch, between 5 and 200 epochs. An objective may have
    a batch (`DEFAULTS`), steps and epochs (`LENGTH`) of its own.

    Args:
        records: of the training part.
        objective: its name.
        smallest: batch that the objective can learn from.
        given: what the user said.
        device: cpu, cuda or mps.
        tokens: whether the network reads token ids.

    Raises:
        DataError: too few records for any batch.
    """
    if records < max(8, 2 * smallest):
        raise DataError(
            f"{records} usable training records are too few to learn from; at least {max(8, 2 * smallest)} are needed"
        )
    most = (64 if device == "cpu" else 128) if tokens else (128 if device == "cpu" else 256)
    module = _catalog.get("objectives", objective)
    steps, least, longest = getattr(module, "LENGTH", (2000, 5, 200) if tokens else (2500, 10, 500))
    most = min(most, module.DEFAULTS.get("batch", most))
    batch = min(most, 2 ** int(math.log2(records / 4)) if records >= 16 else records)
    chosen: dict[str, Any] = {}
    if "batch" not in given:
        chosen["batch"] = max(batch, smallest)
    if "minutes" not in given and "epochs" not in given:
        size = given.get("batch", chosen.get("batch", batch))
        chosen["epochs"] = float(min(longest, max(least, round(steps * size / records))))
    return chosen


def default_rate(network: Any, objective: str, *, trained: bool, given: Mapping[str, Any]) -> dict[str, float]:
    """Return the learning rate of a network that reads token ids, for objectives that were tuned on images.

    And of one that does not, for an objective that was tuned on texts and tells its own for others (`SEEN`).

    0.001 for one of width 128, less for wider ones (the best of three tried on the development part of sst2,
    which is no proof for other data; an objective may have another number, `RATE`), and a fifth of it from weights
    that have learned already. A recurrent network tells its own (`pace`, times that), and how far its gradient is
    clipped (`clip`).

    Args:
        network: the backbone.
        objective: its name; one that is for texts knows its own rate.
        trained: whether the weights have learned already.
        given: what the user said; the rate of who named one holds.
    """
    module = _catalog.get("objectives", objective)
    needs: Needs = module.NEEDS
    if not reads_tokens(network):
        return {key: value for key, value in getattr(module, "SEEN", {}).items() if key not in given}
    own = needs.modalities is not None or (needs.target and not needs.labels)
    if own and not hasattr(module, "RATE"):
        return {}
    rate = getattr(module, "RATE", 0.128) / network.dim * (0.2 if trained else 1) * getattr(network, "pace", 1.0)
    chosen = {"learning_rate": float(f"{rate:.2g}"), "clip": getattr(network, "clip", None)}
    return {key: value for key, value in chosen.items() if value is not None and key not in given}


def reasons(length: Mapping[str, float], rate: Mapping[str, float], records: str) -> list[str]:
    """Return why batch, epochs and learning rate were chosen, a line each."""
    told = [f"{key} {value:g}: suits {records}" for key, value in length.items()]
    return told + [f"{key} {value:g}: suits a network of this kind and width" for key, value in rate.items()]


def with_length(settings: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """Return `settings` with the verb's own epochs, minutes and seed among them, where they were given."""
    own = {key: given[key] for key in ("epochs", "minutes") if given[key] is not None}
    return settings | own | {"seed": given["seed"]}


def fresh(
    name: str, modality: Modality, arguments: dict[str, Any], seed: int, defaults: Mapping[str, Any] | None = None
) -> nn.Module:
    """Return a new backbone for records of `modality`; its weights depend on `seed` alone.

    Args:
        name: of the backbone.
        modality: tells the shape of its input, and the vocabulary of texts.
        arguments: of the backbone, as the user gave them.
        seed: of the weights.
        defaults: what the objective wants where the user says nothing (`BACKBONE`); a backbone that knows no such
            argument goes without.

    Raises:
        UnknownName: no such backbone.
        ModelError: it refuses its arguments.
    """
    from bodh.backbones._names import spec_for
    from bodh.model.networks import build

    known = cast("Any", modality)
    spec = spec_for(
        name, shape=known.prepared_shape, arguments=arguments, defaults=defaults,
        records=getattr(known, "network_arguments", {}),
    )  # fmt: skip
    return build({"backbone": spec}, seed=seed)["backbone"]


def smaller_views(modality: Modality, *, backbone: str, device: str) -> Modality | None:
    """Return `modality` with smaller training views, where a CPU gains by them; else None.

    Within a budget of minutes, steps that cost half as much teach more than whole images do (measured on CIFAR-10
    at 24 px of 32, benchmarks/choose_backbone.py). Only for the default network, which takes any side.
    """
    config = cast("Any", modality.config)
    if backbone != "small" or device != "cpu" or modality.name != "image" or config.views.size is not None:
        return None
    if config.size < 32:
        return None
    side = 8 * round(0.75 * config.size / 8)
    views = config.views.model_copy(update={"size": side})
    return cast("Any", type(modality))(config.model_copy(update={"views": views}))  # type: ignore[no-any-return]


def split_backbone(settings: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return (settings without `backbone.*`, the backbone's own arguments)."""
    prefix = "backbone."
    own = {key.removeprefix(prefix): value for key, value in settings.items() if key.startswith(prefix)}
    return {key: value for key, value in settings.items() if not key.startswith(prefix)}, own


def check_batch(batch: int, records: int, source: Source) -> None:
    """Raise DataError where a batch cannot be filled even once."""
    if records < batch:
        raise DataError(
            f"{source.name} has {records} usable training records, fewer than a batch of {batch}; "
            f"type batch={max(1, 2 ** int(math.log2(max(1, records / 2))))} or give more data"
        )


def check_divisible(batch: int, accumulate: int, world: int) -> None:
    """Raise ConfigError where the processes cannot share a micro-batch evenly."""
    if (batch // accumulate) % world:
        raise ConfigError(
            f"batch: {batch} in {accumulate} micro-batches cannot be shared evenly by {world} processes; "
            f"type batch={math.ceil(batch / (accumulate * world)) * accumulate * world}"
        )
