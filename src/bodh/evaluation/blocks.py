"""The linear probe of every block, and which of them is best: chosen without a look at a test record.

Pretext tasks are often learnt best by a middle block (research: Gidaris et al. 2018, arXiv 1803.07728, table 1), and
early blocks say much more where their maps are averaged over a grid of places instead of wholly: both are probed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bodh.contracts import Json, derive_seed
from bodh.evaluation.features import all_blocks
from bodh.evaluation.protocols._tables import METRICS
from bodh.evaluation.result import PRETRAINED
from bodh.metrics import regression
from bodh.metrics.classification import record_scores
from bodh.records.splits import label_budget

if TYPE_CHECKING:
    from bodh.evaluation.context import Context

HELD_OUT = 0.2
"""Share of the training records that chooses among the blocks."""
RECORDS = 10_000
"""Training records that blocks are probed with at most."""


@dataclass(frozen=True, slots=True)
class Best:
    """The block whose features a linear probe reads best.

    Attributes:
        block: its name; None: the pooled output of the network, as it is.
        grid: its map is averaged over a grid of this side; 1: wholly.
        validation: its score on training records that were held out.
        pooled: the pooled output's score on the same records.
        records: how many these were.
    """

    block: str | None
    grid: int
    validation: float
    pooled: float
    records: int

    def to_json(self) -> Json:
        """Return everything as JSON values."""
        return {
            "block": self.block, "grid": self.grid, "validation": self.validation, "pooled_output": self.pooled,
            "held_out_records": self.records,
        }  # fmt: skip


def probe_blocks(context: Context, chosen: tuple[str, ...]) -> tuple[list[Json], Best]:
    """Return one row a block and pooling, and the best of them.

    Every probe is fitted once, on four fifths of the training records (at most 10,000 in all); the last fifth says
    which is best, and test records only say how good each is.

    Args:
        context: the evaluation.
        chosen: names of the blocks to probe.
    """
    fit, held = _parts(context)
    last = context.model.block_names[-1]
    rows: dict[tuple[str, int], Json] = {}
    arms = {PRETRAINED: METRICS[context.metric]}
    if "untrained" in context.arms:
        arms["untrained"] = "untrained"
    for arm, column in arms.items():
        for grid in sorted({1, context.config.grid}):
            train, test = _features(context, arm, np.concatenate([fit, held]), grid)
            for name in chosen:
                if grid > 1 and train[name].shape[1] == rows[name, 1]["numbers"]:
                    continue  # there are no places left to tell apart
                row = rows.setdefault((name, grid), {"block": name, "map": _told(grid)})
                row["numbers"] = train[name].shape[1]
                both = np.concatenate([train[name][len(fit) :], test[name]])
                seed = derive_seed("block", context.config.seed)
                said = context.fitted(train[name][: len(fit)], both, context.targets("train")[fit], seed=seed)
                if arm == PRETRAINED:
                    row["validation"] = float(_scores(context, said[: len(held)], held).mean())
                row[column] = float(context.scores(said[len(held) :]).mean())
    ordered = sorted(rows, key=lambda key: (key[1], chosen.index(key[0])))
    winner = max(ordered, key=lambda key: rows[key]["validation"])  # the coarser, earlier one of equals
    pooled = rows.get((last, 1), rows[winner])["validation"]
    name, grid = winner
    best = Best(None if winner == (last, 1) else name, grid, rows[winner]["validation"], pooled, len(held))
    for key in ordered:
        rows[key]["best"] = "best" if key == winner else ""
    return [rows[key] for key in ordered], best


def _parts(context: Context) -> tuple[np.ndarray, np.ndarray]:
    """Return which of the labelled training records [n] fit, and which choose; drawn class by class."""
    targets = context.targets("train")
    used = np.arange(len(targets))
    seed = derive_seed("blocks", context.config.seed)
    if len(used) > RECORDS:
        used = label_budget(targets, fraction=RECORDS / len(used), seed=seed)
    fit = used[label_budget(targets[used], fraction=1 - HELD_OUT, seed=seed)]
    held = np.setdiff1d(used, fit)
    return fit, held if len(held) else fit


def _features(
    context: Context, arm: str, chosen: np.ndarray, grid: int
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Return features of every block, of the `chosen` training records and of the test records."""
    network, batch = context.network(arm), context.config.batch
    positions = context.positions["train"][chosen], context.positions["test"]
    train, test = (all_blocks(network, context.store, part, batch=batch, grid=grid) for part in positions)
    return train, test


def _scores(context: Context, said: np.ndarray, held: np.ndarray) -> np.ndarray:
    targets = context.targets("train")[held]
    if context.measured:
        return regression.record_scores(said, targets)
    return record_scores(said, targets, context.metric)


def _told(grid: int) -> str:
    return "averaged" if grid == 1 else f"{grid} by {grid}"
