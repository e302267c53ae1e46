"""A small fast convolutional network: the default for images on a CPU.

A stem of patches, then stages of residual 3x3 convolutions (He et al. 2016) at 16 px and below: on CPUs dense 3x3
convolutions run near peak, depthwise ones and full resolution do not. The default widths learned most in little
time: SimCLR on CIFAR-10, 200 CPU-seconds of one thread, one seed, 54 % of test records by 20 neighbours, against
52 % for twice the width and three times the arithmetic. Longer budgets were not compared:
`benchmarks/choose_backbone.py` does it.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from bodh.backbones._stages import Staged, image_shape
from bodh.contracts import NetworkSpec
from bodh.errors import ConfigError

GRID = 16
"""The stem halves inputs as long as this many positions stay along the shorter side; 28 px are halved too."""


class _Residual(nn.Module):
    """Two 3x3 convolutions added to their input."""

    def __init__(self, width: int) -> None:
        super().__init__()
        norm = nn.BatchNorm2d(width)
        nn.init.zeros_(norm.weight)  # the block starts as the identity
        self.body = nn.Sequential(
            *_convolution(width, width, side=3), nn.Conv2d(width, width, 3, padding=1, bias=False), norm
        )
        self.activation = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """Return a map of the same shape."""
        out: Tensor = self.activation(x + self.body(x))
        return out


def members() -> tuple[str, ...]:
    """Return (): the family is its only member."""
    return ()


def build(*, shape: Sequence[int], widths: Sequence[int] = (32, 64, 128), depths: Sequence[int] = (1, 1, 1)) -> Staged:
    """Build the network.

    Args:
        shape: (c, h, w) of the inputs; any channels, any sides.
        widths: channels of the stages, the first also of the stem, the last also of the features.
        depths: residual blocks of the stages, as many numbers as `widths`.

    Raises:
        ConfigError: the shape is not that of an image, or a setting is out of its range.
    """
    channels, height, width = image_shape(shape, name="small")
    if len(widths) != len(depths) or not widths or min(widths) < 1 or min(depths) < 0:
        raise ConfigError(
            f"the backbone 'small' cannot be built with widths={tuple(widths)} and depths={tuple(depths)}; "
            f"allowed are as many widths (from 1) as depths (from 0)"
        )
    spec = NetworkSpec("backbones", "small", {"shape": list(shape), "widths": list(widths), "depths": list(depths)})
    stages: dict[str, nn.Module] = {"stem": _stem(channels, widths[0], reduction=reduction(min(height, width)))}
    before = widths[0]
    for number, (after, depth) in enumerate(zip(widths, depths, strict=True), start=1):
        layers = [] if number == 1 else _convolution(before, after, side=3, stride=2)
        layers += [_Residual(after) for _ in range(depth)]
        if layers:
            stages[f"stage{number}"] = nn.Sequential(*layers)
        before = after
    return Staged(stages, spec=spec, dim=widths[-1], any_side=True)


def reduction(side: int) -> int:
    """Return by how much the stem shrinks images of `side` px: 1 up to 27 px, 2 to 63, 4 to 127, 8 to 255, …."""
    factor = 2 if side >= 28 else 1
    while side // (2 * factor) >= GRID:
        factor *= 2
    return factor


def _stem(channels: int, width: int, *, reduction: int) -> nn.Sequential:
    """Return patches of at most 4x4, then 3x3 convolutions of stride 2; one 3x3 convolution where nothing shrinks."""
    patch = min(4, reduction)
    layers = _convolution(channels, width, side=3 if patch == 1 else patch, stride=patch)
    while reduction > patch:
        layers += _convolution(width, width, side=3, stride=2)
        reduction //= 2
    return nn.Sequential(*layers)


def _convolution(inputs: int, outputs: int, *, side: int, stride: int = 1) -> list[nn.Module]:
    """Return convolution, batch normalisation and ReLU; an odd kernel is padded, an even one cuts patches."""
    conv = nn.Conv2d(inputs, outputs, side, stride=stride, padding=side // 2 if side % 2 else 0, bias=False)
    return [conv, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]
