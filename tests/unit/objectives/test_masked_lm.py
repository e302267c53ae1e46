"""Which tokens are hidden, and what stands in their place."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from bodh.backbones import transformer
from bodh.contracts import Facts, Tokens
from bodh.errors import ConfigError
from bodh.objectives import masked_lm, simcse, tsdae
from bodh.objectives.masked_lm import Config, hide

V = 500
SPECIAL = np.arange(V) < 5
TOKENS = Tokens(V, 0, 1, 2, 3, 4, SPECIAL | (np.arange(V) % 2 == 0), SPECIAL)
"""Even ids start words."""


def _ids(rows: int = 400, length: int = 64) -> torch.Tensor:
    ids = torch.randint(5, V, (rows, length), generator=torch.Generator().manual_seed(0))
    ids[:, 0], ids[:, 30], ids[:, 31] = 2, 3, 2
    return ids


@pytest.mark.parametrize("unit", ["token", "word", "span"])
def test_shares_are_as_in_the_paper_and_special_tokens_stay(unit) -> None:
    ids = _ids()
    seen, where = hide(ids, TOKENS, Config(unit=unit), seed=1)
    assert not where[torch.from_numpy(SPECIAL)[ids]].any()
    assert torch.equal(seen[~where], ids[~where])
    counts = where.sum(dim=1)
    budget = round(0.15 * 61)
    if unit == "token":
        assert set(counts.tolist()) == {budget}
    words = torch.from_numpy(TOKENS.word_start)[ids].cumsum(dim=1)
    longest = max(int(row.bincount().max()) for row in words) * {"token": 1, "word": 1, "span": 10}[unit]
    assert int(counts.max()) < budget + longest  # no more than the last unit goes beyond the share
    assert float(counts.float().mean()) == pytest.approx(budget, rel=0.02 if unit == "word" else 0.15)  # one at least
    hidden, own = seen[where], ids[where]
    assert float((hidden == 4).float().mean()) == pytest.approx(0.8, abs=0.03)
    assert float((hidden == own).float().mean()) == pytest.approx(0.1, abs=0.03)
    assert not torch.from_numpy(SPECIAL)[hidden[hidden != 4]].any()


def test_words_are_hidden_whole() -> None:
    ids = _ids()
    _, where = hide(ids, TOKENS, Config(unit="word"), seed=2)
    inside = (ids[:, 1:] % 2 == 1) & (ids[:, 1:] >= 5) & (ids[:, :-1] >= 5)  # goes on with the word before it
    assert torch.equal(where[:, 1:][inside], where[:, :-1][inside])


@pytest.mark.parametrize("kind", ["bpe", "wordpiece", "unigram", "characters"])
def test_hindi_words_are_hidden_whole(kind: str) -> None:
    """Vowel signs, nukta and joiners stay with their letters; a danda is no part of the word before it."""
    pytest.importorskip("tokenizers", reason="the extra 'text' is not installed")
    from bodh.modalities.text import Modality, TextConfig
    from bodh.records.sources.strings import Strings

    text = "हिन्दी क्षेत्र में ज़्यादा त्योहार क्\u200dया विद्यालय"
    modality = Modality.fit(Strings([text, "लड़कियाँ रंगों में"], None), TextConfig(tokenizer=kind, vocabulary=300))
    tokens = modality.tokens()
    ids = torch.from_numpy(modality.decode(text.encode()))[None].long()
    whole = 0
    for seed in range(20):
        seen, where = hide(ids, tokens, Config(unit="word", mask=0.3, random=0, same=0), seed=seed)
        kept = modality.text(seen[0][~where[0]].numpy())  # what is left are whole words
        assert set(kept.split()) <= set(text.split())
        whole += len(kept.split()) < len(text.split())
    assert whole == 20
    row = modality.decode("में।".encode())
    danda = [place for place in range(len(row)) if "।" in modality.text(row[place : place + 1])]
    if kind in ("wordpiece", "characters") and danda:
        assert tokens.word_start[row[danda[0]]]


def test_marks_of_any_script_start_a_word_also_as_bytes() -> None:
    from bodh.modalities._tokenizers import _starts_in_bytes

    def piece(text: bytes) -> str:
        own = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
        others = [byte for byte in range(256) if byte not in own]
        return "".join(chr(byte) if byte in own else chr(0x100 + others.index(byte)) for byte in text)

    for start in (" है", "।", "“", "₹5", "\u00a0x", ",", "—"):
        assert _starts_in_bytes(piece(start.encode()))
    for inside in ("है", "ा", "्", "\u200d", "é", "x1"):
        assert not _starts_in_bytes(piece(inside.encode()))
    assert not _starts_in_bytes(piece("।".encode()[:2]))
    assert not _starts_in_bytes(piece("।".encode()[1:]))
    assert not _starts_in_bytes("Ⴀ")


def test_spans_are_longer_than_words() -> None:
    every = replace(TOKENS, word_start=np.ones(V, bool))
    lengths = {}
    for unit in ("word", "span"):
        _, where = hide(_ids(), every, Config(unit=unit), seed=3)
        starts = where.clone()
        starts[:, 1:] &= ~where[:, :-1]
        lengths[unit] = float(where.sum() / starts.sum())
    assert lengths["word"] < 1.3
    assert 2.5 < lengths["span"] < 5


def test_what_is_hidden_depends_on_the_seed_alone() -> None:
    ids = _ids(4)
    first, again, other = (hide(ids, TOKENS, Config(), seed=seed) for seed in (1, 1, 2))
    assert torch.equal(first.ids, again.ids)
    assert not torch.equal(first.where, other.where)


def test_short_rows_hide_one_token_and_empty_ones_none() -> None:
    ids = torch.tensor([[2, 9, 3, 0, 0, 0], [2, 3, 0, 0, 0, 0], [0] * 6])
    assert hide(ids, TOKENS, Config(), seed=0).where.sum(dim=1).tolist() == [1, 0, 0]


def _facts(**changes) -> Facts:
    return Facts(100, 10, 4, shape=(16,), tokens=replace(TOKENS, **changes))


def _backbone(**settings):
    return transformer.build(shape=(16,), vocabulary=V, padding=0, **{"width": 12, "depth": 1, "heads": 2, **settings})


def test_mistakes_are_told() -> None:
    with pytest.raises(ConfigError, match=r"has none.*--objective causal_lm"):
        masked_lm.build(_backbone(), Config(), _facts(mask=None))
    with pytest.raises(ValueError, match=r"random \(0.6\) and same \(0.5\)"):
        Config(random=0.6, same=0.5)
    with pytest.raises(ConfigError, match=r"drops nothing.*backbone.dropout=0.1"):
        simcse.build(_backbone(dropout=0.0), simcse.Config(), _facts())
    with pytest.raises(ConfigError, match=r"objective.heads=5 cannot share.*12 evenly; type objective.heads=4"):
        tsdae.build(_backbone(), tsdae.Config(heads=5), _facts())
