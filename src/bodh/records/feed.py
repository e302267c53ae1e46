"""Batches of views for the loop, as a pure function of the step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch

from bodh.contracts import Batch, Modality, RecordStore, Shard, ViewSpec, derive_seed
from bodh.records.sampling import balanced_order, batch_positions, bucketed_order, epoch_order, mixed_order
from bodh.records.splits import labelled


@dataclass(frozen=True, slots=True)
class Place:
    """Where a process stands: its device, its rank, and how many there are."""

    device: torch.device
    rank: int = 0
    world: int = 1


@dataclass(frozen=True, slots=True, eq=False)
class Draw:
    """How the records of an epoch are drawn; by default each once, in any order."""

    groups: Sequence[np.ndarray] = ()
    """places in the feed's positions, one array a class: every class is then drawn equally often in an epoch"""
    ratio: int = 0
    """records without label beside each labelled one in every batch; 0: as they come"""
    lengths: np.ndarray | None = None
    """[n] of the records at the feed's positions: batches are then of records of similar length, but for `ratio`,
    whose batches are made up already"""

    def order(self, n: int, known: np.ndarray | None, *, batch: int, seed: int) -> Callable[[int], np.ndarray] | None:
        """Return what gives the order `[n]` of an epoch; None: `epoch_order`.

        Args:
            n: records.
            known: [n] bool, which have a label; None: none.
            batch: records a step.
            seed: root seed of the run.
        """
        if not len(self.groups) and not self.ratio and self.lengths is None:
            return None
        known = np.zeros(n, bool) if known is None else known
        own, others = np.flatnonzero(known), np.flatnonzero(~known)

        @lru_cache(maxsize=2)
        def drawn(epoch: int) -> np.ndarray:
            if len(self.groups):
                order = balanced_order(n, self.groups, seed=seed, epoch=epoch)
            elif self.ratio:
                return mixed_order(n, own, others, ratio=self.ratio, seed=seed, epoch=epoch)
            else:
                order = epoch_order(n, seed=seed, epoch=epoch)
            if self.lengths is None:
                return order
            return bucketed_order(order, self.lengths, batch=batch, seed=seed, epoch=epoch)

        return drawn


class Feed:
    """Reads, orders and varies records. Order depends on (seed, epoch), views on (seed, micro-step) alone.

    Every process draws the view parameters of the whole batch and computes its own rows, so that two processes
    see together exactly what one would see. Rows of the next steps are read by a thread meanwhile.

    Args:
        store: decoded records.
        positions: [n] positions in the store that may be drawn.
        modality: carries out `spec`.
        spec: the views that the objective wants.
        batch: records in one optimiser step, over all processes and micro-batches.
        accumulate: micro-batches in a step.
        seed: root seed of the run.
        place: this process.
        draw: how records are drawn, where not each once an epoch in any order.
    """

    ahead = 2
    """Micro-batches whose rows are read in advance."""

    def __init__(
        self,
        store: RecordStore,
        positions: np.ndarray,
        modality: Modality,
        spec: ViewSpec,
        *,
        batch: int,
        accumulate: int = 1,
        seed: int = 0,
        place: Place,
        draw: Draw | None = None,
    ) -> None:
        micro = batch // accumulate
        if len(positions) < batch:
            raise ValueError(f"{len(positions)} records cannot fill a batch of {batch}")
        if micro % place.world:
            raise ValueError(f"a micro-batch of {micro} cannot be shared evenly by {place.world} processes")
        share = micro // place.world
        self.store, self.modality, self.spec = store, modality, spec
        self.positions = np.asarray(positions, dtype=np.int64)
        self.batch, self.accumulate, self.seed, self.place = batch, accumulate, seed, place
        self.shard = Shard(place.rank * share, (place.rank + 1) * share, micro)
        known = None if store.targets is None else labelled(np.asarray(store.targets)[self.positions])
        self._order = (draw or Draw()).order(len(positions), known, batch=batch, seed=seed)
        self.steps_per_epoch = len(positions) // batch
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="bodh-read")
        self._pending: dict[int, Future[tuple[np.ndarray, Any]]] = {}

    def epoch(self, step: int) -> int:
        """Return the epoch that optimiser step `step` belongs to."""
        return step // self.steps_per_epoch

    def micro_batch(self, step: int, part: int, lap: Callable[[str], None]) -> Batch:
        """Return this process's rows of micro-batch `part` of optimiser step `step`.

        Args:
            step: optimiser step, from 0.
            part: micro-batch within it, 0 … accumulate - 1.
            lap: called with "data" and "views" when that phase ends, for the clock.
        """
        number = step * self.accumulate + part
        index, rows = self._take(number)
        lap("data")
        views = self.modality.views(
            rows, self.spec, derive_seed("views", self.seed, number), self.shard, self.place.device
        )
        targets = targets_of(self.store, index, self.place.device)
        lap("views")
        return Batch(
            views=views,
            index=torch.from_numpy(index).to(self.place.device),
            targets=targets,
            seed=derive_seed("objective", self.seed, number, self.place.rank),
        )

    def close(self) -> None:
        """Stop the reading thread."""
        self._reader.shutdown(wait=True, cancel_futures=True)
        self._pending.clear()

    def _take(self, number: int) -> tuple[np.ndarray, Any]:
        for coming in range(number, number + self.ahead + 1):
            if coming not in self._pending:
                self._pending[coming] = self._reader.submit(self._read, coming)
        for stale in [old for old in self._pending if old < number]:
            del self._pending[stale]
        return self._pending.pop(number).result()

    def _read(self, number: int) -> tuple[np.ndarray, Any]:
        step, part = divmod(number, self.accumulate)
        _, drawn = batch_positions(len(self.positions), batch=self.batch, step=step, seed=self.seed, order=self._order)
        first = part * self.shard.total
        index = self.positions[drawn[first + self.shard.start : first + self.shard.stop]]
        return index, self.store.rows(index)


def targets_of(store: RecordStore, index: np.ndarray, device: torch.device) -> torch.Tensor | None:
    """Return the labels of records at `index` [n] as objectives take them (see `contracts.Batch`), or None."""
    if store.targets is None:
        return None
    targets = torch.from_numpy(np.asarray(store.targets[index]))
    # one class a record is an index, several are a row of zeros and ones for binary cross-entropy, numbers floats
    targets = targets.float() if targets.ndim == 2 or targets.is_floating_point() else targets.long()
    return targets.to(device)
