"""Texts as packed rows: what objectives pass over that want no token to be padding."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from bodh.contracts import Needs, RecordStore

if TYPE_CHECKING:
    from bodh.api._training import Data

logger = logging.getLogger("bodh")


@dataclass(frozen=True)
class Windows:
    """Packed rows over the texts of the training part and, where there is one, of the validation part.

    Texts that were set aside for evaluation stand in for a validation part: nothing is chosen by it.
    """

    train: RecordStore
    val: RecordStore | None


def windows_of(needs: Needs, data: Data, positions: np.ndarray) -> Windows | None:
    """Return the packed rows that an objective of `needs` wants; None: it takes the texts one by one.

    Args:
        needs: of the objective.
        data: texts.
        positions: [n] of those that train.
    """
    if not needs.packed:
        return None
    from bodh.records.packed import packed

    modality = cast("Any", data.modality)
    length, end = modality.config.length, modality.tokens().end
    own = data.aside if len(data.aside) else np.flatnonzero(np.asarray(data.store.splits) == "val")
    val = packed(data.store, own, length=length, end=end) if len(own) else None
    train = packed(data.store, positions, length=length, end=end)
    told = "" if not len(data.aside) else f"; {len(own)} set aside are looked at every epoch"
    told += " (data.set_aside=false: learn from all)" if told and data.store.targets is None else ""
    read = f"{len(positions)} texts are" if len(positions) > 1 else "one text is"
    logger.info("%s read as %d rows of %d tokens, without padding%s", read, len(train), length, told)
    return Windows(train, val)
