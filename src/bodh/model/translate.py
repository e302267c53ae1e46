"""From texts to the texts that a model of task "sequence" writes for them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from bodh.errors import ConfigError, ModelError
from bodh.model.beam import Found, search

if TYPE_CHECKING:
    from torch import Tensor

    from bodh.model.loaded import LoadedModel
    from bodh.model.manifest import Manifest

BATCH = 64
"""Texts at a time, of similar length."""
LONGER, MORE = 2, 16
"""Where nobody says how long a text may become: so many times as long as what was read, and so many tokens more."""


@dataclass(frozen=True, slots=True)
class Written:
    """What was written for one text.

    Attributes:
        text: the likeliest.
        score: its log-probability a token.
        ended: whether it came to its end; else it was as long as it may be.
    """

    text: str
    score: float
    ended: bool


def insist_on_writer(manifest: Manifest) -> None:
    """Raise ModelError unless the model writes texts."""
    if manifest.task != "sequence":
        raise ModelError(
            "this model does not translate: it has no decoder; train one on pairs of texts: "
            "bodh pretrain DATA --objective seq2seq data.input=NAME data.target=NAME"
        )


def translate_rows(
    model: LoadedModel,
    rows: Sequence[np.ndarray],
    *,
    beams: int = 1,
    length: int | None = None,
    penalty: float = 1.0,
    batch: int = BATCH,
) -> list[Written]:
    """Return what `model` writes for each of `rows`, in their order.

    Args:
        model: of task "sequence".
        rows: [n] as the modality decodes them.
        beams: beginnings that are kept at each step; 1: the likeliest next token always.
        length: most tokens that are written; None: twice as many as were read and 16 more.
        penalty: power of the length by which scores are divided.
        batch: rows at a time.

    Raises:
        ModelError: the model does not write texts.
        ConfigError: beams or length are out of their range.
    """
    import torch

    insist_on_writer(model.manifest)
    context = cast("Any", model.network["head"]).context
    if length is not None and not 1 <= length < context:
        raise ConfigError(f"length={length}: this model writes texts of 1 to {context - 1} tokens; choose one of these")
    if not 1 <= beams <= 256:
        raise ConfigError(f"beams={beams}: allowed are 1 (greedy) to 256")
    modality = cast("Any", model.modality)
    found: list[Written | None] = [None] * len(rows)
    sources = [modality.sides(row)[0] for row in rows]
    with torch.inference_mode():
        for chosen in _alike([len(one) for one in sources], batch):
            ids = torch.from_numpy(modality.standardise([sources[place] for place in chosen])).to(model.device)
            most = min(context - 1, LONGER * ids.shape[1] + MORE) if length is None else length
            for place, texts in zip(chosen, written(model, ids, beams, most, penalty), strict=True):
                found[place] = Written(modality.text(texts[0].ids), texts[0].score, texts[0].ended)
    return cast("list[Written]", found)


def _alike(lengths: Sequence[int], batch: int) -> Iterator[list[int]]:
    """Yield the positions of rows that are filled up to one length, at most `batch` at a time.

    How long a text may become follows from that length, and so does not depend on the rows beside it.
    """
    widths = np.array([-(-one // 8) for one in lengths], np.int64)
    for width in np.unique(widths):
        places = np.flatnonzero(widths == width).tolist()
        for start in range(0, len(places), batch):
            yield places[start : start + batch]


def written(model: LoadedModel, source: Tensor, beams: int, length: int, penalty: float) -> list[list[Found]]:
    """Return the ids that `model` writes for standardised ids `source` `[n s]`, each row's best first.

    Args:
        model: of task "sequence".
        source: on the model's device.
        beams: see `translate_rows`.
        length: most tokens.
        penalty: see `translate_rows`.
    """
    import torch

    tokens = cast("Any", model.modality).tokens()
    backbone, head = cast("Any", model.network["backbone"]), cast("Any", model.network["head"])
    memory = backbone.features(source).tokens
    forbidden = torch.from_numpy(tokens.special.copy()).to(source.device)
    forbidden[tokens.unknown] = True
    forbidden[tokens.end] = False
    first = torch.full((len(source),), tokens.begin, dtype=torch.int64, device=source.device)
    writer = _Writer(head, head.start(memory, source != tokens.padding, length))
    return search(writer, first, end=tokens.end, forbidden=forbidden, beams=beams, length=length, penalty=penalty)


class _Writer:
    """A decoder and what it has written so far; see `beam.Writer`."""

    def __init__(self, head: Any, state: Any) -> None:
        self.head, self.state = head, state

    def advance(self, ids: Tensor) -> Tensor:
        logits: Tensor = self.head.advance(ids, self.state)
        return logits

    def select(self, rows: Tensor) -> None:
        self.state.select(rows)
