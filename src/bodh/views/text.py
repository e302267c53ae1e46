"""Random views of token ids: some are left out, moved or hidden. No torch: rows are short, and come from the disk.

What is drawn for a row depends on the seed and on its place in the global batch alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, NamedTuple

import numpy as np
from annotated_types import Ge, Gt, Le
from pydantic import Field, ValidationError

from bodh.config.base import Config
from bodh.contracts import Shard, View
from bodh.errors import ConfigError

Share = Annotated[float, Ge(0.0), Le(1.0)]


class TextViews(Config):
    """How texts may vary in "strong" views; "crop" views are cropped alone, the others do not vary."""

    crop: Annotated[float, Gt(0.0), Le(1.0)] = Field(
        1.0, description="smallest share of a text that is kept, in one piece from anywhere in it; 1: all"
    )
    span: Share = Field(0.0, description="share of a text that is left out in one piece (CLEAR)")
    delete: Share = Field(0.2, description="share of tokens that are left out, one by one (TSDAE: 0.6)")
    shuffle: Annotated[int, Ge(0), Le(1024)] = Field(0, description="places by which a token moves at most")
    mask: Share = Field(0.0, description="share of tokens that the mask token stands for")


class Marks(NamedTuple):
    """Ids that a view keeps where they are, or puts in."""

    padding: int
    begin: int | None
    end: int
    mask: int | None


def settings_of(view: View, base: TextViews) -> TextViews | None:
    """Return a view's settings with the objective's options laid over `base`; None where it does not vary.

    Raises:
        ConfigError: an option is out of its range.
    """
    if view.kind not in ("strong", "crop"):
        return None
    known = {name: value for name, value in view.options.items() if name in TextViews.model_fields}
    start = base if view.kind == "strong" else TextViews(crop=base.crop, delete=0.0)
    try:
        return TextViews(**(start.model_dump() | known))
    except ValidationError as error:
        first = error.errors()[0]
        raise ConfigError(f"view setting {first['loc'][0]}: {first['msg']}; given {first['input']!r}") from error


def vary(
    rows: np.ndarray | Sequence[np.ndarray], settings: TextViews, marks: Marks, *, length: int, seed: int, shard: Shard
) -> list[np.ndarray]:
    """Return every row of ids `[t]` varied, begin and end in place, at least one token between them.

    In this order: a piece is cropped (longer rows are always cut to `length`), a span left out (Wu et al. 2020,
    CLEAR, arXiv 2012.15466, section 3.2), single tokens left out (Wang et al. 2021, TSDAE, arXiv 2104.06979), the
    rest shuffled so that none moves by more than `shuffle` places (Lample et al. 2018, arXiv 1711.00043, section
    2.3), and some hidden.

    Args:
        rows: ids of texts, begin + ids + end; those of this shard.
        settings: how far they vary.
        marks: ids that mean something.
        length: most tokens of a row.
        seed: of this view.
        shard: which rows of the global batch they are.

    Raises:
        ConfigError: tokens are to be hidden, and the tokenizer has no mask token.
    """
    if settings.mask and marks.mask is None:
        raise ConfigError("modality.views.mask: this tokenizer has no mask token; leave it at 0, or delete instead")
    random = np.random.default_rng(seed)
    mine = slice(shard.start, shard.stop)
    places = random.random((shard.total, 3))[mine]  # crop's length and place, span's place
    lots = random.random((3, shard.total, length), dtype=np.float32)[:, mine]  # delete, shuffle, mask
    return [
        _varied(row, settings, marks, length=length, places=places[n], lots=lots[:, n]) for n, row in enumerate(rows)
    ]


def _varied(
    row: np.ndarray, settings: TextViews, marks: Marks, *, length: int, places: np.ndarray, lots: np.ndarray
) -> np.ndarray:
    head, ids, tail = _parts(row, marks)
    most = length - len(head) - len(tail)
    share = settings.crop + (1 - settings.crop) * places[0]
    count = min(most, max(1, round(share * len(ids))))
    first = int(places[1] * (len(ids) - count + 1)) if settings.crop < 1 else 0
    ids = ids[first : first + count]
    if gone := min(int(settings.span * len(ids)), len(ids) - 1):
        first = int(places[2] * (len(ids) - gone + 1))
        ids = np.concatenate([ids[:first], ids[first + gone :]])
    if settings.delete:
        chance = lots[0, : len(ids)]
        kept = chance >= settings.delete
        ids = ids[kept] if kept.any() else ids[chance.argmax() : chance.argmax() + 1]
    if settings.shuffle:
        ids = ids[np.argsort(np.arange(len(ids)) + lots[1, : len(ids)] * (settings.shuffle + 1), kind="stable")]
    if settings.mask:
        ids = np.where(lots[2, : len(ids)] < settings.mask, np.asarray(marks.mask, ids.dtype), ids)
    return np.concatenate([head, ids, tail])


def _parts(row: np.ndarray, marks: Marks) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return (begin or nothing, what lies between, end or nothing) of a row, which may be filled up at the end."""
    real = np.flatnonzero(row != marks.padding)
    row = row[: real[-1] + 1] if len(real) and marks.padding != marks.end else row
    first = int(len(row) > 1 and row[0] == marks.begin)
    last = len(row) - int(len(row) > first and row[-1] == marks.end)
    return row[:first], row[first:last], row[last:]
