"""Cross-entropy over a vocabulary, in pieces: logits of all tokens at once would be the largest tensor of the step.

The idea is Liger's fused linear cross-entropy (Hsu et al. 2024, "Liger Kernel", arXiv 2410.10989, section 3.2): each
piece's gradient is known as soon as its logits are, so it is computed there and the logits are forgotten. The numbers
are those of a linear layer and a cross-entropy. Logits of half precision are
summed up in float32. Axes: `m` tokens, `d` feature, `v` vocabulary.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from bodh.losses.precision import HALVES

PIECE = 2**22
"""Logits at a time: 16 MiB, which stay in a processor's cache better than all at once do."""
FEW = 2**18
"""Logits up to which a cross-entropy of PyTorch's is quicker; they stay in the processor's cache."""


def vocabulary_loss(features: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor) -> Tensor:
    """Return the cross-entropy of `targets` under logits `features @ weight.T + bias`, summed: a scalar.

    Args:
        features: [m d].
        weight: [v d].
        bias: [v], or none.
        targets: int64 [m] ids, 0 … v - 1.
    """
    learns = any(one is not None and one.requires_grad for one in (features, weight, bias))
    if torch.is_grad_enabled() and learns and len(features) * len(weight) > FEW:
        loss: Tensor = _Pieces.apply(features, weight, bias, targets)  # type: ignore[no-untyped-call]
        return loss
    pieces = zip(*(torch.split(part, _rows(weight)) for part in (features, targets)), strict=True)
    each = [F.cross_entropy(_full(F.linear(x, weight, bias)), y, reduction="sum") for x, y in pieces]
    return torch.stack(each).sum() if each else _full(features.new_zeros(()))


class _Pieces(torch.autograd.Function):
    """The loss and, on the way, its gradients: the backward pass only scales them."""

    @staticmethod
    def forward(ctx: Any, features: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor) -> Tensor:
        total = _full(features.new_zeros(()))
        to_features = torch.empty_like(features)
        to_weight = torch.zeros_like(weight) if ctx.needs_input_grad[1] else None
        to_bias = torch.zeros_like(bias) if bias is not None else None
        for start in range(0, len(features), _rows(weight)):
            here = slice(start, start + _rows(weight))
            x, y = features[here], targets[here, None]
            logits = _full(F.linear(x, weight, bias))  # [m' v]
            spread = logits.logsumexp(dim=1, keepdim=True)
            total += (spread - logits.gather(1, y)).sum()
            logits.sub_(spread).exp_()  # probabilities; minus one at the target, that is the gradient
            logits.scatter_add_(1, y, torch.full_like(spread, -1.0))
            to_features[here] = logits.to(weight.dtype) @ weight
            if to_weight is not None:
                to_weight += logits.T.to(x.dtype) @ x
            if to_bias is not None:
                to_bias += logits.sum(dim=0)
        ctx.save_for_backward(to_features, to_weight, to_bias)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        found = [None if one is None else one * gradients[0].to(one.dtype) for one in ctx.saved_tensors]
        return (*found, None)


def _full(logits: Tensor) -> Tensor:
    """Return `logits` in float32 where autocast made them in half precision; float64 stays."""
    return logits.float() if logits.dtype in HALVES else logits


def _rows(weight: Tensor) -> int:
    return max(1, PIECE // len(weight))
