"""What every pure loss promises, and what each promises for itself."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from bodh.losses.classification import binary_cross_entropy, cross_entropy
from bodh.losses.cosine import agreement, cosine_regression, spread, unit
from bodh.losses.info_nce import batch_contrast, queue_contrast
from bodh.losses.nt_xent import nt_xent

N, D, M, K = 6, 5, 9, 4


def _random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


QUEUE = F.normalize(_random(M, D, seed=9), dim=1)
CLASSES = torch.tensor([0, 3, -1, 1, 1, 2])
TAGS = torch.tensor([[1, 0, 0, 1], [0, 0, 0, 0], [1, 1, 1, 1], [-1, -1, -1, -1], [0, 1, 0, 0], [1, 0, -1, 0]])

Pair = Callable[[Tensor, Tensor], Tensor]
PAIRS: dict[str, Pair] = {
    "nt_xent": lambda a, b: nt_xent(a, b, temperature=0.3),
    "queue_contrast": lambda a, b: queue_contrast(
        a, b, QUEUE if a.dtype == torch.float64 else QUEUE.float(), temperature=0.3
    ),
    "batch_contrast": lambda a, b: batch_contrast(a, b, temperature=0.3),
    "cosine_regression": cosine_regression,
}
SINGLES: dict[str, Callable[[Tensor], Tensor]] = {
    "cross_entropy": lambda z: cross_entropy(z, CLASSES, weight=torch.tensor([1, 2, 0.5, 1]), label_smoothing=0.1),
    "binary_cross_entropy": lambda z: binary_cross_entropy(
        z, TAGS, weight=torch.tensor([[1.0, 1, 1, 1], [1, 2, 0.5, 1]]), label_smoothing=0.1
    ),
}
TAUGHT = ("queue_contrast", "batch_contrast", "cosine_regression")
ALL = {
    **{name: (lambda z, f=f: f(z[:N], z[N:])) for name, f in PAIRS.items()},  # type: ignore[misc]
    **SINGLES,
}


def _input(name: str) -> Tensor:
    return _random(N, K) if name in SINGLES else _random(2 * N, D)


@pytest.mark.parametrize("name", ALL)
def test_gradient_is_the_derivative(name: str) -> None:
    z = _input(name)
    if name in TAUGHT:  # the teacher's rows count as constants
        assert torch.autograd.gradcheck(lambda a: PAIRS[name](a, z[N:]), z[:N].clone().requires_grad_())
    else:
        assert torch.autograd.gradcheck(ALL[name], z.requires_grad_())


@pytest.mark.parametrize("name", ALL)
def test_input_stays_and_gradient_flows(name: str) -> None:
    z = _input(name).float().requires_grad_()
    before = z.detach().clone()
    loss = ALL[name](z)
    loss.backward()
    assert loss.shape == ()
    assert loss.isfinite()
    assert torch.equal(z.detach(), before)
    assert z.grad is not None
    assert z.grad.isfinite().all()
    assert z.grad.abs().sum() > 0


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_computed_in_float32(name: str, dtype: torch.dtype) -> None:
    rounded = _input(name).to(dtype)
    loss = ALL[name](rounded)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, ALL[name](rounded.float()), rtol=0, atol=0)


@pytest.mark.parametrize("name", ALL)
def test_autocast_does_not_reach_the_loss(name: str) -> None:
    z = _input(name).float()
    with torch.autocast("cpu", torch.bfloat16):
        inside = ALL[name](z)
    torch.testing.assert_close(inside, ALL[name](z), rtol=0, atol=0)


@pytest.mark.parametrize("name", PAIRS)
def test_order_of_records_does_not_matter(name: str) -> None:
    a, b = _random(N, D), _random(N, D, seed=1)
    order = torch.tensor([3, 1, 5, 0, 2, 4])
    torch.testing.assert_close(PAIRS[name](a, b), PAIRS[name](a[order], b[order]))


@pytest.mark.parametrize("name", PAIRS)
def test_length_of_vectors_does_not_matter(name: str) -> None:
    a, b = _random(N, D), _random(N, D, seed=1)
    torch.testing.assert_close(PAIRS[name](a, b), PAIRS[name](3 * a, 0.2 * b))


@pytest.mark.parametrize("name", ["nt_xent", "cosine_regression"])
def test_views_may_be_swapped(name: str) -> None:
    a, b = _random(N, D), _random(N, D, seed=1)
    torch.testing.assert_close(PAIRS[name](a, b), PAIRS[name](b, a))


@pytest.mark.parametrize("name", TAUGHT)
def test_no_gradient_goes_into_the_teacher(name: str) -> None:
    a, b = _random(N, D).requires_grad_(), _random(N, D, seed=1).requires_grad_()
    PAIRS[name](a, b).backward()
    assert a.grad is not None
    assert b.grad is None


@pytest.mark.parametrize("name", PAIRS)
def test_zero_vectors_give_a_finite_gradient(name: str) -> None:
    a = torch.zeros(N, D).requires_grad_()
    loss = PAIRS[name](a, torch.zeros(N, D))
    loss.backward()
    assert loss.isfinite()
    assert a.grad is not None
    assert a.grad.isfinite().all()


def test_nt_xent_spelled_out() -> None:
    z = F.normalize(torch.cat([_random(N, D), _random(N, D, seed=1)]), dim=1)
    total = 0.0
    for i in range(2 * N):
        positive = math.exp(float(z[i] @ z[(i + N) % (2 * N)]) / 0.3)
        total -= math.log(positive / sum(math.exp(float(z[i] @ z[j]) / 0.3) for j in range(2 * N) if j != i))
    assert float(nt_xent(z[:N], z[N:], temperature=0.3)) == pytest.approx(total / (2 * N), rel=1e-12)


def test_nt_xent_survives_a_small_temperature() -> None:
    a = _random(N, D).float().requires_grad_()
    loss = nt_xent(a, a.detach(), temperature=0.01)
    loss.backward()
    assert loss.isfinite()
    assert a.grad is not None
    assert a.grad.isfinite().all()


def test_queue_contrast_spelled_out() -> None:
    q, k = (F.normalize(_random(N, D, seed=s), dim=1) for s in (0, 1))
    logits = torch.cat([(q * k).sum(1, keepdim=True), q @ QUEUE.T], dim=1) / 0.3
    expected = F.cross_entropy(logits, torch.zeros(N, dtype=torch.long))
    torch.testing.assert_close(queue_contrast(q, k, QUEUE, temperature=0.3), expected)


def test_cosine_regression_runs_from_0_to_4() -> None:
    a = _random(N, D)
    assert float(cosine_regression(a, 2 * a)) == pytest.approx(0)
    assert float(cosine_regression(a, -a)) == pytest.approx(4)


def test_agreement_and_spread() -> None:
    a = _random(4000, 16)
    assert float(agreement(a, 3 * a)) == pytest.approx(1)
    assert float(spread(a)) == pytest.approx(1, abs=0.02)
    assert float(spread(a[:1].expand(10, 16))) == pytest.approx(0, abs=1e-6)
    assert not agreement(a.requires_grad_(), a).requires_grad
    torch.testing.assert_close(unit(a.detach()).norm(dim=1), torch.ones(4000, dtype=torch.float64))


def test_cross_entropy_is_torchs() -> None:
    z, weight = _random(N, K), torch.tensor([1, 2, 0.5, 1]).double()
    expected = F.cross_entropy(z, CLASSES, weight=weight, ignore_index=-1, label_smoothing=0.1)
    torch.testing.assert_close(cross_entropy(z, CLASSES, weight=weight, label_smoothing=0.1), expected)


def test_binary_cross_entropy_is_torchs_on_labelled_entries() -> None:
    z, known = _random(N, K), TAGS >= 0
    expected = F.binary_cross_entropy_with_logits(z[known], TAGS[known].double())
    torch.testing.assert_close(binary_cross_entropy(z, TAGS), expected)


def test_balanced_weights_make_rare_answers_count_alike() -> None:
    z = torch.zeros(10, 1)
    targets = torch.tensor([[1.0]] + [[0.0]] * 9)
    weight = torch.tensor([[10 / (2 * 9)], [10 / (2 * 1)]])
    z.requires_grad_()
    binary_cross_entropy(z, targets, weight=weight).backward()
    assert z.grad is not None
    assert float(z.grad.sum()) == pytest.approx(0, abs=1e-7)


def test_unlabelled_batches_teach_nothing() -> None:
    z = _random(N, K).requires_grad_()
    loss = cross_entropy(z, torch.full((N,), -1)) + binary_cross_entropy(z, torch.full((N, K), -1))
    loss.backward()
    assert float(loss.detach()) == 0
    assert z.grad is not None
    assert float(z.grad.abs().sum()) == 0
