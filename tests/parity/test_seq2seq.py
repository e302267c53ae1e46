"""seq2seq: loss and one whole update against a plain second implementation; two processes against one."""

from __future__ import annotations

import copy
from functools import partial

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from bodh.backbones import small, transformer, vit
from bodh.contracts import Batch, Facts, Progress, Tokens
from bodh.objectives import seq2seq

V, PAD, BEGIN, END = 40, 0, 2, 3
AT = Progress(step=0, steps=10, epoch=0, epochs=1)
TOKENS = Tokens(V, PAD, 1, BEGIN, END, 4, np.ones(V, bool), np.arange(V) < 5)


def _build(**settings):
    torch.manual_seed(0)
    backbone = transformer.build(shape=(12,), vocabulary=V, padding=PAD, width=16, depth=1, heads=2, dropout=0.0)
    facts = Facts(records=64, steps=10, batch_size=4, shape=(12,), tokens=TOKENS, length=12)
    return seq2seq.build(backbone, seq2seq.Config(dropout=0.0, **settings), facts).train()


def _rows(lengths, width, seed):
    generator = torch.Generator().manual_seed(seed)
    rows = torch.full((len(lengths), width), PAD)
    for row, length in zip(rows, lengths, strict=True):
        row[:length] = torch.randint(5, V, (length,), generator=generator)
        row[0], row[length - 1] = BEGIN, END
    return rows


def _batch(start=0, stop=4):
    source, target = _rows([8, 5, 7, 3], 8, 1), _rows([4, 9, 6, 3], 10, 2)
    views = (source[start:stop], target[start:stop])
    return Batch(views, torch.arange(stop - start), None, seed=1)


def _plain_loss(objective, batch, smoothing):
    """The mean over target tokens of (1 - ε) · -log p(right) + ε · mean over v of -log p(v), one token at a time."""
    source, target = batch.views
    total, count = 0.0, 0
    for row in range(len(source)):
        read = source[row][source[row] != PAD][None]
        write = target[row][target[row] != PAD]
        memory = objective.backbone.features(read).tokens
        for place in range(len(write) - 1):
            logits = objective.head(write[None, : place + 1], memory)[0, -1]
            told = F.log_softmax(logits, dim=0)
            total = total - (1 - smoothing) * told[write[place + 1]] - smoothing * told.mean()
            count += 1
    return total / count


@pytest.mark.parametrize("kind", ["transformer", "gru"])
@pytest.mark.parametrize("tied", [True, False])
def test_loss_and_one_whole_update(kind, tied):
    ours = _build(decoder=kind, tied=tied)
    theirs = copy.deepcopy(ours)
    losses = []
    for objective, told in (
        (ours, lambda one: one.step(_batch(), AT).loss),
        (theirs, lambda one: _plain_loss(one, _batch(), 0.1)),
    ):
        optimiser = torch.optim.AdamW(objective.parameters(), lr=1e-2)
        losses.append(told(objective))
        optimiser.zero_grad()
        losses[-1].backward()
        torch.nn.utils.clip_grad_norm_(objective.parameters(), 1.0)
        optimiser.step()
    torch.testing.assert_close(losses[0], losses[1], atol=1e-6, rtol=1e-5)
    assert (ours.head.embedding.weight is ours.backbone.embedding.weight) == tied
    for (name, mine), other in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(mine, other, atol=2e-5, rtol=1e-3, msg=lambda text, name=name: f"{name}: {text}")


def test_padding_and_what_follows_the_end_count_for_nothing():
    objective, batch = _build(), _batch()
    source, target = batch.views
    more = torch.full((4, 3), PAD)
    wider = Batch((torch.cat([source, more], 1), torch.cat([target, more], 1)), batch.index, None, batch.seed)
    torch.testing.assert_close(objective.step(batch, AT).loss, objective.step(wider, AT).loss)


def test_padding_that_is_the_end_token_is_no_target():
    """As with GPT-2's tokenizer: the end is learned once."""
    objective, batch = _build(), _batch()
    source, target = batch.views
    other = Batch((source, target.masked_fill(target == PAD, END)), batch.index, None, batch.seed)
    torch.testing.assert_close(objective.step(batch, AT).loss, objective.step(other, AT).loss)


def test_two_processes_give_the_update_of_one(monkeypatch):
    """Shards have different numbers of target tokens; the mean is over all of them."""
    whole = _build()
    whole.step(_batch(), AT).loss.backward()
    counts = [int((_batch(a, b).views[1][:, 1:] != PAD).sum()) for a, b in ((0, 2), (2, 4))]
    assert counts[0] != counts[1]
    monkeypatch.setattr("bodh.losses.classification.average", lambda _: torch.tensor(sum(counts) / 2))
    shared = _build()
    for a, b in ((0, 2), (2, 4)):
        (shared.step(_batch(a, b), AT).loss / 2).backward()
    for (name, mine), other in zip(whole.named_parameters(), shared.named_parameters(), strict=True):
        torch.testing.assert_close(
            mine.grad, other[1].grad, atol=1e-6, rtol=1e-4, msg=lambda text, name=name: f"{name}: {text}"
        )


def test_smoothing_is_for_training_alone():
    objective = _build(label_smoothing=0.3).eval()
    torch.testing.assert_close(objective.step(_batch(), AT).loss, _plain_loss(objective, _batch(), 0.0))


# ------------------------------------------------------------------------------------------------------ pictures


def _pictures_and_texts():
    generator = torch.Generator().manual_seed(3)
    return torch.randn(4, 3, 16, 16, generator=generator), _rows([4, 9, 6, 3], 10, 2)


def _captioner(encoder, **settings):
    torch.manual_seed(0)
    build = {"small": small.build, "vit": partial(vit.build, width=16, depth=1, heads=2, patch=4)}[encoder]
    facts = Facts(records=64, steps=10, batch_size=4, shape=(3, 16, 16), tokens=TOKENS, length=12)
    return seq2seq.build(build(shape=(3, 16, 16)), seq2seq.Config(dropout=0.0, width=16, **settings), facts).train()


def _plain_attend_and_tell(objective, pictures, target):
    """Show, attend and tell, a word at a time: soft attention over the positions of the map, then one step of a GRU."""
    backbone, head = objective.backbone, objective.head
    stages = pictures
    for stage in backbone.stages.values():
        stages = stage(stages)
    places = torch.stack([stages[:, :, y, x] for y in range(stages.shape[2]) for x in range(stages.shape[3])], dim=1)
    places = F.layer_norm(places, places.shape[2:], head.norm.weight, head.norm.bias)
    layers, total, count = head.layers, 0.0, 0
    for row in range(len(pictures)):
        own, write = places[row], target[row][target[row] != PAD]
        state = torch.tanh(layers.first(own.mean(dim=0)))
        for place in range(len(write) - 1):
            fit = torch.stack([layers.score(torch.tanh(layers.key(one) + layers.query(state)))[0] for one in own])
            context = (fit.softmax(dim=0)[:, None] * own).sum(dim=0)
            word = head.embedding.weight[write[place]]
            state = layers.cell(torch.cat([word, context])[None], state[None])[0]
            out = torch.tanh(layers.out(torch.cat([state, word, context])))
            told = F.log_softmax(head.embedding.weight @ out, dim=0)
            total = total - 0.9 * told[write[place + 1]] - 0.1 * told.mean()
            count += 1
    return total / count


def _plain_show_and_tell(objective, pictures, target):
    """Show and tell: the pooled features are the first state, and are not seen again."""
    head, total, count = objective.head, 0.0, 0
    seen = objective.backbone(pictures)
    seen = F.layer_norm(seen, seen.shape[1:], head.norm.weight, head.norm.bias)
    for row in range(len(pictures)):
        write = target[row][target[row] != PAD]
        words = head.embedding.weight[write[:-1]]
        hidden = head.layers.gru(words[None], torch.tanh(head.layers.first(seen[row]))[None, None])[0][0]
        out = torch.tanh(head.layers.out(torch.cat([hidden, words], dim=1)))
        told = F.log_softmax(out @ head.embedding.weight.T, dim=1)
        total = total - 0.9 * told.gather(1, write[1:, None]).sum() - 0.1 * told.mean(dim=1).sum()
        count += len(write) - 1
    return total / count


def _plain_vit_transformer(objective, pictures, target):
    """The decoder reads the tokens of the patches; each text alone, without padding, from torch's own functions."""
    total, count = 0.0, 0
    memory = objective.backbone.features(pictures).tokens
    for row in range(len(pictures)):
        write = target[row][target[row] != PAD][None]
        told = F.log_softmax(objective.head(write[:, :-1], memory[row : row + 1])[0], dim=1)
        total = total - 0.9 * told.gather(1, write[0, 1:, None]).sum() - 0.1 * told.mean(dim=1).sum()
        count += write.shape[1] - 1
    return total / count


@pytest.mark.parametrize(
    ("encoder", "settings", "plain"),
    [
        ("small", {"decoder": "gru"}, _plain_attend_and_tell),
        ("small", {"decoder": "gru", "attention": False}, _plain_show_and_tell),
        ("vit", {"decoder": "transformer", "heads": 2}, _plain_vit_transformer),
    ],
)
def test_pictures_loss_and_one_whole_update(encoder, settings, plain):
    pictures, target = _pictures_and_texts()
    ours = _captioner(encoder, **settings)
    theirs = copy.deepcopy(ours)
    losses = []
    for objective, told in (
        (ours, lambda one: one.step(Batch((pictures, target), torch.arange(4), None, seed=1), AT).loss),
        (theirs, lambda one: plain(one, pictures, target)),
    ):
        optimiser = torch.optim.SGD(objective.parameters(), lr=0.5)  # AdamW would make much of rounding
        losses.append(told(objective))
        optimiser.zero_grad()
        losses[-1].backward()
        torch.nn.utils.clip_grad_norm_(objective.parameters(), 1.0)
        optimiser.step()
    torch.testing.assert_close(losses[0], losses[1], atol=1e-5, rtol=1e-4)
    for (name, mine), other in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(mine, other, atol=1e-5, rtol=1e-3, msg=lambda text, name=name: f"{name}: {text}")


def test_decoders_that_go_with_networks_of_pictures():
    assert _captioner("small").head.spec.arguments["kind"] == "gru"
    assert _captioner("vit", heads=2).head.spec.arguments["kind"] == "transformer"
