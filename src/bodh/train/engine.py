"""Where a run computes: process group, device, precision, memory. The only room that touches `torch.distributed`."""

from __future__ import annotations

import ctypes
import os
import platform
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from bodh.errors import DeviceError


@dataclass(frozen=True, slots=True)
class Engine:
    """This process's place in the run.

    Attributes:
        device: where tensors live.
        rank: number of this process, 0 … world - 1.
        world: processes of the run.
        precision: dtype of the network's arithmetic.
    """

    device: torch.device
    rank: int = 0
    world: int = 1
    precision: torch.dtype = torch.float32

    @property
    def leads(self) -> bool:
        """True for the one process that writes."""
        return self.rank == 0

    def autocast(self) -> Any:
        """Return the context in which the forward pass runs."""
        if self.precision is torch.float32:
            return nullcontext()
        return torch.autocast(self.device.type, self.precision)

    def wrap(self, objective: nn.Module) -> nn.Module:
        """Return `objective` ready for this run: on the device, gradients averaged over processes."""
        objective.to(self.device)
        if self.world == 1:
            return objective
        if self.device.type == "cuda":
            objective = nn.SyncBatchNorm.convert_sync_batchnorm(objective)  # type: ignore[no-untyped-call]
            return DistributedDataParallel(objective, device_ids=[self.device.index])
        return DistributedDataParallel(objective)

    def agree(self, flag: bool) -> bool:
        """Return True on every process where it is True on any."""
        if self.world == 1:
            return flag
        box = torch.tensor([float(flag)], device=self.device)
        dist.all_reduce(box, op=dist.ReduceOp.MAX)
        return bool(box.item())

    def share(self, number: float) -> float:
        """Return rank 0's `number` on every process."""
        if self.world == 1:
            return number
        box = torch.tensor([number], dtype=torch.float64, device=self.device)
        dist.broadcast(box, src=0)
        return float(box.item())

    def mean(self, figures: Mapping[str, Tensor]) -> dict[str, float]:
        """Return scalars averaged over the processes; every process must bring those of the same names."""
        if self.world == 1 or not figures:
            return {name: float(value) for name, value in figures.items()}
        box = torch.stack([value.detach().to(self.device, torch.float64) for value in figures.values()])
        dist.all_reduce(box)
        return dict(zip(figures, (box / self.world).tolist(), strict=True))

    def same(self, text: str) -> str:
        """Return rank 0's `text` on every process."""
        if self.world == 1:
            return text
        box = [text]
        dist.broadcast_object_list(box, src=0, device=self.device)
        return box[0]

    def wait(self) -> None:
        """Return when every process has come here."""
        if self.world > 1:
            dist.barrier()


def resolve_device(name: str) -> torch.device:
    """Return the device of that name; "auto" takes a GPU where there is one.

    Raises:
        DeviceError: unknown name, or a device that is not there.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    if not re.fullmatch(r"cpu|mps|gpu|cuda(:\d+)?", name):
        raise DeviceError(f"unknown device {name!r}; there are: auto, cpu, cuda, cuda:N, mps")
    device = torch.device("cuda" if name == "gpu" else name)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        found = torch.cuda.device_count()
        raise DeviceError(
            f"device {name!r} was asked for, but this machine shows {found or 'no'} CUDA GPU"
            f"{'s' if found > 1 else ''}; type: --device cpu"
        )
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise DeviceError(f"device {name!r} was asked for, but this machine has none; type: --device cpu")
    if name in {"cuda", "gpu"}:
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    return device


def resolve_precision(name: str, device: torch.device) -> torch.dtype:
    """Return the dtype of the network's arithmetic; "auto" is bfloat16 only where the device has units for it.

    Measured: on a CPU with AVX-512-BF16 a step takes half the time of float32, on one without six times as long.
    """
    if name != "auto":
        return cast("torch.dtype", getattr(torch, name))
    return torch.bfloat16 if has_bfloat16(device) else torch.float32


def has_bfloat16(device: torch.device) -> bool:
    """Return True where bfloat16 arithmetic is in hardware."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type != "cpu":
        return False
    probes = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")  # torch has no public name for these yet
    return any(bool(getattr(torch.cpu, probe, lambda: False)()) for probe in probes)


@contextmanager
def engine(device: str, precision: str) -> Iterator[Engine]:
    """Join the process group that torchrun or SLURM announced in the environment, if any, and yield the engine."""
    where = resolve_device(device)
    world = int(os.environ.get("WORLD_SIZE", "1"))
    keep_freed_memory()
    dtype = resolve_precision(precision, where)
    if world == 1:
        yield Engine(where, precision=dtype)
        return
    joined = not dist.is_initialized()
    if joined:
        dist.init_process_group("nccl" if where.type == "cuda" else "gloo")
    if where.type == "cuda":
        torch.cuda.set_device(where)
    try:
        yield Engine(where, dist.get_rank(), dist.get_world_size(), dtype)
    finally:
        if joined:
            dist.destroy_process_group()


def keep_freed_memory() -> None:
    """Tell glibc to keep freed memory instead of giving it back to the kernel after every step.

    A training step on a CPU allocates and frees the same large tensors again and again; each time the kernel
    maps and clears the pages anew. Measured on a small convolutional network: a step takes 0.75 of the time.
    """
    # other systems and C libraries have no such function
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if platform.system() == "Linux" else None
    if mallopt is not None:
        m_trim_threshold, m_mmap_max = -1, -4
        mallopt(m_mmap_max, 0)
        mallopt(m_trim_threshold, 2**31 - 1)
