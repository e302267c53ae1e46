"""seq2seq with networks of pictures: what the decoder looks at, sizes that it takes, what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from bodh.backbones import mlp, resnet_cifar, small, torchvision, vit
from bodh.backbones._stages import looked_at
from bodh.contracts import Batch, Facts, Progress, Tokens, View
from bodh.errors import ConfigError, DataError
from bodh.objectives import seq2seq

SHAPE = (3, 32, 32)
TOKENS = Tokens(30, 0, 1, 2, 3, 4, np.ones(30, bool), np.arange(30) < 5)
FACTS = Facts(records=64, steps=10, batch_size=4, shape=SHAPE, tokens=TOKENS, length=10)
AT = Progress(0, 1, 0, 1)


def _batch():
    ids = torch.randint(5, 30, (2, 10), generator=torch.Generator().manual_seed(0))
    ids[:, 0], ids[:, -1] = 2, 3
    return Batch((torch.randn(2, *SHAPE), ids), torch.arange(2), None, seed=0)


@pytest.mark.parametrize(
    "backbone",
    [
        pytest.param(lambda: small.build(shape=SHAPE), id="small"),
        pytest.param(lambda: resnet_cifar.build(shape=SHAPE, model="resnet20"), id="resnet20"),
        pytest.param(lambda: torchvision.build(shape=SHAPE, model="resnet18"), id="resnet18"),
        pytest.param(lambda: torchvision.build(shape=SHAPE, model="mobilenet_v3_small"), id="mobilenet"),
        pytest.param(lambda: vit.build(shape=SHAPE, width=32, depth=1, heads=2), id="vit"),
    ],
)
@pytest.mark.parametrize("settings", [{}, {"decoder": "gru", "attention": False}, {"decoder": "transformer"}])
def test_any_network_with_a_map_or_tokens_sees(backbone, settings):
    torch.manual_seed(0)
    objective = seq2seq.build(backbone(), seq2seq.Config(width=16, **settings), FACTS).train()
    output = objective.step(_batch(), AT)
    output.loss.backward()
    assert output.loss.isfinite()
    assert all(p.grad is not None for p in objective.head.parameters())
    memory, seen = looked_at(objective.backbone, _batch().views[0], whole=objective.head.whole)
    assert seen is None
    assert memory.shape[2] == objective.head.norm.normalized_shape[0]
    assert (memory.shape[1] == 1) == (settings.get("attention") is False)


def test_places_of_a_map_are_tokens_row_by_row():
    backbone = small.build(shape=SHAPE).eval()
    x = torch.randn(2, *SHAPE)
    map_ = backbone.features(x).map
    memory = looked_at(backbone, x, whole=True)[0]
    assert torch.equal(memory[:, map_.shape[3] + 2], map_[:, :, 1, 2])
    pooled = looked_at(backbone, x, whole=False)[0]
    assert torch.equal(pooled[:, 0], backbone(x))


def test_pictures_vary_where_asked_for():
    backbone = small.build(shape=SHAPE)
    assert seq2seq.build(backbone, seq2seq.Config(), FACTS).views() == (View("plain"), View("target"))
    assert seq2seq.build(backbone, seq2seq.Config(varied=True), FACTS).views() == (View("weak"), View("target"))


def test_what_cannot_be_is_told():
    with pytest.raises(DataError, match="these records bring none"):
        seq2seq.build(small.build(shape=SHAPE), seq2seq.Config(), Facts(records=9, steps=1, batch_size=2, shape=SHAPE))
    with pytest.raises(ConfigError, match="a gru decoder has one layer, given 3"):
        seq2seq.build(small.build(shape=SHAPE), seq2seq.Config(depth=3), FACTS)
    with pytest.raises(ConfigError, match=r"width=30, heads=4 \(width must be a multiple of heads\)"):
        seq2seq.build(vit.build(shape=SHAPE, width=32, depth=1, heads=4), seq2seq.Config(width=30), FACTS)


def test_a_network_without_places_is_refused_before_a_run():
    from bodh.api._objective import check

    with pytest.raises(ConfigError, match="needs a backbone that gives tokens or a map of positions, given 'mlp'"):
        check("seq2seq", seq2seq.NEEDS, mlp.build(shape=(12,)), (12,))
    check("seq2seq", seq2seq.NEEDS, small.build(shape=SHAPE), SHAPE)
