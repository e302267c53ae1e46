"""A small perceptron on pooled features: projections and predictions while training, thrown away after."""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

from torch import Tensor, nn

from bodh.contracts import NetworkSpec
from bodh.errors import ConfigError


class ProjectionHead(nn.Module):
    """Linear layers with an activation, and batch normalisation where asked, between; `[n inputs]` to `[n outputs]`."""

    def __init__(self, layers: nn.Sequential, *, spec: NetworkSpec) -> None:
        super().__init__()
        self.layers = layers
        self.spec = spec

    def forward(self, x: Tensor) -> Tensor:
        """Return `[n outputs]` for `[n inputs]`."""
        result: Tensor = self.layers(x)
        return result


def build(
    *,
    inputs: int,
    hidden: int,
    outputs: int,
    layers: int = 2,
    norm: Literal["batch", "none"] = "batch",
    final_norm: bool = False,
    activation: Literal["relu", "gelu"] = "relu",
) -> ProjectionHead:
    """Build the head: `layers` linear layers, all but the last followed by normalisation and activation.

    A linear layer that a batch normalisation follows has no bias: it would be taken away again.

    Args:
        inputs: width of the features.
        hidden: width of the layers between.
        outputs: width of the result.
        layers: number of linear layers, from 1.
        norm: "batch" or "none". "none" makes every row independent of its batch.
        final_norm: end with a batch normalisation without scale and shift, as MoCo v3 does.
        activation: "relu", or "gelu" as DINO does.

    Raises:
        ConfigError: a size is below 1, or `norm` or `activation` is unknown.
    """
    if min(inputs, hidden, outputs, layers) < 1:
        raise ConfigError(
            "a projection head needs sizes from 1, "
            f"given inputs={inputs}, hidden={hidden}, outputs={outputs}, layers={layers}"
        )
    if norm not in ("batch", "none"):
        raise ConfigError(f"a projection head cannot have norm={norm!r}; allowed: batch, none")
    if activation not in ("relu", "gelu"):
        raise ConfigError(f"a projection head cannot have activation={activation!r}; allowed: relu, gelu")
    widths = [inputs, *[hidden] * (layers - 1), outputs]
    parts: list[nn.Module] = []
    for number, (width, following) in enumerate(pairwise(widths), start=1):
        last = number == layers
        normalised = final_norm if last else norm == "batch"
        parts.append(nn.Linear(width, following, bias=not normalised))
        if normalised:
            parts.append(nn.BatchNorm1d(following, affine=not last))
        if not last:
            parts.append(nn.ReLU(inplace=True) if activation == "relu" else nn.GELU())
    arguments = {
        "inputs": inputs,
        "hidden": hidden,
        "outputs": outputs,
        "layers": layers,
        "norm": norm,
        "final_norm": final_norm,
        "activation": activation,
    }
    return ProjectionHead(nn.Sequential(*parts), spec=NetworkSpec("heads", "projection", arguments))
