"""The classic three-convolution network (32-64-128, 3x3, two max-pools, 512 units, dropout), meant for 48x48.

The network of countless first lessons in image classification; quick to train from labels, and weaker than
`small` when learning without them: it has no normalisation and reads positions, not presence.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from bodh.backbones._stages import Staged, image_shape
from bodh.contracts import NetworkSpec
from bodh.errors import ConfigError

GRID = 12
"""Side of the last map for 48 px inputs; larger inputs are averaged down to less than twice this."""


def members() -> tuple[str, ...]:
    """Return (): the family is its only member."""
    return ()


def build(
    *, shape: Sequence[int], widths: Sequence[int] = (32, 64, 128), units: int = 512, dropout: float = 0.5
) -> Staged:
    """Build the network.

    Args:
        shape: (c, h, w) of the inputs; any channels, any sides from 4 px.
        widths: channels of the three convolutions.
        units: width of the fully connected layer: the features.
        dropout: share of the units dropped while training, 0 to below 1.

    Raises:
        ConfigError: the shape is not that of an image, or a setting is out of its range.
    """
    channels, height, width = image_shape(shape, name="cnn")
    if len(widths) != 3 or min(widths) < 1 or units < 1 or not 0 <= dropout < 1 or min(height, width) < 4:
        raise ConfigError(
            f"the backbone 'cnn' cannot be built with shape={tuple(shape)}, widths={tuple(widths)}, units={units}, "
            f"dropout={dropout}; allowed are sides from 4 px, three widths and units from 1, dropout in [0, 1)"
        )
    spec = NetworkSpec(
        "backbones", "cnn", {"shape": list(shape), "widths": list(widths), "units": units, "dropout": dropout}
    )
    first, second, third = widths
    rows, columns = height // 4, width // 4
    shrink = max(1, rows // GRID), max(1, columns // GRID)
    rows, columns = rows // shrink[0], columns // shrink[1]
    stages = {
        "conv1": nn.Sequential(nn.Conv2d(channels, first, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        "conv2": nn.Sequential(nn.Conv2d(first, second, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        "conv3": nn.Sequential(nn.Conv2d(second, third, 3, padding=1), nn.ReLU()),
        "units": nn.Sequential(
            nn.AvgPool2d(shrink) if max(shrink) > 1 else nn.Identity(),
            nn.Flatten(),
            nn.Linear(third * rows * columns, units),
            nn.ReLU(),
            nn.Dropout(dropout),
        ),
    }
    return Staged(stages, spec=spec, dim=units)
