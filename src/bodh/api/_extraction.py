"""What verbs that learn to answer from texts need beside the one loop: which questions train, which are set aside."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from bodh.contracts import derive_seed
from bodh.errors import DataError
from bodh.modalities._spans import UNKNOWN

if TYPE_CHECKING:
    from bodh.api._training import Data

logger = logging.getLogger("bodh")

FEWEST = 8
"""Questions that anything can be learned from."""


def answered(data: Data, most: int | None = None, seed: int = 0) -> np.ndarray:
    """Return positions of training questions whose answer is told, also that there is none.

    Args:
        data: of questions.
        most: so many of them, drawn by the seed; a larger draw contains a smaller one. None: all.
        seed: of the draw.

    Raises:
        DataError: there are too few, or all are about one text.
    """
    if len(data.aside):  # drawn question by question, for nothing else could be told apart
        raise DataError(
            f"all questions of {data.source.name} are about one text, so none can be set aside to test on; give "
            "questions about other texts too, or a file for testing (train.jsonl and test.jsonl in one folder)"
        )
    if getattr(data.source, "divided", ""):
        logger.info("%s has no test part: %s", data.source.name, cast("Any", data.source).divided)
    usable = told(data, data.train)
    if len(usable) < len(data.train):
        logger.info(
            "%d of %d training questions tell their answer; the others are left out", len(usable), len(data.train)
        )
    if len(usable) < FEWEST:
        raise DataError(
            f"{data.source.name} has {len(usable)} training questions with an answer; at least {FEWEST} are needed: "
            "columns question, context and answers"
        )
    if most is None:
        return usable
    order = np.random.Generator(np.random.PCG64(derive_seed("budget", seed))).permutation(len(usable))
    return np.sort(usable[order[:most]])


def told(data: Data, positions: np.ndarray) -> np.ndarray:
    """Return those of `positions` [n] whose questions tell their answer, also that there is none."""
    read = cast("Any", data.modality).row
    known = np.array([read(row).first != UNKNOWN for row in data.store.rows(positions)], bool)
    found: np.ndarray = positions[known]
    return found


def divided(data: Data, positions: np.ndarray, *, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return `positions` [n] of questions to train on and to validate on, no text in both.

    Args:
        data: of questions.
        positions: to share out.
        share: of them that validates, about.
        seed: of the draw.

    Raises:
        DataError: all are about one text.
    """
    read = cast("Any", data.modality).row
    groups: dict[bytes, list[int]] = {}
    for place, row in enumerate(data.store.rows(positions)):
        groups.setdefault(read(row).context.tobytes(), []).append(place)
    if len(groups) < 2:
        raise DataError(f"all training questions of {data.source.name} are about one text; none can be set aside")
    every = list(groups.values())
    aside: list[int] = []
    order = np.random.Generator(np.random.PCG64(derive_seed("split", seed))).permutation(len(every))
    for number in order[:-1].tolist():
        if len(aside) >= share * len(positions):
            break
        aside += every[number]
    return np.delete(positions, aside), positions[np.sort(aside)]
