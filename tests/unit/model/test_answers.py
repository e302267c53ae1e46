"""From scores of windows to answers: each span once, no answer as a candidate, places in the text."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from bodh.errors import ModelError
from bodh.modalities.questions import Modality, QuestionsConfig, Window
from bodh.model import answers
from bodh.records.open import open_source

pytest.importorskip("tokenizers")
TEXT = " ".join(f"w{number}" for number in range(40))


@pytest.fixture(name="parts")
def _parts():
    """The modality, a record in tokens, and its windows."""
    rows = [
        {"question": "which?", "context": TEXT, "answers": {"text": ["w7"], "answer_start": [TEXT.index("w7")]}}
    ] * 2
    source = open_source(rows)
    modality = Modality.fit(source, QuestionsConfig(vocabulary=300, length=40, unanswerable=True))
    row = modality.row(modality.decode(source.read(0)))
    return modality, row, modality.windows(row)


def _noise(windows, seed=0):
    random = np.random.default_rng(seed)
    return [(random.normal(size=len(one.ids)), random.normal(size=len(one.ids))) for one in windows]


def _plain(modality, row, windows, scores, longest):
    """Every span once, one after the other: its score, where the first token counts in the window that owns it."""
    owners = answers.owner(windows, len(row.context))
    found = {}
    for number, window in enumerate(windows):
        starts, ends = scores[number]
        for first, last in itertools.product(range(window.start, window.stop), repeat=2):
            if owners[first] == number and first <= last < first + longest:
                at = window.place - window.start
                found[first, last] = starts[at + first] + ends[at + last]
    return found


def test_every_span_is_told_once_against_a_plain_second_implementation(parts):
    modality, row, windows = parts
    scores = _noise(windows)
    tokens, words = len(row.context), len(TEXT.split())
    longest = round(3 * tokens / words)
    wanted = _plain(modality, row, windows, scores, longest)
    told = answers._best(modality, row, windows, scores, 4, 3)
    nothing = min(starts[0] + ends[0] for starts, ends in scores)
    total = np.exp(np.array([*wanted.values(), nothing])).sum()
    best = sorted(wanted, key=lambda span: -wanted[span])
    texts = list(dict.fromkeys(modality.answer(row.record, row, *span)[0] for span in best))[:4]
    assert [one.text for one in told.answers] == texts
    assert told.answers[0].probability == pytest.approx(np.exp(wanted[best[0]]) / total)
    assert told.none == pytest.approx(np.exp(nothing) / total)
    assert told.margin == pytest.approx(wanted[best[0]] - nothing)
    for one in told.answers:
        assert TEXT[one.start : one.end] == one.text
        assert len(one.text.split()) <= 4


def test_a_token_counts_where_it_stands_in_the_middle():
    windows = [Window(np.zeros(1), 0, start, start + 10) for start in (0, 5, 10)]
    owners = answers.owner(windows, 20)
    assert owners.tolist() == [0] * 7 + [1] * 5 + [2] * 8 or owners[7] in (0, 1)
    assert sorted(owners.tolist()) == owners.tolist()
    assert set(owners.tolist()) == {0, 1, 2}


def test_no_answer_is_one_of_the_candidates(parts):
    modality, row, windows = parts
    scores = _noise(windows)
    for starts, ends in scores:
        starts[0] = ends[0] = 20.0
    told = answers._best(modality, row, windows, scores, 2, 5)
    assert told.none is not None
    assert told.none > 0.99
    assert told.best() is None
    assert told.best(threshold=-100) is told.answers[0]
    sure = Modality(modality.config.model_copy(update={"unanswerable": False}), modality.files())
    told = answers._best(sure, row, windows, scores, 2, 5)
    assert told.none is None
    assert told.best() is told.answers[0]
    assert sum(one.probability for one in told.answers) <= 1


def test_a_model_of_another_kind_is_refused():
    with pytest.raises(ModelError, match=r"does not answer questions; train one .* --task extract"):
        answers.insist_on_answers(type("Manifest", (), {"task": "single"})())
