"""What a run leaves behind: the model folder, complete and checked before it gets its name."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from bodh.backbones._modes import evaluating
from bodh.contracts import Json, Modality, NetworkSpec, Task
from bodh.errors import ModelError
from bodh.model import capabilities, networks
from bodh.model.card import card
from bodh.model.folder import CARD, RECORDS, WEIGHTS, Folder, check_free, write_folder
from bodh.model.loaded import load_model
from bodh.model.manifest import (
    SCHEMA_VERSION,
    CapabilitySpec,
    FileEntry,
    Manifest,
    ModalityEntry,
    TensorSpec,
    plain,
)
from bodh.model.modality import files_of, insist_on_match

LARGEST_RECORDS = 64
"""Real records that a model carries, for parity and latency checks."""


def save_model(
    folder: Path,
    *,
    network: nn.ModuleDict,
    modality: Modality,
    task: Task | None,
    class_names: Sequence[str],
    records: np.ndarray,
    provenance: Json,
    metrics: Json,
    best_block: str | None = None,
    overwrite: bool = False,
) -> Folder:
    """Write a model folder in one step.

    Args:
        folder: the folder to be; parents are made.
        network: {"backbone": …} and, for a model with classes, {"head": …}; every one carries its `.spec`.
        modality: fitted.
        task: what labels mean; None without a head.
        class_names: [k] in the order of the head's outputs; empty without a head.
        records: real standardised rows `[n …]`; the first 64 are stored. They lie in the folder as they are: a
            model that is passed on passes these records on.
        provenance: see `manifest.Manifest`; versions are added.
        metrics: figures measured on this model, JSON values; a not-a-number becomes null.
        best_block: block whose features `embed` gives; None: the pooled output.
        overwrite: replace a model folder that is there.

    Raises:
        ModelError: a network cannot be built again from its spec, a weight is not finite, or there are no records.
        OutputError: the folder exists or cannot be written; nothing is left behind.
    """
    check_free(Path(folder), overwrite=overwrite)
    if len(records) == 0:
        raise ModelError("a model is saved with some real records, for parity checks; none were given")
    records = np.ascontiguousarray(records[:LARGEST_RECORDS])
    specs = networks.specs_of(network)
    insist_on_match(modality, specs)
    weights = networks.flat_weights(network)
    networks.check_fit(specs, weights)
    manifest = Manifest(
        schema_version=SCHEMA_VERSION,
        modality=ModalityEntry(name=modality.name, config=modality.config.model_dump(mode="json")),
        networks=networks.entries_of(specs),
        capabilities=_capabilities(network, modality, task, (best_block, 1), records[:2]),
        task=task,
        class_names=tuple(class_names),
        best_block=best_block,
        metrics=plain(metrics),
        provenance=plain({**provenance, "versions": {**versions(), **provenance.get("versions", {})}}),
        files={WEIGHTS: FileEntry(bytes=0, sha256="0" * 64)},
    )
    files = {WEIGHTS: networks.weights_to_bytes(weights), RECORDS: _records_to_bytes(records), **files_of(modality)}
    files[CARD] = card(manifest, parameters=sum(p.numel() for p in network.parameters()), name=_name(folder)).encode()
    return write_folder(Path(folder), manifest, files, overwrite=overwrite)


def remember_block(folder: Path, block: str | None, grid: int, *, measured: Json) -> Folder:
    """Write into the model at `folder` that `embed` gives the features of `block` from now on.

    Manifest (with the shapes that follow) and card are written anew, weights and records stay; all in one step.

    Args:
        folder: the model folder.
        block: a block of the backbone; None: the pooled output.
        grid: its map is averaged over a grid of this side; 1: wholly.
        measured: what the choice rests on, kept among the metrics.

    Raises:
        UnknownName: the backbone has no such block.
        ModelError: the folder is damaged.
        OutputError: it cannot be written; the old model is still there then.
    """
    model = load_model(folder)
    verified = cast("Folder", model.folder)
    before = model.manifest
    rows = model.records()[:2]
    manifest = before.model_copy(
        update={
            "capabilities": _capabilities(model.network, model.modality, before.task, (block, grid), rows),
            "best_block": block,
            "best_grid": grid,
            "metrics": {**before.metrics, "best_block": plain(measured)},
        }
    )
    files = {name: verified.read(name) for name in before.files}
    parameters = sum(p.numel() for p in model.network.parameters())
    files[CARD] = card(manifest, parameters=parameters, name=_name(verified.path)).encode()
    return write_folder(verified.path, manifest, files, overwrite=True)


def versions() -> dict[str, str]:
    """Return the versions that a model was made with."""
    from bodh import __version__

    return {
        "bodh": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "timm": version("timm"),
    }


def _capabilities(
    network: nn.ModuleDict, modality: Modality, task: Task | None, best: tuple[str | None, int], rows: np.ndarray
) -> dict[str, CapabilitySpec]:
    """Return what the model can do, measured by doing it with two real records."""
    inputs = (TensorSpec.model_validate(modality.input_spec()),)
    has_head = "head" in network and task != "sequence"
    names = ["embed", *([capabilities.does(task, network["backbone"])] if has_head else [])]
    found = {}
    if task == "sequence":  # what is written depends on all that was: two inputs, which no exported file has
        written = TensorSpec(name="written", dtype="int64", shape=("n", "t"))
        vocabulary = cast("NetworkSpec", network["head"].spec).arguments["vocabulary"]
        told = TensorSpec(name="logits", dtype="float32", shape=("n", "t", vocabulary))
        found[getattr(modality, "verb", "translate")] = CapabilitySpec(inputs=(*inputs, written), outputs=(told,))
    with evaluating(network), torch.inference_mode():
        for name in names:
            capability = capabilities.build(network, modality, name, task=task, block=best[0], grid=best[1])
            device = next(network.parameters()).device
            outputs = capability(torch.from_numpy(rows).to(device))
            found[name] = CapabilitySpec(
                inputs=inputs,
                outputs=tuple(
                    TensorSpec(name=key, dtype="float32", shape=("n", *_axes(tensor, tokens=name == "answer")))
                    for key, tensor in outputs.items()
                ),
            )
    return found


def _axes(output: Tensor, *, tokens: bool) -> tuple[int | str, ...]:
    """Return the axes of an output after the first; how many tokens there are varies.

    Args:
        output: of a few records.
        tokens: whether its second axis is of tokens in any case.
    """
    return ("t", *output.shape[2:]) if output.ndim == 3 or tokens else tuple(output.shape[1:])


def _records_to_bytes(records: np.ndarray) -> bytes:
    from safetensors.numpy import save

    return bytes(save({"records": records}))


def _name(folder: Path) -> str:
    """Return the name that a person knows the model by: the run's, where the folder is its `model/`."""
    folder = Path(folder).absolute()
    return folder.parent.name if folder.name == "model" else folder.name
