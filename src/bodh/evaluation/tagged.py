"""Words with tags: what floors say of them, and how right that is, with intervals over sentences.

Axes: `n` sentences, `w` words, `k` tags.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from bodh.contracts import Json, derive_seed
from bodh.evaluation import logistic
from bodh.metrics.entities import OUTSIDE, are_entities, matches, scores
from bodh.modalities.words import INSIDE
from bodh.model.tagging import tags_of, tokens, words_in
from bodh.records.splits import label_budget

if TYPE_CHECKING:
    from bodh.contracts import RecordStore
    from bodh.model.loaded import LoadedModel

FITTED = 50_000
"""Words that a linear head is fitted on at most, of sentences evenly spaced."""
AT_ONCE = 100
"""Draws of the bootstrap that are counted at once."""


@dataclass(frozen=True)
class Sentences:
    """Sentences of one part.

    Attributes:
        rows: [n] as stored.
        tags: [w] of all words, one sentence after the other; negative: not known.
        words: [w] a number for each word as it was written.
        sizes: [n] words of each.
    """

    rows: Sequence[np.ndarray]
    tags: np.ndarray
    words: np.ndarray
    sizes: np.ndarray

    @classmethod
    def of(cls, store: RecordStore, positions: np.ndarray, place: np.ndarray | None = None) -> Sentences:
        """Return the sentences at `positions` [n] of `store`; `place` [k] says which number each of its tags has."""
        rows = list(store.rows(positions))
        tags = tags_of(rows)
        if place is not None:
            tags = np.where(tags >= 0, place[tags], tags)
        words = np.concatenate([np.empty(0, np.int64), *(row[row[:, 1] != INSIDE, 2] for row in rows)])
        return cls(rows, tags, words.astype(np.int64), words_in(rows))


def drawn(store: RecordStore, positions: np.ndarray, most: int | None, seed: int) -> np.ndarray:
    """Return those of `positions` [n] with a word whose tag is known; of these at most so many, drawn by the seed."""
    usable: np.ndarray = positions[np.array([bool((row[:, 1] >= 0).any()) for row in store.rows(positions)], bool)]
    if most is None or not len(usable):
        return usable
    return np.asarray(usable[label_budget(np.zeros(len(usable), np.int64), per_class=most, seed=seed)])


def fitted(
    model: LoadedModel, rows: Sequence[np.ndarray], classes: int, *, seed: int, place: np.ndarray | None = None
) -> tuple[logistic.Logistic, logistic.Scale, int]:
    """Return a classifier of what the backbone of `model` makes of the words of `rows`, and of how many words.

    Args:
        model: reads words.
        rows: stored sentences.
        classes: k.
        seed: of the folds on which the strength of the penalty is chosen.
        place: [k] which number each tag of `rows` has; None: its own.
    """
    words = int(words_in(rows).sum())
    if words > FITTED:
        rows = [rows[place] for place in np.linspace(0, len(rows) - 1, len(rows) * FITTED // words).astype(int)]
    features, targets = tokens(model, rows), tags_of(rows)
    targets = targets if place is None else np.where(targets >= 0, place[targets], targets)
    counts = np.bincount(targets[targets >= 0], minlength=classes)
    kept = (targets >= 0) & (counts[targets] > 1)  # of a single word nothing can be held out to choose a penalty on
    features, targets = features[kept], targets[kept]
    scale = logistic.Scale.fit(features)
    return logistic.fit(scale(features), targets, classes, seed=seed), scale, len(targets)


def commonest(train: Sentences, classes: int) -> int:
    """Return the tag that most words of `train` have."""
    return int(np.bincount(train.tags[train.tags >= 0], minlength=classes).argmax())


def by_word(train: Sentences, test: Sentences, classes: int) -> np.ndarray:
    """Return the tag [w] that each word of `test` has most often in `train`: the well-known floor for parts of speech.

    A word that training does not have gets the commonest tag of the words that it has once.
    """
    known = train.tags >= 0
    words, tags = train.words[known], train.tags[known]
    pairs, counts = np.unique(words * classes + tags, return_counts=True)
    order = np.lexsort((pairs % classes, -counts, pairs // classes))  # of each word its commonest tag comes first
    kinds, first = np.unique(pairs[order] // classes, return_index=True)
    best = pairs[order][first] % classes
    each, times = np.unique(words, return_counts=True)
    once = tags[np.isin(words, each[times == 1])]
    fallback = int(np.bincount(once, minlength=classes).argmax()) if len(once) else commonest(train, classes)
    place = np.minimum(np.searchsorted(kinds, test.words), len(kinds) - 1)
    told: np.ndarray = np.where(kinds[place] == test.words, best[place], fallback)
    return told


@dataclass(frozen=True)
class Tally:
    """What is counted of every test sentence, so that sentences can be drawn anew and figures told again.

    Attributes:
        words: [n 2] right, and all whose tag is known.
        unseen: [n 2] likewise of those that training does not have.
        tags: [n k 3] of each tag: right, told, there.
        entities: [n 3] likewise; None where tags write no entities down.
    """

    words: np.ndarray
    unseen: np.ndarray
    tags: np.ndarray
    entities: np.ndarray | None

    @classmethod
    def of(cls, test: Sentences, told: np.ndarray, names: Sequence[str], unseen: np.ndarray) -> Tally:
        """Count.

        Args:
            test: the sentences.
            told: [w] a tag for every word.
            names: [k] of the tags.
            unseen: [w] bool, which words training does not have.
        """
        n, k = len(test.sizes), len(names)
        known, owner = test.tags >= 0, np.repeat(np.arange(n), test.sizes)
        right = known & (told == test.tags)

        def each(chosen: np.ndarray) -> np.ndarray:
            return np.bincount(owner[chosen], minlength=n)

        tags = np.zeros((n, k, 3), np.int64)
        for place, (chosen, which) in enumerate(((right, told), (known, told), (known, test.tags))):
            np.add.at(tags[:, :, place], (owner[chosen], which[chosen]), 1)
        found = None
        if are_entities(names):
            found = np.array([sum(one.values(), np.zeros(3, np.int64)) for one in _entities(test, told, names)])
        return cls(
            np.stack([each(right), each(known)], axis=1),
            np.stack([each(right & unseen), each(known & unseen)], axis=1), tags, found,
        )  # fmt: skip

    def figures(self, weights: np.ndarray) -> dict[str, np.ndarray]:
        """Return figures [m] of sentences that count as `weights` [m n] say."""
        right, all_ = (weights @ self.words).T
        missed, new = (weights @ self.unseen).T
        tags = np.einsum("mn,nkc->mkc", weights, self.tags, optimize=True)
        f1, occurs = scores(tags)[2], tags[:, :, 2] > 0
        found = {
            "accuracy": right / np.maximum(all_, 1),
            "macro_f1": (f1 * occurs).sum(axis=1) / np.maximum(occurs.sum(axis=1), 1),
        }
        if self.entities is not None:
            precision, recall, together = scores(weights @ self.entities)
            found |= {"entity_precision": precision, "entity_recall": recall, "entity_f1": together}
        if self.unseen[:, 1].any():
            found["unseen_accuracy"] = missed / np.maximum(new, 1)
        return found


def _entities(test: Sentences, told: np.ndarray, names: Sequence[str]) -> list[dict[str, np.ndarray]]:
    """Return the counts of entities of every sentence; a word whose tag is not known is outside of any."""
    wanted = [names[tag] if tag >= 0 else OUTSIDE for tag in test.tags]
    said = [names[tag] if known else OUTSIDE for tag, known in zip(told, test.tags >= 0, strict=True)]
    cuts = np.cumsum(test.sizes).tolist()
    starts = [0, *cuts[:-1]]
    return [matches(wanted[start:stop], said[start:stop]) for start, stop in zip(starts, cuts, strict=True)]


def entity_rows(test: Sentences, told: np.ndarray, names: Sequence[str]) -> list[Json]:
    """Return precision, recall and F1 of every type of entity, and how many there are."""
    total: dict[str, np.ndarray] = {}
    for one in _entities(test, told, names):
        for kind, counts in one.items():
            total[kind] = total.get(kind, np.zeros(3, np.int64)) + counts
    rows: list[Json] = []
    for kind in sorted(total):
        precision, recall, f1 = (float(value) for value in scores(total[kind]))
        rows.append({"type": kind, "precision": precision, "recall": recall, "f1": f1, "entities": int(total[kind][2])})
    return rows


def measured(systems: dict[str, list[Tally]], *, own: str, draws: int, seed: int) -> dict[str, Json]:
    """Return the figures of every system, means over its networks, with intervals over sentences.

    Args:
        systems: name -> a tally a network.
        own: the system that the others are compared with.
        draws: of the bootstrap, the same sentences for all systems; 0: no intervals.
        seed: root of the draws.

    Returns:
        name -> {"accuracy", "macro_f1" …, "networks"}, each also with _low and _high where there are draws; of all but
        `own` also "difference_low" and "difference_high", of the accuracy of `own` less theirs.
    """
    n = len(next(iter(systems.values()))[0].words)
    whole = {name: _mean(tallies, np.ones((1, n))) for name, tallies in systems.items()}
    found: dict[str, Json] = {
        name: {key: float(value[0]) for key, value in told.items()} | {"networks": len(systems[name])}
        for name, told in whole.items()
    }
    if not draws:
        return found
    random = np.random.default_rng(derive_seed("bootstrap", seed))
    parts: dict[str, list[dict[str, np.ndarray]]] = {name: [] for name in systems}
    for start in range(0, draws, AT_ONCE):
        weights = random.multinomial(n, np.full(n, 1 / n), size=min(AT_ONCE, draws - start)).astype(np.float64)
        for name, tallies in systems.items():
            parts[name].append(_mean(tallies, weights))
    drawn_ = {name: {key: np.concatenate([p[key] for p in part]) for key in part[0]} for name, part in parts.items()}
    for name, told in drawn_.items():
        for key, values in told.items():
            found[name] |= _ends(key, values)
        if name != own:
            found[name] |= _ends("difference", drawn_[own]["accuracy"] - told["accuracy"])
    return found


def _mean(tallies: Sequence[Tally], weights: np.ndarray) -> dict[str, np.ndarray]:
    each = [tally.figures(weights) for tally in tallies]
    return {key: cast("np.ndarray", np.mean([one[key] for one in each], axis=0)) for key in each[0]}


def _ends(key: str, values: np.ndarray) -> dict[str, Any]:
    low, high = np.quantile(values, [0.025, 0.975])
    return {f"{key}_low": float(low), f"{key}_high": float(high)}
