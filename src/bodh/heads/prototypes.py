"""Prototypes: how near a row points to each of many learned directions; the last layer of DINO and SwAV."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bodh.contracts import NetworkSpec
from bodh.errors import ConfigError


class Prototypes(nn.Module):
    """Cosines of rows with `outputs` directions, `[n inputs]` to `[n outputs]`, from -1 to 1.

    Only the directions count: neither the length of a row nor that of a prototype (in the authors' words a
    weight-normalised layer whose gain stays 1).
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outputs, inputs))
        nn.init.kaiming_uniform_(self.weight, a=math.sqrt(5))  # as a linear layer begins
        self.spec = NetworkSpec("heads", "prototypes", {"inputs": inputs, "outputs": outputs})

    def forward(self, x: Tensor, *, held: bool = False) -> Tensor:
        """Return the cosines [n outputs] of rows [n inputs].

        Args:
            x: rows.
            held: keep the prototypes where they are: their gradient is nought, but there, for data-parallel
                training waits for every parameter's.
        """
        weight = self.weight.detach() + 0 * self.weight if held else self.weight
        return F.linear(F.normalize(x, dim=1), F.normalize(weight, dim=1))


def build(*, inputs: int, outputs: int) -> Prototypes:
    """Build the head: `[n inputs]` to `[n outputs]`.

    Raises:
        ConfigError: a size is below 1.
    """
    if inputs < 1 or outputs < 1:
        raise ConfigError(f"prototypes need sizes from 1, given inputs={inputs} and outputs={outputs}")
    return Prototypes(inputs, outputs)
