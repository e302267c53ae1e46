"""A model in memory: networks, modality and manifest, read from a verified folder.

Records stream through in batches; memory depends on the batch alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import nn

from bodh.contracts import Modality, RecordStore, Shard, View, derive_seed
from bodh.errors import ConfigError, ModelError
from bodh.model import capabilities, networks
from bodh.model.capabilities import EMBEDDING, PROBABILITIES, VALUE, Capability
from bodh.model.folder import RECORDS, WEIGHTS, Folder, read_folder
from bodh.model.manifest import Manifest
from bodh.model.modality import insist_on_match, modality_of

BATCH = 256
"""Records in one pass where nobody asks for another number."""
LOOKED_AT = 16
"""Weak views of one record, of which one at least must be another than the record itself."""


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """Networks ready to use, in evaluation mode; changes nothing and draws nothing.

    Attributes:
        manifest: what the folder says.
        modality: turns raw records into arrays and arrays into tensors.
        network: {"backbone": …} and, where the model has classes, {"head": …}.
        device: where the networks are.
        folder: where the model was read from; None for one that never lay on disk (an untrained twin).
    """

    manifest: Manifest
    modality: Modality
    network: nn.ModuleDict
    device: torch.device
    folder: Folder | None = None

    @property
    def block_names(self) -> tuple[str, ...]:
        """Blocks of the backbone from input to output, for `features(block=…)`."""
        return cast("tuple[str, ...]", self.network["backbone"].block_names)

    def capability(self, name: str = "all") -> Capability:
        """Return what the model can do ("embed", "predict", "generate" …), or "all", from arrays to named tensors.

        Raises:
            UnknownName: the model cannot do that.
        """
        return capabilities.build(
            self.network, self.modality, name,
            task=self.manifest.task, block=self.manifest.best_block, grid=self.manifest.best_grid,
        )  # fmt: skip

    def run(
        self, store: RecordStore, index: np.ndarray, capability: nn.Module, *, batch: int = BATCH
    ) -> Iterator[dict[str, np.ndarray]]:
        """Yield the outputs of `capability` for records at `index` [n] of `store`, batch by batch, in that order."""
        for start in range(0, len(index), batch):
            rows = self.modality.standardise(store.rows(index[start : start + batch]))
            yield self.compute(rows, capability)

    def compute(self, rows: np.ndarray, capability: nn.Module) -> dict[str, np.ndarray]:
        """Return the outputs of `capability` for standardised `rows` as arrays."""
        with torch.inference_mode():
            outputs = capability(torch.from_numpy(np.ascontiguousarray(rows)).to(self.device))
        return {name: tensor.float().cpu().numpy() for name, tensor in outputs.items()}

    def features(
        self, store: RecordStore, index: np.ndarray, *, block: str | None = None, batch: int = BATCH
    ) -> np.ndarray:
        """Return features `[n d]`, float32, of records at `index` [n].

        Args:
            store: decoded records.
            index: positions in the store.
            block: of which block; None: what `embed` gives (the best block where the manifest names one, else the
                pooled output).
            batch: records in one pass.

        Raises:
            UnknownName: the backbone has no such block.
        """
        grid = self.manifest.best_grid if block is None else 1
        block = block or self.manifest.best_block
        capability = capabilities.build(self.network, self.modality, "embed", block=block, grid=grid)
        return self._filled(store, index, capability, EMBEDDING, batch)

    def predict_rows(self, store: RecordStore, index: np.ndarray, *, batch: int = BATCH, views: int = 1) -> np.ndarray:
        """Return class probabilities, or measured numbers, `[n k]`, float32, of records at `index` [n].

        Args:
            store: decoded records.
            index: positions in the store.
            batch: records in one pass.
            views: see `averaged`.

        Raises:
            UnknownName: the model has no head.
        """
        if views > 1:
            starts = range(0, len(index), batch)
            rows = (self.modality.standardise(store.rows(index[start : start + batch])) for start in starts)
            return np.concatenate([self.averaged(part, views=views) for part in rows])
        output = VALUE if self.manifest.task == "regress" else PROBABILITIES
        return self._filled(store, index, self.capability("predict"), output, batch)

    def averaged(self, rows: np.ndarray, *, views: int) -> np.ndarray:
        """Return probabilities, or measured numbers, `[n k]`, averaged over each record and weak views of it.

        What a record's views are does not depend on the records beside it, so its answer is always the same.
        Exported files know nothing of this: they see the record itself.

        Args:
            rows: standardised.
            views: the record itself and this many less one weak views; 1: the record alone.

        Raises:
            UnknownName: the model has no head.
            ConfigError: weak views of these records are the records themselves.
        """
        capability = self.capability("predict")
        if views > 1 and len(rows):
            self._insist_on_weak_views(rows[:1])
        measures = self.manifest.task == "regress"
        total = self.compute(rows, capability)[VALUE if measures else PROBABILITIES]
        spec = (View("weak"),) * (views - 1)
        seed, alone = derive_seed("test-views"), Shard(0, 1, 1)
        each = [self.modality.views(row[None], spec, seed, alone, self.device) for row in rows]
        for parts in zip(*each, strict=True):
            with torch.inference_mode():
                logits = self.network["head"](self.network["backbone"](torch.cat(parts)))
                told = logits if measures else capabilities.probabilities(logits, self.manifest.task)
            total += told.float().cpu().numpy()
        result: np.ndarray = total / views
        return result

    def _insist_on_weak_views(self, row: np.ndarray) -> None:
        alone, spec = Shard(0, 1, 1), (View("plain"), *(View("weak"),) * LOOKED_AT)
        plain, *weak = self.modality.views(row, spec, derive_seed("test-views"), alone, self.device)
        if all(torch.equal(plain, view) for view in weak):
            raise ConfigError(
                f"views: weak views of {self.modality.name} records are the records themselves, so averaging over some "
                "changes nothing; leave views out"
            )

    def records(self) -> np.ndarray:
        """Return the real standardised records that the model carries for parity checks.

        Raises:
            ModelError: the model carries none.
        """
        if self.folder is None or RECORDS not in self.manifest.files:
            raise ModelError("the model carries no records to check an export with; give some: --data DATA")
        return records_from_bytes(self.folder.read(RECORDS))

    def untrained(self, *, seed: int = 0) -> LoadedModel:
        """Return a twin of the same architecture with fresh weights: the floor to compare with."""
        fresh = networks.build(self.manifest.specs(), seed=seed)
        nothing = self.manifest.model_copy(update={"provenance": {}})  # these weights come from nowhere
        return replace(self, manifest=nothing, network=_placed(fresh, self.device), folder=None)

    def _filled(
        self, store: RecordStore, index: np.ndarray, capability: nn.Module, output: str, batch: int
    ) -> np.ndarray:
        result: np.ndarray | None = None
        done = 0
        for outputs in self.run(store, index, capability, batch=batch):
            part = outputs[output]
            if result is None:
                result = np.empty((len(index), part.shape[1]), np.float32)
            result[done : done + len(part)] = part
            done += len(part)
        if result is None:
            raise ModelError("no records to compute: the selection is empty")
        return result


def load_model(folder: str | Path, device: torch.device | str = "cpu") -> LoadedModel:
    """Return the model at `folder` (or in the run folder `folder`), all of it verified, nothing of it executed.

    Args:
        folder: a model folder or a run folder.
        device: where the networks go.

    Raises:
        ModelError: the folder is damaged, incomplete, of an unknown version, or names what bodh does not know.
    """
    verified = read_folder(folder)
    manifest = verified.manifest
    try:
        modality = modality_of(manifest.modality, verified.read)
        insist_on_match(modality, manifest.specs())
        restored = networks.restore(manifest.specs(), verified.read(WEIGHTS))
    except ModelError as error:
        told = str(error)
        raise ModelError(told if told.startswith(str(verified.path)) else f"{verified.path}: {told}") from error
    device = torch.device(device)
    model = LoadedModel(manifest, modality, _placed(restored, device), device, verified)
    if manifest.best_block is not None and manifest.best_block not in model.block_names:
        raise ModelError(f"{verified.path}: best_block {manifest.best_block!r} is no block of the backbone")
    return model


def records_from_bytes(content: bytes) -> np.ndarray:
    """Return the array in the content of a `records.safetensors`.

    Raises:
        ModelError: not such a file.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        return load(content)["records"]
    except (SafetensorError, KeyError, ValueError) as error:
        raise ModelError(f"{RECORDS} is not valid: {' '.join(str(error).split())[:200]}") from None


def _placed(network: nn.ModuleDict, device: torch.device) -> nn.ModuleDict:
    """Move `network` to `device`, convolutions laid out channels-last: faster on CPUs and GPUs alike."""
    return network.to(device=device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload,no-any-return]
