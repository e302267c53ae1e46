"""What every backbone must do: the checks that the contract tests run over the catalog, for third parties too.

Call `check_backbone(module, shape=(3, 32, 32))` with a module that offers `build` and `members` as the files of
`bodh/backbones/` do. A check that fails raises `ContractError` and says what was expected.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from bodh import _catalog
from bodh.contracts import Backbone, NetworkSpec, reads_tokens


class ContractError(AssertionError):
    """A backbone does not keep its contract."""


def check_backbone(module: ModuleType, *, shape: Sequence[int], **arguments: Any) -> None:
    """Run all checks on the backbone that `module.build(shape=shape, **arguments)` makes.

    Raises:
        ContractError: with the expectation that was not met.
    """
    expect(isinstance(module.members(), tuple), "members() returns a tuple of names")
    backbone = build_seeded(module, shape=shape, **arguments)
    for check in CHECKS:
        check(backbone, shape)
    if reads_tokens(backbone):
        from bodh.testing import tokens

        for check in tokens.CHECKS:
            check(backbone, shape)


def example(backbone: Any, count: int, shape: Sequence[int]) -> Tensor:
    """Return inputs for `backbone` that depend on nothing but their number: numbers, or ids, some rows padded."""
    generator = torch.Generator().manual_seed(count)
    if not reads_tokens(backbone):
        return torch.randn(count, *shape, generator=generator)
    ids = torch.randint(backbone.vocabulary - 1, (count, shape[0]), generator=generator)
    ids += (ids >= backbone.padding).long()  # any id but the padding
    for row in range(1, count):
        ids[row, max(1, shape[0] - row) :] = backbone.padding
    return ids


def build_seeded(module: ModuleType, *, shape: Sequence[int], **arguments: Any) -> Any:
    """Build a backbone with weights that depend on nothing but a fixed seed; the caller's randomness stays."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return module.build(shape=tuple(shape), **arguments)


def check_shapes(backbone: Any, shape: Sequence[int]) -> None:
    """Pooled features, map, tokens and blocks have the announced sizes, in evaluation also for one record."""
    backbone.eval()
    for count in (1, 3):
        x = example(backbone, count, shape)
        with torch.no_grad():
            pooled, seen, blocks = backbone(x), backbone.features(x), backbone.blocks(x)
        expect(pooled.shape == (count, backbone.dim), f"forward gives [{count} {backbone.dim}], not {pooled.shape}")
        expect(bool(torch.isfinite(pooled).all()), "features are finite")
        same(seen.pooled, pooled, "features().pooled is what forward gives")
        expect(seen.tokens is None or seen.tokens.ndim == 3, "tokens are [n t d]")
        expect(seen.map is None or seen.map.ndim == 4, "the map is [n c h w]")
        expect(tuple(blocks) == backbone.block_names, "blocks() has the names of block_names, in their order")
        expect(all(b.ndim == 2 and len(b) == count for b in blocks.values()), "every block is pooled to [n d]")
        same(blocks[backbone.block_names[-1]], pooled, "the last block gives what forward gives")


def check_grid(backbone: Any, shape: Sequence[int]) -> None:
    """Blocks averaged over a grid have as many numbers or a multiple, and a grid of one changes nothing."""
    backbone.eval()
    x = example(backbone, 2, shape)
    with torch.no_grad():
        plain, one, finer = backbone.blocks(x), backbone.blocks(x, grid=1), backbone.blocks(x, grid=2)
    expect(tuple(finer) == backbone.block_names, "blocks(grid=2) has the names of block_names, in their order")
    for name, values in finer.items():
        expect(torch.equal(one[name], plain[name]), "a grid of one is what blocks() gives without being told")
        expect(values.ndim == 2 and values.shape[1] % plain[name].shape[1] == 0, "a grid multiplies the width")


def check_rows_are_independent(backbone: Any, shape: Sequence[int]) -> None:
    """In evaluation a record's features do not depend on what else is in the batch, nor on when it is asked."""
    backbone.eval()
    x = example(backbone, 4, shape)
    with torch.no_grad():
        together, again = backbone(x), backbone(x)
        alone = torch.cat([backbone(row) for row in torch.tensor_split(x, len(x))])
    expect(torch.equal(together, again), "the same input gives the same features bit for bit")
    same(alone, together, "a batch of one gives the same features as the record in a larger batch")


def check_spec(backbone: Any, shape: Sequence[int]) -> None:
    """The spec is plain data from which the same network is built, so that its weights fit and it computes the same."""
    spec = backbone.spec
    expect(isinstance(spec, NetworkSpec) and spec.room == "backbones", "spec is a NetworkSpec of the room backbones")
    expect(_plain(dict(spec.arguments)), f"the spec's arguments are JSON values, not {spec.arguments!r}")
    expect(list(spec.arguments["shape"]) == list(shape), "the spec's arguments hold the shape")
    twin: Backbone = _catalog.get(spec.room, spec.name).build(**spec.arguments)
    weights = backbone.state_dict()
    expect(list(twin.state_dict()) == list(weights), "the network built from the spec has the same parameters")  # type: ignore[attr-defined]
    twin.load_state_dict(weights)  # type: ignore[attr-defined]
    twin.eval()  # type: ignore[attr-defined]
    backbone.eval()
    x = example(backbone, 2, shape)
    with torch.no_grad():
        expect(torch.equal(twin(x), backbone(x)), "the network built from the spec computes the same")
    expect(twin.block_names == backbone.block_names, "the network built from the spec has the same blocks")


def check_blocks_hold_all(backbone: Any, shape: Sequence[int]) -> None:
    """The modules of the blocks together hold every parameter, so that freezing them freezes everything."""
    del shape
    modules = backbone.block_modules()
    expect(tuple(modules) == backbone.block_names, "block_modules() has the names of block_names, in their order")
    held = {id(p) for block in modules.values() for module in block for p in module.parameters()}
    lost = [name for name, p in backbone.named_parameters() if id(p) not in held]
    expect(not lost, f"the blocks hold all parameters; missing: {', '.join(lost[:5])}")


def check_gradient(backbone: Any, shape: Sequence[int]) -> None:
    """In training every output has a finite gradient, and it reaches the first block."""
    backbone.train()
    x = example(backbone, 4, shape)
    backbone.zero_grad()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        backbone(x).square().mean().backward()
    gradients = {name: p.grad for name, p in backbone.named_parameters() if p.grad is not None}
    expect(bool(gradients), "training gives gradients")
    expect(all(bool(torch.isfinite(g).all()) for g in gradients.values()), "gradients are finite")
    first = backbone.block_modules()[backbone.block_names[0]]
    reached = [p.grad for module in first for p in module.parameters() if p.grad is not None]
    expect(any(bool(g.abs().sum() > 0) for g in reached), "the gradient reaches the first block")
    backbone.zero_grad()


def check_export(backbone: Any, shape: Sequence[int]) -> None:
    """`torch.export` takes the network in evaluation, for any number of records, and of tokens where it reads them."""
    backbone.eval()
    x = example(backbone, 3, shape)
    axes = {0: torch.export.Dim("n", min=1, max=1024)}
    if reads_tokens(backbone):
        axes[1] = torch.export.Dim("t", min=2, max=shape[0])
    program = torch.export.export(_Plain(backbone), (x,), dynamic_shapes=(axes,), strict=False)
    more = example(backbone, 5, shape)[:, : shape[0] // 2] if reads_tokens(backbone) else example(backbone, 5, shape)
    with torch.no_grad():
        same(program.module()(more), backbone(more), "the exported network computes the same on another batch size")


CHECKS: tuple[Callable[[Any, Sequence[int]], None], ...] = (
    check_shapes,
    check_grid,
    check_rows_are_independent,
    check_spec,
    check_blocks_hold_all,
    check_gradient,
    check_export,
)


class _Plain(nn.Module):
    """A backbone as a module of one tensor to one tensor."""

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, x: Tensor) -> Tensor:
        """Return pooled features."""
        out: Tensor = self.backbone(x)
        return out


def _plain(value: Any) -> bool:
    if isinstance(value, dict):
        return all(isinstance(key, str) and _plain(inner) for key, inner in value.items())
    if isinstance(value, list):
        return all(_plain(inner) for inner in value)
    return value is None or isinstance(value, str | int | float | bool)


def same(given: Tensor, wanted: Tensor, expectation: str) -> None:
    """Compare with a tolerance of 1e-4 of the largest value: kernels may differ with the batch."""
    scale = max(1.0, float(wanted.abs().max()))
    largest = float((given - wanted).abs().max()) if given.shape == wanted.shape else float("inf")
    expect(largest <= 1e-4 * scale, f"{expectation} (largest difference {largest:.2g})")


def expect(holds: bool, expectation: str) -> None:
    """Raise ContractError with the expectation where it does not hold."""
    if not holds:
        raise ContractError(f"expected of a backbone: {expectation}")
