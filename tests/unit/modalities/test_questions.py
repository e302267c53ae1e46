"""Questions as rows: windows, places of the answer, characters of every token in any script and tokenizer."""

from __future__ import annotations

import itertools
import json
import pickle

import numpy as np
import pytest
import torch

from bodh.contracts import Shard, View
from bodh.errors import BadRecord, ConfigError, DataError
from bodh.modalities import text
from bodh.modalities._spans import whole_letters
from bodh.modalities.questions import Modality, QuestionsConfig
from bodh.records.open import open_source

pytest.importorskip("tokenizers")
CPU = torch.device("cpu")
WORDS = [f"word{number}" for number in range(60)]
LONG = " ".join(WORDS)
HINDI = "दिल्ली \u0921\u093f\u095e\u0947\u0902\u0938 की राजधानी है। कर्मचारी 1889 में आए, naïve café 🙂 थे।"
SPEC = (View("weak"), View("target"))


def _row(question, context, answer):
    answers = [] if answer is None else {"text": [answer], "answer_start": [context.index(answer)]}
    return {"question": question, "context": context, "answers": answers}


def _fitted(rows, **settings):
    source = open_source(rows)
    settings = {"tokenizer": "bpe", "vocabulary": 400, **settings}
    return source, Modality.fit(source, QuestionsConfig(**settings))


@pytest.fixture(name="long", scope="module")
def _long():
    rows = [_row("which word?", LONG, "word40 word41"), _row("and which first?", LONG, "word0")]
    source, modality = _fitted(rows, length=48, vocabulary=300)
    return modality, [modality.decode(source.read(place)) for place in range(2)]


@pytest.mark.parametrize("tokenizer", ["bpe", "wordpiece", "unigram", "characters"])
@pytest.mark.parametrize(
    "answer", ["\u0921\u093f\u095e\u0947\u0902\u0938", "कर्मचारी", "1889", "naïve café", "🙂", HINDI[:6]]
)
def test_answers_come_back_as_they_stand_in_any_script(tokenizer, answer):
    """U+095E becomes two characters in NFC, a byte-level token may be a part of a letter; places stay those given."""
    source, modality = _fitted([_row("क्या?", HINDI, answer)] * 2, tokenizer=tokenizer)
    row = modality.row(modality.decode(source.read(0)))
    told, start, stop = modality.answer(row.record, row, row.first, row.last)
    assert HINDI[start:stop] == told
    if tokenizer != "wordpiece" or answer in ("1889", HINDI[:6]):  # which knows no part of some words
        assert told == answer


def test_a_letter_is_never_parted_from_its_signs():
    word = "कर्मि"
    assert whole_letters(word, 0, 1) == (0, 1)
    assert whole_letters(word, 2, 3) == (1, 3)  # a virama belongs to the letter before it
    assert whole_letters(word, 0, len(word) - 1) == (0, len(word))
    assert whole_letters("a", 0, 1) == (0, 1)


def test_windows_overlap_and_cover_the_text(long):
    modality, rows = long
    row = modality.row(rows[0])
    windows = modality.windows(row)
    assert len(windows) > 2
    special = modality.config.special
    for before, after in itertools.pairwise(windows):
        assert before.start < after.start < before.stop  # overlap
    assert windows[0].start == 0
    assert windows[-1].stop == len(row.context)
    for window in windows:
        assert len(window.ids) <= 48
        assert window.ids[0] == special.begin
        assert window.ids[-1] == special.end
        assert window.ids[window.place - 1] == special.end
        np.testing.assert_array_equal(window.ids[window.place : -1], row.context[window.start : window.stop])
        assert modality.text(window.ids[: window.place]) == "which word?"


def test_stride_and_question_length_are_settings(long):
    modality, rows = long
    other = Modality(modality.config.model_copy(update={"stride": 5, "question": 2}), modality.files())
    row = other.row(rows[0])
    windows = other.windows(row)
    assert {after.start - before.start for before, after in itertools.pairwise(windows)} == {5}
    assert windows[0].place == 4  # begin, two tokens, end


def test_views_hold_the_answer_or_say_that_they_do_not(long):
    modality, rows = long
    many = rows * 50
    ids, places = modality.views(many, SPEC, 3, Shard(0, 100, 100), CPU)
    assert ids.shape == (100, 48)
    assert ids.dtype == places.dtype == torch.int64
    held = places[:, 0] > 0
    assert 0.35 < float(held.float().mean()) < 0.8  # half for sure, the others where it happens
    always = Modality(modality.config.model_copy(update={"answered": 1.0}), modality.files())
    assert (always.views(many, SPEC, 3, Shard(0, 100, 100), CPU)[1][:, 0] > 0).all()
    for place, (first, last) in enumerate(places.tolist()):
        if first:
            row = modality.row(many[place])
            np.testing.assert_array_equal(ids[place, first : last + 1], row.context[row.first : row.last + 1])
    again = modality.views(many[30:60], SPEC, 3, Shard(30, 60, 100), CPU)
    assert torch.equal(again[1], places[30:60])  # drawn for the whole batch, whoever computes it
    other = modality.views(many, SPEC, 4, Shard(0, 100, 100), CPU)
    assert not torch.equal(other[1], places)


def test_plain_views_show_the_answer_and_draw_nothing(long):
    modality, rows = long
    spec = (View("plain"), View("target"))
    first = modality.views(rows, spec, 1, Shard(0, 2, 2), CPU)
    second = modality.views(rows, spec, 2, Shard(0, 2, 2), CPU)
    assert torch.equal(first[0], second[0])
    assert (first[1][:, 0] > 0).all()
    alone = modality.views(rows, (View("strong"), View("strong")), 1, Shard(0, 2, 2), CPU)
    assert [view.ndim for view in alone] == [2, 2]


def test_no_answer_is_at_the_first_token_and_a_missing_one_is_told():
    rows = [_row("who?", "nobody knows it", None), _row("who?", "he knows it", "he")]
    source, modality = _fitted({"train": rows, "test": rows[1:]})
    assert modality.config.unanswerable is True
    rows = [modality.decode(source.read(place)) for place in range(2)]
    places = modality.views(rows, SPEC, 0, Shard(0, 2, 2), CPU)[1]
    assert places[0].tolist() == [0, 0]
    assert places[1, 0] > 0
    assert "«he» knows it" in modality.describe(rows[1])
    asked = modality.decode(modality.raw({"question": "who?", "context": "he knows it"}))
    assert modality.views([asked], (View("plain"),), 0, Shard(0, 1, 1), CPU)[0].shape[0] == 1
    with pytest.raises(DataError, match="does not tell its answer"):
        modality.views([asked], SPEC, 0, Shard(0, 1, 1), CPU)
    assert _fitted([_row("who?", "he knows it", "he")] * 2)[1].config.unanswerable is False


@pytest.mark.parametrize(
    ("raw", "told"),
    [
        (b"no json", "no question with its text"),
        (b"[1]", "no question with its text"),
        (json.dumps({"question": "", "context": "a", "answers": None}).encode(), "the question is empty"),
        (json.dumps({"question": "a", "context": " ", "answers": None}).encode(), "the text is empty"),
        (json.dumps({"question": "a", "context": "b", "answers": [["c", 0]]}).encode(), "'c' does not stand at"),
        (np.zeros(3), "an array of float64"),
    ],
)  # fmt: skip
def test_broken_records_are_told(long, raw, told):
    with pytest.raises(BadRecord, match=told):
        long[0].decode(raw)


def test_what_is_asked_must_have_both(long):
    with pytest.raises(DataError, match="a question without 'context'"):
        long[0].raw({"question": "a"})


def test_the_modality_is_built_again_from_config_and_files(long):
    modality, rows = long
    again = Modality(QuestionsConfig.model_validate_json(modality.config.model_dump_json()), modality.files())
    np.testing.assert_array_equal(again.standardise(rows), modality.standardise(rows))
    other = pickle.loads(pickle.dumps(modality))
    np.testing.assert_array_equal(other.decode(modality.raw({"question": "a", "context": LONG}))[5:9],
                                  modality.decode(modality.raw({"question": "a", "context": LONG}))[5:9])  # fmt: skip
    assert other.store_key() == modality.store_key()


def test_a_model_of_texts_brings_its_tokenizer():
    source = open_source([_row("who?", "he knows it", "he")] * 2)
    texts = text.Modality.fit(open_source([LONG, HINDI]), text.TextConfig(vocabulary=300, length=40))
    adopted = Modality.adopt(texts, QuestionsConfig(stride=7), source)
    assert adopted is not None
    assert adopted.config.length == 40
    assert adopted.config.stride == 7
    assert adopted.files() == texts.files()
    assert adopted.network_arguments == texts.network_arguments
    with pytest.raises(ConfigError, match="'unigram' was asked for"):
        Modality.adopt(texts, QuestionsConfig(tokenizer="unigram"), source)
    back = text.Modality.adopt(adopted, None, None)
    assert back is not None
    assert back.files() == texts.files()


def test_two_ends_stand_between_where_a_published_tokenizer_has_them(tmp_path):
    tokenizers = pytest.importorskip("tokenizers")
    _, modality = _fitted([_row("who?", "he knows it", "he")] * 2)
    lib = tokenizers.Tokenizer.from_str(modality.files()["tokenizer.json"].decode())
    ends = [("[CLS]", 2), ("[SEP]", 3)]
    lib.post_processor = tokenizers.processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] [SEP] $B:1 [SEP]:1", special_tokens=ends
    )
    lib.save(str(tmp_path / "tokenizer.json"))
    source = open_source([_row("who?", "he knows it", "he")] * 2)
    other = Modality.fit(source, QuestionsConfig(tokenizer=str(tmp_path / "tokenizer.json")))
    window = other.windows(other.row(other.decode(source.read(0))))[0]
    assert (window.ids == 3).sum() == 3
    assert window.ids[window.place - 2 : window.place].tolist() == [3, 3]
