"""Label budget: accuracy against the number of labels, for the model and every baseline, on the same draws.

Answers how many labels pretraining saves at equal accuracy. For each draw the budgets are nested (10 labels a class
contain the 5), all arms get the same labels and the same classifier, and the test records choose nothing. The arms:
the model's frozen features, features of untrained networks, the raw input on its principal components, and the same
network trained from scratch on these labels alone (fresh weights for every draw).

Axes: `s` draws, `n` test records.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import numpy as np

from bodh.contracts import Json, derive_seed
from bodh.evaluation.contests import compared, labels_needed, written
from bodh.evaluation.protocols._tables import METRICS, explain
from bodh.evaluation.result import PRETRAINED, TITLES, Chart, Contest, Curve, Grid, ProtocolResult
from bodh.metrics.intervals import mean_interval
from bodh.records.splits import label_budget

if TYPE_CHECKING:
    from bodh.evaluation.context import Context, Scratch

logger = logging.getLogger("bodh")

LABELS = True
HEAD = False
TASKS = ("single", "binary", "multi", "regress")
TITLE = "Label budget"
SAVED = (
    "labels that a baseline needs for what the pretrained model reaches, as a multiple of its labels, read off the "
    "baseline's curve between budgets"
)
RECORDS = ("30", "100", "300", "1000", "100%")
PER_CLASS = ("1", "2", "5", "10", "20", "100%")
SHARES = ("1%", "5%", "10%", "25%", "100%")


@dataclass(frozen=True, slots=True)
class Level:
    """One budget: labels a class, or a share of all labels."""

    text: str
    per_class: int | None
    fraction: float | None

    @classmethod
    def parse(cls, text: str) -> Level:
        """Read "5" (labels a class) or "10%" (share of each class)."""
        if text.endswith("%"):
            return cls(text, None, float(text[:-1]) / 100)
        return cls(text, int(text), None)

    @property
    def everything(self) -> bool:
        """Whether all labels are used, so that there is nothing to draw."""
        return self.fraction == 1.0

    def title(self, labels: int) -> str:
        """Return the level in words."""
        if self.everything:
            return f"all {labels:,} labels"
        if self.per_class is not None:
            return f"{self.per_class} label{'s' * (self.per_class > 1)} a class"
        return f"{self.text[:-1]} % of the labels ({labels:,})"


def run(context: Context) -> ProtocolResult:
    """Return accuracy against labels of every arm, and the labels that each baseline needs for equal accuracy."""
    contests = tuple(_contest(context, level) for level in levels(context))
    curves = {arm: _curve(arm, contests) for arm in contests[0].scores}
    metric = METRICS[context.metric]
    chart = Chart(TITLE, "labels", metric, list(curves.values()), log_x=True, note=explain(context))
    how = (
        f"{context.config.seeds} draws; {explain(context)}; difference: to the best baseline at that budget, paired, "
        "with its interval for other draws and other test records"
    )
    baselines = len(curves) > 1
    table = Grid(f"{TITLE}, in numbers", [_row(contest) for contest in contests], how)
    return ProtocolResult(
        "budget",
        figures={arm: {contest.level: float(contest.scores[arm].mean()) for contest in contests} for arm in curves},
        tables={"budget": table}
        | ({"labels_saved": Grid("Labels saved", _saved(contests), SAVED)} if baselines else {}),
        contests=contests,
        charts=(chart,),
    )


def levels(context: Context) -> list[Level]:
    """Return the budgets, from few labels to many.

    By default shares where 1 % is at least 10 labels a class, else labels a class as far as the classes go, and all.
    Measured numbers have no classes: so many labels in all.
    """
    asked = context.config.budgets
    if asked == ("auto",) and context.measured:
        asked = tuple(b for b in RECORDS if b.endswith("%") or int(b) <= len(context.targets("train")) / 2)
    elif asked == ("auto",):
        targets = context.targets("train")
        counts = np.bincount(targets) if targets.ndim == 1 else targets.sum(axis=0)
        usual = float(np.median(counts[counts > 0]))
        asked = SHARES if usual >= 1000 else tuple(b for b in PER_CLASS if b.endswith("%") or int(b) <= usual / 2)
    found = {level.text: level for level in map(Level.parse, asked)}
    return sorted(found.values(), key=lambda level: len(_draw(context, level, 0)))


def _draw(context: Context, level: Level, draw: int) -> np.ndarray:
    """Return the indices into the training part that this draw labels."""
    targets = context.targets("train")
    if level.everything:
        return np.arange(len(targets))
    seed = derive_seed("labels", context.config.seed, draw)
    return label_budget(targets, per_class=level.per_class, fraction=level.fraction, seed=seed)


def _contest(context: Context, level: Level) -> Contest:
    scores: dict[str, list[np.ndarray]] = {}
    arms = [*context.arms, *(["scratch"] if context.scratch and "scratch" in context.config.arms else [])]
    counts = []
    for draw in range(context.config.seeds):
        chosen = _draw(context, level, draw)
        counts.append(len(chosen))
        for arm in arms:
            if arm == "scratch":
                probabilities = _scratch(context, chosen, draw)
            else:
                probabilities = context.probe(arm, None if level.everything else chosen, draw=draw)
            scores.setdefault(arm, []).append(context.scores(probabilities))
    labels = round(float(np.mean(counts)))
    stacked = {arm: np.stack(rows) for arm, rows in scores.items()}
    title = f"{labels:,} labels" if context.measured and level.per_class else level.title(labels)
    contest = Contest(title, labels, labels / len(context.positions["train"]), level.per_class, stacked)
    told = ", ".join(f"{TITLES[arm]} {s.mean():.1%}" for arm, s in stacked.items())
    logger.info("label budget: %s: %s", contest.level, told)
    return contest


def _scratch(context: Context, chosen: np.ndarray, draw: int) -> np.ndarray:
    train = cast("Scratch", context.scratch)  # the caller looked
    seed = derive_seed("scratch", context.config.seed, draw)
    return train(context.positions["train"][chosen], context.positions["test"], seed)


def _curve(arm: str, contests: tuple[Contest, ...]) -> Curve:
    intervals = [mean_interval(contest.scores[arm].mean(axis=1)) for contest in contests]
    return Curve(
        TITLES[arm],
        [contest.labels for contest in contests],
        [interval.mean for interval in intervals],
        [interval.low for interval in intervals],
        [interval.high for interval in intervals],
    )


def _row(contest: Contest) -> Json:
    row: Json = {"labels": contest.level}
    for arm, scores in contest.scores.items():
        interval = mean_interval(scores.mean(axis=1))
        row |= {TITLES[arm]: interval.mean, f"± {TITLES[arm]}": interval.half}
    found = compared(dict(contest.scores))
    if found["best"] is not None:
        row |= {"best baseline": TITLES[found["best"]], "difference": found["difference"]}
        row |= {"from": found["low"], "to": found["high"]}
    return row


def _saved(contests: tuple[Contest, ...]) -> list[Json]:
    rows = []
    for contest in contests:
        row: Json = {"labels": contest.level}
        for arm in contest.scores:
            if arm != PRETRAINED:
                row[TITLES[arm]] = written(*labels_needed(contests, contest, arm))
        rows.append(row)
    return rows
