"""Settings of `evaluate`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Literal

from pydantic import Field, field_validator

from bodh.config.base import Config

BASELINES = ("untrained", "raw", "scratch")
_BUDGET = re.compile(r"[1-9]\d*|(?:100|\d{1,2}(?:\.\d+)?)%")


class EvaluationConfig(Config):
    """What is measured, against what, and how often."""

    protocols: tuple[str, ...] = Field(
        ("auto",),
        description='which protocols: "auto" (all that fit), or names: knn, linear, budget, task, cluster, novelty …',
    )
    baselines: tuple[str, ...] = Field(
        ("auto",),
        description='what to compare with: "auto" (all), untrained (same network, random weights), raw (input itself, '
        'PCA), scratch (same network trained on the same labels), or "none"',
    )
    novel: str | None = Field(
        None,
        description="what counts as novel in protocol novelty: a class of the data, or a data set whose test records "
        "are of no known class (all of its records where it has no test part)",
    )
    novel_input: str | None = Field(None, description="data.input of the data set that novel= names")
    seeds: int = Field(
        3, ge=1, le=100, description="label draws, and untrained and scratch networks; 3 at least to tell"
    )
    seed: int = Field(0, ge=0, description="root of all draws")
    budgets: tuple[str, ...] = Field(
        ("auto",), description='label budgets: "5" is 5 labels a class, "10%" a share of the training labels, or "auto"'
    )
    blocks: tuple[str, ...] = Field(
        ("last",), description='which blocks the linear probe reads: "last", "all", or names of blocks'
    )
    grid: int = Field(
        4, ge=1, le=32, description="maps of blocks are probed averaged, and over a grid of this side; 1: averaged only"
    )
    metric: Literal["auto", "accuracy", "balanced_accuracy"] = Field(
        "auto", description="what comparisons count; auto: balanced accuracy where one class is 3 times another"
    )
    neighbours: int | None = Field(None, ge=1, description="k of kNN; by default 200 for large sets, 20 for small ones")
    temperature: float = Field(0.1, gt=0, description="of the weights of neighbours")
    records: int = Field(100_000, ge=10, description="training records that probes use at most, drawn class by class")
    batch: int = Field(256, ge=1, description="records in one pass through a network")
    scratch_views: int = Field(
        30_000, ge=100, description="augmented records that every network from scratch is trained on"
    )
    test_views: int = Field(
        1, ge=1, le=64, description="views that the classifier's answers are averaged over: the record, and weak views"
    )
    bootstrap: int = Field(
        1000, ge=0, le=100_000, description="draws for the intervals of a classifier's figures; 0: no intervals"
    )
    beams: int = Field(4, ge=1, le=256, description="of models that write texts: beginnings that are kept; 1: greedy")
    pictures: bool = Field(True, description="also write confusion.png, classes.png, roc.png, pr.png, reliability.png")
    explained: int = Field(6, ge=0, le=50, description="worst errors that the report explains with a heat map; 0: none")
    map_records: int = Field(1500, ge=0, description="records on the map of the embedding; 0: no map")

    @field_validator("protocols", "baselines", "budgets", "blocks", mode="before")
    @classmethod
    def _one_is_a_list(cls, value: Any) -> Any:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        if isinstance(value, Sequence):
            return tuple(str(part) if isinstance(part, int) and not isinstance(part, bool) else part for part in value)
        return (str(value),) if isinstance(value, int) and not isinstance(value, bool) else value

    @field_validator("baselines")
    @classmethod
    def _baselines_exist(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if value in (("auto",), ("none",)):
            return value
        if unknown := [name for name in value if name not in BASELINES]:
            raise ValueError(f"no baseline named {unknown[0]!r}; allowed are auto, none, {', '.join(BASELINES)}")
        return value

    @field_validator("budgets")
    @classmethod
    def _budgets_are_counts_or_shares(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if value == ("auto",):
            return value
        for budget in value:
            if not _BUDGET.fullmatch(budget) or budget.rstrip("%") in {"0", "0.0"}:
                raise ValueError(f'{budget!r} is no label budget; write "5" for 5 labels a class, "10%" for a share')
        return value

    @property
    def arms(self) -> tuple[str, ...]:
        """The baselines that were asked for."""
        if self.baselines == ("auto",):
            return BASELINES
        return () if self.baselines == ("none",) else self.baselines
