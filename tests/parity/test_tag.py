"""tag: loss and one whole update against PyTorch's ignore_index; entity F1 against a second implementation."""

from __future__ import annotations

import copy
import random
from collections import Counter, defaultdict

import numpy as np
import pytest
import torch
from torch import nn

from bodh.backbones import recurrent, transformer
from bodh.contracts import Batch, Facts, Progress, Tokens
from bodh.evaluation.tagged import Sentences, Tally, by_word
from bodh.metrics.entities import entities, matches, scores
from bodh.objectives import tag

V, K = 40, 4
AT = Progress(step=0, steps=10, epoch=0, epochs=1)
TOKENS = Tokens(V, 0, 1, 2, 3, 4, np.ones(V, bool), np.arange(V) < 5)
COUNTS = (100, 20, 5, 0)


def _build(kind="transformer", **settings):
    torch.manual_seed(0)
    module, own = (transformer, {"depth": 1, "heads": 2, "dropout": 0.0})
    if kind == "lstm":
        module, own = recurrent, {"kind": "lstm", "bidirectional": True, "dropout": 0.0}
    backbone = module.build(shape=(12,), vocabulary=V, padding=0, width=16, **own)
    facts = Facts(
        records=64, steps=10, batch_size=4, shape=(12,), tokens=TOKENS, task="tags", class_names=tuple("ABCD"),
        class_counts=COUNTS,
    )  # fmt: skip
    return tag.build(backbone, tag.Config(dropout=0.0, **settings), facts).train()


def _batch(seed=1):
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(5, V, (4, 10), generator=generator)
    tags = torch.randint(0, 3, (4, 10), generator=generator)
    tags[torch.rand(4, 10, generator=generator) < 0.4] = -100
    ids[0, 6:], tags[0, 6:] = 0, -100  # padding
    return Batch((ids, tags), torch.arange(4), None, seed=1)


@pytest.mark.parametrize("kind", ["transformer", "lstm"])
@pytest.mark.parametrize("weights", [None, "balanced", (1.0, 2.0, 0.5, 0.0)])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_loss_and_update_are_those_of_ignore_index(kind, weights, smoothing):
    ours = _build(kind, class_weights=weights, label_smoothing=smoothing)
    theirs = copy.deepcopy(ours)
    ids, tags = _batch().views
    weight = None
    if weights == "balanced":
        weight = torch.tensor([sum(COUNTS) / (K * count) if count else 0.0 for count in COUNTS])
    elif weights is not None:
        weight = torch.tensor(weights)
    plain = nn.CrossEntropyLoss(weight=weight, ignore_index=-100, label_smoothing=smoothing)
    losses = []
    for objective in (ours, theirs):
        optimiser = torch.optim.AdamW(objective.parameters(), lr=1e-2)
        if objective is ours:
            loss = objective.step(_batch(), AT).loss
        else:
            logits = objective.head(objective.backbone.features(ids).tokens)
            loss = plain(logits.flatten(0, 1), tags.flatten())
        loss.backward()
        optimiser.step()
        losses.append(loss.detach())
    torch.testing.assert_close(losses[0], losses[1], atol=1e-6, rtol=1e-5)
    for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)


def test_accuracy_is_of_words_alone():
    objective = _build().eval()
    ids, tags = _batch().views
    told = objective.head(objective.backbone.features(ids).tokens).argmax(dim=2)
    known = tags >= 0
    right = float((told == tags)[known].float().mean())
    assert float(objective.step(_batch(), AT).figures["accuracy"]) == pytest.approx(right)


def test_a_batch_without_tags_has_no_loss_and_no_gradient():
    objective = _build()
    ids, tags = _batch().views
    loss = objective.step(Batch((ids, torch.full_like(tags, -100)), torch.arange(4), None, seed=1), AT).loss
    loss.backward()
    assert float(loss.detach()) == 0
    assert all(p.grad is None or not p.grad.any() for p in objective.parameters())


def _second(tags):
    """The entities of tags, written after conlleval.pl: what ends a chunk and what starts one, tag by tag."""
    table = {"L": "E", "U": "S", "M": "I"}
    before, kind, begin, found = "O", "", 0, []

    def ends(one, two, first, second):
        if one in ("E", "S") or (one in ("B", "I") and two in ("B", "S", "O")):
            return True
        return one != "O" and first != second

    def starts(one, two, first, second):
        if two in ("B", "S") or (one in ("E", "S", "O") and two in ("E", "I")):
            return True
        return two != "O" and first != second

    for place, tag_ in enumerate([*tags, "O"]):
        letter, _, type_ = tag_.partition("-")
        letter = table.get(letter, letter)
        if before != "O" and ends(before, letter, kind, type_):
            found.append((kind, begin, place))
        if starts(before, letter, kind, type_):
            begin = place
        before, kind = letter, type_
    return found


def test_entities_are_those_of_a_second_implementation():
    draw = random.Random(0)
    known = ["O", *(f"{letter}-{kind}" for letter in "BIESLUM" for kind in ("PER", "LOC"))]
    for _ in range(5000):
        tags = draw.choices(known, k=draw.randint(0, 9))
        assert [tuple(one) for one in entities(tags)] == _second(tags), tags


def test_the_example_that_seqeval_documents():
    wanted = [["O", "O", "O", "B-MISC", "I-MISC", "I-MISC", "O"], ["B-PER", "I-PER", "O"]]
    told = [["O", "O", "B-MISC", "I-MISC", "I-MISC", "I-MISC", "O"], ["B-PER", "I-PER", "O"]]
    total = sum((sum(matches(a, b).values(), np.zeros(3, np.int64)) for a, b in zip(wanted, told, strict=True)))
    assert float(scores(total)[2]) == 0.5


def _sentences(rows, names):
    """Sentences of [(words, tags)], as if they had been stored."""
    numbers = {word: place for place, word in enumerate(sorted({word for words, _ in rows for word in words}))}
    stored = [
        np.array([[0, names.index(tag_), numbers[word]] for word, tag_ in zip(*row, strict=True)]) for row in rows
    ]
    tags, words = (np.concatenate([row[:, column] for row in stored]) for column in (1, 2))
    return Sentences(stored, tags, words, np.array([len(row) for row in stored]))


def _drawn(draw, count, names):
    words = [f"w{number}" for number in range(30)]
    lean = {word: draw.choice(names) for word in words}
    rows = []
    for _ in range(count):
        chosen = draw.choices(words, k=draw.randint(1, 8))
        rows.append((chosen, [lean[word] if draw.random() < 0.7 else draw.choice(names) for word in chosen]))
    return rows


def test_the_floor_by_word_is_that_of_a_dictionary():
    draw, names = random.Random(1), ["A", "B", "C"]
    rows = _drawn(draw, 60, names) + [([f"rare{number}"], ["C"]) for number in range(5)] + [(["new", "w1"], ["A", "B"])]
    together = _sentences(rows, names)
    cut = len(rows) - 20
    stop = int(together.sizes[:cut].sum())
    train = Sentences(together.rows[:cut], together.tags[:stop], together.words[:stop], together.sizes[:cut])
    test = Sentences(together.rows[cut:], together.tags[stop:], together.words[stop:], together.sizes[cut:])
    seen = defaultdict(Counter)
    for word, tag_ in zip(train.words.tolist(), train.tags.tolist(), strict=True):
        seen[word][tag_] += 1
    once = Counter(next(iter(c)) for c in seen.values() if sum(c.values()) == 1) or Counter(train.tags.tolist())
    fallback = min(once, key=lambda one: (-once[one], one))
    told = by_word(train, test, 3)
    for word, one in zip(test.words.tolist(), told.tolist(), strict=True):
        counts = seen[word]
        assert one == (min(counts, key=lambda tag_: (-counts[tag_], tag_)) if counts else fallback)


def test_figures_are_those_of_scikit_learn():
    from sklearn.metrics import accuracy_score, f1_score

    draw, names = random.Random(2), ["O", "B-X", "I-X"]
    test = _sentences(_drawn(draw, 40, names), names)
    told = np.array([draw.randrange(3) if draw.random() < 0.4 else tag_ for tag_ in test.tags.tolist()])
    new = np.array([draw.random() < 0.3 for _ in told])
    figures = Tally.of(test, told, names, new).figures(np.ones((1, 40)))
    assert figures["accuracy"][0] == pytest.approx(accuracy_score(test.tags, told))
    assert figures["macro_f1"][0] == pytest.approx(f1_score(test.tags, told, average="macro"))
    assert figures["unseen_accuracy"][0] == pytest.approx(accuracy_score(test.tags[new], told[new]))
    stops = np.cumsum(test.sizes)
    there, said = set(), set()
    for number, (start, stop) in enumerate(zip([0, *stops[:-1]], stops, strict=True)):
        there |= {(number, *one) for one in _second([names[tag_] for tag_ in test.tags[start:stop]])}
        said |= {(number, *one) for one in _second([names[tag_] for tag_ in told[start:stop]])}
    assert figures["entity_f1"][0] == pytest.approx(2 * len(there & said) / (len(there) + len(said)))
