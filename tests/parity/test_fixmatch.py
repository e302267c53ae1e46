"""FixMatch against a plain second implementation, written record by record from the paper's equations."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import Tensor, nn

from bodh.contracts import Batch, Facts, Progress
from bodh.errors import ConfigError, DataError
from bodh.objectives import fixmatch
from bodh.testing.objectives import TinyBackbone

FACTS = Facts(1000, 10, 32, task="single", class_names=tuple("0123456789"), class_counts=(4,) * 10)


def digits() -> tuple[Tensor, Tensor]:
    from sklearn.datasets import load_digits

    data = load_digits()
    return torch.tensor(data.images[:32, None] / 16), torch.tensor(data.target[:32])


def plainly(scores: Tensor, labels: list[int], strong: Tensor, threshold: float, weight: float) -> Tensor:
    """Equations 3 and 4: means over labelled, and over all unlabelled records, one after the other."""
    supervised, consistency, known, unknown = torch.zeros(()), torch.zeros(()), 0, 0
    for row, label in zip(scores, labels, strict=True):
        if label >= 0:
            supervised = supervised - torch.log(torch.exp(row[label]) / torch.exp(row).sum())
            known += 1
            continue
        q = (torch.exp(row) / torch.exp(row).sum()).detach()
        told = strong[unknown]
        if q.max() >= threshold:
            consistency = consistency - torch.log(torch.exp(told[q.argmax()]) / torch.exp(told).sum())
        unknown += 1
    return supervised / known + weight * consistency / unknown


@pytest.mark.parametrize("threshold", [0.11, 0.5])  # some guesses count; none does
def test_loss_and_update(threshold: float):
    weak, labels = digits()
    strong = weak + 0.1 * torch.randn(weak.shape, generator=torch.Generator().manual_seed(0), dtype=weak.dtype)
    labels = labels.where(torch.arange(32) % 4 == 0, -1)
    torch.manual_seed(0)
    config = fixmatch.Config(threshold=threshold, weight=2.0, ratio=3)
    ours = fixmatch.build(TinyBackbone((1, 8, 8)), config, FACTS).double()
    nn.init.normal_(ours.head.weight, std=0.5)
    backbone, head = copy.deepcopy(ours.backbone), copy.deepcopy(ours.head)
    optimiser = torch.optim.SGD(ours.parameters(), lr=0.1, momentum=0.9)
    other = torch.optim.SGD([*backbone.parameters(), *head.parameters()], lr=0.1, momentum=0.9)
    for step in range(3):
        output = ours(Batch((weak, strong), torch.arange(32), labels, seed=step), Progress(step, 10, 0, 1))
        optimiser.zero_grad()
        output.loss.backward()
        optimiser.step()
        scores = head(backbone(torch.cat([weak, strong[labels < 0]])))
        expected = plainly(scores[:32], labels.tolist(), scores[32:], threshold, 2.0)
        other.zero_grad()
        expected.backward()
        other.step()
        assert output.loss.item() == pytest.approx(expected.item(), rel=1e-6)
        sure = scores[:32][labels < 0].softmax(1).max(1).values
        assert output.figures["counted"].item() == pytest.approx((sure >= threshold).double().mean().item())
    for mine, theirs in zip(ours.parameters(), [*backbone.parameters(), *head.parameters()], strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-6, atol=1e-8)


def test_without_guesses_that_count_it_is_cross_entropy():
    weak, labels = digits()
    ours = fixmatch.build(TinyBackbone((1, 8, 8)), fixmatch.Config(ratio=1), FACTS).double()
    labels = labels.where(torch.arange(32) % 2 == 0, -1)
    output = ours(Batch((weak, weak), torch.arange(32), labels, seed=0), Progress(0, 10, 0, 1))
    assert output.figures["counted"].item() == 0.0
    assert output.loss.item() == pytest.approx(output.figures["supervised"].item())
    assert math.isclose(output.loss.item(), math.log(10), rel_tol=0.1)


def test_what_it_cannot_learn_from_is_told():
    with pytest.raises(DataError, match="leave method=fixmatch out"):
        fixmatch.build(TinyBackbone((1, 8, 8)), fixmatch.Config(), Facts(10, 1, 64, task="multi", class_names=("a",)))
    with pytest.raises(ConfigError, match=r"type batch=16 or more, or objective\.ratio=1"):
        fixmatch.build(
            TinyBackbone((1, 8, 8)), fixmatch.Config(), Facts(10, 1, 8, task="single", class_names=("a", "b"))
        )
