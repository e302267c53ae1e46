"""What every backbone that reads token ids must do besides: `contracts.TextBackbone`, checked.

`bodh.testing.backbones.check_backbone` runs these on backbones for which `contracts.reads_tokens` holds.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from bodh.testing.backbones import expect, same


def check_ids(backbone: Any, shape: Sequence[int]) -> None:
    """What it says of its ids is so: vocabulary, padding, embedding, context; pooled and tokens have one width."""
    backbone.eval()
    expect(isinstance(backbone.embedding, nn.Embedding), "embedding is an nn.Embedding")
    wanted = (backbone.vocabulary, backbone.dim)
    expect(tuple(backbone.embedding.weight.shape) == wanted, f"the embedding's weight is {wanted}")
    expect(0 <= backbone.padding < backbone.vocabulary, "padding is an id of the vocabulary")
    expect(backbone.context is None or backbone.context >= shape[0], "the context holds rows of the shape it was told")
    x = _ids(backbone, 2, shape[0])
    with torch.no_grad():
        seen = backbone.features(x)
    expect(seen.map is None, "there is no map")
    expect(seen.tokens is not None and seen.tokens.shape == (2, shape[0], backbone.dim), "tokens are [n t d]")


def check_padding(backbone: Any, shape: Sequence[int]) -> None:
    """Padding changes nothing for real tokens, and a row of nothing else gives numbers and a finite gradient."""
    backbone.eval()
    short = max(1, shape[0] // 2)
    x = _ids(backbone, 3, shape[0])
    x[0, short:] = backbone.padding
    x[2] = backbone.padding
    with torch.no_grad():
        padded, plain = backbone.features(x), backbone.features(x[:1, :short])
    same(padded.tokens[:1, :short], plain.tokens, "padding after a text does not change its tokens")
    same(padded.pooled[:1], plain.pooled, "padding after a text does not change its pooled features")
    expect(bool(padded.tokens.isfinite().all() and padded.pooled.isfinite().all()), "a row of padding gives numbers")
    backbone.train()
    backbone.zero_grad()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        backbone(x).square().mean().backward()
    found = [p.grad for p in backbone.parameters() if p.grad is not None]
    expect(all(bool(g.isfinite().all()) for g in found), "a row of padding leaves gradients finite")
    backbone.zero_grad()


def check_causality(backbone: Any, shape: Sequence[int]) -> None:
    """Where causal, later tokens change nothing of earlier ones; else they do."""
    backbone.eval()
    x = _ids(backbone, 2, shape[0])
    other = x.clone()
    other[:, -1] = _another(backbone, x[:, -1])
    with torch.no_grad():
        before, after = backbone.features(x).tokens[:, :-1], backbone.features(other).tokens[:, :-1]
    if backbone.causal:
        same(after, before, "a causal network's tokens do not depend on later ones")
    else:
        expect(float((after - before).abs().max()) > 0, "a network that is not causal lets tokens see later ones")


def check_documents(backbone: Any, shape: Sequence[int]) -> None:
    """The documents of a packed row are read as if each stood alone."""
    backbone.eval()
    x = _ids(backbone, 2, shape[0])
    cuts = [0, *sorted({max(1, shape[0] // 3), max(1, shape[0] - 2)} - {shape[0]}), shape[0]]
    documents = torch.zeros_like(x)
    for number, start in enumerate(cuts[:-1]):
        documents[:, start:] = number
    with torch.no_grad():
        packed = backbone.features(x, documents).tokens
        parts = [backbone.features(x[:, a:b]).tokens for a, b in itertools.pairwise(cuts)]
    same(packed, torch.cat(parts, dim=1), "no document of a packed row sees another, and each counts from its start")


def check_cache(backbone: Any, shape: Sequence[int]) -> None:
    """Reading on with a cache gives what reading all at once does; rows can be picked from it for a beam."""
    backbone.eval()
    length = shape[0]
    cache = backbone.start(3, length)
    expect((cache is not None) == backbone.causal, "start() gives a cache where causal, else None")
    if cache is None:
        return
    x = _ids(backbone, 3, length)
    first, second = max(1, length // 3), max(1, length - 2)
    with torch.no_grad():
        whole = backbone.features(x).tokens
        parts = [backbone.advance(x[:, :first], cache), backbone.advance(x[:, first:second], cache)]
        picked = torch.tensor([2, 0])
        cache.select(picked)
        rest = [backbone.advance(x[picked, at : at + 1], cache) for at in range(second, length)]
    same(torch.cat(parts, dim=1), whole[:, :second], "reading on with a cache gives what reading at once does")
    same(torch.cat(rest, dim=1), whole[picked, second:], "cache.select(rows) keeps those rows, in that order")


CHECKS: tuple[Callable[[Any, Sequence[int]], None], ...] = (
    check_ids,
    check_padding,
    check_causality,
    check_documents,
    check_cache,
)


def _ids(backbone: Any, rows: int, length: int) -> Tensor:
    """Return ids `[n t]`, none of them the padding."""
    generator = torch.Generator().manual_seed(rows + length)
    found = torch.randint(backbone.vocabulary - 1, (rows, length), generator=generator)
    ids: Tensor = found + (found >= backbone.padding).long()
    return ids


def _another(backbone: Any, ids: Tensor) -> Tensor:
    """Return for every id another one that is no padding either."""
    step = (ids + 1) % backbone.vocabulary
    return torch.where(step == backbone.padding, (step + 1) % backbone.vocabulary, step)
