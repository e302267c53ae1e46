from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from bodh.backbones import recurrent
from bodh.errors import ConfigError, UserError
from bodh.layers.recurrent import KINDS, STEPS, Recurrence, pieces

PADDING = 3


def network(**settings: Any) -> recurrent.Recurrent:
    torch.manual_seed(0)
    given = {"width": 16, "dropout": 0.0} | settings
    return recurrent.build(shape=(12,), vocabulary=40, padding=PADDING, **given)


def ids(rows: int, length: int, lengths: list[int] | None = None) -> Tensor:
    x = torch.randint(4, 40, (rows, length), generator=torch.Generator().manual_seed(1))
    for row, real in enumerate(lengths or []):
        x[row, real:] = PADDING
    return x


@pytest.mark.parametrize("kind", ["rnn", "lstm", "gru"])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_it_is_what_pytorch_computes_of_packed_sequences(kind: str, bidirectional: bool):
    ours = network(kind=kind, layers=2, bidirectional=bidirectional)
    width = 8 if bidirectional else 16
    theirs = KINDS[kind](16, width, num_layers=2, batch_first=True, bidirectional=bidirectional)
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    with torch.no_grad():
        for number, layer in enumerate(ours.layers):
            ways = [(layer.forth, ""), *([(layer.back, "_reverse")] if bidirectional else [])]
            for own, suffix in ways:
                for name in names:
                    getattr(theirs, f"{name}_l{number}{suffix}").copy_(getattr(own.cells, f"{name}_l0"))
    lengths = [12, 5, 9, 1]
    x = ids(4, 12, lengths)
    packed = pack_padded_sequence(ours.embedding(x), torch.tensor(lengths), batch_first=True, enforce_sorted=False)
    wanted, _ = pad_packed_sequence(theirs(packed)[0], batch_first=True, total_length=12)
    seen = ours.features(x)
    for row, real in enumerate(lengths):
        torch.testing.assert_close(seen.tokens[row, :real], wanted[row, :real])
        torch.testing.assert_close(seen.pooled[row], wanted[row, :real].mean(0))


@pytest.mark.parametrize("kind", ["rnn", "lstm", "gru"])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_documents_of_packed_rows_stand_alone_also_for_the_gradient(kind: str, bidirectional: bool):
    ours = network(kind=kind, layers=2, bidirectional=bidirectional, residual=True)
    x = ids(3, 12)
    cuts = [[0, 1, 5, 12], [0, 12], [0, 6, 7, 8, 12]]
    documents = torch.zeros_like(x)
    for row, places in enumerate(cuts):
        for number, place in enumerate(places[:-1]):
            documents[row, place:] = number
    packed = ours.features(x, documents).tokens
    alone = torch.stack(
        [
            torch.cat([ours.features(x[row : row + 1, a:b]).tokens[0] for a, b in itertools.pairwise(places)])
            for row, places in enumerate(cuts)
        ]
    )
    torch.testing.assert_close(packed, alone)
    weight = ours.embedding.weight
    gradients = [torch.autograd.grad(tokens.square().sum(), weight)[0] for tokens in (packed, alone)]
    torch.testing.assert_close(*gradients)


def test_pieces_put_first_tokens_first_and_longest_documents_first():
    documents = torch.tensor([[0, 0, 1, 1, 1], [0, 1, 1, 1, 1]])
    layout = pieces(documents, None, backward=False)
    assert layout.sizes.tolist() == [4, 3, 2, 1]
    assert layout.order.tolist() == [6, 2, 0, 5, 7, 3, 1, 8, 4, 9]
    turned = pieces(documents, None, backward=True)
    assert turned.order.tolist() == [9, 4, 1, 5, 8, 3, 0, 7, 2, 6]


@pytest.mark.parametrize("kind", STEPS)
def test_the_loop_of_exported_graphs_is_what_the_cells_compute(kind: str):
    torch.manual_seed(0)
    layer = Recurrence(kind, 6, 8, orthogonal=False)
    x = torch.randn(3, 7, 6)
    start = [torch.zeros(3, 8) for _ in range(2 if kind == "lstm" else 1)]
    cells: Any = layer.cells
    given = x @ cells.weight_ih_l0.T + cells.bias_ih_l0
    found = []
    for step in given.unbind(1):
        *start, out = STEPS[kind](*start, step, cells.weight_hh_l0, cells.bias_hh_l0)
        found.append(out)
    torch.testing.assert_close(torch.stack(found, 1), layer(x)[0])


def test_orthogonal_weights_keep_lengths_and_the_forget_gate_is_open():
    cells: Any = network(kind="lstm").layers[0].forth.cells
    for block in cells.weight_hh_l0.chunk(4):
        torch.testing.assert_close(block @ block.T, torch.eye(16), atol=1e-5, rtol=0)
    assert cells.bias_ih_l0[16:32].tolist() == [1.0] * 16
    assert float((cells.bias_ih_l0.sum() + cells.bias_hh_l0.sum()).detach()) == 16
    uniform: Any = network(kind="lstm", orthogonal=False).layers[0].forth.cells
    assert float(uniform.weight_hh_l0.detach().abs().max()) <= 0.25
    assert isinstance(uniform, nn.LSTM)


def test_attention_pools_by_what_it_learns_and_never_padding():
    ours = network(pool="attention")
    x = ids(2, 12, [12, 4])
    attention: Any = ours.attention
    with torch.no_grad():
        attention[2].weight.mul_(100)
        seen = ours.features(x)
        share = attention(seen.tokens[1, :4]).softmax(0)
    torch.testing.assert_close(seen.pooled[1], (share * seen.tokens[1, :4]).sum(0))
    assert set(map(id, attention.parameters())) <= {
        id(p) for module in ours.block_modules()["layer1"] for p in module.parameters()
    }


def test_the_last_states_of_both_directions_are_pooled():
    ours = network(bidirectional=True, pool="last")
    x = ids(2, 12, [12, 4])
    seen = ours.features(x)
    torch.testing.assert_close(seen.pooled[1], torch.cat([seen.tokens[1, 3, :8], seen.tokens[1, 0, 8:]]))


def test_causality_follows_the_directions():
    assert network().causal
    assert network().context is None
    both = network(bidirectional=True)
    assert not both.causal
    assert both.start(2, 8) is None
    state = network(kind="lstm", layers=2).start(2, 8)
    assert state is not None
    state.select(torch.tensor([1, 0]))  # before anything is read


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"shape": (3, 8, 8)}, "reads token ids, given inputs of shape"),
        ({"width": 7, "bidirectional": True}, r"width=7 and bidirectional=true: .* type backbone\.width=8"),
        ({"kind": "mgu"}, "mgu"),
        ({"depth": 2}, "depth"),
    ],
)
def test_what_cannot_be_built_is_told(given: dict[str, Any], said: str):
    with pytest.raises(UserError, match=said) as told:
        recurrent.build(**({"shape": (12,), "vocabulary": 40, "padding": PADDING} | given))
    assert isinstance(told.value, ConfigError)
