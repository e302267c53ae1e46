"""Two models that write, on the same test sentences or pictures: which does better, or can that not be told?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np

from bodh.api._versus import SURE, Versus, names_of
from bodh.contracts import Json
from bodh.errors import DataError
from bodh.metrics import bootstrap, translation

if TYPE_CHECKING:
    from bodh.api.load import Model
    from bodh.evaluation.context import Context

SENTENCES = 5000
"""Test sentences that are translated at most, evenly spaced."""
EXAMPLES = 8


class _Pair(NamedTuple):
    source: str
    row: np.ndarray
    targets: list[str]


def compare_writers(models: tuple[Model, Model], contexts: tuple[Context, Context]) -> Versus:
    """Compare what two models write for the same records: a paired bootstrap of BLEU and chrF over them.

    Test records of one text are one sentence with several references, a picture may bring several (Koehn 2004; see
    `metrics.translation`).

    Args:
        models: the two handles.
        contexts: of the two, over the same data.

    Raises:
        DataError: no test record that both read, or tokenizers that do not give the same references back.
    """
    names = names_of(models)
    first, second = (_pairs(context) for context in contexts)
    shared = [name for name in first if name in second]
    if not shared:
        raise DataError("there is no test record that both models read")
    if any(first[name].targets != second[name].targets for name in shared):
        raise DataError(
            "the two models' tokenizers do not give the same references back, so that their figures are of unlike "
            "texts; type: bodh evaluate MODEL DATA for each, and compare their figures with their intervals"
        )
    groups: dict[str, list[str]] = {}
    for name in shared:
        groups.setdefault(first[name].source, []).append(name)
    every = list(groups.items())
    if len(every) > SENTENCES:
        every = [every[place] for place in np.linspace(0, len(every) - 1, SENTENCES).astype(int)]
    references = [[text for name in own for text in first[name].targets] for _, own in every]
    beams = contexts[0].config.beams
    texts = [
        _written(context, [pairs[own[0]].row for _, own in every], beams)
        for context, pairs in zip(contexts, (first, second), strict=True)
    ]
    draws = contexts[0].config.bootstrap or bootstrap.DRAWS
    figures, signatures = translation.figures(dict(zip(names, texts, strict=True)), references, draws=draws)
    told = _told(models, names, figures, len(every), _called(contexts[0]))
    note = f"{'greedy' if beams == 1 else f'{beams} beams'}; " + "; ".join(signatures.values())
    tables = {
        "models": [_row(name, figures[name]) for name in names],
        "examples": _examples(names, [source for source, _ in every], texts, references),
    }
    return Versus(names, None, told | {"by": note}, tables)


def blocks(found: Versus) -> list[Any]:
    """Return what the page shows: both models' figures, and sentences with what each wrote."""
    from bodh.api._evaluation_report import table
    from bodh.evaluation.result import Grid

    return [
        table("versus", Grid("Two models", found.tables["models"], found.told["by"])),
        table("versus_examples", Grid("What each wrote", found.tables["examples"])),
    ]


def _pairs(context: Context) -> dict[str, _Pair]:
    """Return the test pairs by the id of their record."""
    modality, positions = cast("Any", context.model.modality), context.positions["test"]
    if not len(positions):
        raise DataError(f"{context.store.name!r} has no test records; nothing can be measured")
    found = {}
    for position, record in zip(positions, context.store.rows(positions), strict=True):
        name, (source, *targets) = context.store.ids[int(position)], modality.sides(record)
        if _called(context) == "sentences":
            found[name] = _Pair(modality.text(source), source, [modality.text(targets[0])])
        elif targets:  # a picture is told by its name: the two models may see it in different sizes
            found[name] = _Pair(name, modality.standardise([source])[0], list(map(modality.text, targets)))
    return found


def _called(context: Context) -> str:
    """Return what the records are called that the models read."""
    return "sentences" if hasattr(context.model.modality, "encode") else "pictures"


def _written(context: Context, rows: list[np.ndarray], beams: int) -> list[str]:
    from bodh.model.translate import translate_rows

    return [one.text for one in translate_rows(context.model, rows, beams=beams)]


def _told(models: tuple[Model, Model], names: tuple[str, str], figures: dict[str, Json], count: int, what: str) -> Json:
    one, other = (figures[name] for name in names)
    p = {key: float(other[f"{key}_p"]) for key in ("bleu", "chrf")}
    by = "bleu" if one["bleu"] != other["bleu"] else "chrf"  # of texts of a few words BLEU is 0, whoever wrote them
    better = None if p[by] >= SURE or one[by] == other[by] else int(other[by] > one[by])
    sure = ", ".join(f"p = {value:.3f}" if value >= 0.001 else "p < 0.001" for value in p.values())
    sentence = (
        f"On {count:,} test {what} {names[1]} reaches BLEU {other['bleu']:.1f} and chrF {other['chrf']:.1f}, "
        f"{names[0]} {one['bleu']:.1f} and {one['chrf']:.1f}: a difference of {other['bleu'] - one['bleu']:+.1f} and "
        f"{other['chrf'] - one['chrf']:+.1f} (paired bootstrap over {what}: {sure})."
    )
    return {
        "models": [str(model.folder) for model in models], "names": list(names), "better": better,
        "records": count, "bleu": [one["bleu"], other["bleu"]], "chrf": [one["chrf"], other["chrf"]],
        "metric": by, "difference": other[by] - one[by], "p": p[by], "test": "paired bootstrap", "sentence": sentence,
        "answer": f"Better: {names[better]}" if better is not None else "No difference can be told",
    }  # fmt: skip


def _row(name: str, found: Json) -> Json:
    row: Json = {"model": name}
    for key, title in (("bleu", "BLEU"), ("chrf", "chrF")):
        row[title] = round(found[key], 2)
        row[f"{title} from"], row[f"{title} to"] = round(found[f"{key}_low"], 2), round(found[f"{key}_high"], 2)
        row[f"p of {title}"] = round(found[f"{key}_p"], 4) if f"{key}_p" in found else None
    return row


def _examples(
    names: tuple[str, str], sources: list[str], texts: list[list[str]], references: list[list[str]]
) -> list[Json]:
    chosen = np.unique(np.linspace(0, len(sources) - 1, min(EXAMPLES, len(sources))).astype(int))
    return [
        {
            "read": sources[place], names[0]: texts[0][place], names[1]: texts[1][place],
            "reference": references[place][0],
        }
        for place in chosen
    ]  # fmt: skip
