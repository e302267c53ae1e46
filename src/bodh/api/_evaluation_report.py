"""The page of an evaluation: verdict first, then what it rests on, then the records themselves."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bodh.api import _measured_report
from bodh.contracts import Json, derive_seed

if TYPE_CHECKING:
    from bodh.api._versus import Versus
    from bodh.api.load import Model
    from bodh.evaluation.context import Context
    from bodh.evaluation.prove import Proof
    from bodh.evaluation.result import Chart, Grid, Mistake, Told
    from bodh.report.blocks import Block, Cell, Headline, Lines, Table

logger = logging.getLogger("bodh")

IN_PERCENT = ("budget", "linear", "linear_blocks", "knn", "classes", "tag", "tag_entities")
QUERIES, NEIGHBOURS = 8, 6
UNMAPPED = ("span",)
"""Tasks of models whose records lie nowhere: a question with a part of its text is near to others about that text."""


def write_report(
    path: Path, proof: Proof, model: Model, versus: Versus | None = None, first: Sequence[Block] = ()
) -> None:
    """Write `report.html`.

    Args:
        path: where.
        proof: what was found.
        model: what was evaluated.
        versus: how a second model compares.
        first: blocks to stand before all others.

    Raises:
        OutputError: the file cannot be written.
    """
    from bodh.api._explained import looked_at
    from bodh.report.blocks import Report
    from bodh.report.render import write

    context = proof.context
    blocks: list[Block] = [*first]
    blocks += [lines(chart) for result in proof.results.values() for chart in result.charts]
    for result in proof.results.values():
        blocks += [table(key, grid) for key, grid in result.tables.items()]
    for result in proof.results.values():
        blocks += _measured_report.blocks(context, result.measured) if result.measured else []
        blocks += written(context, result.told) if result.told else []
    blocks += confusions(proof)
    blocks += [
        block
        for block in (embedding_map(context), neighbours(context), errors(proof), looked_at(proof))
        if block is not None
    ]
    blocks += training_curves(model)
    blocks += facts(proof, model)
    report = Report(
        title=f"evaluate · {context.store.name}",
        subtitle=f"{model.folder} · {model.manifest.networks['backbone'].name}",
        headline=headline(proof) if versus is None else two(versus),
        blocks=blocks,
    )
    write(report, path)


def headline(proof: Proof) -> Headline:
    """Return the verdict as it stands on top; a classifier compared with nothing shows its accuracy."""
    from bodh.report.blocks import Headline

    verdict = proof.verdict
    if proof.context.saw_labels and "regress" in proof.results:
        figures = proof.results["regress"].figures["pretrained"]
        return _measured_report.headline(figures, proof.context.class_names, verdict.sentence)
    for name in ("translate", "caption"):
        if name not in proof.results:
            continue
        found = proof.results[name].figures["pretrained"]
        return Headline(f"BLEU {found['bleu']:.1f}, chrF {found['chrf']:.1f}", "neutral", verdict.sentence, [])
    if "tag" in proof.results:
        found = proof.results["tag"].figures["pretrained"]
        more = f", entity F1 {found['entity_f1']:.3f}" if "entity_f1" in found else ""
        return Headline(f"{100 * found['accuracy']:.1f} % of words right{more}", "neutral", verdict.sentence, [])
    if "answers" in proof.results:
        found = proof.results["answers"].figures["pretrained"]
        return Headline(f"{found['exact']:.1f} % exact, F1 {found['f1']:.1f}", "neutral", verdict.sentence, [])
    judged = proof.results["task"].judged if "task" in proof.results else None
    if judged is not None and (proof.context.saw_labels or not verdict.evidence):
        name = "f1_micro" if judged.several else "accuracy"
        answer = f"{100 * judged.figures[name]:.1f} % {'F1' if judged.several else 'correct'}"
        ends = [f"{100 * end:.1f} %" for end in judged.intervals.get(name, ())]
        within = f", 95 % interval {' to '.join(ends)}" if ends else ""
        return Headline(answer, "neutral", f"On {len(judged.targets):,} test records{within}. {verdict.sentence}", [])
    tone: Any = {"yes": "good", "no": "bad"}.get(verdict.helped, "neutral")
    return Headline(verdict.helped.capitalize(), tone, verdict.sentence, [_told(entry) for entry in verdict.evidence])


def two(versus: Versus) -> Headline:
    """Return which of two models is better as it stands on top."""
    from bodh.report.blocks import Headline

    tone: Any = "neutral" if versus.told["better"] is None else "good"
    return Headline(versus.told["answer"], tone, versus.told["sentence"], [])


def _told(entry: Json) -> str:
    from bodh.evaluation.result import TITLES

    own = f"{entry['level']}: {100 * entry['pretrained']:.1f} %"
    if "best_baseline" not in entry:
        return own
    told = f"{own}, {TITLES[entry['best_baseline']]} {100 * entry['baseline']:.1f} %"
    words = {"better": "clearly better", "worse": "clearly worse", "level": "level", "open": "within chance"}
    return f"{told}: {words[entry['counts_as']]}"


def lines(chart: Chart) -> Lines:
    """Return a chart in percent."""
    from bodh.report.blocks import Lines, Series

    def percent(values: list[float | None]) -> list[float] | None:
        """An interval of few draws may reach beyond what a share can be; the chart ends at 0 and 100."""
        return None if any(v is None for v in values) else [min(100, max(0, 100 * v)) for v in values if v is not None]

    series = [
        Series(curve.name, curve.x, [100 * y for y in curve.y], percent(curve.low), percent(curve.high))
        for curve in chart.curves
    ]
    return Lines(chart.title, chart.x_label, f"{chart.y_label}, %", series, log_x=chart.log_x, note=chart.note)


def table(key: str, grid: Grid) -> Table:
    """Return a table for people: fractions in percent where the figures are shares, ± beside the mean it belongs to."""
    from bodh.report.blocks import Table

    percent = key in IN_PERCENT
    names = list(dict.fromkeys(name for row in grid.rows for name in row))
    columns = [name for name in names if not name.startswith("±") and name not in ("from", "to")]
    rows = [[_cell(row, name, names, percent) for name in columns] for row in grid.rows]
    unit = "in %" if percent else ""
    return Table(grid.title, columns, rows, note="; ".join(part for part in (unit, grid.note) if part))


def _cell(row: Json, name: str, names: list[str], percent: bool) -> Cell:
    value = row.get(name)
    if not isinstance(value, float) or not percent:
        return None if value is None else value
    if name == "difference":
        low, high = row.get("from"), row.get("to")
        text = f"{100 * value:+.1f}"
        return text if low is None or high is None else f"{text} ({100 * low:+.1f} to {100 * high:+.1f})"
    place = names.index(name) + 1
    half = row.get(f"± {name}") if f"± {name}" in names else row.get("±") if names[place : place + 1] == ["±"] else None
    return f"{100 * value:.1f}" if half is None else f"{100 * value:.1f} ± {100 * half:.1f}"


def confusions(proof: Proof) -> list[Block]:
    """Return the confusion of the model's own head, else of the linear probe."""
    from bodh.report.blocks import Heatmap

    found = [confusion for result in proof.results.values() for confusion in result.confusions]
    if found:
        return [Heatmap(c.title, list(c.class_names), c.counts.tolist(), note=c.note) for c in found]
    probed = _probed(proof)
    if probed is None:
        return []
    from bodh.metrics.classification import confusion

    context = proof.context
    counts = confusion(probed.argmax(axis=1), context.targets("test"), context.classes)
    note = "rows: true class; columns: what the linear probe says, fitted on all training labels"
    return [Heatmap("Confusion of the linear probe", list(context.class_names), counts.tolist(), note=note)]


def errors(proof: Proof) -> Block | None:
    """Return the test records that were told most surely and wrongly."""
    from bodh.evaluation.protocols.task import surest_mistakes
    from bodh.report.blocks import Gallery, Picture

    context = proof.context
    found: tuple[Mistake, ...] = tuple(m for result in proof.results.values() for m in result.mistakes)
    who = "the classifier"
    if "task" not in proof.results:
        probed = _probed(proof)
        if probed is None:
            return None
        who = "the linear probe"
        found = surest_mistakes(probed, context.targets("test"), context.positions["test"], context.class_names)
    if not found:
        return None
    pictures = [
        Picture(show(context, m.position), f"{m.predicted} {m.confidence:.0%} · is {m.true}", "bad") for m in found
    ]
    rows = [pictures[start : start + 8] for start in range(0, len(pictures), 8)]
    return Gallery("Worst errors", rows, note=f"what {who} said most surely and wrongly; the true class after the dot")


def _probed(proof: Proof) -> np.ndarray | None:
    """Return the linear probe's probabilities on the test records, where it ran with one label a record."""
    context = proof.context
    if "linear" not in proof.results or context.measured or context.targets("test").ndim == 2:
        return None
    return context.probe("pretrained")


def written(context: Context, told: Sequence[Told]) -> list[Block]:
    """Return test records with what the model wrote for them, and what people did."""
    from bodh.report.blocks import Gallery, Picture

    pictures = [
        Picture(
            show(context, one.position, size=192), f"{one.written or '(nothing)'} · was: {' / '.join(one.references)}"
        )
        for one in told
    ]
    rows = [pictures[start : start + 4] for start in range(0, len(pictures), 4)]
    return [
        Gallery(
            "What it wrote",
            rows,
            note="test records, evenly spaced; what the model wrote, then what people did",
            large=True,
        )
    ]


def embedding_map(context: Context) -> Block | None:
    """Return a map of test records: t-SNE of their principal components, a picture each."""
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    from bodh.report.blocks import Scatter

    count = min(context.config.map_records, len(context.positions["test"]))
    if count < 10 or context.model.manifest.task in UNMAPPED:
        return None
    rng = np.random.default_rng(derive_seed("map", context.config.seed))
    chosen = np.sort(rng.permutation(len(context.positions["test"]))[:count])
    features = context.features("pretrained", "test")[chosen]
    if float(features.std()) <= 1e-9:  # all alike: there is no map
        return None
    seed = derive_seed("tsne", context.config.seed) % 2**32
    width = min(50, count, features.shape[1])
    reduced = PCA(width, random_state=seed, svd_solver="full").fit_transform(features.astype(np.float64))
    perplexity = min(30.0, (count - 1) / 3)
    place = TSNE(2, perplexity=perplexity, init="pca", random_state=seed, max_iter=500).fit_transform(reduced)
    positions = context.positions["test"][chosen]
    group = [_name(context, position) for position in positions]
    pictures = [show(context, position, size=32) for position in positions]
    note = f"{count:,} test records, t-SNE of their features: near means alike; long distances mean little"
    return Scatter("Map of the embedding", place[:, 0].tolist(), place[:, 1].tolist(), group, pictures, note=note)


def neighbours(context: Context) -> Block | None:
    """Return the nearest training records of a few test records."""
    from bodh.metrics.clusters import unit
    from bodh.report.blocks import Gallery, Picture

    train, test = context.positions["train"], context.positions["test"]
    if len(train) <= NEIGHBOURS or not len(test) or context.model.manifest.task in UNMAPPED:
        return None
    rng = np.random.default_rng(derive_seed("queries", context.config.seed))
    order = rng.permutation(len(test))
    seen: dict[str, int] = {}
    for index in order:  # one of every class first
        seen.setdefault(_name(context, test[index]) or str(index), int(index))
    queries = list(dict.fromkeys([*seen.values(), *order.tolist()]))[:QUERIES]
    keys = unit(context.features("pretrained", "train"))
    rows = []
    for query in queries:
        similar = keys @ unit(context.features("pretrained", "test")[query : query + 1])[0]
        own = _name(context, test[query])
        row = [Picture(show(context, test[query]), own or "query")]
        for near in np.argsort(-similar, kind="stable")[:NEIGHBOURS]:
            name = _name(context, train[near])
            tone: Any = "neutral" if not own or not name else "good" if name == own else "bad"
            row.append(Picture(show(context, train[near]), f"{name} {similar[near]:.2f}".strip(), tone))
        rows.append(row)
    return Gallery(
        "Nearest records", rows, note="first a test record, then the training records nearest to it (cosine)"
    )


def training_curves(model: Model) -> list[Block]:
    """Return the curves of the run that made the model, where it still lies in its run folder."""
    from bodh.api._training_report import curves
    from bodh.train.log import read

    log = model.run / "log.jsonl" if model.run else None
    return curves(read(log)) if log is not None and log.is_file() else []


def facts(proof: Proof, model: Model) -> list[Block]:
    """Return what was done, with what, and what was left out."""
    from bodh.report.blocks import Facts

    context = proof.context
    settings = {k: _plain(v) for k, v in context.config.model_dump(mode="json").items() if v is not None}
    provenance = {
        "model": str(model.folder),
        "weights sha256": model.digest,
        "data": context.store.name,
        "data fingerprint": context.store.fingerprint,
        **{part: f"{len(positions):,} records" for part, positions in context.positions.items()},
        **{key: _plain(value) for key, value in model.manifest.provenance.items() if not isinstance(value, dict)},
    }
    if context.derived_test:
        provenance["test records"] = "the data brings no test part; the fifth that training sets aside too"
    for number, remark in enumerate(context.notes, start=1):
        provenance[f"remark {number}"] = remark
    blocks: list[Block] = [Facts("Settings of the evaluation", settings), Facts("Provenance", provenance)]
    if proof.skipped:
        blocks.append(Facts("Left out", dict(proof.skipped)))
    return blocks


def _plain(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.5g}"
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _name(context: Context, position: int) -> str:
    """Return the class of a record, its classes joined, in which range its number lies, or "" where it has none."""
    targets = context.store.targets
    if targets is None or not context.class_names:
        return ""
    own = np.asarray(targets)[position]
    if context.measured:
        first = np.asarray(targets).reshape(len(targets), -1)[:, 0]  # of several numbers, one can be a colour
        return _measured_report.range_of(first, float(first[position]))
    if own.ndim:
        return " + ".join(context.class_names[k] for k in np.flatnonzero(own))
    return context.class_names[int(own)] if own >= 0 else ""


def show(context: Context, position: int, size: int = 64) -> bytes | str:
    """Return a record of the store as a picture, or in words where it is a text."""
    from bodh.model.modality import shown

    return shown(context.model.modality, context.store.rows(np.array([position]))[0], size)
