"""A linear layer from features to outputs: class scores, tags, or numbers."""

from __future__ import annotations

from torch import nn

from bodh.contracts import NetworkSpec
from bodh.errors import ConfigError


class LinearHead(nn.Linear):
    """One linear layer that knows how to be built again."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs)
        self.spec = NetworkSpec("heads", "linear", {"inputs": inputs, "outputs": outputs})


def build(*, inputs: int, outputs: int) -> LinearHead:
    """Build the head: `[n inputs]` to `[n outputs]`.

    Weights start small (standard deviation 0.01) and biases at nought, so that the first predictions are even.

    Raises:
        ConfigError: a size is below 1.
    """
    if inputs < 1 or outputs < 1:
        raise ConfigError(f"a linear head needs sizes from 1, given inputs={inputs} and outputs={outputs}")
    head = LinearHead(inputs, outputs)
    nn.init.normal_(head.weight, std=0.01)
    nn.init.zeros_(head.bias)
    return head
