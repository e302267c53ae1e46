"""What a model of pairs writes, on test records: BLEU and chrF, against copying the source and an untrained network.

Test records with the same source are one sentence with several references. Intervals are bootstraps over sentences.
Published figures are comparable where sacrebleu's signature, which is told, is the same.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from bodh.contracts import Json, derive_seed
from bodh.errors import DataError
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
SENTENCES = 5000
"""Test sentences that are translated at most, evenly spaced."""
EXAMPLES = 12
LETTERS = 160
"""Letters of an example's texts that are shown at most."""
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
    systems = {PRETRAINED: _write(context.model, rows, beams)}
    if context.config.arms:
        systems[COPY] = [modality.text(row) for row in rows]
    if "untrained" in context.config.arms:
        twin = context.model.untrained(seed=derive_seed("twin", context.config.seed, 0))
        systems["untrained"] = _write(twin, rows, 1)
    figures, signatures = translation.figures(systems, references, draws=context.config.bootstrap)
    figures[PRETRAINED] |= {"records": len(rows)}
    note = (
        f"{len(rows):,} test sentences, {'greedy' if beams == 1 else f'{beams} beams'}; 95 % intervals over sentences "
        f"({context.config.bootstrap:,} draws), p: that the difference to the model is chance; "
        + "; ".join(f"{name}: {signature}" for name, signature in signatures.items())
    )
    tables = {"translate": Grid("What it writes", [_row(arm, found) for arm, found in figures.items()], note)}
    parts = _parts(systems[PRETRAINED], references, names)
    if len(parts) > 1:
        tables["translate_parts"] = Grid("Each test file", parts)
    tables["translate_examples"] = Grid("Examples", _examples(context, rows, systems[PRETRAINED], references))
    return ProtocolResult("translate", figures=figures, tables=tables)


def sentence(figures: Json) -> str:
    """Return in one sentence what `run` found, from its figures."""
    own = figures[PRETRAINED]
    within = f" (95 % interval {own['bleu_low']:.1f} to {own['bleu_high']:.1f})" if "bleu_low" in own else ""
    told = f"On {own['records']:,} test sentences it reaches BLEU {own['bleu']:.1f}{within}, chrF {own['chrf']:.1f}"
    others = [f"{NAMES[arm]} {found['bleu']:.1f}" for arm, found in figures.items() if arm != PRETRAINED]
    return f"{told}; BLEU of {', of '.join(others)}." if others else f"{told}."


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
    if len(every) > SENTENCES:
        context.notes.append(f"{SENTENCES:,} of {len(every):,} test sentences were translated, evenly spaced")
        every = [every[place] for place in np.linspace(0, len(every) - 1, SENTENCES).astype(int)]
    rows, references, names = zip(*every, strict=True)
    return list(rows), list(references), list(names)


def _write(model: Any, rows: list[np.ndarray], beams: int) -> list[str]:
    from bodh.model.translate import translate_rows

    return [one.text for one in translate_rows(model, rows, beams=beams)]


def _row(arm: str, found: Json) -> Json:
    row: Json = {"who": NAMES[arm]}
    for key, name in (("bleu", "BLEU"), ("chrf", "chrF")):
        row[name] = round(found[key], 2)
        if f"{key}_low" in found:
            row[f"{name} from"], row[f"{name} to"] = round(found[f"{key}_low"], 2), round(found[f"{key}_high"], 2)
    if "bleu_low" in found:
        row["p"] = round(found["bleu_p"], 4) if "bleu_p" in found else None
    return row


def _parts(texts: list[str], references: list[list[str]], names: list[str]) -> list[Json]:
    """Return the figures of each file that test records come from."""
    rows: list[Json] = []
    for name in dict.fromkeys(names):
        own = [place for place, other in enumerate(names) if other == name]
        chosen = {PRETRAINED: [texts[place] for place in own]}
        found = translation.figures(chosen, [references[place] for place in own], draws=0)[0][PRETRAINED]
        rows.append({"file": name, "BLEU": round(found["bleu"], 2), "chrF": round(found["chrf"], 2), "n": len(own)})
    return rows


def _examples(context: Context, rows: list[np.ndarray], texts: list[str], references: list[list[str]]) -> list[Json]:
    modality = cast("Any", context.model.modality)
    chosen = np.unique(np.linspace(0, len(rows) - 1, min(EXAMPLES, len(rows))).astype(int))
    return [
        {
            name: text if len(text) <= LETTERS else f"{text[:LETTERS]}…"
            for name, text in (
                ("read", modality.text(rows[place])), ("written", texts[place]), ("reference", references[place][0])
            )
        }
        for place in chosen
    ]  # fmt: skip
