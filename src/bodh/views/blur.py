"""Gaussian blur on planes `[c m h w]`, a standard deviation a row.

Two ways to the same sums. Measured on one core (as in `crop`), microseconds a colour row blurred at sigma 1 to 2: one
banded matrix on either side 8, 50, 160, 370, 1700 at 32, 64, 96, 128, 224 px; shifted sums 16-20, 60-70, 120-170,
200, 580. Small images take the matrices; so does a GPU, where they are two launches.
"""

from __future__ import annotations

import math
from functools import cache

import torch
from torch import Tensor

MATRIX_SIDE = 64
"""Largest side for which the matrices are quicker on a CPU."""


def radius(sigma: float, size: int) -> int:
    """Return how many pixels to either side the kernel reaches: three deviations, less where the image is smaller."""
    return max(0, min(math.ceil(3 * sigma), size - 1))


def kernels(sigma: Tensor, size: int) -> Tensor:
    """Return one side of the kernels `[m r+1]`, the centre first; each is cut at its own radius and sums to one.

    Args:
        sigma: [m] pixels, on the CPU.
        size: side of the image, pixels.
    """
    reach = torch.tensor([radius(value, size) for value in sigma.tolist()])
    at = torch.arange(int(reach.max()) + 1, dtype=torch.float64)
    taps = torch.exp(-0.5 * (at / sigma.to(torch.float64)[:, None]) ** 2) * (at <= reach[:, None])
    return (taps / (2 * taps.sum(dim=1, keepdim=True) - taps[:, :1])).to(torch.float32)


def blur(x: Tensor, sigma: Tensor) -> Tensor:
    """Blur square planes in place, with the image mirrored at its edges (torchvision's `gaussian_blur`).

    Args:
        x: planes.
        sigma: [m] pixels, on the CPU.
    """
    taps = kernels(sigma, x.shape[-1]).to(x.device)
    if taps.shape[1] == 1:
        return x
    if x.device.type != "cpu" or x.shape[-1] <= MATRIX_SIDE:
        return _by_matrices(x, taps)
    return _by_shifts(x, taps)


def _by_matrices(x: Tensor, taps: Tensor) -> Tensor:
    m, size = len(taps), x.shape[-1]
    places = _places(size, taps.shape[1] - 1, x.device)
    matrix = (taps @ places.flatten(1)).view(m, size, size)
    transposed = matrix.transpose(1, 2)
    for plane in x:
        plane.copy_(torch.bmm(torch.bmm(matrix, plane), transposed))
    return x


@cache
def _places(size: int, reach: int, device: torch.device) -> Tensor:
    """Return how often [r+1 size size] the tap so far off the centre, of each pixel, falls on each pixel."""
    at = torch.arange(size)
    places = torch.zeros(reach + 1, size, size)
    for step in range(-reach, reach + 1):
        to = (at + step).abs()
        places[abs(step), at, torch.where(to >= size, 2 * (size - 1) - to, to)] += 1
    return places.to(device)


def _by_shifts(x: Tensor, taps: Tensor) -> Tensor:
    reach, size = taps.shape[1] - 1, x.shape[-1]
    each = taps.t()[:, :, None, None]  # [r+1 m 1 1]
    for axis, edges in ((3, (reach, reach, 0, 0)), (2, (0, 0, reach, reach))):
        padded = torch.nn.functional.pad(x, edges, mode="reflect")
        torch.mul(padded.narrow(axis, reach, size), each[0], out=x)
        pair = torch.empty_like(x)
        for step in range(1, reach + 1):
            torch.add(padded.narrow(axis, reach - step, size), padded.narrow(axis, reach + step, size), out=pair)
            x.addcmul_(pair, each[step])
    return x
