"""Two processes on halves of a batch end with the weights of one process on the whole, to rounding in float64."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from bodh.contracts import Batch, Facts, NetworkSpec, Progress
from bodh.losses.gather import average, from_first, join, join_values, world
from bodh.objectives import barlow, byol, classify, dino, moco, simclr, supcon, vicreg
from bodh.testing.objectives import TinyBackbone

N, STEPS = 16, 3
NAMES = ("काला", "सफ़ेद", "लाल")
SCENARIOS: dict[str, tuple[Any, dict[str, Any]]] = {
    "simclr": (simclr, {"head_norm": "none", "outputs": 8}),
    "byol": (byol, {"head_norm": "none", "outputs": 8}),
    "moco-v2": (moco, {"head_norm": "none", "outputs": 8, "queue": 40}),
    "moco-v3": (moco, {"head_norm": "none", "outputs": 8, "version": "v3"}),
    "barlow": (barlow, {"outputs": 8, "layers": 1}),
    "vicreg": (vicreg, {"outputs": 8, "layers": 1}),
    "supcon": (supcon, {"outputs": 8, "head_norm": "none"}),
    "dino": (dino, {"outputs": 8, "bottleneck": 6, "small_views": 0, "head_norm": "none"}),
    "classify": (classify, {"class_weights": (1.0, 2.0, 0.5), "label_smoothing": 0.1}),
}


class Plain(nn.Module):
    """A network without batch normalisation: a record's features depend on nothing else."""

    def __init__(self) -> None:
        super().__init__()
        self.dim = 12
        self.spec = NetworkSpec("backbones", "plain", {})
        self.body = nn.Sequential(nn.Conv2d(3, 12, 3), nn.Tanh())

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.body(x).mean(dim=(2, 3))
        return result


def _build(name: str) -> nn.Module:
    module, settings = SCENARIOS[name]
    torch.manual_seed(3)
    task: Any = "single" if module.NEEDS.labels else None
    facts = Facts(200, STEPS, N, task=task, class_names=NAMES, class_counts=(50, 100, 50))
    objective: nn.Module = module.build(Plain(), module.Config(**settings), facts)
    return objective.double()


def _batch(step: int, rows: slice) -> Batch:
    generator = torch.Generator().manual_seed(step)
    views = torch.randn(2, N, 3, 6, 6, generator=generator, dtype=torch.float64)
    targets = torch.arange(N) % 3
    targets[:3] = -1  # all in the first process's half
    return Batch((views[0, rows], views[1, rows]), torch.arange(N)[rows], targets[rows], seed=step)


def _train(name: str, rows: slice, *, parallel: bool) -> dict[str, Tensor]:
    objective = _build(name)
    model = DistributedDataParallel(objective) if parallel else objective
    optimiser = torch.optim.SGD([p for p in objective.parameters() if p.requires_grad], lr=0.5, momentum=0.9)
    for step in range(STEPS):
        progress = Progress(step, STEPS, 0, 1)
        optimiser.zero_grad()
        loss = model(_batch(step, rows), progress).loss
        loss.backward()
        optimiser.step()
        objective.after_step(progress)  # type: ignore[operator]
    return {**objective.state_dict(), "last loss": average(loss)}


def _shuffled_keys() -> tuple[Tensor, Tensor]:
    """Return keys by way of the shuffle over both processes, and without it, where company does not matter."""
    torch.manual_seed(3)
    objective = moco.build(TinyBackbone((3, 6, 6)), moco.Config(), Facts(200, STEPS, N)).double().eval()
    assert isinstance(objective, moco.MoCoV2)
    half = slice(world()[0] * 8, world()[0] * 8 + 8)
    view = _batch(0, half).views[1].contiguous(memory_format=torch.channels_last)
    with torch.no_grad():
        straight = nn.functional.normalize(objective.teacher.projector(objective.teacher.backbone(view)), dim=1)
    return objective._keys(view, 2, seed=7 + world()[0]), straight


def _work(rank: int, folder: Path) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    rows = slice(rank * N // 2, (rank + 1) * N // 2)
    results: dict[str, Any] = {name: _train(name, rows, parallel=True) for name in SCENARIOS}
    results["keys"] = _shuffled_keys()
    mine = torch.arange(4.0).reshape(2, 2) + 10 * rank
    mine.requires_grad_()
    joined = join(mine)
    (joined * torch.arange(8.0).reshape(4, 2) * (rank + 1)).sum().backward()
    results["small"] = [joined.detach(), mine.grad, join_values(mine), average(torch.tensor(float(rank)))]
    results["first"] = from_first(torch.tensor(rank))
    torch.save(results, folder / f"rank{rank}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    folder = tmp_path_factory.mktemp("processes")
    mp.spawn(_work, args=(folder,), nprocs=2)
    return [torch.load(folder / f"rank{rank}.pt", weights_only=True) for rank in (0, 1)]


@pytest.mark.parametrize("name", SCENARIOS)
def test_two_processes_equal_one(results: list[dict[str, Any]], name: str) -> None:
    one = _train(name, slice(0, N), parallel=False)
    for theirs in results:
        assert list(theirs[name]) == list(one)
        for key, value in one.items():
            torch.testing.assert_close(
                theirs[name][key], value, rtol=1e-9, atol=1e-11, msg=lambda t, k=key: f"{k}: {t}"
            )
    start = _build(name).state_dict()
    assert any(not torch.allclose(start[key], one[key], atol=1e-4) for key in start)  # it did learn


def test_shuffled_keys_come_back_in_order(results: list[dict[str, Any]]) -> None:
    for theirs in results:
        shuffled, straight = theirs["keys"]
        torch.testing.assert_close(shuffled, straight, rtol=1e-6, atol=1e-8)


def test_join_adds_up_what_all_processes_ask(results: list[dict[str, Any]]) -> None:
    everything = torch.cat([torch.arange(4.0).reshape(2, 2), torch.arange(4.0).reshape(2, 2) + 10])
    for rank, theirs in enumerate(results):
        joined, gradient, values, mean = theirs["small"]
        assert torch.equal(joined, everything)
        assert torch.equal(values, everything)
        assert torch.equal(gradient, (1 + 2) * torch.arange(8.0).reshape(4, 2)[rank * 2 : rank * 2 + 2])
        assert float(mean) == 0.5
        assert int(theirs["first"]) == 0


def test_one_process_needs_no_group() -> None:
    rows = torch.ones(2, 3, requires_grad=True)
    assert world() == (0, 1)
    assert join(rows) is rows
    assert not join_values(rows).requires_grad
    assert float(average(rows.sum())) == 6
    assert from_first(rows) is rows
