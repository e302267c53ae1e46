"""Where a token stands in its text: sines, turned queries and keys, and counting from each document's start.

Axis letters: `n` rows, `t` tokens, `d` width, `e` width of a head.
"""

from __future__ import annotations

import torch
from torch import Tensor

from bodh.layers.attention import Rotation

LONGEST_WAVE = 10_000
"""Wave lengths go from 2π to 2π times this many tokens (Vaswani et al. 2017, section 3.5)."""


def angles(places: Tensor, width: int) -> Tensor:
    """Return the angles `[… width/2]` of positions `places` `[…]`, fast ones first."""
    steps = torch.arange(0, width, 2, device=places.device, dtype=torch.float32)
    speed = torch.exp(steps * (-torch.log(torch.tensor(float(LONGEST_WAVE))) / width).to(steps.device))
    return places.float().unsqueeze(-1) * speed


def sinusoidal(places: Tensor, width: int) -> Tensor:
    """Return sines and cosines `[… width]` in turn of positions `places` `[…]` (section 3.5 of the paper)."""
    found = angles(places, width)
    return torch.stack([found.sin(), found.cos()], dim=-1).flatten(-2)


def rotary(places: Tensor, width: int) -> Rotation:
    """Return how queries and keys of `width` e at positions `places` `[t]` or `[n t]` are turned."""
    found = angles(places, width)
    turned = torch.cat([found, found], dim=-1)  # [t e] or [n t e]
    if places.ndim == 2:
        turned = turned.unsqueeze(1)  # one for all heads
    return Rotation(turned.cos(), turned.sin())


def within(documents: Tensor) -> Tensor:
    """Return positions `[n t]` that count from 0 at the start of each document in packed rows.

    Args:
        documents: `[n t]` numbers of the documents, each in one piece.
    """
    place = torch.arange(documents.shape[1], device=documents.device)
    starts = torch.ones_like(documents, dtype=torch.bool)
    starts[:, 1:] = documents[:, 1:] != documents[:, :-1]
    first = torch.where(starts, place, 0).cummax(dim=1).values
    return place - first
