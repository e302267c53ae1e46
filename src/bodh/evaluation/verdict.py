"""The answer to "did learning without labels help here?", by a rule that is fixed before any figure is seen.

**The rule.** At every level of labels (label budgets where they were measured, else the linear probe or kNN), the
pretrained model is compared with the best baseline *at that level* (best on the test records, which favours the
baselines) by paired differences over label draws and test records (`metrics.intervals.paired_interval`). A level is

- *better* where the whole 95 % interval lies above 0, *worse* where it lies below 0, *level* where it lies below
  +1 point (no gain worth having), and *open* otherwise.

The levels that matter are those with at most half of all training labels: with more, labels are not what is missing
(all levels, where there is no such one). Then

- **yes**: better at half or more of the levels that matter, worse at none of them;
- **no**: better at none of them, and worse at one or at no level open;
- **cannot tell**: everything else; and always with fewer than 3 draws, fewer than 20 test records, no labels, no
  baseline, or a backbone that was itself trained with labels.

The sentence speaks of the smallest level that matters with at least 2 labels a class, whatever came out there, and
says it where the model is behind at any level, also one that does not matter for the answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from bodh.contracts import Json
from bodh.evaluation.contests import compared, labels_needed, written
from bodh.evaluation.result import PRETRAINED, TITLES, Contest
from bodh.metrics.intervals import mean_interval

Helped = Literal["yes", "no", "cannot tell"]
FEWEST_DRAWS = 3
FEWEST_RECORDS = 20
WORTH_HAVING = 0.01
MATTERS = 0.5


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer, with all its evidence.

    Attributes:
        helped: "yes", "no" or "cannot tell".
        sentence: one plain sentence with figures that says why.
        evidence: one entry a level: level, labels, figures of the model and of the best baseline, paired difference
            with its interval, and how the level counted.
        tables: short key ("budget", "linear", …) -> rows, of every protocol that ran.
        report: the page, once written.
        versus: how a second model compares, where one was given: answer, sentence, better, counts, p ….
    """

    helped: Helped
    sentence: str
    evidence: list[Json]
    tables: dict[str, list[Json]] = field(default_factory=dict)
    report: Path | None = None
    versus: Json | None = None

    def to_json(self) -> Json:
        """Return everything as JSON values."""
        return {
            "helped": self.helped, "sentence": self.sentence, "evidence": self.evidence, "tables": self.tables,
            "report": None if self.report is None else str(self.report), "versus": self.versus,
        }  # fmt: skip

    def written_to(self, report: Path) -> Verdict:
        """Return the same verdict with its page named."""
        return replace(self, report=report)


def no_verdict(reason: str) -> Verdict:
    """Return "cannot tell" for a reason that lies before any comparison."""
    return Verdict("cannot tell", reason, [])


def decide(contests: Sequence[Contest], *, classes: int, missing: Sequence[str] = ()) -> Verdict:
    """Return the verdict on `contests` by the rule above.

    Args:
        contests: from few labels to many.
        classes: k, to find the level of 2 labels a class.
        missing: baselines that were not compared with; the sentence says so.
    """
    evidence = [_weigh(contest) for contest in contests]
    if not contests or all(len(contest.scores) < 2 for contest in contests):
        return Verdict("cannot tell", "There was no baseline to compare with.", evidence)
    chosen = [contest.share <= MATTERS for contest in contests]
    matter = chosen if any(chosen) else [True] * len(contests)
    counted = [entry["counts_as"] for entry, m in zip(evidence, matter, strict=True) if m]
    for entry, m in zip(evidence, matter, strict=True):
        entry["matters"] = m
    at = _spoken(contests, matter, classes)
    draws, records = next(iter(contests[at].scores.values())).shape
    gain = _gain(contests, at, evidence[at])
    behind = _behind(contests, evidence, at)
    left_out = f" (Not compared with: {', '.join(TITLES[arm] for arm in missing)}.)" if missing else ""
    if draws < FEWEST_DRAWS or records < FEWEST_RECORDS:
        few = f"{draws} label draws" if draws < FEWEST_DRAWS else f"{records} test records"
        few = f"{few} are" if (draws if draws < FEWEST_DRAWS else records) > 1 else f"{few.removesuffix('s')} is"
        need = f"at least {FEWEST_DRAWS}" if draws < FEWEST_DRAWS else f"at least {FEWEST_RECORDS}"
        return Verdict("cannot tell", f"{few} too few to tell ({need} are needed). {gain}{left_out}", evidence)
    better, worse = counted.count("better"), counted.count("worse")
    helped: Helped = "cannot tell"
    if 2 * better >= len(counted) and not worse:
        helped = "yes"
    elif not better and (worse or "open" not in counted):
        helped = "no"
    reason = ""
    if helped == "cannot tell":
        told = {"better": "clearly better", "worse": "clearly worse", "level": "level", "open": "within chance"}
        seen = [
            f"{words} at {'all' if counted.count(kind) == len(counted) else counted.count(kind)}"
            for kind, words in told.items()
            if kind in counted
        ]
        reason = f" Of {len(counted)} label budgets that matter, the model is {', '.join(seen)}."
        if len(counted) == 1:
            reason = f" That is {told[counted[0]]}."
    return Verdict(helped, f"{gain}{reason}{behind}{left_out}", evidence)


def _weigh(contest: Contest) -> Json:
    """Return one level's figures and how it counts."""
    own = mean_interval(contest.scores[PRETRAINED].mean(axis=1))
    entry: Json = {"level": contest.level, "labels": contest.labels, PRETRAINED: own.mean, "±": own.half}
    found = compared(dict(contest.scores))
    if found["best"] is not None:
        best = mean_interval(contest.scores[found["best"]].mean(axis=1))
        entry |= {"best_baseline": found["best"], "baseline": best.mean, "baseline_±": best.half}
    entry |= {key: found[key] for key in ("difference", "low", "high")}
    return entry | {"counts_as": _kind(found["low"], found["high"])}


def _kind(low: float | None, high: float | None) -> str:
    if low is None or high is None:
        return "open"
    if low > 0:
        return "better"
    if high < 0:
        return "worse"
    return "level" if high < WORTH_HAVING else "open"


def _spoken(contests: Sequence[Contest], matter: list[bool], classes: int) -> int:
    """Return the level that the sentence speaks of: the smallest that matters with 2 labels a class or more."""
    levels = [i for i, m in enumerate(matter) if m]
    enough = [i for i in levels if contests[i].labels >= 2 * classes]
    return (enough or levels)[0]


def _gain(contests: Sequence[Contest], at: int, entry: Json) -> str:
    contest = contests[at]
    best = entry["best_baseline"]
    start = contest.level[0].upper() + contest.level[1:] if contest.level[:3] == "all" else f"With {contest.level}"
    own, other = _percent(entry[PRETRAINED], entry["±"]), _percent(entry["baseline"], entry["baseline_±"])
    text = f"{start}: {own} against {other} of the best baseline ({TITLES[best]})"
    if entry["low"] is not None:
        text += (
            f", a difference of {_points(entry['difference'])} ({_points(entry['low'])} to {_points(entry['high'])})"
        )
    if len(contests) > 1 and entry["counts_as"] == "better":
        multiple, sign = labels_needed(tuple(contests), contest, best)
        if sign == "=":
            text += f"; {TITLES[best]} needs {written(multiple, sign)} the labels for that"
        elif sign == ">":
            text += f"; {TITLES[best]} does not reach that with {multiple:.0f}× the labels"
    return text + "."


def _behind(contests: Sequence[Contest], evidence: list[Json], at: int) -> str:
    """Return a sentence on levels where a baseline is clearly ahead, other than the one already spoken of."""
    lost = [i for i, entry in enumerate(evidence) if entry["counts_as"] == "worse" and i != at]
    if not lost:
        return ""
    entry = evidence[lost[-1]]
    return (
        f" With {contests[lost[-1]].level}, {TITLES[entry['best_baseline']]} is ahead: "
        f"{entry['baseline']:.1%} against {entry[PRETRAINED]:.1%}.".replace("%", " %")
    )


def _percent(mean: float, half: float | None) -> str:
    return f"{100 * mean:.1f} %" + (f" ± {100 * half:.1f}" if half is not None else "")


def _points(difference: float) -> str:
    return f"{100 * difference:+.1f}".replace("-", "−")
