"""What a run reads of texts: tokens a second, and how much of that is padding."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from bodh.contracts import Json
from bodh.records.feed import Feed
from bodh.train.engine import Engine


class Tally:
    """Counts the tokens of batches on their device; of records that are no token ids it counts nothing.

    Args:
        feed: makes the batches; its modality tells the id that fills rows up, its store whether rows are full.
    """

    def __init__(self, feed: Feed) -> None:
        modality: Any = feed.modality
        known = modality.tokens() if hasattr(modality, "tokens") else None
        self._padding = None if known is None or feed.store.shape is not None else known.padding
        self._ends = known is not None and known.padding == known.end
        self._counts = known is not None
        self.clear()

    def clear(self) -> None:
        """Begin anew."""
        self._places, self._padded = 0, torch.zeros(())

    def add(self, views: tuple[Tensor, ...]) -> None:
        """Count the rows of ids `[n t]` among `views`, each view by itself."""
        for view in views if self._counts else ():
            if view.ndim != 2 or view.is_floating_point():
                continue
            self._places += view.numel()
            if self._padding is not None:
                # where the same id also ends a text, each row holds one that is no padding
                padded = (view == self._padding).sum() - (len(view) if self._ends else 0)
                self._padded = self._padded.to(view.device) + padded

    def figures(self, engine: Engine, seconds: float) -> Json:
        """Return tokens a second and the share of padding since the last call, of all processes; {} of no texts.

        Args:
            engine: joins the counts of processes.
            seconds: since the last call, above 0.
        """
        if not self._places:
            return {}
        counts = {"places": torch.tensor(float(self._places)), "padded": self._padded}
        places, padded = engine.mean(counts).values()
        self.clear()
        return {"tokens_per_second": engine.world * (places - padded) / seconds, "padding": padded / places}
