"""sRGB to L*a*b*: published values, and back for greys."""

from __future__ import annotations

import pytest
import torch

from bodh.views.lab import grey_of, lab

KNOWN = {  # Lindbloom's calculator and scikit-image, D65
    (1.0, 1.0, 1.0): (100.0, 0.0, 0.0),
    (0.0, 0.0, 0.0): (0.0, 0.0, 0.0),
    (1.0, 0.0, 0.0): (53.24, 80.09, 67.20),
    (0.0, 1.0, 0.0): (87.73, -86.18, 83.18),
    (0.0, 0.0, 1.0): (32.30, 79.19, -107.86),
    (0.5, 0.5, 0.5): (53.39, 0.0, 0.0),
}


@pytest.mark.parametrize(("colour", "wanted"), KNOWN.items(), ids=str)
def test_published_values(colour: tuple[float, ...], wanted: tuple[float, ...]) -> None:
    found = lab(torch.tensor(colour, dtype=torch.float64).reshape(1, 3, 1, 1)).flatten()
    assert found.tolist() == pytest.approx(wanted, abs=0.02)


def test_greys_come_back() -> None:
    grey = torch.linspace(0, 1, 101, dtype=torch.float64)
    split = lab(grey.expand(1, 3, 1, -1))
    torch.testing.assert_close(grey_of(split[0, 0, 0]), grey, rtol=0, atol=2e-4)
    assert float(split[:, 1:].abs().max()) < 0.01


def test_the_gradient_is_finite_from_black_to_white() -> None:
    x = torch.linspace(0, 1, 50).expand(1, 3, 1, -1).clone().requires_grad_()
    lab(x).square().sum().backward()
    assert x.grad is not None
    assert bool(x.grad.isfinite().all())
