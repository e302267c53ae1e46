"""Shared parts of the backbones: a network as named stages, pooling, and small-image rules.

Axis letters: `n` records, `c h w` channels and sides of a map, `t` tokens, `d` features.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bodh.contracts import Features, NetworkSpec, reads_tokens
from bodh.errors import ConfigError

SMALL_SIDE = 64
"""Longest side, in pixels, up to which a network made for 224 px gets a stem without early strides."""

LARGEST_POOLED = 2048
"""Numbers a record that pooling over a grid gives at most; a map of more channels is averaged wholly."""


class Staged(nn.Module):
    """A backbone that is a chain of named stages; every stage takes the output of the one before.

    Args:
        stages: name -> module, from input to output; together they are the whole network.
        spec: how `build` makes this network again.
        dim: width of the pooled features.
        any_side: images of other sides than those it was built for may come in.
    """

    def __init__(self, stages: Mapping[str, nn.Module], *, spec: NetworkSpec, dim: int, any_side: bool = False) -> None:
        super().__init__()
        self.spec = spec
        self.dim = dim
        self.any_side = any_side
        self.block_names = tuple(stages)
        self.stages = nn.ModuleDict(stages)

    def forward(self, x: Tensor) -> Tensor:
        """Return pooled features `[n d]` of prepared tensors."""
        return pooled(self._last(x))

    def features(self, x: Tensor) -> Features:
        """Return pooled features, and the last map where the last stage gives one."""
        last = self._last(x)
        return Features(pooled=pooled(last), tokens=None, map=last if last.ndim == 4 else None)

    def blocks(self, x: Tensor, *, grid: int = 1) -> dict[str, Tensor]:
        """Return the pooled output `[n d_b]` of every stage; see `pooled` for `grid`."""
        found = {}
        for name, stage in self.stages.items():
            x = stage(x)
            found[name] = pooled(x, grid=grid)
        return found

    def block_modules(self) -> dict[str, list[nn.Module]]:
        """Return the one module of every stage."""
        return {name: [stage] for name, stage in self.stages.items()}

    def _last(self, x: Tensor) -> Tensor:
        for stage in self.stages.values():
            x = stage(x)
        return x


def pooled(x: Tensor, *, grid: int = 1) -> Tensor:
    """Return the mean over positions of a map `[n c h w]` or of tokens `[n t d]`; `[n d]` passes through.

    Args:
        x: what a block gives.
        grid: a map is averaged over this many parts along each side instead, and laid out as one row: early maps
            say little once their positions are gone. Fewer parts where the map is smaller, or where the row would
            be longer than `LARGEST_POOLED`.
    """
    if x.ndim == 4:
        while grid > 1 and x.shape[1] * grid**2 > LARGEST_POOLED:
            grid -= 1
        if grid > 1:
            return F.adaptive_avg_pool2d(x, (min(grid, x.shape[2]), min(grid, x.shape[3]))).flatten(1)
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


def text_shape(shape: Sequence[int], *, vocabulary: int, padding: int, name: str) -> int:
    """Return the most tokens of a row.

    Raises:
        ConfigError: `shape` is not that of texts, or the padding is no id of the vocabulary.
    """
    if len(shape) != 1 or shape[0] < 1 or vocabulary < 1:
        raise ConfigError(
            f"the backbone {name!r} reads token ids, given inputs of shape {tuple(shape)} and {vocabulary} ids; "
            "allowed are texts, of shape (length,); for images type: backbone=small, for vectors: backbone=mlp"
        )
    if not 0 <= padding < vocabulary:
        raise ConfigError(f"the backbone {name!r}: padding={padding} is no id of a vocabulary of {vocabulary}")
    return shape[0]


def real_tokens(x: Tensor, padding: int) -> Tensor | None:
    """Return which of the ids `x` `[n t]` are no padding; None where all are, so that nothing needs a mask.

    A graph that is made for any input always asks.
    """
    real = x != padding
    return real if torch.compiler.is_compiling() or not bool(real.all()) else None


def text_numbers(x: Tensor, separator: int | None, most: int) -> Tensor:
    """Return of which text each of the ids `x` `[n t]` is, counted from 0, the last ones together; int64 `[n t]`.

    Args:
        x: ids.
        separator: the id that ends each text, and belongs to it; None: a row is one text.
        most: numbers that there are.
    """
    if separator is None:
        return torch.zeros_like(x)
    ends = (x == separator).long()
    return (ends.cumsum(dim=1) - ends).clamp(max=most - 1)


def looked_at(backbone: Any, x: Tensor, *, whole: bool) -> tuple[Tensor, Tensor | None]:
    """Return what a decoder looks at of prepared records `x`: tokens `[n s d]`, and which are no padding (None: all).

    Args:
        backbone: reads ids, or gives tokens or a map, whose positions are then the tokens, row by row.
        x: ids `[n t]`, or whatever the backbone takes.
        whole: all of them; else of records that are no texts their pooled features alone, as one token.
    """
    seen: Features = backbone.features(x)
    if reads_tokens(backbone):
        return cast("Tensor", seen.tokens), real_tokens(x, backbone.padding)
    if not whole:
        return seen.pooled[:, None], None
    if seen.tokens is not None:
        return seen.tokens, None
    return cast("Tensor", seen.map).flatten(2).transpose(1, 2), None


def pooled_tokens(tokens: Tensor, real: Tensor | None, pool: str) -> Tensor:
    """Return the features `[n d]` of rows of tokens `[n t d]`, padding left out; noughts for the mean of nothing.

    Args:
        tokens: what a network gives.
        real: from `real_tokens`.
        pool: "mean", "first" or "last".
    """
    if pool == "first":
        return tokens[:, 0]
    if real is None:
        return tokens[:, -1] if pool == "last" else tokens.mean(dim=1)
    if pool == "mean":
        weight = real.to(tokens.dtype)
        return torch.einsum("ntd,nt->nd", tokens, weight) / weight.sum(dim=1, keepdim=True).clamp(min=1)
    place = (real * torch.arange(real.shape[1], device=real.device)).amax(dim=1)
    return tokens.gather(1, place[:, None, None].expand(-1, 1, tokens.shape[2]))[:, 0]


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


def whole_patches(x: Tensor, side: int) -> Tensor:
    """Return images `[n c h w]` with zeros (the mean colour) added below and right, up to whole patches of `side`."""
    below, right = -x.shape[2] % side, -x.shape[3] % side
    return F.pad(x, (0, right, 0, below)) if below or right else x


def on_a_grid(tokens: Tensor, grid: tuple[int, int]) -> Tensor:
    """Return tokens `[n t d]`, row by row, as a map `[n d rows columns]`."""
    return tokens.transpose(1, 2).reshape(tokens.shape[0], tokens.shape[2], *grid)


def as_patches(x: Tensor, side: int) -> Tensor:
    """Return images `[n c h w]` as patches `[n t p]`, row by row: p numbers of row, column, channel each.

    Args:
        x: images of whole patches.
        side: of a patch, pixels.
    """
    n, c, h, w = x.shape
    cut = x.reshape(n, c, h // side, side, w // side, side).permute(0, 2, 4, 3, 5, 1)
    return cut.reshape(n, -1, side * side * c)
