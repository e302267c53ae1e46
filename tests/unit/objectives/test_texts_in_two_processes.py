"""Texts: two processes with unlike numbers of tokens to guess end with the weights of one, in float64."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from bodh.backbones import transformer
from bodh.contracts import Batch, Facts, Progress, Tokens
from bodh.losses.gather import average
from bodh.objectives import causal_lm, masked_lm, seq2seq, simcse, tsdae

V, N, STEPS = 30, 8, 2
SPECIAL = np.arange(V) < 5
FACTS = Facts(100, STEPS, N, shape=(12,), length=12, tokens=Tokens(V, 0, 1, 2, 3, 4, SPECIAL, SPECIAL))
NAMES = ("causal_lm", "masked_lm", "seq2seq", "simcse", "simcse of triplets", "tsdae")


def _build(name: str) -> Any:
    torch.manual_seed(3)
    backbone = transformer.build(
        shape=(12,), vocabulary=V, padding=0, width=8, depth=1, heads=2, dropout=0.0, causal=name == "causal_lm"
    )
    if name == "simcse":
        return simcse.SimCSE(backbone, nn.Linear(8, 8), temperature=0.2).double()
    if name == "simcse of triplets":
        return simcse.SimCSE(backbone, nn.Identity(), temperature=0.2, sides=3, cuts=(4, 8)).double()
    module = {"causal_lm": causal_lm, "masked_lm": masked_lm, "seq2seq": seq2seq, "tsdae": tsdae}[name]
    own = {"tsdae": {"heads": 2}, "seq2seq": {"dropout": 0.0}}
    config = module.Config(**own.get(name, {}))
    return module.build(backbone, config, FACTS).double()


def _batch(step: int, rows: slice, views: int) -> Batch:
    """Return ids whose first half has more documents, and more padding where rows are not packed."""
    ids = torch.randint(5, V, (N, 12), generator=torch.Generator().manual_seed(step))
    ids[:, 0], ids[: N // 2, 4], ids[: N // 2, 8] = 2, 3, 3
    if views > 1:
        ids[: N // 2, 9:] = 0
    if views == 3:  # of the triplets, other sentences of the batch
        return Batch(tuple(ids.roll(view, 0)[rows] for view in range(3)), torch.arange(N)[rows], None, seed=step)
    return Batch((ids[rows],) * views, torch.arange(N)[rows], None, seed=step)


def _hidden(ids: Tensor, *_: Any, seed: int) -> masked_lm.Hidden:
    """Hide by what a token is, for both processes alike: with the seed, each would hide others."""
    where = (ids + seed) % 4 == 0
    where &= ids >= 5
    return masked_lm.Hidden(ids.masked_fill(where, 4), where)


def _train(name: str, rows: slice, *, parallel: bool) -> dict[str, Tensor]:
    masked_lm.hide = _hidden  # type: ignore[assignment]
    objective = _build(name)
    model = DistributedDataParallel(objective) if parallel else objective
    optimiser = torch.optim.SGD(objective.parameters(), lr=0.3, momentum=0.9)
    for step in range(STEPS):
        optimiser.zero_grad()
        loss = model(_batch(step, rows, len(objective.views())), Progress(step, STEPS, 0, 1)).loss
        loss.backward()
        optimiser.step()
    return {**objective.state_dict(), "last loss": average(loss)}


def _work(rank: int, folder: Path) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    rows = slice(rank * N // 2, (rank + 1) * N // 2)
    torch.save({name: _train(name, rows, parallel=True) for name in NAMES}, folder / f"rank{rank}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    folder = tmp_path_factory.mktemp("processes")
    mp.spawn(_work, args=(folder,), nprocs=2)
    return [torch.load(folder / f"rank{rank}.pt", weights_only=True) for rank in (0, 1)]


@pytest.mark.parametrize("name", NAMES)
def test_two_processes_equal_one(results: list[dict[str, Any]], name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(masked_lm, "hide", _hidden)  # put back afterwards
    one = _train(name, slice(0, N), parallel=False)
    for theirs in results:
        for key, value in one.items():
            torch.testing.assert_close(
                theirs[name][key], value, rtol=1e-8, atol=1e-10, msg=lambda t, k=key: f"{k}: {t}"
            )
    start = _build(name).state_dict()
    assert any(not torch.allclose(start[key], one[key], atol=1e-4) for key in start)
