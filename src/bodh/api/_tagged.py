"""What `predict` tells of words: the tag of each, and the entities that tags write down."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, cast

from bodh.contracts import Json
from bodh.errors import BadRecord

if TYPE_CHECKING:
    from bodh.api.load import Model

BATCH = 256
"""Sentences that are read before any of them is told: those of similar length are told together."""


def records(handle: Model, inputs: Any, device: str, *, spaces: bool) -> Iterator[Json]:
    """Yield what the model tells of every sentence, or why it cannot be read.

    Args:
        handle: a model of task "tags".
        inputs: as `predict` takes them.
        device: where to compute.
        spaces: words of plain texts are what stands between spaces.
    """
    from bodh.api._inputs import readers
    from bodh.model.tagging import probabilities, record

    model = handle.loaded(device)
    modality = cast("Any", model.modality)
    found = iter(readers(modality, inputs))
    while chunk := list(itertools.islice(found, BATCH)):
        parts: list[tuple[str, list[tuple[int, int]]] | str] = []
        rows = []
        for _, read in chunk:
            try:
                text, spans = modality.spans(read(), spaces=spaces)
                rows.append(modality.decode(modality.of_words([text[start:stop] for start, stop in spans])))
                parts.append((text, spans))
            except BadRecord as error:
                parts.append(str(error))
            except OSError as error:
                parts.append(f"cannot be read: {error.strerror or error}")
        said = iter(probabilities(model, rows) if rows else [])
        for (name, _), part in zip(chunk, parts, strict=True):
            if isinstance(part, str):
                yield {"id": name, "error": part}
            else:
                yield {"id": name, **record(*part, next(said), handle.manifest.class_names)}
