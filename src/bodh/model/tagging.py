"""What a model of task "tags" says of every word, and of what pieces of several words that makes.

A sentence that is longer than a row is read in several, so that no word goes without a tag. Imports no torch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from bodh.metrics.entities import are_entities, entities
from bodh.modalities.words import INSIDE

if TYPE_CHECKING:
    from bodh.contracts import Json, Modality
    from bodh.model.loaded import LoadedModel

BATCH = 64
"""Rows at a time, of similar length."""


def tags_of(rows: Sequence[np.ndarray] | np.ndarray) -> np.ndarray:
    """Return the tags of all words of stored rows, one sentence after the other, int64 [words]; negative: not known."""
    found = [row[row[:, 1] != INSIDE, 1] for row in rows]
    return np.concatenate([np.empty(0, np.int64), *found]).astype(np.int64)


def words_in(rows: Sequence[np.ndarray] | np.ndarray) -> np.ndarray:
    """Return how many words each of stored rows has, int64 [n]."""
    return np.array([int((row[:, 1] != INSIDE).sum()) for row in rows], np.int64)


def first_pieces(row: np.ndarray, length: int) -> np.ndarray:
    """Return the places of the first pieces of words in a stored row that is cut to `length` tokens."""
    places = np.flatnonzero(row[:, 1] != INSIDE)
    return places if len(row) <= length else np.asarray(places[places < length - 1])  # the end token stays last


def of_words(
    modality: Modality,
    rows: Sequence[np.ndarray] | np.ndarray,
    compute: Callable[[np.ndarray], np.ndarray],
    *,
    batch: int = BATCH,
) -> list[np.ndarray]:
    """Return what `compute` gives for the words of stored `rows`, [words …] each, in their order.

    Args:
        modality: of words.
        rows: [n] as the modality decodes them.
        compute: from ids [n t] to what is told of every token, [n t …].
        batch: rows at a time.
    """
    reads = cast("Any", modality)
    windows = [(place, window) for place, row in enumerate(rows) for window in reads.windows(row)]
    found: list[np.ndarray | None] = [None] * len(windows)
    for chosen in _alike([len(window) for _, window in windows], batch):
        ids = reads.standardise([windows[one][1] for one in chosen])
        for one, values in zip(chosen, compute(ids), strict=True):
            found[one] = values[first_pieces(windows[one][1], ids.shape[1])]
    parts: list[list[np.ndarray]] = [[] for _ in rows]
    for (place, _), told in zip(windows, cast("list[np.ndarray]", found), strict=True):
        parts[place].append(told)
    return [np.concatenate(part) for part in parts]


def probabilities(model: LoadedModel, rows: Sequence[np.ndarray] | np.ndarray) -> list[np.ndarray]:
    """Return the probabilities of the tags, float32 [words k], for the words of each of stored `rows`."""
    from bodh.model.capabilities import PROBABILITIES

    capability = model.capability("predict")
    return of_words(model.modality, rows, lambda ids: model.compute(ids, capability)[PROBABILITIES])


def tokens(model: LoadedModel, rows: Sequence[np.ndarray] | np.ndarray) -> np.ndarray:
    """Return what the backbone makes of the words of all of stored `rows`, float32 [words d]: what a head reads."""
    import torch

    prepare, backbone = model.modality.prepare(), cast("Any", model.network["backbone"])

    def compute(ids: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return np.asarray(backbone.features(prepare(torch.from_numpy(ids).to(model.device))).tokens.float().cpu())

    return np.concatenate(of_words(model.modality, rows, compute))


def _alike(lengths: Sequence[int], batch: int) -> Iterator[np.ndarray]:
    """Yield the positions of rows of similar length, at most `batch` at a time."""
    order = np.argsort(np.array(lengths, np.int64), kind="stable")
    for start in range(0, len(order), batch):
        yield order[start : start + batch]


def record(text: str, spans: Sequence[tuple[int, int]], told: np.ndarray, names: Sequence[str]) -> Json:
    """Return what probabilities say of a sentence: the tag of every word, and the entities where tags write some down.

    Args:
        text: the sentence.
        spans: (start, stop) of its words, in characters.
        told: [words k].
        names: [k] of the tags.

    Returns:
        {"text", "words": [{"word", "tag", "probability", "start", "end"}]} and, where tags are of a way of writing
        entities down (BIO, BILOU …), "entities": [{"type", "text", "start", "end", "probability"}], of which the
        probability is the least of their words'.
    """
    best = told.argmax(axis=1)
    tags = [names[place] for place in best]
    sure = [round(float(row[place]), 6) for row, place in zip(told, best, strict=True)]
    words = [
        {"word": text[start:stop], "tag": tag, "probability": chance, "start": start, "end": stop}
        for (start, stop), tag, chance in zip(spans, tags, sure, strict=True)
    ]
    if not are_entities(names):
        return {"text": text, "words": words}
    found = []
    for entity in entities(tags):
        start, stop = spans[entity.start][0], spans[entity.stop - 1][1]
        found.append(
            {
                "type": entity.type, "text": text[start:stop], "start": start, "end": stop,
                "probability": min(sure[entity.start : entity.stop]),
            }
        )  # fmt: skip
    return {"text": text, "words": words, "entities": found}
