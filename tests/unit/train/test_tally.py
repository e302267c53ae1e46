"""Tokens a second and padding, counted from batches."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch

from bodh.train.engine import Engine
from bodh.train.tally import Tally

ENGINE = Engine(torch.device("cpu"))


def _tally(*, shape: tuple[int, ...] | None, end: int = 3) -> Tally:
    modality = SimpleNamespace(tokens=lambda: SimpleNamespace(padding=0, end=end))
    return Tally(cast("Any", SimpleNamespace(modality=modality, store=SimpleNamespace(shape=shape))))


def test_padding_is_counted_in_every_view() -> None:
    tally = _tally(shape=None)
    tally.add((torch.tensor([[2, 9, 3, 0], [2, 9, 9, 3]]), torch.tensor([[2, 3], [2, 3]])))
    assert tally.figures(ENGINE, 2.0) == {"tokens_per_second": 5.5, "padding": pytest.approx(1 / 12)}
    assert tally.figures(ENGINE, 2.0) == {}


def test_the_end_of_a_text_is_no_padding_where_both_are_one_id() -> None:
    tally = _tally(shape=None, end=0)
    tally.add((torch.tensor([[9, 9, 0, 0]]),))
    assert tally.figures(ENGINE, 1.0) == {"tokens_per_second": 3.0, "padding": 0.25}


def test_packed_rows_have_none_and_pictures_no_tokens() -> None:
    packed = _tally(shape=(4,))
    packed.add((torch.tensor([[9, 0, 9, 0]]),))
    assert packed.figures(ENGINE, 1.0) == {"tokens_per_second": 4.0, "padding": 0.0}
    pictures = Tally(cast("Any", SimpleNamespace(modality=object(), store=SimpleNamespace(shape=(3, 8, 8)))))
    pictures.add((torch.zeros(2, 3, 8, 8),))
    assert pictures.figures(ENGINE, 1.0) == {}
