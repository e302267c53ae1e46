"""BLEU and chrF: as sacrebleu has them, with intervals, with one or several references."""

from __future__ import annotations

import pytest

from bodh.metrics.translation import figures

sacrebleu = pytest.importorskip("sacrebleu")

RIGHT = [
    f"the {animal} sat on the {place} and looked at us" for animal in ("cat", "dog", "cow") for place in "abcdefgh"
]
WRONG = [text.replace("looked", "stared") if number % 3 else "no" for number, text in enumerate(RIGHT)]


def test_figures_are_those_of_sacrebleu():
    found, signatures = figures({"model": WRONG}, [[text] for text in RIGHT], draws=0)
    assert found["model"]["bleu"] == pytest.approx(sacrebleu.corpus_bleu(WRONG, [RIGHT]).score)
    assert found["model"]["chrf"] == pytest.approx(sacrebleu.corpus_chrf(WRONG, [RIGHT]).score)
    assert set(found["model"]) == {"bleu", "chrf"}
    assert "version" in signatures["BLEU"]


def test_intervals_hold_the_figure_and_differences_have_a_p():
    systems = {"model": RIGHT, "other": WRONG}
    found, signatures = figures(systems, [[text] for text in RIGHT], draws=200)
    assert found["model"]["bleu"] == pytest.approx(100)
    assert "bleu_p" not in found["model"]
    assert found["other"]["bleu_p"] < 0.05
    assert found["other"]["bleu_low"] < found["other"]["bleu"] < found["other"]["bleu_high"]
    assert found["other"]["chrf_low"] < found["other"]["chrf"] < found["other"]["chrf_high"]
    assert "bs:200" in signatures["BLEU"]
    assert figures(systems, [[text] for text in RIGHT], draws=200)[0] == found


def test_one_of_several_references_is_enough():
    references = [[text, *(["no"] if number % 3 == 0 else [])] for number, text in enumerate(RIGHT)]
    some = figures({"model": WRONG}, references, draws=0)[0]["model"]
    less = figures({"model": WRONG}, [[text] for text in RIGHT], draws=0)[0]["model"]
    assert some["chrf"] > less["chrf"]
    assert figures({"model": RIGHT}, references, draws=0)[0]["model"]["chrf"] == pytest.approx(100)
