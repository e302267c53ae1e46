"""The head of language models: tying, going on, documents, and what it says to other backbones."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from bodh.backbones import mlp, transformer
from bodh.contracts import Tokens
from bodh.errors import ConfigError
from bodh.heads import language

SPECIAL = np.arange(20) < 5
TOKENS = Tokens(20, 0, 1, 2, 3, 4, SPECIAL, SPECIAL)


def _backbone(*, causal: bool = False) -> transformer.Transformer:
    return transformer.build(shape=(8,), vocabulary=20, padding=0, width=8, depth=1, heads=2, causal=causal)


@pytest.mark.parametrize("transform", [True, False])
def test_tied_it_is_the_embedding_and_saved_it_is_apart(transform: bool) -> None:
    from bodh.model.networks import flat_weights, restore, weights_to_bytes

    backbone, head = _backbone(), language.build(dim=8, vocabulary=20, transform=transform)
    head.tie(backbone.embedding)
    assert head.weight is backbone.embedding.weight
    tokens = torch.randn(2, 3, 8)
    assert head(tokens).shape == (2, 3, 20)
    networks = torch.nn.ModuleDict({"backbone": backbone, "head": head})
    specs = {"backbone": backbone.spec, "head": head.spec}
    again = restore(specs, weights_to_bytes(flat_weights(networks)))
    torch.testing.assert_close(again["head"](tokens), head(tokens))
    assert again["head"].weight is not again["backbone"].embedding.weight


def test_a_tied_head_goes_on_from_a_trained_one_without_touching_the_embedding() -> None:
    backbone, head = _backbone(), language.build(dim=8, vocabulary=20, transform=True)
    head.tie(backbone.embedding)
    trained = language.build(dim=8, vocabulary=20, transform=True, eps=1e-5)
    torch.nn.init.normal_(trained.bias)
    before = backbone.embedding.weight.clone()
    head.take_over(trained)
    assert torch.equal(head.bias, trained.bias)
    assert torch.equal(head.transform[0].weight, trained.transform[0].weight)
    assert head.spec == trained.spec
    assert head.transform[2].eps == 1e-5
    assert torch.equal(backbone.embedding.weight, before)
    assert head.weight is backbone.embedding.weight
    with pytest.raises(ConfigError, match="'transform': False"):
        head.take_over(language.build(dim=8, vocabulary=20, transform=False))


def test_documents_are_numbered_where_there_are_several() -> None:
    ids = torch.tensor([[7, 3, 2, 8, 3, 2], [2, 9, 9, 9, 9, 9]])
    assert torch.equal(language.documents_of(ids, TOKENS), torch.tensor([[0, 0, 1, 1, 1, 2], [0] * 6]))
    assert language.documents_of(torch.tensor([[2, 9, 3], [2, 9, 9]]), TOKENS) is None


def test_documents_where_one_token_is_begin_and_end() -> None:
    """As GPT-2's, whose texts stand between two of the same: end and begin of two texts lie beside each other."""
    same = replace(TOKENS, padding=3, begin=3, end=3)
    rows = torch.tensor(
        [
            [3, 7, 8, 3, 3, 9, 3, 3, 6],  # from the begin of a text
            [7, 8, 3, 3, 9, 9, 9, 3, 3],  # from its middle
            [3, 3, 9, 9, 3, 3, 8, 8, 8],  # from its end
            [7, 8, 3, 9, 9, 3, 6, 6, 6],  # where texts have no begin, one ends each
        ]
    )
    told = [
        [0, 0, 0, 0, 1, 1, 1, 2, 2], [0, 0, 0, 1, 1, 1, 1, 1, 2], [0, 1, 1, 1, 1, 2, 2, 2, 2],
        [0, 0, 0, 1, 1, 1, 2, 2, 2],
    ]  # fmt: skip
    assert language.documents_of(rows, same).tolist() == told
    assert language.documents_of(torch.tensor([[3, 9, 8, 3], [9, 9, 9, 9]]), same) is None


def test_bits_a_byte() -> None:
    told = language.perplexity(torch.tensor(np.log(8.0)), 1.5)
    assert float(told["perplexity"]) == pytest.approx(8)
    assert float(told["bits_per_byte"]) == pytest.approx(2)
    assert "bits_per_byte" not in language.perplexity(torch.tensor(1.0), 0.0)


def test_backbones_that_do_not_fit_are_told_apart() -> None:
    other = mlp.build(shape=(8,))
    with pytest.raises(ConfigError, match=r"'causal_lm' needs a backbone that reads texts, given 'mlp'.*--backbone"):
        language.reader(other, TOKENS, objective="causal_lm", causal=True)
    with pytest.raises(ConfigError, match=r"causal=false; type backbone.causal=true, or --objective masked_lm"):
        language.reader(_backbone(), TOKENS, objective="causal_lm", causal=True)
    with pytest.raises(ConfigError, match=r"causal=true; type backbone.causal=false, or --objective causal_lm"):
        language.reader(_backbone(causal=True), TOKENS, objective="masked_lm", causal=False)
    with pytest.raises(ConfigError, match="dim=0"):
        language.build(dim=0, vocabulary=20, transform=False)
