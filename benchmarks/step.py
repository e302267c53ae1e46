"""Whole SimCLR training step: bodh against lightly's plain-PyTorch example, and as a share of the bound.

    python benchmarks/step.py [--data ../shared/data] [--steps 6] [--rounds 3]

Same images, network, batch, threads and loss; both sides in one process, in turn, medians. lightly's side is its
documented example (examples/pytorch/simclr.py: SimCLRTransform per PIL image, a DataLoader, NTXentLoss, SGD) on
decoded images in memory, with the number of loader workers that is quickest here. The bound is the same objective's
step on tensors that are already there: what the network, its loss and the optimiser alone cost.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bodh._optional import torchvision
from bodh.api import _settings, _training
from bodh.contracts import Batch
from bodh.records.feed import Feed, Place
from bodh.train.engine import Engine, keep_freed_memory, resolve_precision
from bodh.train.loop import Training, _one_step
from bodh.train.optimise import Plan


def bodh_training(data: Any, network: torch.nn.Module, *, batch: int, precision: str) -> Training:
    """Return a training that is ready to step."""
    settings = {"batch": batch, "epochs": 100, "precision": precision, "optimiser": "sgd", "learning_rate": 0.06}
    sections = _training.resolve_job(settings, "simclr", "image", {})
    from bodh import _catalog

    config = sections[""]
    torch.manual_seed(0)
    objective = _catalog.get("objectives", "simclr").build(
        network, sections["objective"], _training.facts_of(data.store, data.train, steps=100, batch=batch)
    )
    device = torch.device("cpu")
    feed = Feed(data.store, data.train, data.modality, objective.views(), batch=batch, seed=0, place=Place(device))
    engine = Engine(device, precision=resolve_precision(precision, device))
    training = Training(objective, feed, config, engine, Plan(10**6))
    training.objective.train()
    return training


def lightly_step(images: list[Any], network: torch.nn.Module, *, size: int, batch: int, workers: int) -> Any:
    """Return a generator that does one training step of lightly's example each time it is advanced."""
    torchvision()
    from lightly.loss import NTXentLoss
    from lightly.models.modules import SimCLRProjectionHead
    from lightly.transforms import SimCLRTransform
    from torch.utils.data import DataLoader, Dataset

    transform = SimCLRTransform(input_size=size, cj_strength=0.5, gaussian_blur=0.0 if size <= 64 else 0.5)

    class Images(Dataset):  # type: ignore[type-arg]
        def __len__(self) -> int:
            return len(images)

        def __getitem__(self, index: int) -> Any:
            return transform(images[index])

    head = SimCLRProjectionHead(network.dim, max(512, network.dim), 128)
    criterion = NTXentLoss(temperature=0.5)
    optimiser = torch.optim.SGD([*network.parameters(), *head.parameters()], lr=0.06)
    loader = DataLoader(Images(), batch_size=batch, shuffle=True, drop_last=True, num_workers=workers)
    while True:
        for x0, x1 in loader:
            loss = criterion(head(network(x0)), head(network(x1)))
            loss.backward()
            optimiser.step()
            optimiser.zero_grad()
            yield loss.item()


def bound_step(training: Training) -> Any:
    """Advance the same training on a batch that is already there."""
    batch = training.feed.micro_batch(0, 0, training.clock.lap)
    fixed = Batch(tuple(view.clone() for view in batch.views), batch.index, batch.targets, batch.seed)

    class Fixed:
        steps_per_epoch = training.feed.steps_per_epoch

        def micro_batch(self, step: int, part: int, lap: Any) -> Batch:  # noqa: ARG002
            return fixed

        def epoch(self, step: int) -> int:  # noqa: ARG002
            return 0

    training.feed = Fixed()  # type: ignore[assignment]
    while True:
        yield _one_step(training)["loss"].item()


def advance(training: Training) -> Any:
    """Advance a training with its own data path."""
    while True:
        yield _one_step(training)["loss"].item()
        training.step += 1


def compare(data: Any, name: str, *, size: int, batch: int, steps: int, rounds: int, workers: list[int]) -> list[str]:
    """Return table rows for one network at one size."""
    from PIL import Image

    network = _settings.fresh(name, data.modality, {}, 0)
    rows = data.store.rows(data.train[: min(len(data.train), 8 * batch)])
    images = [Image.fromarray(row) for row in rows]
    every = {
        f"lightly {count} workers": lightly_step(images, copy.deepcopy(network), size=size, batch=batch, workers=count)
        for count in workers
    }
    for precision in ("float32", "auto"):
        ready = [bodh_training(data, copy.deepcopy(network), batch=batch, precision=precision) for _ in range(2)]
        every |= {f"bodh {precision}": advance(ready[0]), f"bound {precision}": bound_step(ready[1])}
    seconds: dict[str, list[float]] = {key: [] for key in every}
    for side in every.values():
        for _ in range(2):
            next(side)
    for _ in range(rounds):
        for key, side in every.items():
            start = time.perf_counter()
            for _ in range(steps):
                next(side)
            seconds[key].append((time.perf_counter() - start) / steps)
    middle = {key: statistics.median(values) for key, values in seconds.items()}
    best = min(value for key, value in middle.items() if key.startswith("lightly"))
    told = []
    for key, value in middle.items():
        share = f"{middle[key.replace('bodh', 'bound')] / value:.0%}" if key.startswith("bodh") else ""
        figures = f"{value * 1000:,.0f} | {batch / value:,.0f} | {best / value:.2f} | {share}"
        told.append(f"| {size} | {name} | {key} | {figures} |")
    return told


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(__file__).parents[2] / "shared" / "data")
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--networks", default="small,resnet18")
    options = parser.parse_args()
    keep_freed_memory()
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, numpy {np.__version__}")
    print("| px | network | side | ms a step | images/s | × lightly | share of the bound |")
    print("|--:|---|---|--:|--:|--:|--:|")
    for folder, size, batch in (("cifar10", 32, 256), ("clothing-small", 96, 64)):
        source = _training.open_data(options.data / folder, _settings.DataConfig())
        sections = _training.resolve_job({"modality.size": size}, "simclr", "image", {})
        data = _training.prepare_data(source, sections["modality"], _settings.DataConfig())
        for name in options.networks.split(","):
            rows = compare(
                data, name, size=size, batch=batch, steps=options.steps, rounds=options.rounds, workers=[0, 2]
            )
            print("\n".join(rows), flush=True)


if __name__ == "__main__":
    main()
