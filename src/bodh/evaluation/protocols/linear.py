"""Linear probe: logistic regression on frozen features, all training labels, any block of the backbone.

The penalty is chosen on a validation part of the training records, never on test records; every arm and every block
gets the same procedure (`evaluation.logistic`). Middle blocks are worth a look: for pretext tasks the last block is
often not the best (research/learning.md, section 3.5).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bodh.contracts import Json, derive_seed
from bodh.errors import UnknownName
from bodh.evaluation import logistic
from bodh.evaluation.features import all_blocks
from bodh.evaluation.protocols._tables import METRICS, arm_row, every_draw, explain
from bodh.evaluation.result import PRETRAINED, Contest, Grid, ProtocolResult

if TYPE_CHECKING:
    from bodh.evaluation.context import Context

LABELS = True
HEAD = False


def run(context: Context) -> ProtocolResult:
    """Return the probe's scores of the model, untrained networks and the raw input; of other blocks where asked for."""
    chosen = chosen_blocks(context)  # a wrong name is told before anything is computed
    scores = {
        arm: np.stack([context.scores(context.probe(arm, draw=draw)) for draw in range(context.draws(arm))])
        for arm in context.arms
    }
    how = f"logistic regression, penalty chosen within the training records; {explain(context)}"
    tables = {"linear": Grid("Linear probe", [arm_row(context, arm, s) for arm, s in scores.items()], how)}
    figures: dict[str, Json] = {arm: {context.metric: float(s.mean())} for arm, s in scores.items()}
    if chosen:
        rows = _blocks(context, chosen)
        how = "one pass over the records for all blocks; the untrained column is one network"
        tables["linear_blocks"] = Grid("Linear probe of every block", rows, how)
        figures[PRETRAINED]["blocks"] = {row["block"]: row[METRICS[context.metric]] for row in rows}
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


def _blocks(context: Context, chosen: tuple[str, ...]) -> list[Json]:
    rows: dict[str, Json] = {name: {"block": name} for name in chosen}
    arms = {PRETRAINED: METRICS[context.metric]}
    if "untrained" in context.arms:
        arms["untrained"] = "untrained"
    for arm, column in arms.items():
        network = context.network(arm)
        train, test = (
            all_blocks(network, context.store, context.positions[part], batch=context.config.batch)
            for part in ("train", "test")
        )
        for name in chosen:
            scale = logistic.Scale.fit(train[name])
            fitted = logistic.fit(
                scale(train[name]), context.targets("train"), context.classes,
                seed=derive_seed("block", context.config.seed), device=context.device,
            )  # fmt: skip
            rows[name]["width"] = train[name].shape[1]
            rows[name][column] = float(context.scores(fitted.probabilities(scale(test[name]))).mean())
    return list(rows.values())
