"""The momentum teacher: what it copies, how it follows, how its schedule runs."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from bodh.losses.teacher import base_for, follow, rising, teacher_of


def test_teacher_starts_equal_and_is_a_copy_without_gradient() -> None:
    student = nn.Linear(3, 2)
    teacher = teacher_of(student)
    assert torch.equal(teacher.weight, student.weight)
    assert teacher.weight.data_ptr() != student.weight.data_ptr()
    assert not any(parameter.requires_grad for parameter in teacher.parameters())
    assert student.weight.requires_grad


@pytest.mark.parametrize("momentum", [0.0, 0.9, 1.0])
def test_follow_averages_parameters(momentum: float) -> None:
    student, other = nn.Linear(3, 2), nn.Linear(3, 2)
    teacher = teacher_of(other)
    follow(teacher, student, momentum)
    torch.testing.assert_close(teacher.weight, momentum * other.weight + (1 - momentum) * student.weight)
    torch.testing.assert_close(teacher.bias, momentum * other.bias + (1 - momentum) * student.bias)


def test_follow_leaves_running_statistics() -> None:
    student = nn.BatchNorm1d(3)
    teacher = teacher_of(student)
    student(torch.randn(8, 3, generator=torch.Generator().manual_seed(0)) + 5)
    follow(teacher, student, 0.0)
    assert float(student.running_mean.abs().sum()) > 1  # type: ignore[union-attr]
    assert torch.equal(teacher.running_mean, torch.zeros(3))  # type: ignore[arg-type]


def test_momentum_rises_to_one() -> None:
    values = [rising(0.99, step / 10) for step in range(11)]
    assert values[0] == pytest.approx(0.99)
    assert values[5] == pytest.approx(0.995)
    assert values[-1] == 1
    assert values == sorted(values)
    assert rising(0.99, 1.3) == 1


def test_short_runs_have_quicker_teachers() -> None:
    assert [base_for(epochs) for epochs in (0, 40, 41, 300, 301, 1000)] == [0.97, 0.97, 0.99, 0.99, 0.996, 0.996]
