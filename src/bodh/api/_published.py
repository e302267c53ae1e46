"""A backbone with published weights as a model to start from: named by the user, fitted to the data at hand."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from bodh import _catalog
from bodh.contracts import Json
from bodh.errors import ConfigError, DataError

if TYPE_CHECKING:
    from torch import nn

    from bodh.api._training import Data, Job
    from bodh.backbones._origin import Inputs
    from bodh.backbones._published import Published
    from bodh.backbones._text_weights import Folder
    from bodh.backbones._weights_file import WeightsFile
    from bodh.model.loaded import LoadedModel
    from bodh.model.manifest import Manifest

HEADS = ("fresh", "published")


@dataclass(frozen=True)
class Asked:
    """Published weights that the user named; the file is read, nothing is built yet.

    Attributes:
        name: of the backbone.
        file: the weights.
        path: of the file.
        tag: which published weights, where they were named rather than given as a file.
        head: what becomes of their classifier: "published" keeps it, "fresh" leaves it out.
        folder: the published language model that they are of, with its config and tokenizer; else None.
    """

    name: str
    file: WeightsFile
    path: Path
    tag: str
    head: Literal["fresh", "published"]
    folder: Folder | None = None


def asked(name: Any, settings: Json, *, whole: bool = False) -> tuple[Json, Asked | None]:
    """Return (settings without `weights` and `head`, what was asked for, or None).

    Args:
        name: of the backbone, as the user gave it: "resnet18", or a model, with which no weights can go.
        settings: dotted names as the user gave them.
        whole: keep the network and its classifier as they are.

    Raises:
        ConfigError: weights without the name of a backbone, or no such choice of head.
        ModelError: the file cannot be used, or the weights could not be fetched.
        UnknownName: there is no such backbone, or there are no weights of that name.
    """
    rest = {key: value for key, value in settings.items() if key not in ("weights", "head")}
    weights, head = settings.get("weights"), settings.get("head", "published" if whole else "fresh")
    if weights is None:
        if whole:
            raise ConfigError(
                "freeze: 'all' keeps published weights and their classifier as they are, so it needs weights=FILE; "
                "allowed without them: auto, backbone, none, or N to train the last N stages"
            )
        if "head" in settings:
            raise ConfigError("head: it says what becomes of the classifier in weights=FILE, but no weights were given")
        return rest, None
    if head not in HEADS or (whole and head == "fresh"):
        raise ConfigError(f"head: {head!r} is not one of: {', '.join(HEADS[whole:])}")
    if not isinstance(name, str) or name == "auto" or Path(name).exists():
        raise ConfigError(
            f"weights: {str(weights)!r} are of some network; name it: --from resnet18 (finetune), --backbone resnet18 "
            "(pretrain). A model of bodh brings its own weights"
        )
    from bodh.backbones import _text_weights
    from bodh.backbones._weights_file import read

    if name.partition(":")[0] in _text_weights.READERS:
        folder, path = _located_text(name, weights)
        return rest, Asked(name, folder.file, path, "", cast("Any", head), folder)
    path, tag = _located(name, weights)
    return rest, Asked(name, read(path), path, tag, cast("Any", head))


def reading(ask: Asked | None, settings: Json, modality: str) -> Json:
    """Return `settings` with how the weights' own records were read, where the user did not choose it.

    Channels of images: grey ones are then read as colour of three equal channels, as the makers of such weights do
    it. The tokenizer of texts: the weights know no other ids.

    Args:
        ask: from `asked`.
        settings: as the user gave them.
        modality: of the data.

    Raises:
        ConfigError: the weights read no such records, or not with that tokenizer.
    """
    if ask is None:
        return settings
    kind = _catalog.get("modalities", modality).Modality  # what has a tokenizer reads texts, but for captions
    texts = getattr(kind, "reads", "text" if getattr(kind, "file_names", ()) else modality) == "text"
    if texts != (ask.folder is not None):
        raise ConfigError(
            f"weights: {ask.name} reads {'texts' if ask.folder else 'no texts'}, but the records are of kind "
            f"{modality}; name another network, such as {'transformer' if texts else 'resnet18'}"
        )
    if ask.folder is not None:
        return settings | {"modality.tokenizer": _tokenizer(ask.folder, settings.get("modality.tokenizer"))}
    channels = f"{_section(kind)}.channels"
    if ask.file.channels is None or channels in settings:
        return settings
    return settings | {channels: ask.file.channels}


def _section(kind: Any) -> str:
    """Return where a modality, or its class, has the settings of its pictures."""
    return "modality.image" if kind.name != "image" and getattr(kind, "reads", "") == "image" else "modality"


def _tokenizer(folder: Folder, given: Any) -> str:
    """Return where the tokenizer of the weights lies: beside them, or where the user says."""
    from bodh.modalities._tokenizers import KINDS

    if given in KINDS:
        raise ConfigError(
            f"modality.tokenizer: {given!r} would be trained on these texts, and the weights would not know its ids; "
            "leave it out, so that the tokenizer beside the weights is taken"
        )
    if given is None and folder.tokenizer is None:
        raise ConfigError(
            f"weights: there is no tokenizer.json beside {folder.file.name}, and the weights know only their "
            "own tokenizer's ids; type modality.tokenizer=FILE"
        )
    return str(folder.tokenizer if given is None else given)


def _located_text(name: str, weights: Any) -> tuple[Folder, Path]:
    """Return a published language model and where it lies; fetched where that was asked for."""
    from bodh.backbones import _text_weights
    from bodh.backbones._names import spec_for

    spec_for(name, shape=(8,))  # a mistake in the name is told before anything is read
    if not isinstance(weights, str | Path) or not str(weights):
        raise ConfigError(f"weights: {weights!r} is neither the folder of a published language model nor its weights")
    remote = isinstance(weights, str) and weights.startswith(_text_weights.REMOTE)
    path = _text_weights.fetch(str(weights)) if remote else Path(weights).expanduser()
    return _text_weights.open_folder(path), path


def _located(name: str, weights: Any) -> tuple[Path, str]:
    """Return the file of weights and their tag; fetched where they were named."""
    from bodh.backbones import _origin
    from bodh.backbones._names import spec_for

    spec = spec_for(name, shape=(3, 224, 224))  # a mistake in the name is told before anything is read
    if not isinstance(weights, str | Path) or not str(weights):
        raise ConfigError(f"weights: {weights!r} is neither a file nor the name of published weights such as imagenet")
    if not _origin.is_name(weights):
        return Path(weights).expanduser(), ""
    tag = "" if weights in _origin.DEFAULTS else str(weights)
    return _origin.fetch(spec.name, str(spec.arguments.get("model", spec.name)), str(weights)), tag


def starting_model(ask: Asked, data: Data, own: Json, settings: Json, seed: int) -> tuple[LoadedModel, Data]:
    """Return the backbone with its weights as a model, and the data as those weights expect it.

    Args:
        ask: from `asked`.
        data: opened and prepared as its own records suggest.
        own: the backbone's arguments as the user gave them.
        settings: as the user gave them: what he says of the modality holds.
        seed: of what the file does not hold.

    Raises:
        ModelError: the weights are of another network.
        ConfigError: the classifier should be kept but cannot.
    """
    import torch

    from bodh.api._training import tell
    from bodh.backbones import _origin, _text_weights
    from bodh.backbones._published import fit
    from bodh.model.loaded import LoadedModel
    from bodh.model.networks import build

    modality = cast("Any", data.modality)
    shape = modality.prepared_shape
    if ask.folder is None:
        found = fit(ask.name, ask.file, shape=shape, arguments=own)
    else:
        records = modality.network_arguments | getattr(modality, "weights_arguments", {})
        found = _text_weights.fit(ask.name, ask.folder, shape=shape, arguments=own, records=records)
    networks = build({"backbone": found.spec}, seed=seed)
    found.fill(networks["backbone"])
    inputs = None
    if getattr(modality, "reads", modality.name) == "image":
        inputs = _origin.inputs_of(*found.origin, tag=ask.tag, beside=ask.path)
    data = replace(data, modality=_normalised(data.modality, inputs, settings))
    said = [found.said]
    if ask.head == "published":
        networks["head"] = _head(found, data, ask)
        said.append(f"head of the weights: its {found.classes} classes are {_some(data.store.class_names)}, in order")
    elif found.classes:
        said[0] += f"; its classifier of {found.classes} classes was left out"
    elif found.speaks is not None:
        networks["head"] = language_head(found, networks["backbone"])
        said[0] += "; its language-model head goes along"
    said += _told_of_inputs(inputs, data, settings)
    tell(tuple(said))
    record = found.record | {"tag": ask.tag, "inputs": None if inputs is None else vars(inputs)}
    manifest = _manifest(networks, data, record)
    return LoadedModel(manifest, data.modality, networks.eval(), torch.device("cpu")), data


def keep_as_it_is(job: Job, begin: LoadedModel) -> Path:
    """Save the published network with its own classifier, nothing of it trained; return the run folder."""
    from bodh.api import _run, _training

    run = _run.open_run(job.out, name=f"{job.data.source.name}-finetune", resume=False)
    _run.record_plan(run, _run.Identity(job.verb, job.notes, job.sections, job.data.store.fingerprint, {}))
    provenance = {"verb": job.verb, "objective": None, "notes": job.notes, "pretrained": begin.manifest.provenance}
    _training.save_result(run, job.data, begin.network, provenance=provenance, metrics={})
    return run


def refuse_refit(ask: Asked | None) -> None:
    """Raise ConfigError where a head would be fitted in the place of the one that should be kept."""
    if ask is not None and ask.head == "published":
        raise ConfigError(
            "head: 'published' beside a frozen backbone leaves nothing to train; type --freeze all to keep both as "
            "they are, --freeze none to train both from there, or leave it out to fit a head"
        )


def first_head(ask: Asked | None, begin: LoadedModel | None) -> Callable[[nn.Module], None] | None:
    """Return what gives an objective's head the published classifier, where it should be kept; else None."""
    if ask is None or begin is None or ask.head == "fresh":
        return None

    def fill(objective: nn.Module) -> None:
        cast("Any", objective).keep()["head"].load_state_dict(begin.network["head"].state_dict())

    return fill


def notes(begin: LoadedModel | None) -> Json:
    """Return what provenance tells of published weights; nothing where the start is another."""
    found = None if begin is None else begin.manifest.provenance.get("published")
    return {} if found is None else {"published": found}


def _head(found: Published, data: Data, ask: Asked) -> nn.Module:
    """Return the published classifier as the head for the classes of `data`, in their order.

    Raises:
        ConfigError: the weights have no linear classifier, or one of another number of classes.
        DataError: the data has no classes.
    """
    import torch

    from bodh.heads.linear import build as linear

    names, task = data.store.class_names, data.task
    if task not in ("single", "binary"):
        raise DataError(
            f"head: the classifier of {ask.file.name} tells one class a record, but {data.source.name} has "
            f"{'no labels' if task is None else 'other labels'}; leave head=published out"
        )
    if found.classifier is None or found.classes != len(names):
        has = "no linear classifier" if found.classifier is None else f"a classifier of {found.classes} classes"
        raise ConfigError(
            f"head: {ask.file.name} has {has}, and {data.source.name} has {len(names)} classes; "
            "leave head=published and --freeze all out, so that a head is fitted"
        )
    weight, bias = found.classifier
    if task == "binary":  # one logit of the second class against the first
        weight, bias = weight[1:] - weight[:1], bias[1:] - bias[:1]
    head = linear(inputs=weight.shape[1], outputs=len(weight))
    with torch.no_grad():
        head.weight.copy_(weight)
        head.bias.copy_(bias)
    return head


def language_head(found: Published, backbone: nn.Module) -> nn.Module:
    """Return the head of a published language model; its weight is a copy of the embedding, as in a saved model."""
    import torch

    from bodh.heads.language import build as language

    read = cast("Any", backbone)
    head = language(dim=read.dim, vocabulary=read.vocabulary, transform=bool(found.speaks), eps=read.eps)
    head.load_state_dict(cast("Any", found.speaks), strict=False)
    with torch.no_grad():
        head.weight.copy_(read.embedding.weight)
    return head


def _normalised(modality: Any, inputs: Inputs | None, settings: Json) -> Any:
    """Return `modality` with mean and deviation of the weights' inputs, unless the user chose them."""
    if inputs is None:
        return modality
    section = _section(modality)
    config = _pictures(modality)
    for name in ("mean", "std"):
        if f"{section}.{name}" not in settings:
            values = getattr(inputs, name)
            if config.channels != len(values):
                values = (sum(values) / len(values),) * config.channels
            config = config.model_copy(update={name: values})
    return type(modality)(config) if modality.name == "image" else modality.with_pictures(config)


def _pictures(modality: Any) -> Any:
    """Return how pictures are prepared."""
    return modality.config if modality.name == "image" else modality.config.image


def _told_of_inputs(inputs: Inputs | None, data: Data, settings: Json) -> list[str]:
    """Return in words how records are prepared for the weights."""
    if inputs is None:
        return []
    section, config = _section(data.modality), _pictures(data.modality)
    mean, std = (" ".join(f"{value:.3g}" for value in values) for values in (config.mean, config.std))
    said = []
    if not {f"{section}.mean", f"{section}.std"} <= settings.keys():
        said.append(f"mean {mean} and deviation {std}: of the inputs of {inputs.source}")
    if config.size < 0.75 * inputs.size:
        said.append(
            f"records of {config.size} px, as they are; the weights learned from {inputs.size} px, so a larger "
            f"{section}.size may do better (and takes longer): {section}.size={min(inputs.size, 4 * config.size)}"
        )
    return said


def _manifest(networks: nn.ModuleDict, data: Data, record: Json) -> Manifest:
    """Return what a model folder of the start would say; its weights are told apart by file and architecture."""
    from bodh.contracts import Task
    from bodh.model.manifest import CapabilitySpec, FileEntry, Manifest, ModalityEntry, TensorSpec, plain
    from bodh.model.networks import entries_of, specs_of

    entries = entries_of(specs_of(networks))
    spec = json.dumps([record["sha256"], plain(entries["backbone"].arguments)], sort_keys=True)
    speaks = "head" in networks and entries["head"].name == "language"
    has_head = "head" in networks and not speaks
    names = data.store.class_names if has_head else ()
    given = (TensorSpec.model_validate(data.modality.input_spec()),)
    dim = int(cast("Any", networks["backbone"]).dim)
    shapes = {"embed": {"embedding": dim}}
    if has_head:
        outputs = cast("Any", networks["head"]).out_features
        shapes["predict"] = {"logits": outputs, "probabilities": len(names)}
    capabilities = {
        name: CapabilitySpec(
            inputs=given,
            outputs=tuple(TensorSpec(name=key, dtype="float32", shape=("n", width)) for key, width in found.items()),
        )
        for name, found in shapes.items()
    }
    digest = hashlib.sha256(spec.encode()).hexdigest()
    return Manifest(
        schema_version=1,
        modality=ModalityEntry(name=data.modality.name, config=data.modality.config.model_dump(mode="json")),
        networks=entries,
        capabilities=capabilities,
        task="tokens" if speaks else cast("Task", data.task) if has_head else None,
        class_names=tuple(names),
        best_block=None,
        metrics={},
        provenance={"published": plain(record)},
        files={"model.safetensors": FileEntry(bytes=0, sha256=digest)},
    )


def _some(names: tuple[str, ...]) -> str:
    return ", ".join(names[:3]) + (f" … {names[-1]}" if len(names) > 3 else "")
