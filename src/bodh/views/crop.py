"""Crop, flip and resize in one step, antialiased where it shrinks.

Two ways to the same result, within one grey level (torchvision's `resized_crop` on uint8 rounds to levels; the
matrices do not):

- `by_matrices`: two banded matrices a row, for a whole chunk at once. Any device.
- `by_slices`: a slice and PyTorch's own uint8 resize for each row. CPU; rows may differ in size.

Measured on one core (AMD EPYC, AVX-512, torch 2.13), microseconds a colour row, stored side equal to the view's side,
256 stored for 224: by matrices 17, 65, 190, 450, 2200 at 32, 64, 96, 128, 224 px; by slices 26, 39, 50, 70, 190. The
lines cross near 48 px. A GPU takes matrices at every size: one launch for the whole batch.

Buffers are planes `[c m h w]`: each channel of a chunk lies in one piece, so that colour steps run over
contiguous memory.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

MATRIX_SIDE = 48
"""Largest side for which `by_matrices` is quicker on a CPU."""


def prefers_matrices(device: torch.device, height: int, width: int, size: int) -> bool:
    """Return whether rows of one shape are best resampled by matrices on `device` (figures above)."""
    return device.type != "cpu" or max(height, width, size) <= MATRIX_SIDE


def weights(
    starts: Tensor, lengths: Tensor, flips: Tensor | None, *, whole: int, size: int, total: float = 1.0
) -> Tensor:
    """Return resampling matrices `[m size whole]` of one axis: bilinear, antialiased, within the crop.

    The weights are those of `interpolate(mode="bilinear", antialias=True)`: a triangle as wide as the larger of one
    source and one target pixel, cut at the crop's edge and normalised.

    Args:
        starts: [m] float, first pixel of the crop.
        lengths: [m] float, pixels in the crop.
        flips: [m] bool, reverse the axis; None: no row.
        whole: length of the source axis.
        size: length of the target axis.
        total: sum of each row.
    """
    at = torch.arange(size, device=starts.device, dtype=torch.float32)[None]
    if flips is not None:
        at = torch.where(flips[:, None], size - 1 - at, at)
    scale = lengths[:, None] / size
    width = scale.clamp(min=1.0)
    centre = (starts[:, None] + (at + 0.5) * scale - 0.5) / width
    pixel = torch.arange(whole, device=starts.device, dtype=torch.float32)[None]
    inside = (pixel >= starts[:, None]) & (pixel < (starts + lengths)[:, None])
    matrix = torch.sub(centre[:, :, None], (pixel / width)[:, None]).abs_()
    matrix.neg_().add_(1.0).clamp_(min=0.0).mul_(inside[:, None].to(torch.float32))
    return matrix.mul_(total / matrix.sum(dim=2, keepdim=True))


def to_tensor(rows: np.ndarray) -> Tensor:
    """Return an array as a tensor: in place where it may be written to, else (mapped files) a copy."""
    return torch.from_numpy(rows if rows.flags.writeable else rows.copy())


def planes(rows: Tensor) -> Tensor:
    """Return uint8 rows `[m h w c]` as float planes `[c m h w]`, 0 to 255."""
    # Reordering the bytes first moves a quarter of the memory that reordering floats would.
    return rows.permute(3, 0, 1, 2).contiguous().to(torch.float32)


def by_matrices(source: Tensor, boxes: Tensor, flips: Tensor, size: int) -> Tensor:
    """Resample planes `[c m h w]` of 0 to 255 into `[c m size size]` of 0 to 1.

    Args:
        source: planes.
        boxes: [m 4] float: top, left, height, width.
        flips: [m] bool.
        size: side of the result, pixels.
    """
    c, m, h, w = source.shape
    down = weights(boxes[:, 0], boxes[:, 2], None, whole=h, size=size, total=1 / 255)
    across = weights(boxes[:, 1], boxes[:, 3], flips, whole=w, size=size).transpose(1, 2)
    out = source.new_empty((c, m, size, size))
    for channel in range(c):
        torch.bmm(torch.bmm(down, source[channel]), across, out=out[channel])
    return out


def by_slices(rows: np.ndarray | list[np.ndarray], boxes: np.ndarray, flips: np.ndarray, size: int) -> Tensor:
    """Resample uint8 rows `[h w c]`, of any sizes, into planes `[c m size size]` of 0 to 1.

    Args:
        rows: m arrays.
        boxes: [m 4] int64: top, left, height, width.
        flips: [m] bool.
        size: side of the result, pixels.
    """
    results = []
    for row, (top, left, high, wide), flip in zip(rows, boxes.tolist(), flips.tolist(), strict=True):
        piece = to_tensor(row[top : top + high, left : left + wide])
        result = _resize(piece.permute(2, 0, 1)[None], size)
        results.append(result.flip(3) if flip else result)
    together = torch.cat(results).permute(1, 0, 2, 3).contiguous()
    return together.to(torch.float32).mul_(1 / 255)


def _resize(image: Tensor, size: int) -> Tensor:
    return torch.nn.functional.interpolate(image, size=(size, size), mode="bilinear", antialias=True)
