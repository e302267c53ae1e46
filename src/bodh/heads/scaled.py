"""A linear layer whose result is put into the labels' own unit: for measured numbers.

The layer works on numbers of mean 0 and deviation 1, which suits every learning rate; mean and deviation of the
training labels are fixed buffers behind it, so that the saved head answers in the unit of the labels.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from bodh.contracts import NetworkSpec
from bodh.errors import ConfigError


class ScaledHead(nn.Module):
    """`[n inputs]` to `[n outputs]` in the labels' unit."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.linear = nn.Linear(inputs, outputs)
        self.register_buffer("mean", torch.zeros(outputs))
        self.register_buffer("deviation", torch.ones(outputs))
        self.spec = NetworkSpec("heads", "scaled", {"inputs": inputs, "outputs": outputs})

    def forward(self, x: Tensor) -> Tensor:
        """Return numbers `[n outputs]` in the labels' unit."""
        result: Tensor = self.linear(x) * self.deviation + self.mean
        return result

    def standard(self, numbers: Tensor) -> Tensor:
        """Return `numbers` [n outputs] of the labels' unit as the linear layer gives them: mean 0, deviation 1."""
        return (numbers - self.mean) / self.deviation

    def set_unit(self, mean: Sequence[float], deviation: Sequence[float]) -> None:
        """Take mean and deviation [outputs] of the training labels.

        Raises:
            ConfigError: as many of each as outputs are needed, and deviations above 0.
        """
        if len(mean) != len(self.mean) or len(deviation) != len(self.mean) or not min(deviation) > 0:
            raise ConfigError(f"{len(self.mean)} means and deviations above 0 are needed: {mean}, {deviation}")
        self.mean.copy_(torch.tensor(mean))
        self.deviation.copy_(torch.tensor(deviation))


def build(*, inputs: int, outputs: int) -> ScaledHead:
    """Build the head: `[n inputs]` to `[n outputs]`; the unit is set afterwards, or comes with saved weights.

    Weights start small (standard deviation 0.01) and biases at nought, so that the first answers are the mean.

    Raises:
        ConfigError: a size is below 1.
    """
    if inputs < 1 or outputs < 1:
        raise ConfigError(f"a head needs sizes from 1, given inputs={inputs} and outputs={outputs}")
    head = ScaledHead(inputs, outputs)
    nn.init.normal_(head.linear.weight, std=0.01)
    nn.init.zeros_(head.linear.bias)
    return head
