"""The deterministic first part of every graph: from stored bytes to what a backbone takes."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class PrepareImage(nn.Module):
    """uint8 images `[n h w c]` → normalised floats `[n c size size]`.

    Images of another size are resized in the graph (bilinear, antialiased) after cutting the centred square.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, *, size: int, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__()
        self.size = size
        self.register_buffer("mean", torch.tensor(mean)[None, :, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(std)[None, :, None, None], persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        """Return prepared images."""
        x = image.permute(0, 3, 1, 2).to(self.mean.dtype) / 255
        high, wide = x.shape[2], x.shape[3]
        if high != wide:
            side = min(high, wide)
            top, left = (high - side) // 2, (wide - side) // 2
            x = x[:, :, top : top + side, left : left + side]
        if x.shape[2] != self.size:
            x = nn.functional.interpolate(x, size=(self.size, self.size), mode="bilinear", antialias=True)
        return (x - self.mean) / self.std


class PrepareVector(nn.Module):
    """Numbers `[n d]` → standardised floats `[n d]`; what is missing (NaN) takes the training mean, zero here."""

    mean: Tensor
    std: Tensor

    def __init__(self, *, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean), persistent=False)
        self.register_buffer("std", torch.tensor(std), persistent=False)

    def forward(self, vector: Tensor) -> Tensor:
        """Return prepared vectors."""
        x = (vector.to(self.mean.dtype) - self.mean) / self.std
        return torch.where(torch.isnan(x), torch.zeros_like(x), x)


class PrepareTokens(nn.Module):
    """Token ids `[n t]` → the same as int64: what there is to learn of them, the backbone learns."""

    def forward(self, tokens: Tensor) -> Tensor:
        """Return prepared ids."""
        return tokens.long()
