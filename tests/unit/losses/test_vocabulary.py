"""The cross-entropy in pieces is a linear layer and a cross-entropy."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from bodh.losses import vocabulary
from bodh.losses.vocabulary import vocabulary_loss


def _inputs(dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    random = torch.Generator().manual_seed(0)
    features = torch.randn(23, 6, generator=random, dtype=dtype)
    weight = torch.randn(11, 6, generator=random, dtype=dtype)
    bias = torch.randn(11, generator=random, dtype=dtype)
    return features, weight, bias, torch.randint(11, (23,), generator=random)


@pytest.mark.parametrize("piece", [1, 55, 10_000])
@pytest.mark.parametrize("with_bias", [True, False])
def test_loss_and_gradients(monkeypatch: pytest.MonkeyPatch, piece: int, with_bias: bool) -> None:
    monkeypatch.setattr(vocabulary, "PIECE", piece)
    monkeypatch.setattr(vocabulary, "FEW", 0)
    features, weight, bias, targets = _inputs()
    given = [features.requires_grad_(), weight.requires_grad_(), *([bias.requires_grad_()] if with_bias else [])]
    own = bias if with_bias else None
    wanted = F.cross_entropy(F.linear(features, weight, own), targets, reduction="sum")
    told = vocabulary_loss(features, weight, own, targets)
    torch.testing.assert_close(told, wanted)
    for mine, yours in zip(torch.autograd.grad(3 * told, given), torch.autograd.grad(3 * wanted, given), strict=True):
        torch.testing.assert_close(mine, yours)
    with torch.no_grad():
        torch.testing.assert_close(vocabulary_loss(features, weight, own, targets), wanted.detach())


def test_a_frozen_embedding_gets_no_gradient_and_features_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vocabulary, "FEW", 0)
    features, weight, _, targets = _inputs()
    vocabulary_loss(features.requires_grad_(), weight, None, targets).backward()
    assert features.grad is not None
    assert weight.grad is None


def test_no_tokens_are_no_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    features, weight, bias, targets = _inputs()
    weight.requires_grad_()
    for few in (0, -1):
        monkeypatch.setattr(vocabulary, "FEW", few)
        loss = vocabulary_loss(features[:0], weight, bias, targets[:0])
        assert float(loss.detach()) == 0


def test_half_precision_is_summed_up_in_full(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vocabulary, "FEW", 0)
    features, weight, bias, targets = _inputs(torch.float32)
    weight.requires_grad_()
    plain = vocabulary_loss(features, weight, bias, targets)
    with torch.autocast("cpu", torch.bfloat16):
        half = vocabulary_loss(features, weight, bias, targets)
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, plain, rtol=0.02, atol=0.1)
    half.backward()
    assert weight.grad is not None
    assert weight.grad.dtype == torch.float32
