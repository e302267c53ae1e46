"""The whole loop (feed, views, DDP, optimiser) in two processes ends where one does, to rounding in float64."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor

from bodh.backbones import mlp
from bodh.contracts import Facts
from bodh.modalities.image import ImageConfig, Modality
from bodh.objectives import simclr
from bodh.records.feed import Feed, Place
from bodh.train.config import TrainConfig
from bodh.train.engine import Engine
from bodh.train.loop import Training, train
from bodh.train.optimise import Plan
from tests.unit.train.parts import make_store

STEPS = 24


class Double(Modality):
    """Image views in float64, so that what differs is no rounding of float32."""

    def views(self, *arguments: Any) -> tuple[Tensor, ...]:
        return tuple(view.double() for view in super().views(*arguments))


def _task() -> simclr.SimCLR:
    torch.manual_seed(0)
    network = mlp.build(shape=(3, 8, 8))  # no batch normalisation: its statistics would be a process's own
    return simclr.build(network, simclr.Config(head_norm="none", outputs=8), Facts(64, STEPS, 16)).double()


def _train(folder: Path, rank: int, world: int) -> dict[str, Tensor]:
    config = TrainConfig(
        batch=16, epochs=6, accumulate=2, precision="float32", optimiser="sgd", learning_rate=4.0, progress="none",
        monitor_records=0,
    )  # fmt: skip
    task = _task()
    modality = Double(ImageConfig(size=8, channels=3, mean=(0.5,) * 3, std=(0.25,) * 3, stored_size=8))
    store, device = make_store(), torch.device("cpu")
    place = Place(device, rank, world)
    feed = Feed(
        store, torch.arange(len(store)).numpy(), modality, task.views(), batch=16, accumulate=2, seed=0, place=place
    )
    training = Training(task, feed, config, Engine(device, rank, world), Plan(STEPS))
    train(training, run=folder, monitor=None, title="test")
    return task.state_dict()


def _work(rank: int, folder: Path) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    weights = _train(folder / "two", rank, 2)
    torch.save(weights, folder / f"rank{rank}.pt")
    dist.destroy_process_group()


def test_two_processes_end_where_one_does(tmp_path: Path) -> None:
    (tmp_path / "two").mkdir()
    (tmp_path / "one").mkdir()
    mp.spawn(_work, args=(tmp_path,), nprocs=2)
    one = _train(tmp_path / "one", 0, 1)
    moved = [float((one[name] - value).abs().max()) for name, value in _task().state_dict().items()]
    assert max(moved) > 0.05  # it did learn
    for rank in (0, 1):
        theirs = torch.load(tmp_path / f"rank{rank}.pt", weights_only=True)
        for name, value in one.items():
            torch.testing.assert_close(theirs[name], value, rtol=1e-8, atol=1e-10, msg=lambda t, n=name: f"{n}: {t}")
