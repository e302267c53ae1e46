"""What is told of models that write texts: BLEU and chrF beside floors, each test file, in a sentence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bodh.contracts import Json, derive_seed
from bodh.evaluation.result import PRETRAINED
from bodh.metrics import translation

MOST = 5000
"""Test records that are written for at most, evenly spaced."""
LETTERS = 160
"""Letters of an example's texts that are shown at most."""


def write(model: Any, rows: Sequence[np.ndarray], beams: int) -> list[str]:
    """Return what `model` writes for each of `rows`."""
    from bodh.model.translate import translate_rows

    return [one.text for one in translate_rows(model, rows, beams=beams)]


def untrained(context: Any, rows: Sequence[np.ndarray]) -> list[str]:
    """Return what the same network writes before it has learned anything, greedily."""
    return write(context.model.untrained(seed=derive_seed("twin", context.config.seed, 0)), rows, 1)


def some(count: int) -> np.ndarray:
    """Return the positions of at most `MOST` of `count` records, evenly spaced."""
    return np.linspace(0, count - 1, min(count, MOST)).astype(int)


def note(what: str, signatures: Mapping[str, str], *, beams: int, draws: int) -> str:
    """Return how the figures were computed.

    Args:
        what: was written for ("500 test sentences").
        signatures: metric -> sacrebleu's signature.
        beams: that were kept.
        draws: of the bootstrap.
    """
    return (
        f"{what}, {'greedy' if beams == 1 else f'{beams} beams'}; 95 % intervals over them ({draws:,} draws), p: that "
        "the difference to the model is chance; "
        + "; ".join(f"{name}: {signature}" for name, signature in signatures.items())
    )


def row(name: str, found: Json) -> Json:
    """Return the figures of one system as a row of a table."""
    told: Json = {"who": name}
    for key, title in (("bleu", "BLEU"), ("chrf", "chrF")):
        told[title] = round(found[key], 2)
        if f"{key}_low" in found:
            told[f"{title} from"], told[f"{title} to"] = round(found[f"{key}_low"], 2), round(found[f"{key}_high"], 2)
    if "bleu_low" in found:
        told["p"] = round(found["bleu_p"], 4) if "bleu_p" in found else None
    return told


def parts(texts: Sequence[str], references: Sequence[Sequence[str]], files: Sequence[str]) -> list[Json]:
    """Return the figures of each file that test records come from."""
    rows: list[Json] = []
    for name in dict.fromkeys(files):
        own = [place for place, other in enumerate(files) if other == name]
        chosen = {PRETRAINED: [texts[place] for place in own]}
        found = translation.figures(chosen, [references[place] for place in own], draws=0)[0][PRETRAINED]
        rows.append({"file": name, "BLEU": round(found["bleu"], 2), "chrF": round(found["chrf"], 2), "n": len(own)})
    return rows


def reached(figures: Json, names: Mapping[str, str], what: str) -> str:
    """Return in one sentence what the model reaches on test records (`what`: "sentences"), and the floors."""
    own = figures[PRETRAINED]
    within = f" (95 % interval {own['bleu_low']:.1f} to {own['bleu_high']:.1f})" if "bleu_low" in own else ""
    told = f"On {own['records']:,} test {what} it reaches BLEU {own['bleu']:.1f}{within}, chrF {own['chrf']:.1f}"
    others = [f"{names[arm]} {found['bleu']:.1f}" for arm, found in figures.items() if arm != PRETRAINED]
    return f"{told}; BLEU of {', of '.join(others)}." if others else f"{told}."


def cut(text: str) -> str:
    """Return a text as an example shows it."""
    return text if len(text) <= LETTERS else f"{text[:LETTERS]}…"
