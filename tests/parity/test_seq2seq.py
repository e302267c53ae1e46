"""seq2seq: loss and one whole update against a plain second implementation; two processes against one."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from bodh.backbones import transformer
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
