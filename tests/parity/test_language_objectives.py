"""Objectives on texts against independent implementations: loss and one whole update.

masked_lm and causal_lm against transformers' BERT and GPT-2 with their language heads, on the same weights; simcse and
tsdae against plain second implementations, tsdae's with PyTorch's own attention over the one vector.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bodh import _optional
from bodh.backbones import _layouts, _text_weights, transformer
from bodh.contracts import Batch, Facts, Progress, Tokens
from bodh.model.networks import build
from bodh.objectives import causal_lm, masked_lm, simcse, tsdae

V, RATE = 70, 0.1
SPECIAL = np.arange(V) < 5
TOKENS = Tokens(V, 0, 1, 2, 3, 4, SPECIAL | (np.arange(V) % 3 == 0), SPECIAL)
FACTS = Facts(records=100, steps=10, batch_size=4, shape=(32,), tokens=TOKENS)
NOW = Progress(0, 10, 0, 1)


@pytest.fixture(scope="module")
def library() -> Any:
    pytest.importorskip("tokenizers", reason="the extra 'text' is not installed")
    return _optional.transformers("this test")


def _ids(rows: int = 4, length: int = 24) -> Tensor:
    ids = torch.randint(5, V, (rows, length), generator=torch.Generator().manual_seed(3))
    ids[:, 0], ids[:, -1] = 2, 3
    return ids


def _published(network: Any, folder: Path) -> tuple[nn.Module, dict[str, Tensor], str]:
    """Save `network` with noise on all weights; return it as our backbone, its head's weights, and its layout."""
    with torch.no_grad():
        for tensor in network.parameters():
            tensor.add_(0.1 * torch.randn(tensor.shape, generator=torch.Generator().manual_seed(tensor.numel())))
    network.save_pretrained(folder)
    opened = _text_weights.open_folder(folder)
    found = _text_weights.fit(
        "transformer", opened, shape=(32,), arguments={}, records={"vocabulary": V, "padding": TOKENS.padding}
    )
    backbone = build({"backbone": found.spec})["backbone"]
    found.fill(backbone)
    head = _layouts.take_head(opened.file.weights, opened.config)
    assert head is not None
    return backbone, head, opened.kind


def _compare(ours: Any, theirs: Any, kind: str, losses: tuple[Tensor, Tensor]) -> None:
    """Compare the losses, step both networks, and compare every weight that is laid out alike."""
    torch.testing.assert_close(losses[0], losses[1], atol=1e-5, rtol=1e-5)
    for network, loss in zip((ours, theirs), losses, strict=True):
        loss.backward()
        torch.optim.SGD(network.parameters(), lr=RATE).step()
    depth = ours.backbone.spec.arguments["depth"]
    prefix = {"bert": "bert.", "gpt2": "transformer."}[kind]
    written = {prefix + name: value for name, value in _layouts.give(ours.backbone.state_dict(), kind, depth).items()}
    written |= _layouts.give_head(ours.head.state_dict(), kind)
    after, compared = theirs.state_dict(), 0
    for name, value in written.items():
        if "position" in name or "token_type" in name:
            continue  # BERT's second embedding of segments moves too, ours is one with the positions
        torch.testing.assert_close(value, after[name], atol=2e-5, rtol=1e-4, msg=lambda text, n=name: f"{n}: {text}")
        compared += 1
    assert compared > 20


def test_masked_lm_is_that_of_transformers(library, tmp_path) -> None:
    torch.manual_seed(0)
    theirs = library.BertForMaskedLM(
        library.BertConfig(
            hidden_size=48, num_hidden_layers=2, num_attention_heads=4, intermediate_size=96, vocab_size=V,
            max_position_embeddings=40, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
        )
    )  # fmt: skip
    backbone, head, kind = _published(theirs, tmp_path)
    config = masked_lm.Config()
    ours = masked_lm.build(backbone, config, FACTS)  # type: ignore[arg-type]
    assert set(ours.head.load_state_dict(head, strict=False).missing_keys) <= {"weight"}
    ids = _ids()
    seen, where = masked_lm.hide(ids, TOKENS, config, seed=11)
    assert not torch.equal(seen, ids)
    mine = ours(Batch((ids,), torch.arange(4), None, seed=11), NOW).loss
    yours = theirs(input_ids=seen, labels=ids.masked_fill(~where, -100)).loss
    _compare(ours, theirs, kind, (mine, yours))


def test_causal_lm_is_that_of_transformers(library, tmp_path) -> None:
    torch.manual_seed(0)
    theirs = library.GPT2LMHeadModel(
        library.GPT2Config(
            n_embd=48, n_layer=2, n_head=4, vocab_size=V, n_positions=40, bos_token_id=2, eos_token_id=3,
            resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0,
        )
    )  # fmt: skip
    backbone, head, kind = _published(theirs, tmp_path)
    ours = causal_lm.build(backbone, causal_lm.Config(), FACTS)  # type: ignore[arg-type]
    assert set(ours.head.load_state_dict(head, strict=False).missing_keys) <= {"weight"}
    ids = _ids()
    mine = ours(Batch((ids,), torch.arange(4), None, seed=0), NOW).loss
    yours = theirs(input_ids=ids, labels=ids).loss
    _compare(ours, theirs, kind, (mine, yours))


def _backbone(*, causal: bool = False, dropout: float = 0.0) -> Any:
    torch.manual_seed(1)
    return transformer.build(
        shape=(32,), vocabulary=V, padding=0, width=16, depth=2, heads=2, dropout=dropout, causal=causal
    ).double()


@pytest.mark.parametrize("same", [False, True])
def test_documents_of_packed_rows_are_learned_from_as_if_each_stood_alone(same: bool) -> None:
    """Also where one token is begin, end and padding, as GPT-2's."""
    special, ids = (2, 3), _ids(1)
    backbone = _backbone(causal=True)
    facts = FACTS
    if same:
        special = (3, 3)
        facts = replace(FACTS, tokens=replace(TOKENS, padding=3, begin=3))
        backbone.padding = 3
    ids[0, 0], ids[0, 9], ids[0, 10] = special[0], special[1], special[0]
    ours = causal_lm.build(backbone, causal_lm.Config(), facts).double()
    ours.eval()
    mine = ours(Batch((ids,), torch.arange(1), None, seed=0), NOW).loss
    parts = []
    for document in (ids[:, :10], ids[:, 10:]):
        logits = ours.head(ours.backbone.features(document[:, :-1]).tokens)
        parts.append(F.cross_entropy(logits.flatten(0, 1), document[:, 1:].flatten(), reduction="none"))
    each = torch.cat(parts)
    assert len(each) == 22  # of 23 pairs, one is of two documents
    torch.testing.assert_close(mine, each.mean())


def test_simcse_is_a_plain_implementation() -> None:
    ours = simcse.build(_backbone(dropout=0.2), simcse.Config(temperature=0.1), FACTS).double()
    ids = _ids(6)
    ids[2, 11:] = 0
    torch.manual_seed(5)
    loss = ours(Batch((ids, ids), torch.arange(6), None, seed=0), NOW).loss
    torch.manual_seed(5)
    z = torch.tanh(ours.head[0](ours.backbone(torch.cat([ids, ids]))))
    cosine = torch.stack([F.cosine_similarity(one[None], z[6:], dim=1) for one in z[:6]])
    torch.testing.assert_close(loss, F.cross_entropy(cosine / 0.1, torch.arange(6)))
    assert float(loss.detach()) > 0.01
    want = torch.autograd.grad(F.cross_entropy(cosine / 0.1, torch.arange(6)), list(ours.parameters()))
    loss.backward()
    for weight, gradient in zip(ours.parameters(), want, strict=True):
        torch.testing.assert_close(weight.grad, gradient)


class PlainTSDAE(nn.Module):
    """A second TSDAE: PyTorch's multi-head attention everywhere, over the sentence vector too."""

    def __init__(self, ours: Any) -> None:
        super().__init__()
        self.ours = ours
        self.across = nn.ModuleList()
        for layer in ours.decoder.layers:
            width = layer.value.in_features
            attention = nn.MultiheadAttention(width, 2, batch_first=True).double()
            with torch.no_grad():
                attention.in_proj_weight[2 * width :] = layer.value.weight
                attention.in_proj_bias[2 * width :] = layer.value.bias
                attention.out_proj.weight.copy_(torch.eye(width))
                attention.out_proj.bias.zero_()
            self.across.append(attention)

    def forward(self, left: Tensor, whole: Tensor) -> Tensor:
        own = self.ours.decoder
        vector = self.ours.backbone.features(left).pooled[:, None]  # [n 1 d]
        x = own.embedding.weight[whole[:, :-1]] + own.places.weight[: whole.shape[1] - 1]
        t, d = x.shape[1:]
        later = torch.full((t, t), float("-inf"), dtype=x.dtype).triu(1)
        for layer, across in zip(own.layers, self.across, strict=True):
            y = layer.norm1(x)
            q, k, v = (F.linear(y, layer.attention.qkv.weight[i * d : (i + 1) * d],
                                layer.attention.qkv.bias[i * d : (i + 1) * d]) for i in range(3))  # fmt: skip
            heads = [
                (a @ b.transpose(1, 2) / (d // 2) ** 0.5 + later).softmax(dim=2) @ c
                for a, b, c in zip(q.chunk(2, 2), k.chunk(2, 2), v.chunk(2, 2), strict=True)
            ]
            x = x + layer.attention.out(torch.cat(heads, dim=2))
            x = x + across(torch.randn_like(x), vector, vector)[0]  # whatever the query
            x = x + layer.mlp(layer.norm2(x))
        logits = own.norm(x) @ own.embedding.weight.T
        return F.cross_entropy(logits.flatten(0, 1), whole[:, 1:].flatten(), ignore_index=0)


def test_tsdae_is_a_plain_implementation() -> None:
    ours = tsdae.build(_backbone(), tsdae.Config(depth=2, heads=2), FACTS).double()
    whole = _ids()
    whole[1, 9], whole[1, 10:] = 3, 0
    left = whole[:, ::2].clone()
    loss = ours(Batch((left, whole), torch.arange(4), None, seed=0), NOW).loss
    second = PlainTSDAE(ours)
    other = second(left, whole)
    torch.testing.assert_close(loss, other)
    own = dict(ours.named_parameters())
    first = torch.autograd.grad(loss, list(own.values()))
    others = torch.autograd.grad(other, list(own.values()), allow_unused=True)
    compared = 0
    for name, mine, yours in zip(own, first, others, strict=True):
        if ".value." in name:
            continue  # copied into the second one's own weights, which are compared below
        torch.testing.assert_close(mine, yours, msg=lambda text, n=name: f"{n}: {text}")
        compared += 1
    assert compared > 20
    values = [mine for name, mine in zip(own, first, strict=True) if name.endswith("value.weight")]
    second.zero_grad()
    second(left, whole).backward()
    for value, across in zip(values, second.across, strict=True):
        torch.testing.assert_close(value, across.in_proj_weight.grad[2 * value.shape[0] :])


@pytest.mark.parametrize("cuts", [(), (4, 8, 16)])
@pytest.mark.parametrize("sides", [2, 3])
@pytest.mark.usefixtures("library")
def test_simcse_of_pairs_is_sentence_transformers(sides: int, cuts: tuple[int, ...]) -> None:
    """Loss and one whole update, on the same vectors; with `cuts`, of Matryoshka."""
    name = "sentence_transformers.sentence_transformer.losses"
    losses = pytest.importorskip(name, reason="sentence-transformers is not installed")
    facts = replace(FACTS, sides=sides)
    ours = simcse.build(_backbone(), simcse.Config(temperature=0.05, matryoshka=cuts), facts).double()
    texts = []
    for side in range(sides):
        ids = _ids(6, 16)
        ids[:, 1:-1] = ids[:, 1:-1].roll(side, dims=0).flip(1)
        ids[side, 9:] = 0
        texts.append(ids)

    class Reader(nn.Module):
        """What sentence-transformers reads with: our backbone."""

        def __init__(self) -> None:
            super().__init__()
            self.backbone = ours.backbone

        def get_embedding_dimension(self) -> int:
            return int(ours.backbone.dim)

        def forward(self, features: dict[str, Tensor]) -> dict[str, Tensor]:
            return {"sentence_embedding": self.backbone(features["ids"])}

    loss = ours(Batch(tuple(texts), torch.arange(6), None, seed=0), NOW).loss
    theirs = losses.MultipleNegativesRankingLoss(Reader(), scale=20.0)  # type: ignore[arg-type]
    if cuts:
        theirs = losses.MatryoshkaLoss(theirs.model, theirs, list(cuts))
    other = theirs([{"ids": ids} for ids in texts], labels=torch.arange(6))
    torch.testing.assert_close(loss, other)
    assert float(loss.detach()) > 0.1
    want = torch.autograd.grad(other, list(ours.backbone.parameters()))
    loss.backward()
    with torch.no_grad():
        for weight, gradient in zip(ours.backbone.parameters(), want, strict=True):
            torch.testing.assert_close(weight - RATE * weight.grad, weight - RATE * gradient)
