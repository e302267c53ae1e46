"""Random views of image rows: parameters, then crop, colour, blur and normalisation, chunk by chunk.

Steps, in SimCLR's order: crop with flip (and rotation) → jitter → grey → blur → solarise → normalise; RandAugment,
where asked for, comes before the jitter. A chunk of rows goes through all of them while it is in a core's cache, and
only rows whose coin fell go through a step.

On a CPU, which rows share a chunk depends on their place in the global batch alone: a shard that begins or ends
inside a chunk computes that chunk whole, with blank rows in the missing places. So no bit of a view depends on the
number of processes or threads. On a GPU a chunk is as a rule the whole shard.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from bodh.contracts import Shard
from bodh.views import affine, colour, crop
from bodh.views.blur import blur
from bodh.views.draw import Parameters, draw
from bodh.views.parallel import for_each
from bodh.views.randaugment import apply_steps
from bodh.views.recipe import Recipe

CHUNK_PIXELS = 131072
"""Pixels of a chunk on a CPU: its float planes and the steps' temporaries then fit a core's cache."""
CHUNK_ROWS = 128
DEVICE_PIXELS = 2**24
"""Pixels of a chunk on a GPU: 200 MB a float buffer of colour planes."""

Rows = np.ndarray | list[np.ndarray]


@dataclass(frozen=True, slots=True)
class Target:
    """What a view must be at the end."""

    size: int
    """side, pixels"""
    mean: tuple[float, ...]
    """[c] of values from 0 to 1"""
    std: tuple[float, ...]
    """[c]"""


def render(
    rows: Rows,
    recipes: Sequence[Recipe],
    seeds: Sequence[int],
    *,
    shard: Shard,
    target: Target,
    device: torch.device,
) -> tuple[Tensor, ...]:
    """Return one view `[m c size size]`, normalised, for every recipe.

    Args:
        rows: this shard's stored images, uint8 `[m h w c]` or m arrays `[h w c]`.
        recipes: one a view.
        seeds: one a view.
        shard: where the rows stand in the global batch.
        target: size and normalisation.
        device: where to compute, and where the views lie.
    """
    size, on_cpu = target.size, device.type == "cpu"
    step = _chunk_rows(size, device)
    first = shard.start - shard.start % step if on_cpu else shard.start
    chunks = [_cut(rows, at, step, shard, device) for at in range(first, shard.stop, step)]
    heights, widths = (np.concatenate([chunk.sides(axis) for chunk in chunks]) for axis in (0, 1))
    drawn = [draw(recipe, total=shard.total, seed=seed) for recipe, seed in zip(recipes, seeds, strict=True)]
    boxes = [parameters.boxes(first, heights, widths) for parameters in drawn]
    outs = tuple(_empty((len(rows), len(target.mean), size, size), device) for _ in drawn)
    scale, shift = _normalisation(target, device)

    def work(item: tuple[_Chunk, int]) -> None:
        chunk, view = item
        here = boxes[view][chunk.first - first :][: len(chunk.rows)]
        x = _geometry(chunk, drawn[view], here, size)
        _appearance(x, drawn[view], chunk.first)
        torch.mul(x[:, chunk.keep], scale, out=outs[view][chunk.place].transpose(0, 1)).add_(shift)

    items = [(chunk, view) for chunk in chunks for view in range(len(drawn))]
    if on_cpu:
        for_each(work, items)
    else:
        for item in items:
            work(item)
    return outs


def _empty(shape: tuple[int, ...], device: torch.device) -> Tensor:
    """Return uninitialised floats.

    NumPy asks the system for large pages, PyTorch does not: touching fresh memory for one 224 px view costs 70
    instead of 360 microseconds, which is half as much as all the view's arithmetic.
    """
    if device.type == "cpu":
        return torch.from_numpy(np.empty(shape, np.float32))
    return torch.empty(shape, device=device)


def _chunk_rows(size: int, device: torch.device) -> int:
    """Return the rows of a chunk: on a CPU a power of two, so that shards of usual sizes hold whole chunks."""
    if device.type != "cpu":
        return max(1, DEVICE_PIXELS // size**2)
    most = max(1, CHUNK_PIXELS // size**2)
    return min(CHUNK_ROWS, 1 << (most.bit_length() - 1))


class _Chunk:
    """Neighbouring rows of the global batch."""

    def __init__(self, rows: Rows, *, first: int, keep: slice, place: slice, device: torch.device) -> None:
        self.rows = rows
        """[k …], blank where a row is not this shard's"""
        self.first = first
        """place of the first row in the global batch"""
        self.keep = keep
        """places in the chunk that hold this shard's rows"""
        self.place = place
        """the same rows' places in the shard"""
        self.device = device
        self._planes: Tensor | None = None

    def sides(self, axis: int) -> np.ndarray:
        """Return heights (axis 0) or widths (1), [k] int64."""
        if isinstance(self.rows, np.ndarray):
            return np.full(len(self.rows), self.rows.shape[1 + axis])
        return np.array([row.shape[axis] for row in self.rows])

    def planes(self) -> Tensor:
        """Return float planes `[c k h w]` of 0 to 255 of rows of one shape; made once for all views."""
        if self._planes is None:
            whole = crop.to_tensor(np.ascontiguousarray(self.rows))
            self._planes = crop.planes(whole.to(self.device))
        return self._planes


def _cut(rows: Rows, first: int, step: int, shard: Shard, device: torch.device) -> _Chunk:
    stop = min(first + step, shard.total)
    low, high = max(first, shard.start), min(stop, shard.stop)
    place = slice(low - shard.start, high - shard.start)
    before, after = (low - first, stop - high) if device.type == "cpu" else (0, 0)
    own = rows[place]
    if before or after:
        blank = np.zeros_like(own[0])
        padded = [blank] * before + list(own) + [blank] * after
        own = np.stack(padded) if isinstance(own, np.ndarray) else padded
    keep = slice(before, before + high - low)
    return _Chunk(own, first=low - before, keep=keep, place=place, device=device)


def _geometry(chunk: _Chunk, parameters: Parameters, boxes: np.ndarray, size: int) -> Tensor:
    """Return planes `[c k size size]` of 0 to 1: crop (boxes `[k 4]`), flip, rotation."""
    rows, device = chunk.rows, chunk.device
    here = slice(chunk.first, chunk.first + len(rows))
    flips, turns = parameters.flip[here], parameters.recipe.rotation > 0
    alike = isinstance(rows, np.ndarray)
    if not turns and not (alike and crop.prefers_matrices(device, rows[0].shape[0], rows[0].shape[1], size)):
        return crop.by_slices(rows, boxes, flips, size).to(device)
    place = torch.from_numpy(boxes).to(device, torch.float32)
    flipped = torch.from_numpy(flips).to(device)
    if not turns:
        return crop.by_matrices(chunk.planes(), place, flipped, size)
    angles = torch.from_numpy(parameters.angle[here]).to(device, torch.float32)
    if alike:
        return affine.by_affine(chunk.planes(), place, flipped, angles, size)
    each = [
        affine.by_affine(
            crop.planes(crop.to_tensor(row)[None].to(device)),
            place[k : k + 1],
            flipped[k : k + 1],
            angles[k : k + 1],
            size,
        )
        for k, row in enumerate(rows)
    ]
    return torch.cat(each, dim=1)


def _appearance(x: Tensor, parameters: Parameters, first: int) -> None:
    """Change planes in place: RandAugment, jitter, grey, blur, solarise, each on the rows whose coin fell."""
    here = slice(first, first + x.shape[1])
    if parameters.recipe.randaugment:
        apply_steps(x, parameters.steps, here, parameters.recipe.magnitude)
    factors, sigma = parameters.factors[:, here], torch.from_numpy(parameters.sigma[here])
    _on(
        x,
        parameters.jitter[here],
        lambda part, index: colour.jitter(part, factors[:, index].to(x.device), parameters.recipe),
    )
    if len(x) == 3:
        _on(x, parameters.grey[here], lambda part, _: colour.grey(part))
    _on(x, parameters.blur[here], lambda part, index: blur(part, sigma[index]))
    _on(x, parameters.solarise[here], lambda part, _: colour.solarise(part))


def _on(x: Tensor, coins: np.ndarray, step: Callable[[Tensor, Tensor], Tensor]) -> None:
    """Apply an in-place `step` to the rows of planes whose coin fell; it is given those rows and their places."""
    index = torch.from_numpy(np.flatnonzero(coins))
    if len(index) == x.shape[1]:
        step(x, index)
    elif len(index):
        there = index.to(x.device)
        x.index_copy_(1, there, step(x.index_select(1, there), index))


def _normalisation(target: Target, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return what to multiply planes with, and then to add."""
    mean = torch.tensor(target.mean, device=device)[:, None, None, None]
    std = torch.tensor(target.std, device=device)[:, None, None, None]
    return 1 / std, -mean / std
