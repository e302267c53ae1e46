"""Exact match and F1 against hand-computed figures and a second implementation (SQuAD's program, word for word)."""

from __future__ import annotations

import re
import string
from collections import Counter

import numpy as np
import pytest

from bodh.metrics.answers import exact, f1, normalised, scores

PAIRS = [
    ("The Eiffel Tower", "eiffel tower"), ("in 1889.", "1889"), ("300 m", "a height of 300 m!"), ("", "x"), ("", ""),
    ("the", "a"), ("a an the", "cat"), ("cat cat dog", "cat dog dog"), ("U.S.A", "USA"), ("well-known", "well known"),
    ("an apple, an egg", "apple egg"), ("theatre", "the atre"), ("$5 + 3%", "5 3"), ("  two   words ", "words two"),
]  # fmt: skip


def _squad_normalise(s):
    """evaluate-v1.1.py of the authors."""
    s = "".join(ch for ch in s.lower() if ch not in set(string.punctuation))
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", s).split())


def _squad_f1(prediction, truth):
    """evaluate-v2.0.py of the authors."""
    told, right = _squad_normalise(prediction).split(), _squad_normalise(truth).split()
    same = sum((Counter(told) & Counter(right)).values())
    if not told or not right:
        return int(told == right)
    if same == 0:
        return 0
    precision, recall = same / len(told), same / len(right)
    return 2 * precision * recall / (precision + recall)


@pytest.mark.parametrize(("told", "right"), PAIRS)
def test_of_ascii_they_are_squads_own(told, right):
    assert normalised(told) == _squad_normalise(told)
    assert exact(told, right) == float(_squad_normalise(told) == _squad_normalise(right))
    assert f1(told, right) == pytest.approx(_squad_f1(told, right))


def test_by_hand():
    assert f1("cat cat dog", "cat dog dog") == pytest.approx(2 / 3)  # two of three words, both ways
    assert f1("300 m", "height of 300 m") == pytest.approx(2 * 1 * 0.5 / 1.5)
    assert exact("The tower.", "tower") == 1


def test_any_script():
    composed, apart = "\u0921\u093f\u095e\u0947\u0902\u0938", "\u0921\u093f\u092b\u093c\u0947\u0902\u0938"
    assert exact(composed, apart) == 1  # the same letters in two spellings of Unicode
    assert exact("दिल्ली।", "दिल्ली") == 1  # a danda is punctuation
    assert normalised("दिल्ली") == "दिल्ली"  # vowel signs and viramas stay
    assert exact("दिल", "दिल्ली") == 0
    assert f1("नई दिल्ली", "दिल्ली में") == pytest.approx(0.5)
    assert exact("«café»", "CAFE\u0301") == 1


def test_the_best_of_several_right_answers_counts():
    told, right = ["300 m", "", "x", ""], [["height of 300 m", "300 m"], [], [], ["y"]]
    exacts, f1s = scores(told, right)
    np.testing.assert_array_equal(exacts, [1, 1, 0, 0])
    np.testing.assert_array_equal(f1s, [1, 1, 0, 0])
    assert scores(["the"], [["a", "the"]])[0].tolist() == [1]  # answers of articles alone are none
