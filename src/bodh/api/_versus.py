"""Two models on the same test records: which is better, or can that not be told?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from bodh.contracts import Json, derive_seed
from bodh.errors import DataError

if TYPE_CHECKING:
    from bodh.api.load import Model
    from bodh.evaluation.context import Context
    from bodh.evaluation.result import Judged

SURE = 0.05
"""Below this probability the difference is not put down to luck."""


@dataclass(frozen=True, slots=True)
class Versus:
    """What the comparison found.

    Attributes:
        names: of the two models.
        judged: what each said of the records that both can tell, in the same order; None where they write texts.
        told: answer, sentence, better (0, 1 or None), accuracy, difference and its interval, counts, test and p.
        tables: "models" and "difference", rows for people and programs.
    """

    names: tuple[str, str]
    judged: tuple[Judged, Judged] | None
    told: Json
    tables: dict[str, list[Json]]

    @property
    def right(self) -> tuple[np.ndarray, np.ndarray]:
        """Whether each record was told rightly, by the one and by the other; each bool [n]."""
        one, other = cast("tuple[Judged, Judged]", self.judged)
        return _right(one), _right(other)


def with_heads(models: tuple[Model, Model]) -> bool:
    """Return whether both models have classes of their own; else both are compared by a linear probe.

    Raises:
        DataError: a model tells numbers, not classes.
    """
    for model in models:
        if model.manifest.task == "regress":
            raise DataError(f"{model.folder} tells numbers; two models are compared by what class they tell")
    return all(model.manifest.class_names for model in models)


def compare_two(models: tuple[Model, Model], contexts: tuple[Context, Context], *, heads: bool) -> Versus:
    """Compare two models on the test records that both can tell.

    McNemar's test on who is right where the other is wrong, and a paired bootstrap of the difference in accuracy.

    Args:
        models: the two handles.
        contexts: of the two, over the same data.
        heads: by their own classes; else by a linear probe on all training labels.

    Raises:
        DataError: no labels, no record that both can tell, or one label a record here and several there.
    """
    from bodh.metrics import bootstrap
    from bodh.metrics.paired import mcnemar

    names = names_of(models)
    pair = _same_records(contexts, tuple(_judge(context, heads=heads) for context in contexts))
    first, second = _right(pair[0]), _right(pair[1])
    config = contexts[0].config
    test = mcnemar(first, second)
    strata = None if pair[0].several else pair[0].targets
    draws, seed = config.bootstrap or bootstrap.DRAWS, derive_seed("versus", config.seed)
    low, high = bootstrap.paired(second, first, strata, draws=draws, seed=seed)
    shares = float(first.mean()), float(second.mean())
    better = None if test.p >= SURE else int(shares[1] > shares[0])
    told: Json = {
        "models": [str(model.folder) for model in models], "names": list(names), "better": better,
        "records": len(first), "right": list(shares), "difference": shares[1] - shares[0], "low": low, "high": high,
        "both": test.both, "first_only": test.first_only, "second_only": test.second_only, "neither": test.neither,
        "test": test.test, "statistic": test.statistic, "p": test.p, "by": pair[0].who,
    }  # fmt: skip
    told["answer"] = f"Better: {names[better]}" if better is not None else "No difference can be told"
    told["sentence"] = _sentence(told, several=pair[0].several)
    return Versus(names, pair, told, _tables(names, pair, told))


def _judge(context: Context, *, heads: bool) -> Judged:
    from bodh.evaluation.judge import judge
    from bodh.evaluation.protocols.task import aligned

    if not context.labelled:
        raise DataError(f"{context.store.name!r} has no labels; to compare two models, give labelled data")
    options = {"draws": context.config.bootstrap, "seed": context.config.seed}
    if heads:
        probabilities, targets, positions, _ = aligned(context)
        names = context.model.manifest.class_names
        return judge("the classifier", names, probabilities, targets, positions, **options)
    said = context.probe("pretrained")
    positions = context.positions["test"]
    return judge("a linear probe", context.class_names, said, context.targets("test"), positions, **options)


def _same_records(contexts: tuple[Context, Context], pair: tuple[Judged, ...]) -> tuple[Judged, Judged]:
    """Return what both said of the records that both could tell, in the order of the first."""
    from bodh.evaluation.judge import judge

    config = contexts[0].config
    ids = [[context.store.ids[p] for p in one.positions] for context, one in zip(contexts, pair, strict=True)]
    place = {name: number for number, name in enumerate(ids[1])}
    shared = [(number, place[name]) for number, name in enumerate(ids[0]) if name in place]
    if not shared:
        raise DataError("there is no test record that both models can tell: their classes have none in common")
    if len(shared) == len(ids[0]) == len(ids[1]) and all(a == b for a, b in shared):
        return pair[0], pair[1]
    chosen = np.array(shared).T
    kept = [
        judge(
            one.who, one.class_names, one.probabilities[index], one.targets[index], one.positions[index],
            draws=config.bootstrap, seed=config.seed,
        )
        for one, index in zip(pair, chosen, strict=True)
    ]  # fmt: skip
    return kept[0], kept[1]


def _right(judged: Judged) -> np.ndarray:
    """Return whether every record [n] was told rightly: its class, or every one of its labels."""
    if judged.several:
        exact: np.ndarray = ((judged.probabilities >= 0.5) == judged.targets.astype(bool)).all(axis=1)
        return exact
    right: np.ndarray = judged.probabilities.argmax(axis=1) == judged.targets
    return right


def names_of(models: tuple[Model, Model]) -> tuple[str, str]:
    """Return short names of the models that differ."""
    places = [model.run or model.folder for model in models]
    short = [place.name for place in places]
    one, other = short if short[0] != short[1] else [str(place) for place in places]
    return (one, other) if one != other else (one, f"{other} (again)")


def _sentence(told: Json, *, several: bool) -> str:
    one, other = told["names"]
    what = "has every label right on" if several else "is right on"
    sure = f"p = {told['p']:.3f}" if told["p"] >= 0.001 else "p < 0.001"
    return (
        f"{other} {what} {_percent(told['right'][1])} of {told['records']:,} test records, {one} on "
        f"{_percent(told['right'][0])}: a difference of {100 * told['difference']:+.1f} points "
        f"({100 * told['low']:+.1f} to {100 * told['high']:+.1f}). {told['first_only']:,} records only {one} tells, "
        f"{told['second_only']:,} only {other}: McNemar {sure} ({told['test']})."
    )


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _tables(names: tuple[str, str], pair: tuple[Judged, Judged], told: Json) -> dict[str, list[Json]]:
    wanted = ("accuracy", "all_right", "f1_macro", "roc_auc", "calibration_error", "brier")
    rows: list[Json] = []
    for name, one in zip(names, pair, strict=True):
        row: Json = {"model": name}
        for figure in wanted:
            if figure in one.figures:
                row[figure.replace("_", " ")] = one.figures[figure]
        rows.append(row)
    difference: Json = {
        "records": told["records"], f"only {names[0]}": told["first_only"], f"only {names[1]}": told["second_only"],
        "difference": told["difference"], "from": told["low"], "to": told["high"], "p": told["p"],
        "test": f"McNemar, {told['test']}",
    }  # fmt: skip
    return {"models": rows, "difference": [difference]}


def blocks(found: Versus, contexts: tuple[Context, Context]) -> list[Any]:
    """Return what the page shows: both models' figures, the difference, and records that one alone tells."""
    from bodh.api._evaluation_report import show, table
    from bodh.evaluation.result import Grid
    from bodh.report.blocks import Gallery, Picture, Table

    told = found.told
    low, high = (f"{100 * told[end]:+.1f}" for end in ("low", "high"))
    cells: dict[str, Any] = {
        "records": told["records"], f"only {found.names[0]}": told["first_only"],
        f"only {found.names[1]}": told["second_only"],
        "difference, points": f"{100 * told['difference']:+.1f} ({low} to {high})",
        "p": told["p"], "McNemar": told["test"],
    }  # fmt: skip
    note = f"by {told['by']}; interval of the difference: paired bootstrap, 95 %"
    parts: list[Any] = [
        table("versus", Grid("Two models", found.tables["models"])),
        Table("Their difference", list(cells), [list(cells.values())], note),
    ]
    first, second = found.right
    both = cast("tuple[Judged, Judged]", found.judged)
    rows = []
    for who, other, mask in ((0, 1, first & ~second), (1, 0, second & ~first)):
        shown = []
        for place in np.flatnonzero(mask)[:8]:
            judged = both[other]
            if judged.several:
                break
            says = judged.class_names[int(judged.probabilities[place].argmax())]
            true = judged.class_names[int(judged.targets[place])]
            caption = f"only {found.names[who]}: {true} (the other: {says})"
            shown.append(Picture(show(contexts[0], int(both[0].positions[place])), caption))
        if shown:
            rows.append(shown)
    return [*parts, Gallery("Told by one alone", rows)] if rows else parts
