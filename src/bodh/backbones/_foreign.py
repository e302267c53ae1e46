"""A network written elsewhere, seen as a backbone: its stages are found by running it once.

Axis letters: `n` records, `c h w` channels and sides of a map, `t` tokens, `d` features.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from bodh.backbones import _masking
from bodh.backbones._modes import evaluating
from bodh.backbones._stages import pooled
from bodh.contracts import Features, NetworkSpec

Pieces = dict[str, list[str]]
"""Block name -> dotted paths of the modules that make it up, in the order in which they run."""


class Foreign(nn.Module):
    """Any network that maps images to pooled features, seen through `contracts.Backbone`.

    Args:
        network: gives `[n d]`, or `[n d 1 1]`.
        spec: how `build` makes it again.
        shape: (c, h, w) of one input; the network is run once on noughts of it.
        stages: dotted paths whose parents are certainly no stages themselves.
        channels_last: maps inside it are `[n h w c]`.
        prefix: tokens before the patch tokens (class token, registers).

    Raises:
        RuntimeError: and whatever else the network raises where the shape does not suit it.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        spec: NetworkSpec,
        shape: tuple[int, int, int],
        stages: tuple[str, ...] = (),
        channels_last: bool = False,
        prefix: int = 0,
    ) -> None:
        super().__init__()
        self.spec = spec
        self.network = network
        self._channels_last = channels_last
        self._prefix = prefix
        self._shape = shape
        self._pieces, self.dim = _find(network, shape, stages)
        self.block_names = tuple(self._pieces)
        self.patch = _masking.patch_of(network)
        """Side of the patches where some may be left out (`contracts.TokenBackbone`), else None."""
        sides = (0, 0) if self.patch is None else (shape[1] // self.patch, shape[2] // self.patch)
        self.grid = sides

    def embed(self, x: Tensor) -> Tensor:
        """Return patches as tokens `[n t d]`; only where `contracts.can_mask`."""
        return _masking.embed(self.network, x)

    def encode(self, tokens: Tensor) -> Tensor:
        """Return what the network makes of any of an image's tokens; only where `contracts.can_mask`."""
        return _masking.encode(self.network, tokens)

    @property
    def any_side(self) -> bool:
        """True where the network takes smaller images than it was built for, found by handing it one."""
        channels, height, width = self._shape
        odd = (channels, max(1, 2 * height // 5) | 1, max(1, 2 * width // 5) | 1)  # no multiple of any patch
        try:
            with torch.no_grad(), evaluating(self.network):
                out: Tensor = self.network(torch.zeros(1, *odd, device=next(self.network.parameters()).device))
        except (RuntimeError, AssertionError, ValueError, IndexError, ZeroDivisionError):
            return False  # every network says it in a way of its own
        return out.flatten(1).shape[1] == self.dim

    def forward(self, x: Tensor) -> Tensor:
        """Return pooled features `[n d]`, pooled as the network itself does it."""
        out: Tensor = self.network(x)
        return out.flatten(1)

    def features(self, x: Tensor) -> Features:
        """Return pooled features, the last map, and for transformers the patch tokens."""
        last, final = self._pooled_and_final(x)
        if final is None:
            return Features(pooled=last, tokens=None, map=None)
        if final.ndim == 3:
            tokens = final[:, self._prefix :]
            return Features(pooled=last, tokens=tokens, map=self._grid(tokens, x))
        return Features(pooled=last, tokens=None, map=final.permute(0, 3, 1, 2) if self._channels_last else final)

    def blocks(self, x: Tensor, *, grid: int = 1) -> dict[str, Tensor]:
        """Return pooled features of every stage; the last one's are what the network itself returns.

        Args:
            x: `[n c h w]`.
            grid: above 1, every stage's map is averaged over a grid instead, the last one's too; see `pooled`.
        """
        found: dict[str, Tensor] = {}
        with _listening(self.network, self._pieces, lambda name, out: found.update({name: self._pool(out, x, grid)})):
            last = self.forward(x)
        if grid == 1 or self.block_names[-1] not in found:
            found[self.block_names[-1]] = last
        return {name: found[name] for name in self.block_names}

    def block_modules(self) -> dict[str, list[nn.Module]]:
        """Return the modules of every stage; parameters that lie on the network itself come with the first."""
        blocks = {name: [self.network.get_submodule(path) for path in paths] for name, paths in self._pieces.items()}
        direct = dict(_direct_parameters(self.network, blocks))
        if direct:
            blocks[self.block_names[0]].append(nn.ParameterDict(direct))
        return blocks

    def _pooled_and_final(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return pooled features and what was pooled, if it has positions."""
        network: Any = self.network
        if hasattr(network, "forward_features"):
            final = network.forward_features(x)
            return network.forward_head(final, pre_logits=True).flatten(1), final if final.ndim > 2 else None
        inner: list[Tensor] = []

        def keep(_name: str, out: Tensor) -> None:
            if out.ndim > 2:
                inner.append(out)

        with _listening(self.network, self._pieces, keep):
            last = self.forward(x)
        return last, inner[-1] if inner else None

    def _pool(self, out: Tensor, x: Tensor, grid: int) -> Tensor:
        if out.ndim == 4 and self._channels_last:
            out = out.permute(0, 3, 1, 2)
        if out.ndim == 3:
            tokens = out[:, self._prefix :]
            tiled = self._grid(tokens, x) if grid > 1 else None
            out = tokens if tiled is None else tiled
        return pooled(out, grid=grid)

    def _grid(self, tokens: Tensor, x: Tensor) -> Tensor | None:
        """Return tokens `[n t d]` as a map `[n d h w]` where they tile the image `[n c H W]` in squares."""
        count, height, width = tokens.shape[1], x.shape[2], x.shape[3]
        rows = round((count * height / width) ** 0.5)
        if rows < 1 or count % rows or abs(rows * width - count // rows * height) > max(height, width):
            return None
        return tokens.transpose(1, 2).reshape(tokens.shape[0], tokens.shape[2], rows, count // rows)


def _find(network: nn.Module, shape: tuple[int, int, int], stages: tuple[str, ...]) -> tuple[Pieces, int]:
    """Return the blocks in the order in which they run, and the width of the pooled features.

    A piece that only scales (a normalisation) belongs to the block before it.
    """
    paths = list(_candidates(network, "", stages, sum(p.numel() for p in network.parameters()), set()))
    order: dict[str, None] = {}
    training = network.training
    network.eval()
    with torch.no_grad(), _listening(network, {p: [p] for p in paths}, lambda path, _: order.setdefault(path)):
        out = network(torch.zeros(1, *shape)).flatten(1)
    network.train(training)
    pieces: Pieces = {}
    for path in order:
        module = network.get_submodule(path)
        if not pieces:
            pieces["stem" if _single(module) else path] = [path]
        elif all(p.ndim <= 1 for p in module.parameters()):
            pieces[next(reversed(pieces))].append(path)
        else:
            pieces[path] = [path]
    unheard = [p for p in paths if p not in order]
    pieces[next(reversed(pieces))][:0] = unheard
    return pieces, int(out.shape[1])


def _single(module: nn.Module) -> bool:
    """Return whether only one module in it holds parameters: the first convolution."""
    return sum(any(True for _ in part.parameters(recurse=False)) for part in module.modules()) == 1


def _candidates(module: nn.Module, prefix: str, stages: tuple[str, ...], total: int, seen: set[int]) -> Iterator[str]:
    """Yield the paths of the modules that may be stages: lists and what holds nearly all parameters are opened.

    A module that a network uses in several places is yielded once; `seen` holds the parameters met so far.
    """
    for name, child in module.named_children():
        path = f"{prefix}{name}"
        size = sum(p.numel() for p in child.parameters())
        if all(id(p) in seen for p in child.parameters()):
            continue
        inner = any(True for _ in child.children())
        if inner and (
            isinstance(child, nn.ModuleList)
            or name == "features"
            or size >= 0.9 * total
            or any(stage.startswith(f"{path}.") for stage in stages)
        ):
            yield from _candidates(child, f"{path}.", stages, total, seen)
        else:
            seen.update(id(p) for p in child.parameters())
            yield path


def _direct_parameters(network: nn.Module, blocks: dict[str, list[nn.Module]]) -> Iterator[tuple[str, nn.Parameter]]:
    """Yield parameters that no block's module holds (class token, positions)."""
    held = {id(p) for modules in blocks.values() for module in modules for p in module.parameters()}
    for name, parameter in network.named_parameters():
        if id(parameter) not in held:
            yield name.replace(".", "_"), parameter


@contextmanager
def _listening(network: nn.Module, pieces: Pieces, tell: Callable[[str, Tensor], Any]) -> Iterator[None]:
    """Call `tell(name, output)` whenever a piece of block `name` returns a tensor of features."""

    def listener(name: str) -> Callable[[nn.Module, Any, Any], None]:
        def hook(_module: nn.Module, _inputs: Any, output: Any) -> None:
            if isinstance(output, Tensor) and 2 <= output.ndim <= 4:
                tell(name, output)

        return hook

    handles = [
        network.get_submodule(path).register_forward_hook(listener(name))
        for name, paths in pieces.items()
        for path in paths
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
