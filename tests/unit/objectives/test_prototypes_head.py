"""The prototypes: cosines with directions, held where asked."""

from __future__ import annotations

import pytest
import torch

from bodh import _catalog
from bodh.errors import ConfigError
from bodh.heads import prototypes


def test_only_directions_count() -> None:
    head = prototypes.build(inputs=5, outputs=7)
    x = torch.randn(4, 5, generator=torch.Generator().manual_seed(0))
    cosines = head(x)
    expected = torch.nn.functional.cosine_similarity(x[:, None], head.weight[None], dim=2)
    torch.testing.assert_close(cosines, expected)
    with torch.no_grad():
        head.weight.mul_(3)
    torch.testing.assert_close(head(2 * x), cosines)


def test_held_prototypes_have_a_gradient_of_nought() -> None:
    head = prototypes.build(inputs=5, outputs=7)
    x = torch.randn(4, 5, generator=torch.Generator().manual_seed(0), requires_grad=True)
    loss = head(x, held=True).square().sum()
    loss.backward()
    assert head.weight.grad is not None
    assert float(head.weight.grad.abs().sum()) == 0
    assert x.grad is not None
    assert float(x.grad.abs().sum()) > 0
    torch.testing.assert_close(head(x), head(x, held=True))


def test_head_is_built_again_from_its_spec() -> None:
    head = prototypes.build(inputs=5, outputs=7)
    again = _catalog.get(head.spec.room, head.spec.name).build(**head.spec.arguments)
    again.load_state_dict(head.state_dict())
    assert torch.equal(again(torch.ones(1, 5)), head(torch.ones(1, 5)))


def test_wrong_sizes_are_refused() -> None:
    with pytest.raises(ConfigError, match="outputs=0"):
        prototypes.build(inputs=3, outputs=0)
