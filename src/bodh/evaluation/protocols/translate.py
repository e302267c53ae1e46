"""What a model of pairs writes, on test records: BLEU and chrF, against copying the source and an untrained network.

Test records with the same source are one sentence with several references. Intervals are bootstraps over sentences.
Published figures are comparable where sacrebleu's signature, which is told, is the same.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from bodh.contracts import Json
from bodh.errors import DataError
from bodh.evaluation.protocols import _writing
from bodh.evaluation.result import PRETRAINED, TITLES, Grid, ProtocolResult
from bodh.metrics import translation

if TYPE_CHECKING:
    from bodh.evaluation.context import Context

logger = logging.getLogger("bodh")

LABELS = False
HEAD = False
MODELS = ("sequence",)
"""Tasks of the models that this is for."""
COPY = "copy"
VERB = "translate"
LEARNED = "pairs"
EXAMPLES = 12
NAMES = {PRETRAINED: "the model", COPY: "the source, copied", "untrained": TITLES["untrained"]}


def run(context: Context) -> ProtocolResult:
    """Return the figures of what the model writes, and of what it has to beat.

    Raises:
        DataError: the model writes no texts, or there are no test records.
    """
    if context.model.manifest.task not in MODELS:
        raise DataError("the model writes no texts; train one on pairs: bodh pretrain DATA --objective seq2seq")
    rows, references, names = _sentences(context)
    modality = cast("Any", context.model.modality)
    beams = context.config.beams
    systems = {PRETRAINED: _writing.write(context.model, rows, beams)}
    if context.config.arms:
        systems[COPY] = [modality.text(row) for row in rows]
    if "untrained" in context.config.arms:
        systems["untrained"] = _writing.untrained(context, rows)
    figures, signatures = translation.figures(systems, references, draws=context.config.bootstrap)
    figures[PRETRAINED] |= {"records": len(rows)}
    draws = context.config.bootstrap
    note = _writing.note(f"{len(rows):,} test sentences", signatures, beams=beams, draws=draws)
    tables = {
        "translate": Grid("What it writes", [_writing.row(NAMES[arm], found) for arm, found in figures.items()], note)
    }
    parts = _writing.parts(systems[PRETRAINED], references, names)
    if len(parts) > 1:
        tables["translate_parts"] = Grid("Each test file", parts)
    tables["translate_examples"] = Grid("Examples", _examples(context, rows, systems[PRETRAINED], references))
    return ProtocolResult("translate", figures=figures, tables=tables)


def sentence(figures: Json) -> str:
    """Return in one sentence what `run` found, from its figures."""
    return _writing.reached(figures, NAMES, "sentences")


def _sentences(context: Context) -> tuple[list[np.ndarray], list[list[str]], list[str]]:
    """Return sources [n], their references [n], and the file each comes from [n]."""
    modality, positions = cast("Any", context.model.modality), context.positions["test"]
    if not len(positions):
        raise DataError(f"{context.store.name!r} has no test records; nothing can be measured")
    found: dict[bytes, tuple[np.ndarray, list[str], str]] = {}
    for position, row in zip(positions, context.store.rows(positions), strict=True):
        source, target = modality.sides(row)[:2]
        name = context.store.ids[int(position)].rpartition(":")[0]
        found.setdefault(source.tobytes(), (source, [], name))[1].append(modality.text(target))
    every = list(found.values())
    if len(every) > _writing.MOST:
        context.notes.append(f"{_writing.MOST:,} of {len(every):,} test sentences were translated, evenly spaced")
        every = [every[place] for place in _writing.some(len(every))]
    rows, references, names = zip(*every, strict=True)
    return list(rows), list(references), list(names)


def _examples(context: Context, rows: list[np.ndarray], texts: list[str], references: list[list[str]]) -> list[Json]:
    modality = cast("Any", context.model.modality)
    chosen = np.unique(np.linspace(0, len(rows) - 1, min(EXAMPLES, len(rows))).astype(int))
    return [
        {
            name: _writing.cut(text)
            for name, text in (
                ("read", modality.text(rows[place])), ("written", texts[place]), ("reference", references[place][0])
            )
        }
        for place in chosen
    ]  # fmt: skip
