"""Scores that need no labels, of the model and of an untrained twin: rank, spread, agreement of views.

They tell a collapsed representation from a live one. They do not say which of two methods is better for a task, and
a higher figure than the untrained twin's is no proof of use; hence they never decide the verdict.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import numpy as np

from bodh.contracts import Json, Shard, View, derive_seed
from bodh.evaluation.result import PRETRAINED, TITLES, Grid, ProtocolResult
from bodh.metrics import label_free as scores

if TYPE_CHECKING:
    import torch

    from bodh.contracts import RecordStore
    from bodh.evaluation.context import Context
    from bodh.model.loaded import LoadedModel

LABELS = False
HEAD = False
FEWEST = 8
"""Test records below which it says nothing, unless it is asked for by name."""
RECORDS = 2048
VIEWED = 256
VIEWS = 8
NAMES = {
    "rankme": "RankMe",
    "lidar": "LiDAR",
    "alpha_req": "α-ReQ",
    "std": "spread",
    "alignment": "alignment",
    "uniformity": "uniformity",
}


def run(context: Context) -> ProtocolResult:
    """Return the scores of the model and, where that baseline was asked for, of one untrained network."""
    figures, rows = {}, []
    for arm in (PRETRAINED, *(("untrained",) if "untrained" in context.config.arms else ())):
        features = context.features(arm, "test")[:RECORDS]
        positions = context.positions["test"]
        figures[arm] = measure(context.network(arm), context.store, positions, features, seed=context.config.seed)
        rows.append({"features": TITLES[arm], **{NAMES[k]: v for k, v in figures[arm].items() if k in NAMES}})
        rows[-1]["collapsed"] = "yes" if figures[arm]["collapsed"] else "no"
    count = min(RECORDS, len(context.positions["test"]))
    note = f"on {count:,} test records; LiDAR and alignment from {VIEWS} views of {min(VIEWED, count):,} records"
    return ProtocolResult(
        "label_free", figures=figures, tables={"label_free": Grid("Scores without labels", rows, note)}
    )


def measure(model: LoadedModel, store: RecordStore, positions: np.ndarray, features: np.ndarray, *, seed: int) -> Json:
    """Return all label-free scores.

    Args:
        model: whose features.
        store: decoded records.
        positions: [n] records to make views of.
        features: [m d] features without variation, of the same kind of records.
        seed: of the views.
    """
    import torch

    plain = torch.from_numpy(features)
    views = viewed(model, store, positions[:VIEWED], seed=seed)
    std, rank = scores.feature_std(plain), scores.rankme(plain)
    return {
        "rankme": rank,
        "lidar": scores.lidar(views),
        "alpha_req": scores.alpha_req(plain),
        "std": std,
        "alignment": scores.alignment(views[:, 0], views[:, 1]),
        "uniformity": scores.uniformity(plain),
        "collapsed": scores.collapsed(std=std, rank=rank),
    }


def viewed(model: LoadedModel, store: RecordStore, positions: np.ndarray, *, seed: int) -> torch.Tensor:
    """Return features [n q d] of q = 8 strong views of every record at `positions` [n]."""
    import torch

    backbone, device = cast("Any", model.network["backbone"]), model.device
    block, grid = model.manifest.best_block, model.manifest.best_grid
    rows, count = store.rows(positions), len(positions)
    made = []
    for view in range(VIEWS):
        drawn = model.modality.views(
            rows, (View("strong"),), derive_seed("label-free", seed, view), Shard(0, count, count), device
        )
        with torch.inference_mode():
            parts = (drawn[0][start : start + 256] for start in range(0, count, 256))
            made.append(
                torch.cat(
                    [
                        (backbone.blocks(part, grid=grid)[block] if block else backbone(part)).float().cpu()
                        for part in parts
                    ]
                )
            )
    return torch.stack(made, dim=1)
