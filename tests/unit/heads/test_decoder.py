"""Decoders: nothing sees what comes later, padding of the memory changes nothing, step by step is all at once."""

from __future__ import annotations

import itertools

import pytest
import torch

from bodh.errors import ConfigError
from bodh.heads import decoder

FORMS = {
    "learned": {"positions": "learned"},
    "sinusoidal": {"positions": "sinusoidal"},
    "rotary": {"positions": "rotary"},
    "gru": {"kind": "gru", "depth": 1},
    "gru-without-attention": {"kind": "gru", "depth": 1, "attention": False},
}


@pytest.fixture(params=FORMS, name="head")
def _head(request):
    torch.manual_seed(0)
    settings = {"width": 16, "depth": 2, "heads": 2, "context": 12, **FORMS[request.param]}
    return decoder.build(memory=10, vocabulary=30, **settings).eval()


def _inputs():
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(30, (3, 7), generator=generator)
    memory = torch.randn(3, 5, 10, generator=generator)
    seen = torch.tensor([[True] * 5, [True, True, True, False, False], [True] * 4 + [False]])
    return ids, memory, seen


def test_later_tokens_change_nothing_of_earlier_ones(head):
    ids, memory, seen = _inputs()
    other = ids.clone()
    other[:, 4:] = (other[:, 4:] + 1) % 30
    with torch.no_grad():
        torch.testing.assert_close(head(ids, memory, seen)[:, :4], head(other, memory, seen)[:, :4])


def test_padding_of_the_memory_changes_nothing(head):
    ids, memory, seen = _inputs()
    other = memory.masked_fill(~seen[:, :, None], 7.0)
    with torch.no_grad():
        told = head(ids, memory, seen)
        torch.testing.assert_close(told, head(ids, other, seen))
        torch.testing.assert_close(told[1:2], head(ids[1:2], memory[1:2, :3]))
        nothing = head(ids, memory, torch.zeros_like(seen))
    assert nothing.isfinite().all()


def test_the_memory_is_looked_at(head):
    ids, memory, _ = _inputs()
    with torch.no_grad():
        assert (head(ids, memory) - head(ids, memory.flip(0))).abs().max() > 1e-4


def test_step_by_step_is_all_at_once_and_rows_can_be_picked(head):
    ids, memory, seen = _inputs()
    with torch.no_grad():
        whole = head(ids, memory, seen)
        state = head.start(memory, seen, 7)
        first = [head.advance(ids[:, place], state) for place in range(4)]
        torch.testing.assert_close(torch.stack(first, dim=1), whole[:, :4])
        picked = torch.tensor([2, 0, 0])
        state.select(picked)
        rest = [head.advance(ids[picked, place], state) for place in range(4, 7)]
        torch.testing.assert_close(torch.stack(rest, dim=1), whole[picked, 4:])


def test_every_weight_learns_and_is_built_again(head):
    ids, memory, seen = _inputs()
    head(ids, memory, seen).logsumexp(dim=-1).mean().backward()
    assert all(p.grad is not None for p in head.parameters())
    again = decoder.build(**head.spec.arguments).eval()
    again.load_state_dict(head.state_dict())
    with torch.no_grad():
        torch.testing.assert_close(again(ids, memory, seen), head(ids, memory, seen))


def test_transformer_against_pytorchs_own_layers():
    """The same weights in torch.nn.TransformerDecoderLayer give the same states."""
    torch.manual_seed(0)
    head = decoder.build(memory=16, vocabulary=30, width=16, depth=2, heads=2, context=12, dropout=0.0).eval()
    ids, _, seen = _inputs()
    memory = torch.randn(3, 5, 16)
    x = head.embedding(ids) + head.layers.places(torch.arange(7))
    later = torch.nn.Transformer.generate_square_subsequent_mask(7)
    for block in head.layers.blocks:
        layer = torch.nn.TransformerDecoderLayer(16, 2, 64, 0.0, "gelu", batch_first=True, norm_first=True).eval()
        cross, own = layer.multihead_attn, layer.self_attn
        state = {
            own.in_proj_weight: block.attention.qkv.weight, own.in_proj_bias: block.attention.qkv.bias,
            own.out_proj.weight: block.attention.out.weight, own.out_proj.bias: block.attention.out.bias,
            cross.in_proj_weight: torch.cat([block.cross.query.weight, block.cross.kv.weight]),
            cross.in_proj_bias: torch.cat([block.cross.query.bias, block.cross.kv.bias]),
            cross.out_proj.weight: block.cross.out.weight, cross.out_proj.bias: block.cross.out.bias,
            layer.linear1.weight: block.mlp[0].weight, layer.linear1.bias: block.mlp[0].bias,
            layer.linear2.weight: block.mlp[2].weight, layer.linear2.bias: block.mlp[2].bias,
        }  # fmt: skip
        with torch.no_grad():
            for mine, theirs in state.items():
                mine.copy_(theirs)
            x = layer(
                x,
                head.norm(memory),
                tgt_mask=later,
                memory_key_padding_mask=(~seen).float().masked_fill(~seen, -torch.inf),
            )
    with torch.no_grad():
        torch.testing.assert_close(head(ids, memory, seen), head.logits(head.layers.norm(x)), atol=1e-5, rtol=1e-4)


def test_gru_against_the_paper_word_for_word():
    """Bahdanau et al. 2015, appendix A: the weights, the context and the state, computed one row at a time."""
    torch.manual_seed(0)
    head = decoder.build(memory=10, vocabulary=30, width=16, kind="gru", dropout=0.0).eval()
    ids, memory, seen = _inputs()
    own = head.layers
    with torch.no_grad():
        told = head(ids, memory, seen)
        for row in range(3):
            read = head.norm(memory[row, seen[row]])
            state = torch.tanh(own.first(read.mean(dim=0)))
            for place in range(7):
                fit = [float(own.score(torch.tanh(own.query(state) + own.key(one)))) for one in read]
                weights = torch.tensor(fit).softmax(dim=0)
                context = sum(w * one for w, one in zip(weights, read, strict=True))
                y = head.embedding.weight[ids[row, place]]
                state = own.cell(torch.cat([y, context])[None], state[None])[0]
                out = head.embedding.weight @ torch.tanh(own.out(torch.cat([state, y, context])))
                torch.testing.assert_close(told[row, place], out, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"width": 10, "heads": 4}, "width=10, heads=4"),
        ({"kind": "gru", "depth": 2}, "a gru decoder has one layer"),
        ({"width": 6, "heads": 2, "positions": "rotary"}, "must be even"),
        ({"kind": "lstm"}, "kind"),
    ],
)
def test_mistakes_are_told(settings, told):
    with pytest.raises(ConfigError, match=told):
        decoder.build(memory=10, vocabulary=30, **settings)


def test_too_long_is_told(head):
    ids, memory, _ = _inputs()
    with pytest.raises(ConfigError, match="up to 12"):
        head(torch.cat([ids, ids], dim=1), memory)
    with pytest.raises(ConfigError, match="up to 12"):
        head.start(memory, None, 13)


def test_image_features_serve_as_memory():
    """The memory may be of any width and number of tokens: the patches of an image."""
    from bodh.backbones import vit

    image = vit.build(shape=(3, 8, 8), width=12, depth=1, heads=2, patch=2)
    head = decoder.build(memory=12, vocabulary=30, width=16, depth=1, heads=2)
    tokens = image.features(torch.randn(2, 3, 8, 8)).tokens
    assert head(torch.zeros(2, 5, dtype=torch.int64), tokens).shape == (2, 5, 30)
    assert list(itertools.chain(head.spec.arguments))[:2] == ["memory", "vocabulary"]
