"""Shared parts of the backbones: a network as named stages, pooling, and small-image rules.

Axis letters: `n` records, `c h w` channels and sides of a map, `t` tokens, `d` features.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from torch import Tensor, nn

from bodh.contracts import Features, NetworkSpec
from bodh.errors import ConfigError

SMALL_SIDE = 64
"""Longest side, in pixels, up to which a network made for 224 px gets a stem without early strides."""


class Staged(nn.Module):
    """A backbone that is a chain of named stages; every stage takes the output of the one before.

    Args:
        stages: name -> module, from input to output; together they are the whole network.
        spec: how `build` makes this network again.
        dim: width of the pooled features.
    """

    def __init__(self, stages: Mapping[str, nn.Module], *, spec: NetworkSpec, dim: int) -> None:
        super().__init__()
        self.spec = spec
        self.dim = dim
        self.block_names = tuple(stages)
        self.stages = nn.ModuleDict(stages)

    def forward(self, x: Tensor) -> Tensor:
        """Return pooled features `[n d]` of prepared tensors."""
        return pooled(self._last(x))

    def features(self, x: Tensor) -> Features:
        """Return pooled features, and the last map where the last stage gives one."""
        last = self._last(x)
        return Features(pooled=pooled(last), tokens=None, map=last if last.ndim == 4 else None)

    def blocks(self, x: Tensor) -> dict[str, Tensor]:
        """Return the pooled output `[n d_b]` of every stage."""
        found = {}
        for name, stage in self.stages.items():
            x = stage(x)
            found[name] = pooled(x)
        return found

    def block_modules(self) -> dict[str, list[nn.Module]]:
        """Return the one module of every stage."""
        return {name: [stage] for name, stage in self.stages.items()}

    def _last(self, x: Tensor) -> Tensor:
        for stage in self.stages.values():
            x = stage(x)
        return x


def pooled(x: Tensor) -> Tensor:
    """Return the mean over positions of a map `[n c h w]` or of tokens `[n t d]`; `[n d]` passes through."""
    if x.ndim == 4:
        return x.mean(dim=(2, 3))
    return x.mean(dim=1) if x.ndim == 3 else x


def image_shape(shape: Sequence[int], *, name: str) -> tuple[int, int, int]:
    """Return `shape` as (c, h, w).

    Raises:
        ConfigError: it is not the shape of an image.
    """
    if len(shape) != 3 or min(shape) < 1:
        raise ConfigError(
            f"the backbone {name!r} takes images, given inputs of shape {tuple(shape)}; "
            f"allowed is (channels, height, width); for vectors type: backbone=mlp"
        )
    channels, height, width = shape
    return channels, height, width


def replace_module(root: nn.Module, path: str, module: nn.Module) -> None:
    """Put `module` at the dotted `path` below `root`."""
    parent, _, leaf = path.rpartition(".")
    holder = root.get_submodule(parent)
    if isinstance(holder, nn.Sequential | nn.ModuleList):
        cast("Any", holder)[int(leaf) if leaf.isdigit() else list(holder._modules).index(leaf)] = module  # noqa: SLF001
    else:
        setattr(holder, leaf, module)


def without_early_stride(conv: nn.Conv2d) -> nn.Conv2d:
    """Return the first convolution of a network for 224 px as one for small images: 3x3 (or smaller), stride 1."""
    side = min(3, *conv.kernel_size)
    return nn.Conv2d(conv.in_channels, conv.out_channels, side, padding=side // 2, bias=conv.bias is not None)


def patch_side(side: int, native: int) -> int:
    """Return the patch side for images of `side` px: native above 64 px, else about an eighth of the side.

    Below 65 px it is the largest divisor of `side` that leaves at least 7 patches along it, so 4 for 28 and
    32 px, 6 for 48 px, 8 for 64 px, 1 for 8 px.
    """
    if side > SMALL_SIDE:
        return native
    fitting = [p for p in range(1, native + 1) if side % p == 0 and side // p >= 7]
    return max(fitting, default=1)
