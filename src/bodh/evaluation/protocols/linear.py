"""Linear probe: logistic regression on frozen features, all training labels, any block of the backbone.

The penalty is chosen on a validation part of the training records, never on test records; every arm and every block
gets the same procedure (`evaluation.logistic`). Middle blocks are worth a look: for pretext tasks the last block is
often not the best (research/learning.md, section 3.5).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bodh.contracts import Json
from bodh.errors import UnknownName
from bodh.evaluation.blocks import RECORDS, probe_blocks
from bodh.evaluation.protocols._tables import METRICS, arm_row, every_draw, explain
from bodh.evaluation.result import PRETRAINED, Contest, Grid, ProtocolResult

if TYPE_CHECKING:
    from bodh.evaluation.context import Context

LABELS = True
HEAD = False
TASKS = ("single", "binary", "multi", "regress")


def run(context: Context) -> ProtocolResult:
    """Return the probe's scores of the model, untrained networks and the raw input; of other blocks where asked for."""
    chosen = chosen_blocks(context)  # a wrong name is told before anything is computed
    scores = {
        arm: np.stack([context.scores(context.probe(arm, draw=draw)) for draw in range(context.draws(arm))])
        for arm in context.arms
    }
    fit = "ridge regression" if context.measured else "logistic regression"
    how = f"{fit}, penalty chosen within the training records; {explain(context)}"
    tables = {"linear": Grid("Linear probe", [arm_row(context, arm, s) for arm, s in scores.items()], how)}
    figures: dict[str, Json] = {arm: {context.metric: float(s.mean())} for arm, s in scores.items()}
    if chosen:
        rows, best = probe_blocks(context, chosen)
        how = (
            f"the best is chosen on {best.records:,} training records that were held out (validation), never on test "
            f"records; fitted on the rest, {RECORDS:,} at most in all; the untrained column is one network"
        )
        tables["linear_blocks"] = Grid("Linear probe of every block", rows, how)
        figures[PRETRAINED]["blocks"] = {f"{row['block']}, {row['map']}": row[METRICS[context.metric]] for row in rows}
        figures[PRETRAINED]["best_block"] = best.to_json()
    labels = len(context.positions["train"])
    contest = Contest(f"all {labels:,} labels", labels, 1.0, None, every_draw(context, scores))
    return ProtocolResult("linear", figures=figures, tables=tables, contests=(contest,))


def chosen_blocks(context: Context) -> tuple[str, ...]:
    """Return the names of the blocks that were asked for besides the last, in the order of the network.

    Raises:
        UnknownName: the backbone has no such block.
    """
    names, asked = context.model.block_names, context.config.blocks
    if asked == ("all",):
        return tuple(names)
    if asked == ("last",):
        return ()
    for name in asked:
        if name not in names:
            raise UnknownName("block", name, (*names, "all", "last"))
    return tuple(name for name in names if name in asked)
