"""A multi-layer perceptron, for feature vectors and for small flattened images.

The default for vectors. Four layers of 256 with in-batch corruption are the network of SCARF
(Bahri et al. 2022, section 4); layer normalisation makes batches of any size behave alike.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor, nn

from bodh.backbones._stages import Staged
from bodh.contracts import NetworkSpec
from bodh.errors import ConfigError

NORMS = ("layer", "batch", "none")
ACTIVATIONS = {"relu": nn.ReLU, "gelu": nn.GELU, "silu": nn.SiLU}


class _Layer(nn.Module):
    """Linear, normalise, activate, drop; added to its input where asked and the widths agree."""

    def __init__(self, inputs: int, outputs: int, *, norm: str, activation: str, dropout: float, skip: bool) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Linear(inputs, outputs, bias=norm != "batch"),
            _norm(norm, outputs),
            ACTIVATIONS[activation](),
            nn.Dropout(dropout) if dropout else nn.Identity(),
        )
        self.skip = skip and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """Return `[n outputs]` for `[n inputs]`."""
        out: Tensor = self.body(x)
        return x + out if self.skip else out


def _norm(name: str, width: int) -> nn.Module:
    if name == "layer":
        return nn.LayerNorm(width)
    return nn.BatchNorm1d(width) if name == "batch" else nn.Identity()


def members() -> tuple[str, ...]:
    """Return (): the family is its only member."""
    return ()


def build(
    *,
    shape: Sequence[int],
    width: int = 256,
    depth: int = 4,
    norm: str = "layer",
    activation: str = "relu",
    dropout: float = 0.0,
    residual: bool = False,
) -> Staged:
    """Build the network.

    Args:
        shape: shape of one input, (d,) or (c, h, w); it is flattened.
        width: units of every layer: the features, at least 1.
        depth: number of layers, at least 1.
        norm: "layer", "batch" or "none".
        activation: "relu", "gelu" or "silu".
        dropout: share of the units dropped while training, 0 to below 1.
        residual: add every layer's input to its output, from the second layer on.

    Raises:
        ConfigError: a setting is out of its range.
    """
    _check(shape, width=width, depth=depth, norm=norm, activation=activation, dropout=dropout)
    arguments = {
        "shape": list(shape),
        "width": width,
        "depth": depth,
        "norm": norm,
        "activation": activation,
        "dropout": dropout,
        "residual": residual,
    }
    stages: dict[str, nn.Module] = {}
    inputs = math.prod(shape)
    for number in range(1, depth + 1):
        layer: nn.Module = _Layer(
            inputs, width, norm=norm, activation=activation, dropout=dropout, skip=residual and number > 1
        )
        stages[f"layer{number}"] = nn.Sequential(nn.Flatten(), layer) if number == 1 else layer
        inputs = width
    return Staged(stages, spec=NetworkSpec("backbones", "mlp", arguments), dim=width)


def _check(shape: Sequence[int], *, width: int, depth: int, norm: str, activation: str, dropout: float) -> None:
    wrong = []
    if not shape or min(shape) < 1:
        wrong.append(f"shape={tuple(shape)} (allowed: one or more positive sizes)")
    if width < 1 or depth < 1:
        wrong.append(f"width={width}, depth={depth} (allowed: from 1)")
    if norm not in NORMS:
        wrong.append(f"norm={norm!r} (allowed: {', '.join(NORMS)})")
    if activation not in ACTIVATIONS:
        wrong.append(f"activation={activation!r} (allowed: {', '.join(ACTIVATIONS)})")
    if not 0 <= dropout < 1:
        wrong.append(f"dropout={dropout} (allowed: from 0 to below 1)")
    if wrong:
        raise ConfigError(f"the backbone 'mlp' cannot be built with {'; '.join(wrong)}")
