"""What a model answers to test questions: exact match and F1, against answers without any network, and other floors.

Questions about one text are alike, so intervals are bootstraps over texts. Figures of published models are comparable
where the data is the same and whole; here the test part of the data at hand is measured.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np

from bodh.contracts import Json, RecordStore, derive_seed
from bodh.errors import DataError
from bodh.evaluation.overlap import Overlap
from bodh.evaluation.result import PRETRAINED, TITLES, Grid, ProtocolResult
from bodh.metrics.answers import scores
from bodh.metrics.bootstrap import percentile

if TYPE_CHECKING:
    from bodh.evaluation.context import Context
    from bodh.model.answers import Told

logger = logging.getLogger("bodh")

LABELS = False
HEAD = False
MODELS = ("span",)
"""Tasks of the models that this is for."""
LEARNED = "questions with answers"
SENTENCE, PIECE = "sentence", "piece"
NAMES = {
    PRETRAINED: "the model", SENTENCE: "sentence with the question's words", PIECE: "a piece of that sentence",
    "untrained": TITLES["untrained"], "scratch": TITLES["scratch"],
}  # fmt: skip
EXAMPLES, ERRORS = 6, 12
AROUND = 100
"""Letters of a text that are shown before the first mark in it, and after the last."""


class Asked(NamedTuple):
    """Test questions.

    Attributes:
        rows: as stored.
        records: question, context and answers of each.
        right: right answers of each; none: there is none.
        texts: [n] number of its text.
    """

    rows: list[np.ndarray]
    records: list[Any]
    right: list[list[str]]
    texts: np.ndarray


def run(context: Context) -> ProtocolResult:
    """Return how right the answers of the model are, and those of what it has to beat.

    Raises:
        DataError: the model answers no questions, or no test question tells its answer.
    """
    from bodh.model.answers import answer_rows

    if context.model.manifest.task not in MODELS:
        raise DataError("the model answers no questions; train one that does: bodh finetune DATA --task extract")
    asked = _asked(context, "test")
    batch = min(context.config.batch, 64)
    told = answer_rows(context.model, asked.rows, batch=batch)
    systems: dict[str, list[list[str]]] = {PRETRAINED: [_texts(told)]}
    if context.config.arms:
        systems |= _without_network(context, asked)
    if "untrained" in context.config.arms:
        twins = [
            context.model.untrained(seed=derive_seed("twin", context.config.seed, draw)) for draw in _seeds(context)
        ]
        systems["untrained"] = [_texts(answer_rows(twin, asked.rows, batch=batch)) for twin in twins]
    if context.scratch is not None:
        train, test = _positions(context, "train"), _positions(context, "test")
        systems["scratch"] = [
            list(context.scratch(train, test, derive_seed("scratch", context.config.seed, draw)))
            for draw in _seeds(context)
        ]
    values = {arm: _means(answers, asked) for arm, answers in systems.items()}
    own = values[PRETRAINED]
    figures = {arm: _figures(context, found, own, asked.texts) for arm, found in values.items()}
    count = int(asked.texts.max()) + 1
    figures[PRETRAINED] |= {"records": len(asked.rows), "texts": count, **_kinds(told, asked)}
    note = (
        f"{len(asked.rows):,} test questions about {count:,} texts; in %, as SQuAD's program counts, signs of any "
        f"script left out; 95 % intervals over texts ({context.config.bootstrap:,} draws); F1 gain: what the model is "
        "better by; untrained and scratch: mean of as many networks as there are seeds"
    )
    grid = Grid("Answers to test questions", [_row(arm, found) for arm, found in figures.items()], note)
    return ProtocolResult("answers", figures=figures, tables={"answers": grid, **_shown(told, asked)})


def sentence(figures: Json) -> str:
    """Return in one sentence what `run` found, from its figures."""
    own = figures[PRETRAINED]
    within = f" (95 % interval {own['f1_low']:.1f} to {own['f1_high']:.1f})" if "f1_low" in own else ""
    told = f"Of {own['records']:,} test questions it answers {own['exact']:.1f} % exactly, F1 {own['f1']:.1f}{within}"
    others = [f"{NAMES[arm]} {found['f1']:.1f}" for arm, found in figures.items() if arm != PRETRAINED]
    return f"{told}; F1 of {', of '.join(others)}." if others else f"{told}."


def _seeds(context: Context) -> range:
    return range(context.config.seeds)


def _positions(context: Context, part: str) -> np.ndarray:
    """Return the positions of a part whose questions tell their answer."""
    read = cast("Any", context.model.modality).row
    positions = context.positions[cast("Any", part)]
    told = [read(row).record.answers is not None for row in context.store.rows(positions)]
    found: np.ndarray = positions[np.array(told, bool)]
    return found


def _asked(context: Context, part: str) -> Asked:
    positions = _positions(context, part)
    if not len(positions):
        raise DataError(f"{context.store.name!r} has no {part} question that tells its answer; nothing can be measured")
    rows = _rows(context.store, positions)
    records = [cast("Any", context.model.modality).row(row).record for row in rows]
    _, texts = np.unique([record.context for record in records], return_inverse=True)
    return Asked(rows, records, [[text for text, _ in record.answers] for record in records], texts)


def _rows(store: RecordStore, positions: np.ndarray) -> list[np.ndarray]:
    return list(store.rows(positions))


def _texts(told: list[Told]) -> list[str]:
    return ["" if best is None else best.text for best in (one.best() for one in told)]


def _without_network(context: Context, asked: Asked) -> dict[str, list[list[str]]]:
    """Return what counting words answers."""
    known = _asked(context, "train")
    overlap = Overlap.fit([record.context for record in known.records], [own[0] for own in known.right if own])
    return {
        SENTENCE: [[overlap.sentence(one.question, one.context) for one in asked.records]],
        PIECE: [[overlap.piece(one.question, one.context) for one in asked.records]],
    }


def _means(answers: list[list[str]], asked: Asked) -> np.ndarray:
    """Return exact match and F1 in % of every question and network, `[networks 2 n]`."""
    return 100 * np.array([scores(own, asked.right) for own in answers])


def _figures(context: Context, found: np.ndarray, own: np.ndarray, texts: np.ndarray) -> Json:
    """Return the mean figures of several networks `[networks 2 n]`, with intervals, and how far those of the model are.

    Args:
        context: of the evaluation.
        found: of the networks.
        own: the model's, likewise.
        texts: [n] number of the text of each question.
    """
    told: Json = {"networks": len(found)} if len(found) > 1 else {}
    for side, name in enumerate(("exact", "f1")):
        values = found[:, side].mean(axis=0)  # [n]
        told[name] = float(values.mean())
        if len(found) > 1:
            told[f"{name}_deviation"] = float(found[:, side].mean(axis=1).std(ddof=1))
        if context.config.bootstrap:
            told[f"{name}_low"], told[f"{name}_high"] = _interval(context, values, texts)
        if context.config.bootstrap and found is not own:
            ends = _interval(context, own[:, side].mean(axis=0) - values, texts)
            told[f"{name}_gain_low"], told[f"{name}_gain_high"] = ends
    return told


def _interval(context: Context, values: np.ndarray, texts: np.ndarray) -> tuple[float, float]:
    """Return the 95 % interval of the mean of `values` [n] where whole texts are drawn anew."""
    sums, counts = np.bincount(texts, weights=values), np.bincount(texts)
    rng = np.random.default_rng(derive_seed("answers", context.config.seed))
    drawn = rng.integers(0, len(counts), (context.config.bootstrap, len(counts)))
    return percentile(sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1))


def _kinds(told: list[Told], asked: Asked) -> Json:
    """Return the figures of questions that have an answer, and of those that have none, where there are both."""
    has = np.array([bool(one) for one in asked.right])
    if has.all() or not has.any():
        return {}
    exact, f1 = scores(_texts(told), asked.right)
    return {
        "exact_answered": float(100 * exact[has].mean()), "f1_answered": float(100 * f1[has].mean()),
        "exact_unanswered": float(100 * exact[~has].mean()), "unanswered": int((~has).sum()),
    }  # fmt: skip


def _row(arm: str, found: Json) -> Json:
    row: Json = {"who": NAMES[arm]}
    for key, name in (("exact", "exact match"), ("f1", "F1")):
        row[name] = round(found[key], 2)
        if f"{key}_low" in found:
            row[f"{name} from"], row[f"{name} to"] = round(found[f"{key}_low"], 2), round(found[f"{key}_high"], 2)
    if "f1_gain_low" in found:
        row["F1 gain from"], row["F1 gain to"] = round(found["f1_gain_low"], 2), round(found["f1_gain_high"], 2)
    if "f1_deviation" in found:
        row["F1 between networks"] = round(found["f1_deviation"], 2)
    return row


def _shown(told: list[Told], asked: Asked) -> dict[str, Grid]:
    """Return examples, and the answers that were told most surely and wrongly."""
    answers = _texts(told)
    _, f1 = scores(answers, asked.right)
    sure = np.array([one.answers[0].probability if answer else one.none or 0.0
                     for one, answer in zip(told, answers, strict=True)])  # fmt: skip
    some = np.unique(np.linspace(0, len(told) - 1, min(EXAMPLES, len(told))).astype(int))
    wrong = np.flatnonzero(f1 < 0.5)
    worst = wrong[np.argsort(-sure[wrong], kind="stable")][:ERRORS]
    note = "in the text «the right answer» and [what the model says]"
    grids = {"answers_examples": Grid("Examples", [_example(told, asked, f1, place) for place in some], note)}
    if len(worst):
        rows = [_example(told, asked, f1, place) for place in worst]
        grids["answers_errors"] = Grid("Worst errors", rows, f"told most surely and wrongly (F1 below 0.5); {note}")
    return grids


def _example(told: list[Told], asked: Asked, f1: np.ndarray, place: int) -> Json:
    record, best = asked.records[place], told[place].best()
    probability = told[place].none if best is None else best.probability
    return {
        "question": record.question, "right": " / ".join(dict.fromkeys(asked.right[place])) or "no answer",
        "told": "no answer" if best is None else best.text,
        "probability": round(float(probability or 0.0), 3), "F1": round(float(f1[place]), 2),
        "text": marked(record, None if best is None else (best.start, best.end)),
    }  # fmt: skip


def marked(record: Any, told: tuple[int, int] | None) -> str:
    """Return the part of a text around its answers: « » about the right one, [ ] about what was told.

    Args:
        record: with its answers.
        told: first character and the one after the last; None: no answer.
    """
    marks: list[tuple[int, int, str]] = []  # place, order at one place, mark
    if record.answers:
        text, start = record.answers[0]
        marks += [(start, 1, "«"), (start + len(text), -1, "»")]
    if told is not None:
        marks += [(told[0], 0, "["), (told[1], 0, "]")]
    if not marks:
        return str(record.context[: 2 * AROUND])
    marks.sort()
    first, last = max(0, marks[0][0] - AROUND), min(len(record.context), marks[-1][0] + AROUND)
    parts, place = ["…" if first else ""], first
    for stop, _, mark in marks:
        part = record.context[place:stop]
        parts += [part if len(part) <= 2 * AROUND else f"{part[:AROUND]} … {part[-AROUND:]}", mark]
        place = stop
    return "".join([*parts, record.context[place:last], "…" if last < len(record.context) else ""])
