"""Small real things for tests of evaluation: scikit-learn's digits, a plain modality, a network good or bad."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn

from bodh.backbones.mlp import build as mlp
from bodh.config.base import Config
from bodh.contracts import Shard, ViewSpec
from bodh.heads.linear import build as linear
from bodh.model.loaded import LoadedModel
from bodh.model.manifest import CapabilitySpec, FileEntry, Manifest, ModalityEntry, NetworkEntry, TensorSpec
from bodh.records.memory import MemoryStore

NAMES = ("शून्य", "एक", "दो", "तीन", "चार", "पाँच", "छह", "सात", "आठ", "नौ")
TRAIN = 1000


class PixelConfig(Config):
    """Nothing to set."""


class PixelModality:
    """Rows of 8 × 8 grey pixels; a view adds noise."""

    name = "vector"
    config = PixelConfig()
    prepared_shape = (1, 8, 8)

    def standardise(self, rows: np.ndarray | list[np.ndarray]) -> np.ndarray:
        return np.asarray(rows)

    def prepare(self) -> nn.Module:
        class Prepare(nn.Module):
            def forward(self, rows: torch.Tensor) -> torch.Tensor:
                return rows.float().permute(0, 3, 1, 2) / 128 - 1

        return Prepare()

    def views(
        self, rows: Any, spec: ViewSpec, seed: int, shard: Shard, device: torch.device
    ) -> tuple[torch.Tensor, ...]:
        assert len(rows) == shard.stop - shard.start
        plain = self.prepare()(torch.as_tensor(np.asarray(rows)))
        draw = torch.Generator().manual_seed(seed)
        return tuple((plain + 0.1 * torch.randn(plain.shape, generator=draw)).to(device) for _ in spec)

    def input_spec(self) -> dict[str, Any]:
        return {"name": "image", "dtype": "uint8", "shape": ["n", 8, 8, 1]}

    def show(self, row: np.ndarray, size: int = 64) -> bytes:
        import io

        from PIL import Image

        file = io.BytesIO()
        Image.fromarray(np.asarray(row)[..., 0]).resize((size, size)).save(file, "PNG")
        return file.getvalue()


@cache
def digits(*, labelled: bool = True, several: bool = False) -> MemoryStore:
    """All 1,797 digits as uint8 [n 8 8 1], 1,000 of them for training; every fiftieth has no label."""
    data = load_digits()
    rows = (data.images * 15.9).astype(np.uint8)[..., None]
    order = np.random.default_rng(0).permutation(len(rows))
    targets = data.target[order].astype(np.int64)
    splits = np.where(np.arange(len(rows)) < TRAIN, "train", "test")
    if several:  # even, above four, round
        many = np.stack([targets % 2 == 0, targets > 4, np.isin(targets, (0, 6, 8, 9))], axis=1).astype(np.uint8)
        return MemoryStore(rows[order], targets=many, splits=splits, class_names=("even", "large", "round"))
    if not labelled:
        return MemoryStore(rows[order], splits=splits, name="bare")
    targets[::50] = -1
    return MemoryStore(rows[order], targets=targets, splits=splits, class_names=NAMES, name="digits")


@cache
def trained() -> LoadedModel:
    """A network whose features tell digits apart (it is trained on the training labels, which nobody is told)."""
    store = digits()
    torch.manual_seed(0)
    network = nn.ModuleDict(
        {"backbone": mlp(shape=(1, 8, 8), width=64, depth=2), "head": linear(inputs=64, outputs=10)}
    )
    chosen = np.flatnonzero((store.splits == "train") & (store.targets >= 0))
    x = PixelModality().prepare()(torch.as_tensor(store.rows(chosen)))
    y = torch.as_tensor(store.targets[chosen])
    adam = torch.optim.Adam(network.parameters(), 3e-3)
    for _ in range(80):
        adam.zero_grad()
        nn.functional.cross_entropy(network["head"](network["backbone"](x)), y).backward()
        adam.step()
    return loaded(network)


@cache
def heights() -> MemoryStore:
    """The same digits; of each, where its ink lies from top (0) to bottom (7), and how wide it is; some lack both."""
    store = digits()
    pixels = store.rows(np.arange(len(store)))[..., 0].astype(np.float64)
    down = (pixels.sum(axis=2) * np.arange(8)).sum(axis=1) / pixels.sum(axis=(1, 2))
    wide = (pixels.sum(axis=1) > 40).sum(axis=1)
    targets = np.stack([down, wide], axis=1).astype(np.float32)
    targets[::50] = np.nan
    names = ("ऊँचाई", "width")
    return MemoryStore(store.rows(np.arange(len(store))), targets=targets, splits=store.splits, class_names=names)


@cache
def measuring() -> LoadedModel:
    """The trained network with a head for these numbers, fitted on its features of the training records."""
    from bodh.api._regress import linear_head

    store, plain = heights(), trained()
    chosen = np.flatnonzero((store.splits == "train") & ~np.isnan(store.targets[:, 0]))
    head, _ = linear_head(plain.features(store, chosen), store.targets[chosen])
    network = nn.ModuleDict({"backbone": plain.network["backbone"], "head": head})
    return loaded(network, names=store.class_names)


@cache
def random_model() -> LoadedModel:
    """The same network with random weights, passed off as pretrained."""
    torch.manual_seed(7)
    return loaded(nn.ModuleDict({"backbone": mlp(shape=(1, 8, 8), width=64, depth=2)}))


def loaded(
    network: nn.ModuleDict, provenance: dict[str, Any] | None = None, names: tuple[str, ...] | None = None
) -> LoadedModel:
    """Return `network` as a model in memory; with `names` its head gives numbers of these names."""
    classes = (names or NAMES) if "head" in network else ()
    tensor = TensorSpec(name="image", dtype="uint8", shape=("n", 8, 8, 1))
    out = TensorSpec(name="embedding", dtype="float32", shape=("n", 64))
    abilities = {"embed": CapabilitySpec(inputs=(tensor,), outputs=(out,))}
    if classes:
        told = TensorSpec(name="value" if names else "probabilities", dtype="float32", shape=("n", len(classes)))
        abilities["predict"] = CapabilitySpec(inputs=(tensor,), outputs=(told,))
    manifest = Manifest(
        schema_version=1,
        modality=ModalityEntry(name="vector", config={}),
        networks={
            name: NetworkEntry(room=part.spec.room, name=part.spec.name, arguments=dict(part.spec.arguments))
            for name, part in network.items()
        },
        capabilities=abilities,
        task="regress" if names else "single" if classes else None,
        class_names=classes,
        best_block=None,
        metrics={},
        provenance=provenance or {"verb": "pretrain"},
        files={"model.safetensors": FileEntry(bytes=0, sha256="0" * 64)},
    )
    return LoadedModel(manifest, PixelModality(), network.eval(), torch.device("cpu"))


def poor_scratch(train: np.ndarray, test: np.ndarray, seed: int) -> np.ndarray:
    """A baseline from scratch that has learned nothing: chance."""
    return np.random.default_rng(seed % 2**32).dirichlet(np.ones(10), size=len(test))
