"""The Transformer: what reaches the kernel, positions, refusals; the conformance suite checks all that it promises."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from bodh.backbones import _names, transformer
from bodh.contracts import can_mask, reads_tokens
from bodh.errors import ConfigError, DataError
from bodh.layers.positions import rotary, sinusoidal, within


def _built(**settings: Any) -> transformer.Transformer:
    torch.manual_seed(0)
    return transformer.build(shape=(16,), vocabulary=30, padding=0, **{"width": 16, "heads": 2, "depth": 2, **settings})


def _ids(*lengths: int, width: int = 12) -> torch.Tensor:
    ids = torch.randint(1, 30, (len(lengths), width), generator=torch.Generator().manual_seed(1))
    for row, length in enumerate(lengths):
        ids[row, length:] = 0
    return ids


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, bool]]:
    """Every call of the fused kernel: (mask, is_causal)."""
    calls: list[tuple[Any, bool]] = []
    real = F.scaled_dot_product_attention

    def watched(query, key, value, mask=None, dropped=0.0, *, is_causal=False):
        calls.append((mask, is_causal))
        return real(query, key, value, mask, dropped, is_causal=is_causal)

    monkeypatch.setattr(F, "scaled_dot_product_attention", watched)
    return calls


def test_no_mask_is_built_where_nothing_is_padded_and_nothing_packed(kernel) -> None:
    _built()(_ids(12, 12))
    _built(causal=True)(_ids(12, 12))
    assert kernel == [(None, False)] * 2 + [(None, True)] * 2


def test_padding_needs_a_mask_in_an_encoder_and_none_in_a_decoder(kernel) -> None:
    _built()(_ids(12, 5, 0))
    mask = kernel[0][0]
    assert mask.shape == (3, 1, 1, 12)
    assert (mask == 0).flatten(1).sum(1).tolist() == [12, 5, 12]  # a row of padding sees itself
    assert mask.min() == -math.inf
    kernel.clear()
    _built(causal=True)(_ids(12, 5, 0))
    assert kernel == [(None, True)] * 2


def test_documents_are_blocks_of_the_mask(kernel) -> None:
    documents = torch.tensor([[0, 0, 0, 1, 1]])
    _built(causal=True).features(_ids(5, width=5), documents)
    seen = kernel[0][0][0, 0] == 0
    assert seen.int().tolist() == [[1, 0, 0, 0, 0], [1, 1, 0, 0, 0], [1, 1, 1, 0, 0], [0, 0, 0, 1, 0], [0, 0, 0, 1, 1]]


def test_places_count_from_the_start_of_each_document() -> None:
    documents = torch.tensor([[4, 4, 4, 5, 5, 9], [0, 1, 1, 1, 1, 1]])
    assert within(documents).tolist() == [[0, 1, 2, 0, 1, 0], [0, 0, 1, 2, 3, 4]]


def test_sines_are_those_of_the_paper() -> None:
    found = sinusoidal(torch.arange(50), 8)
    for place, i in ((0, 0), (7, 1), (49, 3)):
        angle = place / 10_000 ** (2 * i / 8)
        assert found[place, 2 * i].item() == pytest.approx(math.sin(angle), abs=1e-5)
        assert found[place, 2 * i + 1].item() == pytest.approx(math.cos(angle), abs=1e-5)


def test_rotary_scores_depend_on_distance_alone() -> None:
    query, key = torch.randn(2, 1, 1, 1, 8, generator=torch.Generator().manual_seed(2)).unbind(0)
    turn = rotary(torch.arange(40), 8)
    all_queries, all_keys = turn(query.expand(1, 1, 40, 8)), turn(key.expand(1, 1, 40, 8))
    scores = (all_queries @ all_keys.transpose(-1, -2))[0, 0]
    torch.testing.assert_close(scores.diagonal(3), scores[0, 3].expand(37), atol=1e-4, rtol=1e-4)
    assert turn(query)[0, 0, 0].tolist() == pytest.approx(query[0, 0, 0].tolist())  # the first place turns nothing


@pytest.mark.parametrize("positions", ["rotary", "sinusoidal"])
def test_rows_may_be_longer_than_in_training_without_learned_positions(positions) -> None:
    network = _built(positions=positions).eval()
    assert network.context is None
    assert network(_ids(40, width=40)).shape == (1, 16)


def test_rows_longer_than_the_learned_positions_are_refused() -> None:
    with pytest.raises(DataError, match=r"rows of 17 tokens .* context of this backbone, 16; .*modality\.length=16"):
        _built()(_ids(17, width=17))


def test_a_text_longer_than_the_context_or_the_cache_is_refused() -> None:
    network = _built(causal=True).eval()
    with pytest.raises(ConfigError, match=r"a text of 17 tokens is longer than the context .* up to 16"):
        network.start(1, 17)
    cache = network.start(1, 4)
    network.advance(_ids(3, width=3), cache)
    with pytest.raises(ConfigError, match="5 tokens do not fit into a cache of 4"):
        network.advance(_ids(2, width=2), cache)


def test_weights_start_as_those_of_gpt2() -> None:
    network = _built(width=64, depth=8)
    assert network.embedding.weight.std().item() == pytest.approx(0.02, rel=0.1)
    assert network.layers[0].mlp[0].weight.std().item() == pytest.approx(0.02, rel=0.05)
    assert network.layers[0].mlp[2].weight.std().item() == pytest.approx(0.02 / 4, rel=0.05)
    assert network.layers[3].attention.out.weight.std().item() == pytest.approx(0.02 / 4, rel=0.05)


def test_pooling_of_one_token() -> None:
    ids = _ids(12, 5)
    first, last = _built(pool="first").eval(), _built(pool="last").eval()
    assert torch.equal(first(ids), first.features(ids).tokens[:, 0])
    assert torch.equal(last(ids), last.features(ids).tokens[[0, 1], [11, 4]])


def test_dropout_acts_in_training_alone() -> None:
    network = _built(dropout=0.5, attention_dropout=0.5)
    ids = _ids(12, 5)
    network.train()
    assert not torch.equal(network(ids), network(ids))
    network.eval()
    assert torch.equal(network(ids), network(ids))


def test_no_bias_means_none() -> None:
    assert not [name for name, _ in _built(bias=False).named_parameters() if name.endswith("bias")]


def test_it_reads_tokens_and_leaves_no_patches_out() -> None:
    assert reads_tokens(_built())
    assert not can_mask(_built())


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"width": 18, "heads": 4}, "width=18, heads=4 .width must be a multiple of heads"),
        ({"width": 6, "heads": 2, "positions": "rotary"}, "width / heads must be even"),
        ({"width": 15, "heads": 3, "positions": "sinusoidal"}, "a multiple of 2"),
        ({"context": 8}, r"context=8 .rows have up to 16 tokens; type modality.length=8"),
        ({"widht": 8}, "widht = 8: no such setting .did you mean 'width'"),
        ({"positions": "alibi"}, "positions = 'alibi'"),
    ],
)
def test_settings_that_do_not_go_are_told(settings, told) -> None:
    with pytest.raises(ConfigError, match=told):
        _built(**settings)


def test_other_records_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"reads token ids, given inputs of shape \(3, 32, 32\) .*backbone=small"):
        _names.build(_names.spec_for("transformer", shape=(3, 32, 32)))
    with pytest.raises(ConfigError, match="padding=30 is no id of a vocabulary of 30"):
        transformer.build(shape=(16,), vocabulary=30, padding=30)
