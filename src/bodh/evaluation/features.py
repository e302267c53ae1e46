"""Features of every arm, computed once and shared by all protocols: the model, untrained twins, the raw input.

Axes: `n` records, `d` features.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bodh.contracts import derive_seed

if TYPE_CHECKING:
    from bodh.contracts import RecordStore
    from bodh.model.loaded import LoadedModel

logger = logging.getLogger("bodh")

LARGEST_RAW = 64 * 64 * 3
"""Numbers in one raw record; larger images are shrunk to it before principal components are taken."""
COMPONENTS = 256
FIT_ON = 10_000
CALIBRATE_ON = 1024


def untrained_twin(
    model: LoadedModel, store: RecordStore, positions: np.ndarray, *, seed: int, batch: int = 256
) -> LoadedModel:
    """Return the same network with random weights, its batch statistics set on records (no labels).

    Without that, batch normalisation of a fresh network does nothing and its features are needlessly poor: a floor
    must not be lower than it is.
    """
    import torch

    from bodh.model.capabilities import build

    twin = model.untrained(seed=derive_seed("untrained", seed))
    kinds = (torch.nn.BatchNorm1d, torch.nn.BatchNorm2d, torch.nn.BatchNorm3d)
    parts = twin.network["backbone"].modules()
    norms = [part for part in parts if isinstance(part, kinds) and part.track_running_stats]
    if not norms:
        return twin
    before = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # plain average over batches
        norm.train()
    chosen = np.random.default_rng(derive_seed("calibrate", seed)).permutation(positions)[:CALIBRATE_ON]
    capability = build(twin.network, twin.modality, "embed")
    for norm in norms:
        norm.train()  # `build` switched to evaluation
    size = min(batch, max(2, len(chosen) // 4))
    for start in range(0, len(chosen) - 1, size):
        part = chosen[start : start + size]
        if len(part) > 1:
            rows = twin.modality.standardise(store.rows(part))
            with torch.no_grad():
                capability(torch.from_numpy(np.ascontiguousarray(rows)).to(twin.device))
    for norm, momentum in zip(norms, before, strict=True):
        norm.momentum = momentum
    twin.network.eval()
    return twin


def all_blocks(
    model: LoadedModel, store: RecordStore, positions: np.ndarray, *, batch: int, grid: int = 1
) -> dict[str, np.ndarray]:
    """Return features [n d] of every block, in the order of the network, from one pass over the records.

    Args:
        model: whose backbone.
        store: decoded records.
        positions: [n] in the store.
        batch: records in one pass through the network.
        grid: maps are averaged over a grid of this side; 1: wholly.
    """
    import torch

    backbone, prepare = model.network["backbone"], model.modality.prepare()

    class Blocks(torch.nn.Module):
        def forward(self, rows: torch.Tensor) -> dict[str, torch.Tensor]:
            prepared = prepare(rows)
            return backbone.blocks(prepared) if grid == 1 else backbone.blocks(prepared, grid=grid)  # type: ignore[operator,no-any-return]

    prepare.to(model.device).eval()
    parts: dict[str, list[np.ndarray]] = {}
    for outputs in model.run(store, positions, Blocks(), batch=batch):
        for name, values in outputs.items():
            parts.setdefault(name, []).append(values)
    return {name: np.concatenate(values) for name, values in parts.items()}


@dataclass(frozen=True, slots=True)
class RawInput:
    """The input itself as features: records as they go into the model, flattened, on their principal components."""

    mean: np.ndarray
    factor: np.ndarray
    components: np.ndarray
    """[d c]"""

    @classmethod
    def fit(cls, model: LoadedModel, store: RecordStore, positions: np.ndarray, *, seed: int) -> RawInput:
        """Fit on at most 10,000 of the records at `positions`; at most 256 components. No labels.

        Numbers of one kind (pixels) share a scale; columns of a table each get unit deviation first.
        """
        from sklearn.decomposition import PCA

        chosen = np.random.default_rng(derive_seed("raw", seed)).permutation(positions)[:FIT_ON]
        rows = model.modality.standardise(store.rows(np.sort(chosen)))
        x = flatten(rows)
        deviation = np.ones(x.shape[1], np.float32) if rows.dtype == np.uint8 else x.std(axis=0)
        factor = np.where(deviation > 0, 1 / np.maximum(deviation, 1e-12), 0).astype(np.float32)
        mean = x.mean(axis=0)
        count = min(COMPONENTS, x.shape[1], max(1, len(x) - 1))
        solver = "full" if min(x.shape) <= 2 * COMPONENTS else "randomized"
        pca = PCA(count, svd_solver=solver, random_state=derive_seed("pca", seed) % 2**32)
        with np.errstate(invalid="ignore", divide="ignore"):  # the share of no variance at all: constant records
            pca.fit((x - mean) * factor)
        return cls(mean, factor, np.ascontiguousarray(pca.components_.T, dtype=np.float32))

    def __call__(self, model: LoadedModel, store: RecordStore, positions: np.ndarray, *, batch: int) -> np.ndarray:
        """Return components [n c] of the records at `positions`, batch by batch."""
        result = np.empty((len(positions), self.components.shape[1]), np.float32)
        for start in range(0, len(positions), batch):
            x = flatten(model.modality.standardise(store.rows(positions[start : start + batch])))
            result[start : start + len(x)] = ((x - self.mean) * self.factor) @ self.components
        return result


def flatten(rows: np.ndarray) -> np.ndarray:
    """Return rows [n …] as [n d] float32; `uint8` becomes 0 to 1, and large images [n h w c] shrink by averaging."""
    x = rows.astype(np.float32)
    if rows.dtype == np.uint8:
        x /= 255
    if x.ndim == 4 and x[0].size > LARGEST_RAW:
        import torch

        height, width, channels = x.shape[1:]
        shrink = (LARGEST_RAW / (height * width * channels)) ** 0.5
        size = (max(1, round(height * shrink)), max(1, round(width * shrink)))
        x = torch.nn.functional.adaptive_avg_pool2d(torch.from_numpy(x).permute(0, 3, 1, 2), size).numpy()
    return x.reshape(len(x), -1)
