"""A tiny run: 64 random images, a two-layer network, SimCLR; quick enough to train hundreds of steps in a test."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from bodh import _catalog
from bodh.contracts import Backbone, Facts, Features, NetworkSpec, Objective, Shard, ViewSpec
from bodh.records.feed import Feed, Place
from bodh.records.memory import MemoryStore
from bodh.train.config import TrainConfig
from bodh.train.engine import Engine
from bodh.train.loop import Outcome, Training, train
from bodh.train.monitor import Monitor
from bodh.train.optimise import Plan


class NoiseModality:
    """Views are the record plus noise: enough for the loop, which knows no modality."""

    name = "noise"
    scale = 0.1

    def views(
        self, rows: np.ndarray, spec: ViewSpec, seed: int, shard: Shard, device: torch.device
    ) -> tuple[Tensor, ...]:
        generator = torch.Generator().manual_seed(seed)
        clean = torch.from_numpy(np.asarray(rows)).float().permute(0, 3, 1, 2) / 255
        noise = [torch.randn((shard.total, *clean.shape[1:]), generator=generator) for _ in spec]
        return tuple((clean + self.scale * part[shard.start : shard.stop]).to(device) for part in noise)


class TinyBackbone(nn.Module):
    dim = 16
    block_names = ("all",)
    spec = NetworkSpec("backbones", "tiny", {})

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.1), nn.Flatten(), nn.Linear(8 * 36, 16)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)

    def features(self, x: Tensor) -> Features:
        return Features(self(x), None, None)


def make_store(n: int = 64) -> MemoryStore:
    pixels = np.random.default_rng(0).integers(0, 256, (n, 8, 8, 3), dtype=np.uint8)
    return MemoryStore(pixels, targets=np.arange(n) % 4, class_names=("क", "ख", "ग", "घ"))


def make_training(
    *,
    objective: str = "simclr",
    monitor: bool = False,
    plan: Plan | None = None,
    backbone: nn.Module | None = None,
    held: tuple[str, ...] = (),
    **settings: Any,
) -> tuple[Training, Monitor | None]:
    values = {
        "batch": 16,
        "epochs": 4,
        "precision": "float32",
        "progress": "none",
        "log_every": 2,
        "checkpoint_minutes": 0,
    }
    config = TrainConfig(**(values | settings))
    store, place = make_store(), Place(torch.device("cpu"))
    positions = np.arange(len(store))
    torch.manual_seed(0)
    backbone = backbone or TinyBackbone()
    module = _catalog.get("objectives", objective)
    steps = int((config.epochs or 1) * len(store) // config.batch)
    facts = Facts(64, steps, config.batch, task="single", class_names=store.class_names, class_counts=(16, 16, 16, 16))
    task: Objective = module.build(cast("Backbone", backbone), module.Config(), facts)
    feed = Feed(
        store, positions, NoiseModality(), task.views(), batch=config.batch, accumulate=config.accumulate,
        seed=config.seed, place=place,
    )  # fmt: skip
    look = Monitor(store, positions, NoiseModality(), records=32, seed=0, device=place.device) if monitor else None
    return Training(task, feed, config, Engine(place.device), plan or Plan(steps), held), look


def run(folder: Path, **options: Any) -> tuple[Training, Outcome]:
    training, look = make_training(**options)
    return training, train(training, run=folder, monitor=look, title="test")


def same_weights(first: nn.Module, second: nn.Module) -> bool:
    pairs = zip(first.state_dict().items(), second.state_dict().items(), strict=True)
    return all(name == other and torch.equal(a, b) for (name, a), (other, b) in pairs)
