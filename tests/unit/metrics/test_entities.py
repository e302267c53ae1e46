"""Entities in tags: every way of writing them down, and tags that break it, by the rule of CoNLL."""

from __future__ import annotations

import numpy as np
import pytest

from bodh.metrics.entities import are_entities, entities, matches, scores


@pytest.mark.parametrize(
    ("tags", "found"),
    [
        ("O B-PER I-PER O", [("PER", 1, 3)]),
        ("B-PER B-PER", [("PER", 0, 1), ("PER", 1, 2)]),
        ("O I-LOC I-LOC O", [("LOC", 1, 3)]),  # IOB1
        ("I-LOC B-LOC I-LOC", [("LOC", 0, 1), ("LOC", 1, 3)]),
        ("B-PER I-LOC", [("PER", 0, 1), ("LOC", 1, 2)]),  # another type: a new entity
        ("U-ORG O B-LOC L-LOC", [("ORG", 0, 1), ("LOC", 2, 4)]),  # BILOU
        ("S-ORG S-ORG B-X I-X E-X I-X", [("ORG", 0, 1), ("ORG", 1, 2), ("X", 2, 5), ("X", 5, 6)]),  # BIOES
        ("B-व्यक्ति I-व्यक्ति", [("व्यक्ति", 0, 2)]),
        ("O O", []),
        ("", []),
        ("NOUN B- -X B", []),
    ],
)
def test_entities(tags, found):
    assert [tuple(one) for one in entities(tags.split())] == found


def test_what_counts_as_found():
    counts = matches(["B-A", "I-A", "O", "B-B"], ["B-A", "O", "O", "B-B"])
    assert counts["A"].tolist() == [0, 1, 1]
    assert counts["B"].tolist() == [1, 1, 1]
    precision, recall, f1 = scores(np.array([[2, 4, 5], [0, 0, 0]]))
    assert precision.tolist() == [0.5, 0]
    assert recall.tolist() == [0.4, 0]
    assert f1 == pytest.approx([4 / 9, 0])


def test_which_tags_write_entities_down():
    assert are_entities(("B-X", "I-X", "O"))
    assert are_entities(("U-X", "O"))
    assert not are_entities(("NOUN", "VERB", "O"))
    assert not are_entities(("O",))
    assert not are_entities(("CAP", "CAP+COMMA", "O"))
