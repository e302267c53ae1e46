"""A network that ends behind one of its blocks: what comes after is left out, not computed, not kept.

Pretext tasks often leave the best features in the middle (Gidaris et al. 2018, "RotNet", table 1; Chen et al. 2020,
"Generative pretraining from pixels", figure 2). `evaluate --blocks all --remember` finds and keeps which block that is,
and a head that `finetune --freeze backbone` fits afterwards stands on this network: smaller and faster than the whole.
Works with networks that are a chain of stages: small, cnn and mlp.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from bodh.backbones import _names
from bodh.backbones._modes import evaluating
from bodh.backbones._stages import Staged, pooled
from bodh.contracts import Features, NetworkSpec
from bodh.errors import ConfigError, UnknownName


class UpTo(Staged):
    """The first stages of a network, pooled over a grid; see `build`.

    Args:
        stages: name -> module, from input to the block that is read.
        spec: how `build` makes this network again.
        dim: width of the pooled features.
        grid: the last map is averaged over a grid of this side.
        any_side: images of other sides may come in.
    """

    def __init__(
        self, stages: Mapping[str, nn.Module], *, spec: NetworkSpec, dim: int, grid: int, any_side: bool
    ) -> None:
        super().__init__(stages, spec=spec, dim=dim, any_side=any_side)
        self.grid_side = grid

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's features `[n d]`."""
        return pooled(self._last(x), grid=self.grid_side)

    def features(self, x: Tensor) -> Features:
        """Return the block's features, and its map where it gives one."""
        last = self._last(x)
        return Features(pooled=pooled(last, grid=self.grid_side), tokens=None, map=last if last.ndim == 4 else None)

    def blocks(self, x: Tensor, *, grid: int = 1) -> dict[str, Tensor]:
        """Return the pooled output `[n d_b]` of every stage; the last one over its own grid at least."""
        found = {}
        for name, stage in self.stages.items():
            x = stage(x)
            found[name] = pooled(x, grid=max(grid, self.grid_side) if name == self.block_names[-1] else grid)
        return found


def members() -> tuple[str, ...]:
    """Return (): the network that is cut is an argument."""
    return ()


def build(
    *, shape: Sequence[int], of: str = "small", block: str | None = None, grid: int = 1, **arguments: Any
) -> UpTo:
    """Build the network.

    Args:
        shape: of one input.
        of: the network that is cut: small, cnn or mlp.
        block: the last block that is kept; None: the last one there is.
        grid: its map is averaged over a grid of this side and laid out as one row; 1: wholly.
        **arguments: of that network.

    Raises:
        UnknownName: no such network, or it has no such block.
        ConfigError: it is no chain of stages, or `grid` is out of range.
    """
    whole = _names.build(_names.spec_for(of, shape=shape, arguments=arguments))
    if not can_cut(whole):
        raise ConfigError(f"the backbone 'upto' cuts chains of stages, and {of!r} is none; allowed: small, cnn, mlp")
    if not 1 <= grid <= 64:
        raise ConfigError(f"the backbone 'upto' cannot be built with grid={grid} (allowed: 1 to 64)")
    block = whole.block_names[-1] if block is None else block
    if block not in whole.block_names:
        raise UnknownName(f"block of {of}", block, whole.block_names)
    kept = whole.block_names[: whole.block_names.index(block) + 1]
    stages = {name: whole.stages[name] for name in kept}
    plain = {key: value for key, value in whole.spec.arguments.items() if key != "shape"}
    spec = NetworkSpec(
        "backbones", "upto", {"shape": list(shape), "of": whole.spec.name, "block": block, "grid": grid, **plain}
    )
    network = UpTo(stages, spec=spec, dim=1, grid=grid, any_side=whole.any_side)
    with evaluating(network), torch.no_grad():
        network.dim = network(torch.zeros(1, *shape)).shape[1]
    return network


def can_cut(network: object) -> bool:
    """Return whether `network` is a chain of stages, which can end behind any of them."""
    return isinstance(network, Staged)


def cut(network: Staged, block: str, grid: int) -> UpTo:
    """Return the network of `network`'s stages up to `block`, with copies of their weights, in evaluation mode.

    Args:
        network: a chain of stages, trained.
        block: the last block that is kept.
        grid: its map is averaged over a grid of this side.
    """
    arguments = {"of": network.spec.name, **network.spec.arguments, "block": block, "grid": grid}
    shorter = build(**arguments)
    weights = network.state_dict()
    shorter.load_state_dict({name: weights[name] for name in shorter.state_dict()})
    return shorter.eval()
