"""Crop, flip and rotation composed into one affine resample, for views that turn."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def by_affine(source: Tensor, boxes: Tensor, flips: Tensor, angles: Tensor, size: int) -> Tensor:
    """Resample planes `[c m h w]` of 0 to 255 into `[c m size size]` of 0 to 1, in one bilinear step.

    The result is what crop, flip, then rotation about the centre would give, with two differences from doing them
    one after the other: values are interpolated once, and the corners that a rotation opens show what lies beside
    the crop (at the image's edge, its last pixels) instead of black. Where the crop is shrunk, it is sampled
    finer by a whole factor and averaged.

    Args:
        source: planes.
        boxes: [m 4] float: top, left, height, width.
        flips: [m] bool.
        angles: [m] float degrees, counter-clockwise.
        size: side of the result, pixels.
    """
    c, m, h, w = source.shape
    images = source.transpose(0, 1)
    theta = _theta(boxes, flips, angles, h, w)
    finer = torch.ceil(boxes[:, 2:].amax(dim=1) / size - 1e-6).clamp(min=1).to(torch.int64).cpu()
    out = source.new_empty((c, m, size, size))
    for factor in sorted(set(finer.tolist())):
        index = (finer == factor).nonzero()[:, 0].to(source.device)
        whole = len(index) == m
        grid = torch.nn.functional.affine_grid(
            theta if whole else theta[index], [len(index), c, factor * size, factor * size], align_corners=False
        )
        sampled = torch.nn.functional.grid_sample(
            images if whole else images[index], grid, mode="bilinear", padding_mode="border", align_corners=False
        )
        if factor > 1:
            sampled = torch.nn.functional.avg_pool2d(sampled, factor)
        out[:, index] = sampled.transpose(0, 1)
    return out.mul_(1 / 255)


def _theta(boxes: Tensor, flips: Tensor, angles: Tensor, h: int, w: int) -> Tensor:
    """Return matrices [m 2 3] from places in the view to places in the source, both from -1 to 1 across."""
    turn = angles * (math.pi / 180)
    cos, sin = torch.cos(turn), torch.sin(turn)
    down, across = boxes[:, 2] / h, boxes[:, 3] / w
    mirrored = torch.where(flips, -across, across)
    x = torch.stack([mirrored * cos, -mirrored * sin, (2 * boxes[:, 1] + boxes[:, 3]) / w - 1], dim=1)
    y = torch.stack([down * sin, down * cos, (2 * boxes[:, 0] + boxes[:, 2]) / h - 1], dim=1)
    return torch.stack([x, y], dim=1)
