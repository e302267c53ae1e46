"""SimCSE of pairs, of pairs with hard negatives, and of vectors that will be cut."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import nn

from bodh.backbones import transformer
from bodh.contracts import Batch, Facts, Progress, Tokens
from bodh.errors import ConfigError
from bodh.objectives import simcse

V = 40
SPECIAL = np.arange(V) < 5
TOKENS = Tokens(V, 0, 1, 2, 3, 4, SPECIAL, SPECIAL)
NOW = Progress(0, 10, 0, 1)


def _facts(sides: int = 1) -> Facts:
    return Facts(records=100, steps=10, batch_size=4, shape=(32,), tokens=TOKENS, sides=sides)


def _backbone(dropout: float = 0.0) -> nn.Module:
    torch.manual_seed(0)
    return transformer.build(shape=(32,), vocabulary=V, padding=0, width=16, depth=1, heads=2, dropout=dropout)


def _ids(length: int, seed: int) -> torch.Tensor:
    ids = torch.randint(5, V, (6, length), generator=torch.Generator().manual_seed(seed))
    ids[:, 0], ids[:, -1] = 2, 3
    return ids


def test_views_are_what_a_record_is_made_of() -> None:
    kinds = [
        [(view.kind, dict(view.options)) for view in simcse.build(_backbone(0.1), simcse.Config(), _facts(n)).views()]
        for n in (1, 2, 3)
    ]
    target, negative = ("target", {}), ("target", {"negative": True})
    assert kinds == [[("plain", {})] * 2, [("plain", {}), target], [("plain", {}), target, negative]]


def test_pairs_need_no_dropout_and_have_no_head_of_their_own() -> None:
    with pytest.raises(ConfigError, match="this backbone drops nothing"):
        simcse.build(_backbone(), simcse.Config(), _facts())
    ours = simcse.build(_backbone(), simcse.Config(), _facts(2))
    assert isinstance(ours.head, nn.Identity)
    assert len(list(simcse.build(_backbone(0.1), simcse.Config(), _facts()).head.parameters())) == 2
    assert isinstance(simcse.build(_backbone(0.1), simcse.Config(matryoshka=(4,)), _facts()).head, nn.Identity)


@pytest.mark.parametrize("sides", [2, 3])
def test_texts_of_unlike_lengths_are_read_one_by_one(sides: int) -> None:
    """Padding changes nothing, so what is read at once is what is read one by one."""
    ours = simcse.build(_backbone(), simcse.Config(), _facts(sides)).double()
    texts = [_ids(8, seed) for seed in range(sides)]
    longer = [texts[0], *(torch.cat([ids, torch.zeros(6, 8, dtype=torch.int64)], dim=1) for ids in texts[1:])]
    found = [ours(Batch(tuple(views), torch.arange(6), None, 0), NOW).loss for views in (texts, longer)]
    torch.testing.assert_close(found[0], found[1])


def test_a_hard_negative_makes_it_harder_and_moves_away() -> None:
    ours = simcse.build(_backbone(), simcse.Config(temperature=0.5), _facts(3))
    batch = Batch(tuple(_ids(8, seed) for seed in range(3)), torch.arange(6), None, 0)
    easier = simcse.SimCSE(ours.backbone, ours.head, temperature=0.5, sides=2)
    before = float(ours(batch, NOW).loss.detach())
    assert before > float(easier(Batch(batch.views[:2], batch.index, None, 0), NOW).loss.detach())
    optimiser = torch.optim.Adam(ours.parameters(), 1e-2)
    for _ in range(40):
        optimiser.zero_grad()
        ours(batch, NOW).loss.backward()
        optimiser.step()
    anchor, positive, negative = (ours.backbone(view) for view in batch.views)
    assert (torch.cosine_similarity(anchor, positive) > torch.cosine_similarity(anchor, negative)).all()


def test_what_goes_not_together_is_told() -> None:
    with pytest.raises(ConfigError, match=r"matryoshka: 17 is more than the 16 numbers"):
        simcse.build(_backbone(0.1), simcse.Config(matryoshka=(4, 17)), _facts())
    with pytest.raises(ValidationError, match="go not together"):
        simcse.Config(head=True, matryoshka=(4,))
    with pytest.raises(ValidationError, match="greater than or equal to 1"):
        simcse.Config(matryoshka=(0,))
