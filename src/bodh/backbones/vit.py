"""A small Vision Transformer that can be read, and trained on 32 px on a CPU.

Paper: Dosovitskiy et al. 2020, "An image is worth 16x16 words", arXiv 2010.11929; pooled over patches with fixed
sine-cosine positions as in Beyer et al. 2022, "Better plain ViT baselines", arXiv 2205.01580. Blocks normalise
before attention and before the hidden layer; attention is PyTorch's fused one.

Tokens can be left out (`contracts.TokenBackbone`), which is what masked objectives (`mae`) need.
Not the default for other objectives on few records: a convolutional network (`small`) learns sooner there.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bodh.backbones._stages import image_shape, on_a_grid, patch_side, pooled, whole_patches
from bodh.contracts import Features, NetworkSpec
from bodh.errors import ConfigError
from bodh.layers.attention import attend

NATIVE_PATCH = 16
MOST_PATCHES = 12
"""Along the longer side of images up to 64 px, where no divisor gives fewer; sides are padded to whole patches."""
Pool = Literal["mean", "token"]
Positions = Literal["fixed", "learned"]


class Block(nn.Module):
    """Attention, then a hidden layer on every token; each is added to its normalised input's source.

    Args:
        width: of tokens.
        heads: of attention; they share the width evenly.
        ratio: width of the hidden layer over the tokens'.
    """

    def __init__(self, width: int, heads: int, *, ratio: float = 4.0) -> None:
        super().__init__()
        self.heads = heads
        self.norm1 = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width)
        hidden = round(ratio * width)
        self.mlp = nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width))
        initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        """Return tokens `[n t d]` of the same shape."""
        x = x + self._attend(self.norm1(x))
        out: Tensor = x + self.mlp(self.norm2(x))
        return out

    def _attend(self, x: Tensor) -> Tensor:
        n, t, d = x.shape
        q, k, v = self.qkv(x).reshape(n, t, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)  # each [n heads t e]
        mixed = attend(q, k, v)
        out: Tensor = self.out(mixed.transpose(1, 2).reshape(n, t, d))
        return out


class ViT(nn.Module):
    """The network: patches, positions, blocks, final normalisation; see `build` for the arguments."""

    positions: Tensor

    def __init__(
        self, *, spec: NetworkSpec, width: int, depth: int, heads: int, patch: int, pool: Pool, positions: Positions
    ) -> None:
        super().__init__()
        channels, height, sidelong = spec.arguments["shape"]
        self.spec = spec
        self.dim = width
        self.any_side = True  # positions of other grids lie between its own
        self.patch = patch
        self.grid = (math.ceil(height / patch), math.ceil(sidelong / patch))
        self.block_names = ("embed", *(f"block{number}" for number in range(1, depth + 1)))
        self.patches = nn.Conv2d(channels, width, patch, stride=patch)
        nn.init.xavier_uniform_(self.patches.weight.view(width, -1))  # as the linear layer that it is (MAE's code)
        nn.init.zeros_(cast("Tensor", self.patches.bias))
        if positions == "fixed":
            self.register_buffer("positions", sine_positions(self.grid, width)[None], persistent=False)
        else:
            self.positions = nn.Parameter(nn.init.trunc_normal_(torch.empty(1, math.prod(self.grid), width), std=0.02))
        self.token = nn.Parameter(nn.init.normal_(torch.empty(1, 1, width), std=0.02)) if pool == "token" else None
        self.layers = nn.ModuleList(Block(width, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(width)

    def embed(self, x: Tensor) -> Tensor:
        """Return the patches of `x` `[n c h w]` as tokens `[n t d]`, row by row, their positions added."""
        found: Tensor = self.patches(whole_patches(x, self.patch))  # [n d rows columns]
        return found.flatten(2).transpose(1, 2) + self._positions((found.shape[2], found.shape[3]))

    def encode(self, tokens: Tensor) -> Tensor:
        """Return what the blocks and the final normalisation make of `tokens` `[n t d]`, any part of an image's."""
        return self._patches(self.norm(self._through(tokens)[-1]))

    def forward(self, x: Tensor) -> Tensor:
        """Return pooled features `[n d]` of prepared tensors."""
        return self._pool(self.norm(self._through(self.embed(x))[-1]))

    def features(self, x: Tensor) -> Features:
        """Return pooled features, patch tokens, and these on their grid as a map."""
        last = self.norm(self._through(self.embed(x))[-1])
        tokens = self._patches(last)
        return Features(pooled=self._pool(last), tokens=tokens, map=on_a_grid(tokens, self._grid(x)))

    def blocks(self, x: Tensor, *, grid: int = 1) -> dict[str, Tensor]:
        """Return the pooled output `[n d_b]` of every block, the last one's after the final normalisation.

        Args:
            x: `[n c h w]`.
            grid: patch tokens are averaged over a grid of at most this side; see `_stages.pooled`.
        """
        outputs = self._through(self.embed(x))
        outputs[-1] = self.norm(outputs[-1])
        if grid > 1:
            maps = [on_a_grid(self._patches(out), self._grid(x)) for out in outputs]
            return {name: pooled(one, grid=grid) for name, one in zip(self.block_names, maps, strict=True)}
        return {name: self._pool(out) for name, out in zip(self.block_names, outputs, strict=True)}

    def block_modules(self) -> dict[str, list[nn.Module]]:
        """Return the modules of every block; what lies on the network itself comes with the first."""
        direct = dict(self.named_parameters(recurse=False))
        found: dict[str, list[nn.Module]] = {"embed": [self.patches]}
        if direct:
            found["embed"].append(nn.ParameterDict(direct))
        found |= {name: [layer] for name, layer in zip(self.block_names[1:], self.layers, strict=True)}
        found[self.block_names[-1]].append(self.norm)
        return found

    def _through(self, tokens: Tensor) -> list[Tensor]:
        """Return what goes into the first block and what comes out of every one, class token first if there is one."""
        if self.token is not None:
            tokens = torch.cat([self.token.expand(tokens.shape[0], -1, -1).to(tokens.dtype), tokens], dim=1)
        outputs = [tokens]
        for layer in self.layers:
            outputs.append(layer(outputs[-1]))
        return outputs

    def _pool(self, x: Tensor) -> Tensor:
        return x[:, 0] if self.token is not None else x.mean(dim=1)

    def _patches(self, x: Tensor) -> Tensor:
        return x[:, 1:] if self.token is not None else x

    def _grid(self, x: Tensor) -> tuple[int, int]:
        return math.ceil(x.shape[2] / self.patch), math.ceil(x.shape[3] / self.patch)

    def _positions(self, grid: tuple[int, int]) -> Tensor:
        """Return positions `[1 t d]`; those of another size than the network was built for lie between its own."""
        if grid == self.grid:
            return self.positions
        own = on_a_grid(self.positions, self.grid)
        other = F.interpolate(own, size=grid, mode="bicubic", align_corners=False)
        return other.flatten(2).transpose(1, 2)


def members() -> tuple[str, ...]:
    """Return (): the family is its only member."""
    return ()


def build(
    *,
    shape: Sequence[int],
    width: int = 128,
    depth: int = 4,
    heads: int = 4,
    patch: int | None = None,
    pool: Pool = "mean",
    positions: Positions = "fixed",
) -> ViT:
    """Build the network.

    Args:
        shape: (c, h, w) of the inputs; any channels, any sides. Inputs of other sides work too.
        width: of tokens and features, a multiple of `heads`; of 4 as well with fixed positions.
        depth: blocks, from 1.
        heads: of attention.
        patch: side of a patch, pixels; None: 16 above 64 px, below about an eighth of the side (4 for 32 px).
        pool: "mean" over patch tokens, or "token": a class token of its own.
        positions: "fixed" sines and cosines of row and column, or "learned".

    Raises:
        ConfigError: the shape is not that of an image, or a setting is out of its range.
    """
    _, height, sidelong = image_shape(shape, name="vit")
    chosen = _patch(height, sidelong) if patch is None else patch
    wrong = []
    if min(width, depth, heads) < 1 or width % heads:
        wrong.append(f"width={width}, depth={depth}, heads={heads} (allowed: from 1, width a multiple of heads)")
    if positions not in ("fixed", "learned"):
        wrong.append(f"positions={positions!r} (allowed: fixed, learned)")
    elif positions == "fixed" and width % 4:
        wrong.append(f"width={width} (with positions=fixed a multiple of 4)")
    if not 1 <= chosen <= max(height, sidelong):
        wrong.append(f"patch={chosen} (allowed: 1 to {max(height, sidelong)}, the side of the images)")
    if pool not in ("mean", "token"):
        wrong.append(f"pool={pool!r} (allowed: mean, token)")
    if wrong:
        raise ConfigError(f"the backbone 'vit' cannot be built with {'; '.join(wrong)}")
    arguments = {
        "shape": list(shape), "width": width, "depth": depth, "heads": heads, "patch": chosen, "pool": pool,
        "positions": positions,
    }  # fmt: skip
    return ViT(
        spec=NetworkSpec("backbones", "vit", arguments), width=width, depth=depth, heads=heads, patch=chosen,
        pool=pool, positions=positions,
    )  # fmt: skip


def _patch(height: int, width: int) -> int:
    """Return the side of patches: `patch_side` of the shorter side, larger where that leaves too many."""
    chosen = min(patch_side(height, NATIVE_PATCH), patch_side(width, NATIVE_PATCH))
    return min(NATIVE_PATCH, max(chosen, math.ceil(max(height, width) / MOST_PATCHES)))


def sine_positions(grid: tuple[int, int], width: int) -> Tensor:
    """Return fixed positions `[t d]` of a grid, row by row: sines and cosines of the row, then of the column.

    Source: MAE's code (util/pos_embed.py); wave lengths from 2π to 10,000 · 2π patches.

    Args:
        grid: (rows, columns).
        width: d, a multiple of 4.
    """
    speed = 10_000 ** -(torch.arange(width // 4, dtype=torch.float64) / (width / 4))
    row, column = torch.meshgrid(torch.arange(grid[0]), torch.arange(grid[1]), indexing="ij")
    angles = [place.reshape(-1, 1) * speed for place in (column, row)]  # each [t d/4]
    return torch.cat([wave(angle) for angle in angles for wave in (torch.sin, torch.cos)], dim=1).float()


def initialise(module: nn.Module) -> None:
    """Give every linear layer of `module` Xavier's uniform weights and no bias, as MAE's code does."""
    for part in module.modules():
        if isinstance(part, nn.Linear):
            nn.init.xavier_uniform_(part.weight)
            if part.bias is not None:
                nn.init.zeros_(part.bias)
