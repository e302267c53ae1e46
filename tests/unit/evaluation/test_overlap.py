"""Answers by counting words: the sentence that shares most with the question, and a piece of it."""

from __future__ import annotations

from bodh.evaluation.overlap import Overlap
from bodh.evaluation.protocols.answers import AROUND, marked
from bodh.modalities._spans import Record

TEXT = "The river is long. The old tower is 300 metres high. दिल्ली भारत की राजधानी है। It is red."


def test_the_sentence_with_the_rarest_words_in_common():
    overlap = Overlap.fit([TEXT, "The house is red. The river is wide."], ["300 metres", "red", "a b c"])
    assert overlap.words == 2
    assert overlap.sentence("How high is the tower?", TEXT) == "The old tower is 300 metres high."
    assert overlap.sentence("भारत की राजधानी क्या है?", TEXT) == "दिल्ली भारत की राजधानी है।"
    assert overlap.sentence("nothing alike", TEXT) == "The river is long."


def test_a_piece_holds_no_word_of_the_question():
    overlap = Overlap.fit([TEXT], ["300 metres"])
    assert overlap.piece("How high is the tower?", TEXT) == "300 metres"
    assert overlap.piece("the river is long", "The river is long.") == "The river"
    assert Overlap.fit([], []).piece("what?", "word") == "word"


def test_answers_are_marked_in_the_part_of_the_text_around_them():
    text = f"{'a ' * 300}right {'b ' * 300}told {'c ' * 300}"
    record = Record("what?", text, (("right", text.index("right")),))
    told = marked(record, (text.index("told"), text.index("told") + 4))
    assert "«right»" in told
    assert "[told]" in told
    assert len(told) < 6 * AROUND
    assert told.startswith("…")
    assert told.endswith("…")
    assert marked(record._replace(answers=()), None) == text[: 2 * AROUND]
    same = marked(record, (text.index("right"), text.index("right") + 5))
    assert "[«right»]" in same
