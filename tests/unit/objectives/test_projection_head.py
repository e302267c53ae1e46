"""The projection head: layers, normalisation, and how it is built again."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from bodh import _catalog
from bodh.errors import ConfigError
from bodh.heads import projection


def _kinds(**arguments: Any) -> list[str]:
    head = projection.build(inputs=6, hidden=5, outputs=4, **arguments)
    return [type(part).__name__ for part in head.layers]


def test_layers() -> None:
    assert _kinds() == ["Linear", "BatchNorm1d", "ReLU", "Linear"]
    assert _kinds(norm="none") == ["Linear", "ReLU", "Linear"]
    assert _kinds(layers=1) == ["Linear"]
    assert _kinds(layers=3, norm="none") == ["Linear", "ReLU", "Linear", "ReLU", "Linear"]
    assert _kinds(norm="none", activation="gelu") == ["Linear", "GELU", "Linear"]
    assert _kinds(final_norm=True) == ["Linear", "BatchNorm1d", "ReLU", "Linear", "BatchNorm1d"]


def test_a_norm_takes_the_bias_s_place() -> None:
    linears = [part for part in projection.build(inputs=6, hidden=5, outputs=4).layers if isinstance(part, nn.Linear)]
    assert [part.bias is None for part in linears] == [True, False]


def test_head_is_built_again_from_its_spec() -> None:
    head = projection.build(inputs=6, hidden=5, outputs=4, layers=3, final_norm=True).eval()
    again = _catalog.get(head.spec.room, head.spec.name).build(**head.spec.arguments).eval()
    again.load_state_dict(head.state_dict())
    x = torch.randn(3, 6, generator=torch.Generator().manual_seed(0))
    assert torch.equal(again(x), head(x))
    assert head(x).shape == (3, 4)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"hidden": 0}, "hidden=0"),
        ({"layers": 0}, "layers=0"),
        ({"norm": "instance"}, "'instance'"),
        ({"activation": "tanh"}, "'tanh'"),
    ],
)
def test_wrong_arguments_are_refused(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        projection.build(**{"inputs": 3, "hidden": 3, "outputs": 3} | wrong)
