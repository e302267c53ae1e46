"""What the classifier looked at: heat maps over its worst errors, and over a few records that it told rightly."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING

import numpy as np

from bodh.errors import ModelError

if TYPE_CHECKING:
    from bodh.evaluation.context import Context
    from bodh.evaluation.prove import Proof
    from bodh.evaluation.result import Judged
    from bodh.report.blocks import Gallery, Picture

RIGHT = 4
"""Records that were told rightly, of as many classes."""


def looked_at(proof: Proof) -> Gallery | None:
    """Return pictures with the maps of what decided; None where the model has no classes, and no place to point at.

    An error shows the map of the class that was told, then of the true one; transformers have one map for both.
    """
    from bodh.report.blocks import Gallery

    context = proof.context
    judged = next((result.judged for result in proof.results.values() if result.judged is not None), None)
    if judged is None or judged.several or not context.config.explained or context.model.modality.name != "image":
        return None
    said = judged.probabilities.argmax(axis=1)
    sure = judged.probabilities.max(axis=1)
    order = np.argsort(-sure, kind="stable")
    wrong = [int(i) for i in order if said[i] != judged.targets[i]][: context.config.explained]
    right: dict[int, int] = {}
    for i in order:
        if said[i] == judged.targets[i]:
            right.setdefault(int(said[i]), int(i))
    chosen = [*wrong, *list(right.values())[:RIGHT]]
    try:
        shown, method = _pictures(context, judged, chosen, said)
    except ModelError as error:
        context.notes.append(f"nothing is explained: {error}")
        return None
    rows, good = shown[: len(wrong)], shown[len(wrong) :]
    rows += [list(chain.from_iterable(good[start : start + 2])) for start in range(0, len(good), 2)]
    how = {
        "grad-cam": "Grad-CAM of the class named: bright is what speaks for it",
        "attention rollout": "attention rollout: bright is what flows into the features, whatever the class",
    }[method]
    return Gallery("What it looked at", rows, note=f"the surest errors, then records told rightly; {how}")


def _pictures(context: Context, judged: Judged, chosen: list[int], said: np.ndarray) -> tuple[list[list[Picture]], str]:
    """Return the pictures of every chosen record, and how the maps were made.

    Raises:
        ModelError: the network has no place to point at.
    """
    from bodh.api._evaluation_report import show
    from bodh.model.explain import explain, overlay
    from bodh.report.blocks import Picture

    model = context.model
    rows = model.modality.standardise(context.store.rows(judged.positions[chosen]))
    told = explain(model, rows, said[chosen])
    true = explain(model, rows, judged.targets[chosen]) if told.method == "grad-cam" else told
    groups = []
    for place, i in enumerate(chosen):
        says, is_ = judged.class_names[said[i]], judged.class_names[judged.targets[i]]
        good = says == is_
        caption = f"{says} {judged.probabilities[i].max():.0%}" + ("" if good else f" · is {is_}")
        group = [
            Picture(show(context, int(judged.positions[i])), caption, "good" if good else "bad"),
            Picture(
                overlay(rows[place], told.values[place]), f"for {says}" if told.method == "grad-cam" else "attention"
            ),
        ]
        if not good and told.method == "grad-cam":
            group.append(Picture(overlay(rows[place], true.values[place]), f"for {is_}"))
        groups.append(group)
    return groups, told.method
