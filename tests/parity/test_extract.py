"""extract: loss and one whole update against transformers' BertForQuestionAnswering, and against a plain second one."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from bodh import _optional
from bodh.backbones import _layouts, transformer
from bodh.contracts import Batch, Facts, Progress, Tokens
from bodh.objectives import extract

V, PAD, BEGIN, END = 40, 0, 2, 3
AT = Progress(step=0, steps=10, epoch=0, epochs=1)
TOKENS = Tokens(V, PAD, 1, BEGIN, END, 4, np.ones(V, bool), np.arange(V) < 5)
PLACES = torch.tensor([[7, 9], [6, 6], [0, 0], [5, 10]])


def _rows(lengths=(12, 12, 12, 12)):
    generator = torch.Generator().manual_seed(1)
    rows = torch.full((len(lengths), 12), PAD)
    for row, length in zip(rows, lengths, strict=True):
        row[:length] = torch.randint(5, V, (length,), generator=generator)
        row[0], row[4], row[length - 1] = BEGIN, END, END
    return rows


def _objective(backbone):
    facts = Facts(records=64, steps=10, batch_size=4, shape=(12,), tokens=TOKENS)
    return extract.build(backbone, extract.Config(), facts).train()


def _bert():
    pytest.importorskip("transformers")
    transformers = _optional.transformers("tests")
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=V, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=16, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, pad_token_id=PAD,
    )  # fmt: skip
    bert = transformers.BertForQuestionAnswering(config).train()
    return bert, config.to_dict()


def _like(bert, config):
    """Return the objective on our network with the weights of `bert`."""
    weights = {name: tensor.clone() for name, tensor in bert.state_dict().items()}
    settings = _layouts.architecture(config) | {"types": _layouts.types_of(weights, "bert")}
    assert settings["types"] == 2
    backbone = transformer.build(shape=(12,), vocabulary=V, padding=PAD, separator=END, **settings)
    found, _, missing = _layouts.take(weights, "bert", 2, types=True)
    assert not missing
    backbone.load_state_dict(found)
    ours = _objective(backbone)
    ours.head.load_state_dict({"weight": weights["qa_outputs.weight"]})
    return ours


def test_loss_and_one_whole_update_of_bert_for_question_answering():
    bert, config = _bert()
    ours = _like(bert, config)
    ids = _rows()
    types = torch.zeros_like(ids)
    types[:, 5:] = 1  # of the second text, the end token after the first belongs to the first
    losses = []
    for module, loss in (
        (ours, lambda: ours.step(Batch((ids, PLACES), torch.arange(4), None, seed=1), AT).loss),
        (bert, lambda: bert(input_ids=ids, token_type_ids=types, attention_mask=torch.ones_like(ids),
                            start_positions=PLACES[:, 0], end_positions=PLACES[:, 1]).loss),
    ):  # fmt: skip
        optimiser = torch.optim.SGD(module.parameters(), lr=0.5)
        losses.append(loss())
        optimiser.zero_grad()
        losses[-1].backward()
        optimiser.step()
    torch.testing.assert_close(losses[0], losses[1], atol=1e-6, rtol=1e-5)
    after = bert.state_dict()
    found, _, _ = _layouts.take(after, "bert", 2, types=True)
    for name, mine in ours.backbone.state_dict().items():
        torch.testing.assert_close(
            mine, found[name], atol=1e-5, rtol=1e-4, msg=lambda text, name=name: f"{name}: {text}"
        )
    torch.testing.assert_close(ours.head.weight, after["qa_outputs.weight"], atol=1e-5, rtol=1e-4)


def test_padding_counts_for_nothing():
    torch.manual_seed(0)
    backbone = transformer.build(shape=(12,), vocabulary=V, padding=PAD, width=16, depth=1, heads=2, dropout=0.0)
    ours = _objective(backbone)
    theirs = copy.deepcopy(ours)
    ids, places = _rows((12, 9, 8, 11)), PLACES.clone()
    places[1] = torch.tensor([6, 6])
    total = 0.0
    for row, place in zip(ids, places, strict=True):
        told = theirs.head(theirs.backbone.features(row[row != PAD][None]).tokens)[0]  # [t 2]
        for side in (0, 1):
            total = total - F.log_softmax(told[:, side], dim=0)[place[side]] / 8
    loss = ours.step(Batch((ids, places), torch.arange(4), None, seed=1), AT).loss
    torch.testing.assert_close(loss, total, atol=1e-6, rtol=1e-5)
    for objective, value in ((ours, loss), (theirs, total)):
        optimiser = torch.optim.SGD(objective.parameters(), lr=0.5)  # Adam would enlarge what is noise around nought
        value.backward()
        optimiser.step()
    for (name, mine), other in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(mine, other, atol=2e-5, rtol=1e-3, msg=lambda text, name=name: f"{name}: {text}")


def test_huggingface_gets_the_types_too():
    bert, _ = _bert()
    from bodh.backbones import huggingface

    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    backbone = huggingface.build(
        shape=(12,), model="bert", vocabulary=V, padding=PAD, separator=END, max_position_embeddings=16, **sizes
    ).eval()
    own = backbone.network.state_dict()
    backbone.network.load_state_dict({name: bert.bert.state_dict()[name] for name in own})
    ids = _rows((12, 9, 8, 11))
    types = (torch.arange(12) > 4).long().expand_as(ids).contiguous()
    with torch.no_grad():
        wanted = bert.eval().bert(input_ids=ids, token_type_ids=types, attention_mask=(ids != PAD).long())
        told = backbone.features(ids).tokens
    real = ids != PAD
    torch.testing.assert_close(told[real], wanted.last_hidden_state[real], atol=1e-5, rtol=1e-4)
