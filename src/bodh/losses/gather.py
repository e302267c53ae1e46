"""Rows of all processes, joined: the one place outside `train` that talks to `torch.distributed`.

Every function is the identity where there is one process. All processes must bring equally many rows.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


def world() -> tuple[int, int]:
    """Return (rank of this process, number of processes): (0, 1) outside a process group."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return 0, 1


def join(rows: Tensor) -> Tensor:
    """Return `rows` [n …] of all processes as `[processes · n …]` in order of rank, with gradient.

    The backward pass adds up what every process's loss asks of these rows. Data-parallel training then averages
    over processes, so that with a loss that is a mean over local rows the gradient is exactly that of one process
    on the joined batch.
    """
    if world()[1] == 1:
        return rows
    joined: Tensor = _Join.apply(rows)  # type: ignore[no-untyped-call]
    return joined


@torch.no_grad()
def join_values(rows: Tensor) -> Tensor:
    """Return `rows` [n …] of all processes as `[processes · n …]` in order of rank, without gradient."""
    return _all_rows(rows) if world()[1] > 1 else rows.detach()


@torch.no_grad()
def average(value: Tensor) -> Tensor:
    """Return the mean of `value` over all processes, without gradient."""
    _, processes = world()
    if processes == 1:
        return value.detach()
    total = value.detach().clone()
    dist.all_reduce(total)
    return total / processes


@torch.no_grad()
def from_first(value: Tensor) -> Tensor:
    """Return the first process's `value`, so that all draw alike."""
    if world()[1] == 1:
        return value
    shared = value.detach().clone()
    dist.broadcast(shared, src=0)
    return shared


class _Join(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        ctx.count = rows.shape[0]
        return _all_rows(rows)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        # All-reduce and slice, not reduce-scatter: the same sums, on every backend.
        total = gradients[0].clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total.narrow(0, world()[0] * ctx.count, ctx.count)


def _all_rows(rows: Tensor) -> Tensor:
    joined = rows.new_empty((world()[1] * rows.shape[0], *rows.shape[1:]))
    dist.all_gather_into_tensor(joined, rows.detach().contiguous())
    return joined
