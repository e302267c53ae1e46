"""The ResNets made for CIFAR: three stages of 16, 32 and 64 channels, shortcuts without parameters.

Paper: He et al. 2016, "Deep residual learning for image recognition", arXiv 1512.03385, section 4.2.
Published: CIFAR-10 test, table 6: 91.25 % (20 layers), 92.49 (32), 92.83 (44), 93.03 (56), 93.57 (110).

Weights are named as in the common PyTorch state dicts (`conv1`, `bn1`, `layer1.0.conv1`, …), so that those load:
`--from resnet20 weights=FILE`. Inputs of such weights are normalised as for ImageNet.

Not on a CPU where time is short and no published weights are at hand: full resolution through the first stage costs
much; `small` learns more in the same time.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from bodh.backbones._foreign import Foreign
from bodh.backbones._stages import image_shape
from bodh.contracts import NetworkSpec
from bodh.errors import UnknownName

MEMBERS = ("resnet20", "resnet32", "resnet44", "resnet56", "resnet110")
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Normalisation of the published weights' inputs, of values from 0 to 1."""


def members() -> tuple[str, ...]:
    """Return the names of the networks of the paper: 6 n + 2 layers."""
    return MEMBERS


def build(*, shape: Sequence[int], model: str) -> Foreign:
    """Build a network without its classifier.

    Args:
        shape: (c, h, w) of the inputs; any channels, any sides.
        model: resnet20, resnet32, resnet44, resnet56 or resnet110.

    Raises:
        ConfigError: the shape is not that of an image.
        UnknownName: no such network.
    """
    shape = image_shape(shape, name=f"resnet_cifar:{model}")
    if model not in MEMBERS:
        raise UnknownName("network of resnet_cifar", model, MEMBERS)
    depth = (int(model.removeprefix("resnet")) - 2) // 6
    spec = NetworkSpec("backbones", "resnet_cifar", {"shape": list(shape), "model": model})
    return Foreign(_ResNet(shape[0], depth), spec=spec, shape=shape)


class _ResNet(nn.Module):
    """3x3 convolution, three stages of residual blocks, global average.

    Args:
        channels: of the inputs.
        depth: blocks of each stage.
    """

    def __init__(self, channels: int, depth: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.act1 = nn.ReLU(inplace=True)
        self.layer1 = _stage(16, 16, depth, stride=1)
        self.layer2 = _stage(16, 32, depth, stride=2)
        self.layer3 = _stage(32, 64, depth, stride=2)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):  # paper, section 4.2: initialised as in He et al. 2015
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """Return the mean `[n 64]` of the last map of images `[n c h w]`."""
        x = self.act1(self.bn1(self.conv1(x)))
        last: Tensor = self.layer3(self.layer2(self.layer1(x)))
        return last.mean(dim=(2, 3))


class _Block(nn.Module):
    """Two 3x3 convolutions beside a shortcut of option A: every other pixel, new channels nought."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.act1 = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.act2 = nn.ReLU(inplace=True)
        self._stride = stride
        self._before = (outputs - inputs) // 2

    def forward(self, x: Tensor) -> Tensor:
        """Return `[n outputs h/stride w/stride]`."""
        inner = self.bn2(self.conv2(self.act1(self.bn1(self.conv1(x)))))
        if self._stride > 1:
            x = F.pad(x[:, :, :: self._stride, :: self._stride], (0, 0, 0, 0, self._before, self._before))
        out: Tensor = self.act2(inner + x)
        return out


def _stage(inputs: int, outputs: int, depth: int, *, stride: int) -> nn.Sequential:
    first = _Block(inputs, outputs, stride)
    return nn.Sequential(first, *(_Block(outputs, outputs, 1) for _ in range(depth - 1)))
