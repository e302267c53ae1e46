"""Pairs of texts: decoded, divided into their sides, told apart from texts alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from bodh.contracts import Shard, View
from bodh.errors import BadRecord, DataError
from bodh.modalities.pairs import Modality, PairsConfig
from bodh.modalities.text import Modality as Text
from bodh.records.open import open_source

pytest.importorskip("tokenizers")
PAIRS = [("a dog runs", "ein Hund läuft"), ("नमस्ते दुनिया", "hello world"), ("the dog", "der Hund [SEP] bellt")]
BOTH = (View("plain"), View("target"))


@pytest.fixture(name="modality")
def _modality():
    return Modality.fit(open_source(PAIRS), PairsConfig(vocabulary=300, length=16))


def _rows(modality):
    return [modality.decode("\x1e".join(pair).encode()) for pair in PAIRS]


def test_both_texts_come_back_from_their_sides(modality):
    for row, pair in zip(_rows(modality), PAIRS, strict=True):
        assert row.dtype == np.int32
        sides = modality.sides(row)
        assert tuple(map(modality.text, sides)) == pair
        assert all(side[0] == 2 and side[-1] == 3 and not np.isin(side[1:-1], [2, 3]).any() for side in sides)
        assert modality.describe(row) == " → ".join(pair)


def test_a_model_reads_the_source_and_views_give_both(modality):
    rows = _rows(modality)
    read = modality.standardise(rows)
    source, target = modality.views(rows, BOTH, 0, Shard(0, 3, 3), torch.device("cpu"))
    assert np.array_equal(read, source.numpy())
    assert source.shape[1] % 8 == target.shape[1] % 8 == 0
    for row, ids in zip(rows, target.numpy(), strict=True):
        wanted = modality.sides(row)[1][:16]
        assert np.array_equal(ids[: len(wanted)][:-1], wanted[:-1])
    strong = modality.views(rows, (View("strong"),) * 3, 0, Shard(0, 3, 3), torch.device("cpu"))
    assert len(strong) == 3
    assert all(torch.equal(view, source) for view in strong)


def test_long_texts_are_cut_and_keep_their_end(modality):
    row = modality.decode(b"dog " * 30 + b"\x1e" + b"Hund " * 30)
    source, target = modality.views([row], BOTH, 0, Shard(0, 1, 1), torch.device("cpu"))
    assert source.shape == target.shape == (1, 16)
    assert source[0, -1] == target[0, -1] == 3


def test_one_text_alone_is_a_source(modality):
    row = modality.decode(b"a dog")
    assert modality.text(modality.sides(row)[0]) == "a dog"
    assert len(modality.sides(row)) == 1
    with pytest.raises(DataError, match="no target"):
        modality.views([row], BOTH, 0, Shard(0, 1, 1), torch.device("cpu"))


def test_a_third_text_is_a_hard_negative(modality):
    rows = [modality.decode(b"a dog\x1eein Hund\x1eder Hund"), modality.decode(b"the\x1eder\x1edie")]
    assert modality.describe(rows[0]) == "a dog → ein Hund (not: der Hund)"
    views = modality.views(rows, (*BOTH, View("target", {"negative": True})), 0, Shard(0, 2, 2), torch.device("cpu"))
    assert [modality.text(view[0].numpy()) for view in views] == ["a dog", "ein Hund", "der Hund"]
    with pytest.raises(DataError, match="no hard negative"):
        modality.views(_rows(modality), (View("target", {"negative": True}),), 0, Shard(0, 3, 3), torch.device("cpu"))


def test_texts_and_pairs_take_over_each_others_tokenizer(modality):
    alone = Text.adopt(modality, None, None)
    assert (alone.name, alone.config.length) == ("text", 16)
    assert np.array_equal(alone.decode(b"a dog runs"), modality.decode(b"a dog runs"))
    back = Modality.adopt(alone, None, None)
    assert back.config == modality.config
    assert back.files() == modality.files()
    assert Text.adopt(Strange(), None, None) is Modality.adopt(Strange(), None, None) is None


class Strange:
    """Reads no texts."""

    name = "image"
    config = None


def test_a_tokenizer_without_a_begin_is_told_where_to_begin(modality):
    """As T5's: decoders begin with the padding then."""
    special = modality.config.special.model_copy(update={"begin": None})
    config = modality.config.model_copy(update={"special": special})
    other = Modality(config, modality.files())
    source, target = other.sides(other.decode(b"a dog\x1eein Hund"))
    assert source[0] not in (0, 2)
    assert target[0] == 0 == other.tokens().begin
    assert (other.text(source), other.text(target)) == ("a dog", "ein Hund")


@pytest.mark.parametrize(
    ("raw", "told"),
    [
        (b"\x1ex", "the source is empty"),
        (b"x\x1e ", "the target is empty"),
        (b"a\x1eb\x1ec\x1ed", "4 texts"),
        (b"a\x1eb\x1e ", "the hard negative is empty"),
        (b"a\x1e\xff", "not UTF-8"),
        (np.zeros(3), "UTF-8 bytes"),
    ],
)
def test_bad_records_are_told(modality, raw, told):
    with pytest.raises(BadRecord, match=told):
        modality.decode(raw)


def test_texts_alone_cannot_be_fitted():
    class Texts:
        name, splits, ids = "x", np.array(["train"]), ["one"]

        def read(self, index):
            del index
            return b"a text"

    with pytest.raises(DataError, match="one: one text, where a pair was expected"):
        Modality.fit(Texts(), PairsConfig(vocabulary=300))
