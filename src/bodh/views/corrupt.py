"""Random views of feature vectors: some features take the values that other records have there."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor


def corrupt(x: Tensor, *, rate: float, noise: float, seed: int, start: int, total: int) -> Tensor:
    """Return `x` with a share of each row's features replaced, and noise added.

    SCARF (Bahri et al. 2021, arXiv 2106.15147, section 3): of d features, floor(rate · d), drawn anew for each row,
    each take the value of that feature in a record drawn at random: its empirical marginal. Here that record is one
    of the batch; with several processes one of this process's part of it.

    Args:
        x: [m d] standardised.
        rate: share of features, 0 to 1.
        noise: standard deviation of the Gaussian noise, in deviations of the feature.
        seed: of this view.
        start: place of the first row in the global batch.
        total: rows in the global batch.
    """
    m, d = x.shape
    generator = torch.Generator().manual_seed(seed)
    here = slice(start, start + m)
    count = math.floor(rate * d)
    if count:
        order = torch.rand((total, d), generator=generator)[here].argsort(dim=1)
        donor = (torch.rand((total, d), generator=generator, dtype=torch.float64)[here] * m).to(torch.int64)
        replaced = (order < count).to(x.device)
        x = torch.where(replaced, x.gather(0, donor.to(x.device)), x)
    if noise:
        x = x + noise * torch.randn((total, d), generator=generator)[here].to(x.device)
    return x


def rows_to_tensor(rows: np.ndarray | list[np.ndarray], device: torch.device) -> Tensor:
    """Return rows `[n d]` as a float tensor on `device`."""
    return torch.from_numpy(np.array(rows, dtype=np.float32)).to(device)
