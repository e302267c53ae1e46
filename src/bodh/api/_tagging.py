"""What verbs that learn from words with tags need beside the one loop: counts, a first head, a temperature."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from bodh.contracts import Json
from bodh.errors import DataError

if TYPE_CHECKING:
    from torch import nn

    from bodh.api._training import Data
    from bodh.contracts import Facts, Modality, RecordStore
    from bodh.model.loaded import LoadedModel

logger = logging.getLogger("bodh")


def tell(facts: Facts, store: RecordStore, positions: np.ndarray, modality: Any) -> Facts:
    """Return `facts` with task and counts of the tags; say how much of long sentences is not read.

    Args:
        facts: of the run.
        store: of sentences.
        positions: [n] of those that train.
        modality: reads them.
    """
    rows = store.rows(positions)
    tags = modality.targets(rows)
    counts = np.bincount(tags[tags >= 0], minlength=len(store.class_names))
    longer = [row for row in rows if len(row) > modality.prepared_shape[0]]
    if longer:
        from bodh.model.tagging import words_in

        lost = int(words_in(longer).sum()) - int((modality.targets(longer) >= 0).sum())
        logger.warning(
            "%d of %d sentences have more than %d tokens: %d of their words are not learned from; more are read with "
            "modality.length=N", len(longer), len(rows), modality.prepared_shape[0], lost,
        )  # fmt: skip
    return replace(facts, task="tags", class_counts=tuple(counts.tolist()))


def labelled(data: Data, most: int | None, seed: int) -> np.ndarray:
    """Return positions of training sentences with a word whose tag is known.

    Args:
        data: of sentences.
        most: so many of them, drawn by the seed; a larger draw contains a smaller one. None: all.
        seed: of the draw.

    Raises:
        DataError: no word has a tag, or all have the same one.
    """
    from bodh.evaluation.tagged import drawn
    from bodh.model.tagging import tags_of

    present = np.unique(tags_of(data.store.rows(data.train)))
    present = present[present >= 0]
    if len(present) < 2:
        only = data.store.class_names[int(present[0])] if len(present) else "none"
        raise DataError(
            f"{data.source.name} has one tag only ({only}); at least two are needed, and a column of them is chosen "
            "with data.label=NAME"
        )
    return drawn(data.store, data.train, most, seed)


def words(data: Data, positions: np.ndarray) -> int:
    """Return how many words with a known tag the sentences at `positions` [n] have."""
    from bodh.model.tagging import tags_of

    return int((tags_of(data.store.rows(positions)) >= 0).sum())


def fit_linear(
    begin: LoadedModel, modality: Modality, store: RecordStore, positions: np.ndarray, head: nn.Module, *, seed: int
) -> Json:
    """Fit the linear `head` on what the backbone of `begin` makes of the first pieces of words; return what to tell.

    Args:
        begin: the model to start from.
        modality: reads sentences.
        store: of sentences.
        positions: [n] of those that train.
        head: `[m d]` to `[m k]`.
        seed: of the folds on which the strength of the penalty is chosen.
    """
    from bodh.api._transfer import fill
    from bodh.evaluation.tagged import fitted

    classifier, scale, count = fitted(
        replace(begin, modality=modality), list(store.rows(positions)), len(store.class_names), seed=seed
    )
    fill(head, classifier, scale)
    return {"l2": classifier.l2, "words": count}


def told_of_words(
    data: Data, positions: np.ndarray, compute: Callable[[np.ndarray], np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Return what `compute` tells of all words whose tag is known, [words …], and these tags [words].

    Args:
        data: of sentences.
        positions: [n] of them.
        compute: from ids [n t] to [n t …].
    """
    from bodh.model.tagging import of_words, tags_of

    rows = data.store.rows(positions)
    told, targets = np.concatenate(of_words(data.modality, rows, compute)), tags_of(rows)
    return told[targets >= 0], targets[targets >= 0]
