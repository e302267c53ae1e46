"""Views of texts: what is left out, moved and hidden; the same on one process and on several."""

from __future__ import annotations

import numpy as np
import pytest

from bodh.contracts import Shard, View
from bodh.errors import ConfigError
from bodh.views.text import Marks, TextViews, settings_of, vary

MARKS = Marks(padding=0, begin=2, end=3, mask=4)
ROWS = [np.array([2, *range(10, 10 + count), 3], np.int32) for count in (1, 5, 20, 60)]
ALL = Shard(0, 4, 4)


def varied(rows=ROWS, shard=ALL, seed=1, length=64, **settings):
    return vary(rows, TextViews(**{"delete": 0.0, **settings}), MARKS, length=length, seed=seed, shard=shard)


def body(row):
    return row[1:-1].tolist()


@pytest.mark.parametrize(
    "settings", [{}, {"delete": 0.5}, {"span": 0.4}, {"crop": 0.3}, {"shuffle": 3}, {"mask": 0.3}, {"delete": 1.0}]
)
def test_begin_and_end_stay_and_something_is_between(settings) -> None:
    for row in varied(**settings):
        assert row[0] == 2
        assert row[-1] == 3
        assert len(row) >= 3
        assert row.dtype == np.int32


def test_nothing_asked_for_changes_nothing() -> None:
    for before, after in zip(ROWS, varied(), strict=True):
        assert (before == after).all()


def test_deletion_keeps_the_order_and_about_the_share() -> None:
    rows = [np.array([2, *range(10, 60), 3])] * 200
    out = varied(rows, Shard(0, 200, 200), delete=0.6)
    assert all(body(row) == sorted(body(row)) for row in out)
    assert abs(np.mean([len(body(row)) for row in out]) / 50 - 0.4) < 0.03


def test_a_span_is_one_piece_and_a_crop_another() -> None:
    (_, _, _, out) = varied(span=0.5)
    assert len(body(out)) == 30
    assert (np.diff(body(out)) != 1).sum() <= 1
    (_, _, _, out) = varied(crop=0.5)
    assert 30 <= len(body(out)) <= 60
    assert (np.diff(body(out)) == 1).all()


def test_no_token_moves_further_than_asked() -> None:
    (_, _, _, out) = varied(shuffle=3)
    assert sorted(body(out)) == list(range(10, 70))
    assert body(out) != sorted(body(out))
    assert max(abs(place - (token - 10)) for place, token in enumerate(body(out))) <= 3


def test_masks_stand_where_tokens_stood() -> None:
    (_, _, _, out) = varied(mask=0.4)
    hidden = np.array(body(out)) == 4
    assert 10 < hidden.sum() < 40
    assert (np.array(body(out))[~hidden] == np.arange(10, 70)[~hidden]).all()
    with pytest.raises(ConfigError, match="no mask token"):
        vary(ROWS, TextViews(mask=0.1), MARKS._replace(mask=None), length=64, seed=0, shard=ALL)


def test_long_rows_are_cut_and_crops_come_from_anywhere() -> None:
    assert [len(row) for row in varied(length=16)] == [3, 7, 16, 16]
    starts = {body(varied(seed=seed, length=16, crop=0.2)[3])[0] for seed in range(20)}
    assert len(starts) > 10
    assert max(starts) > 30


def test_two_processes_see_what_one_sees() -> None:
    settings = {"delete": 0.3, "span": 0.2, "crop": 0.6, "shuffle": 2, "mask": 0.2}
    whole = varied(**settings)
    parts = varied(ROWS[:2], Shard(0, 2, 4), **settings) + varied(ROWS[2:], Shard(2, 4, 4), **settings)
    assert all((one == other).all() for one, other in zip(whole, parts, strict=True))
    assert any(
        len(one) != len(other) or (one != other).any()
        for one, other in zip(whole, varied(seed=2, **settings), strict=True)
    )


def test_filling_is_no_part_of_a_text() -> None:
    filled = np.array([2, 10, 11, 3, 0, 0, 0, 0])
    (out,) = varied([filled], Shard(0, 1, 1), mask=1.0)
    assert out.tolist() == [2, 4, 4, 3]


def test_kinds_of_views_and_options() -> None:
    base = TextViews(delete=0.1, crop=0.5)
    assert settings_of(View("plain"), base) is None
    assert settings_of(View("weak"), base) is None
    assert settings_of(View("crop"), base) == TextViews(crop=0.5, delete=0.0)
    assert settings_of(View("strong", {"delete": 0.6, "blur": 1.0}), base) == TextViews(crop=0.5, delete=0.6)
    with pytest.raises(ConfigError, match="delete"):
        settings_of(View("strong", {"delete": 2.0}), base)
