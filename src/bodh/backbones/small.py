"""A small fast convolutional network: the default for images on a CPU."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from bodh.backbones._stages import Staged, image_shape
from bodh.contracts import NetworkSpec
from bodh.errors import ConfigError


class _Residual(nn.Module):
    """Two 3x3 convolutions added to their input (He et al. 2016, figure 2 left, pre-activation sum)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = _convolution(width, width)
        norm = nn.BatchNorm2d(width)
        nn.init.zeros_(norm.weight)  # the block starts as the identity
        self.second = nn.Sequential(nn.Conv2d(width, width, 3, padding=1, bias=False), norm)
        self.activation = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """Return a map of the same shape."""
        out: Tensor = self.activation(x + self.second(self.first(x)))
        return out


def members() -> tuple[str, ...]:
    """Return (): the family is its only member."""
    return ()


def build(*, shape: Sequence[int], widths: Sequence[int] = (64, 128, 256), depths: Sequence[int] = (1, 1, 1)) -> Staged:
    """Build the network.

    Args:
        shape: (c, h, w) of the inputs; any channels, any sides.
        widths: channels of the stages.
        depths: residual blocks of the stages.

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
    reduction = _reduction(min(height, width))
    stages: dict[str, nn.Module] = {"stem": _stem(channels, widths[0], reduction=reduction)}
    side = min(height, width) // reduction
    before = widths[0]
    for number, (after, depth) in enumerate(zip(widths, depths, strict=True), start=1):
        layers: list[nn.Module] = []
        if number > 1:
            layers.append(_convolution(before, after, pool=side >= 2))
            side = max(1, side // 2)
        layers += [_Residual(after) for _ in range(depth)]
        stages[f"stage{number}"] = nn.Sequential(*layers)
        before = after
    return Staged(stages, spec=spec, dim=widths[-1])


def _reduction(side: int) -> int:
    """Return by how much the stem shrinks: to a map of about 16 px."""
    reduction = 1
    while side // (2 * reduction) >= 12:
        reduction *= 2
    return reduction


def _stem(channels: int, width: int, *, reduction: int) -> nn.Module:
    """Return non-overlapping convolutions, 4x4 first, that shrink by `reduction`; or a 3x3 one where it is 1."""
    layers: list[nn.Module] = []
    inputs = channels
    while reduction > 1 or not layers:
        patch = min(4, reduction)
        layers += [
            nn.Conv2d(inputs, width, 3 if patch == 1 else patch, stride=patch, padding=int(patch == 1), bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
        ]
        inputs, reduction = width, reduction // patch
    return nn.Sequential(*layers)


def _convolution(inputs: int, outputs: int, *, pool: bool = False) -> nn.Sequential:
    """3x3 convolution, optional 2x2 max-pool, batch normalisation, ReLU."""
    layers: list[nn.Module] = [nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)]
    if pool:
        layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))
