"""Cross-correlation, variance and covariance, supervised contrast, self-distillation: against the written formulas."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from bodh.losses.cross_correlation import barlow_twins
from bodh.losses.self_distillation import self_distillation
from bodh.losses.supervised_contrast import supervised_contrast
from bodh.losses.variance_covariance import vicreg


def _rows(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_barlow_twins_is_the_written_sum() -> None:
    z0, z1 = _rows(9, 4), _rows(9, 4, seed=1)
    a, b = ((z - z.mean(0)) / (z.var(0, correction=0) + 1e-5).sqrt() for z in (z0, z1))
    expected = 0.0
    for i in range(4):
        for j in range(4):
            c = float((a[:, i] * b[:, j]).mean())
            expected += (1 - c) ** 2 if i == j else 0.3 * c**2
    assert float(barlow_twins(z0, z1, redundancy=0.3)) == pytest.approx(expected)


def test_barlow_twins_is_near_nought_for_equal_views_of_independent_features() -> None:
    z, _ = torch.linalg.qr(F.pad(_rows(64, 7), (1, 0), value=1.0))  # the first column takes the mean out
    assert float(barlow_twins(z[:, 1:], 3 * z[:, 1:] + 2, redundancy=1.0)) < 1e-2


def test_vicreg_is_the_written_sum() -> None:
    z0, z1 = 0.5 * _rows(9, 4), 2 * _rows(9, 4, seed=1)
    expected = 2.0 * float((z0 - z1).square().mean())
    for z in (z0, z1):
        deviation = (z.var(0) + 1e-4).sqrt()
        expected += 3.0 * float((1 - deviation).clamp(min=0).mean()) / 2
        covariance = torch.cov(z.T)
        off = sum(float(covariance[i, j]) ** 2 for i in range(4) for j in range(4) if i != j)
        expected += 0.5 * off / 4
    assert float(vicreg(z0, z1, invariance=2.0, variance=3.0, covariance=0.5)) == pytest.approx(expected)


def test_vicreg_has_a_gradient_where_all_records_are_alike() -> None:
    z = torch.zeros(8, 3, requires_grad=True)
    vicreg(z, z, invariance=25.0, variance=25.0, covariance=1.0).backward()
    assert z.grad is not None
    assert bool(z.grad.isfinite().all())


def _supcon(z: Tensor, labels: list[int], temperature: float) -> float:
    z = F.normalize(z, dim=1)
    kept = [i for i, label in enumerate(labels) if label >= 0]
    total = 0.0
    for i in kept:
        others = [a for a in kept if a != i]
        whole = sum(float((z[i] @ z[a] / temperature).exp()) for a in others)
        alike = [p for p in others if labels[p] == labels[i]]
        logs = [float(z[i] @ z[p] / temperature) - torch.tensor(whole).log().item() for p in alike]
        total -= sum(logs) / len(alike)
    return total / len(kept)


@pytest.mark.parametrize("targets", [[0, 1, 0, 2, 1], [0, -1, 0, -1, 1], [3, -1, -1, -1, -1]])
def test_supervised_contrast_is_the_written_sum(targets: list[int]) -> None:
    z0, z1 = _rows(5, 4), _rows(5, 4, seed=1)
    loss = supervised_contrast(z0, z1, torch.tensor(targets), temperature=0.3)
    assert float(loss) == pytest.approx(_supcon(torch.cat([z0, z1]), targets * 2, 0.3), abs=1e-6)


def test_records_without_a_label_change_nothing() -> None:
    z0, z1 = _rows(6, 4).requires_grad_(), _rows(6, 4, seed=1)
    labels = torch.tensor([0, 1, 0, -1, 1, -1])
    loss = supervised_contrast(z0, z1, labels, temperature=0.3)
    keep = labels >= 0
    alone = supervised_contrast(z0[keep], z1[keep], labels[keep], temperature=0.3)
    torch.testing.assert_close(loss, alone)
    loss.backward()
    assert z0.grad is not None
    assert float(z0.grad[~keep].abs().sum()) == 0
    assert float(z0.grad[keep].abs().sum()) > 0


def test_a_batch_without_labels_has_loss_and_gradient_nought() -> None:
    z = _rows(4, 3).requires_grad_()
    loss = supervised_contrast(z, z.detach(), torch.full((4,), -1), temperature=0.1)
    loss.backward()
    assert float(loss.detach()) == 0
    assert z.grad is not None
    assert float(z.grad.abs().sum()) == 0


def test_every_record_a_class_of_its_own_is_nt_xent() -> None:
    from bodh.losses.nt_xent import nt_xent

    z0, z1 = _rows(6, 4), _rows(6, 4, seed=1)
    ours = supervised_contrast(z0, z1, torch.arange(6), temperature=0.4)
    torch.testing.assert_close(ours, nt_xent(z0, z1, temperature=0.4))


def test_self_distillation_is_the_written_sum() -> None:
    student, teacher, centre = _rows(4, 5, 7), _rows(2, 5, 7, seed=1), _rows(7, seed=2)
    total, pairs = 0.0, 0
    for g in range(2):
        for v in range(4):
            if g == v:
                continue
            wanted = ((teacher[g] - centre) / 0.5).softmax(1)
            total -= float((wanted * (student[v] / 0.9).log_softmax(1)).sum(1).mean())
            pairs += 1
    loss = self_distillation(student, teacher, centre, student_temperature=0.9, teacher_temperature=0.5)
    assert pairs == 6
    assert float(loss) == pytest.approx(total / pairs)


def test_no_gradient_goes_into_the_teacher() -> None:
    student, teacher = _rows(3, 5, 7).requires_grad_(), _rows(2, 5, 7, seed=1).requires_grad_()
    loss = self_distillation(student, teacher, torch.zeros(7), student_temperature=0.1, teacher_temperature=0.04)
    loss.backward()
    assert teacher.grad is None
    assert student.grad is not None
    assert float(student.grad.abs().sum()) > 0
