"""What a model of captions writes, on test pictures: BLEU and chrF, and whether it looks at the picture at all.

Every sentence of a picture is a reference, also where the same picture comes in several records. Floors: the caption
that is commonest in the training part, for every picture; an untrained network; and a blind one: the model's own
captions, dealt to other pictures. Where that is as good, what is written has nothing to do with what is seen.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from bodh.contracts import Json, derive_seed
from bodh.errors import DataError
from bodh.evaluation.protocols import _writing
from bodh.evaluation.result import PRETRAINED, TITLES, Grid, ProtocolResult, Told
from bodh.metrics import translation

if TYPE_CHECKING:
    from bodh.evaluation.context import Context

LABELS = False
HEAD = False
MODELS = ("sequence",)
"""Tasks of the models that this is for."""
VERB = "caption"
LEARNED = "pictures with sentences"
COMMONEST, BLIND = "commonest", "blind"
COUNTED = 20_000
"""Training records whose sentences are counted at most, evenly spaced."""
BLOCK = 256
EXAMPLES = 12
NAMES = {
    PRETRAINED: "the model", COMMONEST: "the commonest caption", "untrained": TITLES["untrained"],
    BLIND: "its captions, dealt to other pictures",
}  # fmt: skip


def run(context: Context) -> ProtocolResult:
    """Return the figures of what the model writes, and of what it has to beat.

    Raises:
        DataError: the model writes no captions, or there are no test records.
    """
    if context.model.manifest.task not in MODELS or getattr(context.model.modality, "verb", "") != VERB:
        raise DataError("the model writes no captions; train one: bodh pretrain DATA data.input=NAME data.target=NAME")
    positions, pictures, references = _pictures(context)
    beams = context.config.beams
    written = _writing.write(context.model, pictures, beams)
    systems = {PRETRAINED: written}
    if context.config.arms:
        systems[COMMONEST] = [_commonest(context)] * len(pictures)
        systems[BLIND] = _dealt(written, seed=derive_seed("blind", context.config.seed))
    if "untrained" in context.config.arms:
        systems["untrained"] = _writing.untrained(context, pictures)
    figures, signatures = translation.figures(systems, references, draws=context.config.bootstrap)
    several = sum(map(len, references)) / len(references)
    figures[PRETRAINED] |= {"records": len(pictures), "references": several, "different": len(set(written))}
    each = "one sentence each" if several == 1 else f"{several:.3g} sentences each"
    what = f"{len(pictures):,} test pictures with {each}"
    told = _writing.note(what, signatures, beams=beams, draws=context.config.bootstrap)
    told += f"; {len(set(written)):,} different captions were written"
    table = Grid("What it writes", [_writing.row(NAMES[arm], found) for arm, found in figures.items()], told)
    chosen = np.unique(np.linspace(0, len(pictures) - 1, min(EXAMPLES, len(pictures))).astype(int))
    examples = tuple(
        Told(positions[place], _writing.cut(written[place]), tuple(map(_writing.cut, references[place][:2])))
        for place in chosen
    )
    return ProtocolResult("caption", figures=figures, tables={"caption": table}, told=examples)


def sentence(figures: Json) -> str:
    """Return in a few words what `run` found, from its figures."""
    reached = _writing.reached(figures, NAMES, "pictures")
    blind, own = figures.get(BLIND), figures[PRETRAINED]["bleu"]
    if figures.get(COMMONEST, {}).get("bleu", -1.0) > own:
        reached += " One caption for all pictures, the commonest, does better."
    if blind is None or "bleu_p" not in blind:
        return reached
    looks = blind["bleu_p"] < 0.05 and blind["bleu"] < own
    return f"{reached} " + (
        "It looks at the picture: its captions fit other pictures worse."
        if looks
        else "Nothing shows that it looks at the picture: its captions fit other pictures as well."
    )


def _pictures(context: Context) -> tuple[list[int], list[np.ndarray], list[list[str]]]:
    """Return positions in the store [n], pictures [n] and their references [n]; the same picture comes once."""
    modality, places = cast("Any", context.model.modality), context.positions["test"]
    if not len(places):
        raise DataError(f"{context.store.name!r} has no test records; nothing can be measured")
    found: dict[bytes, tuple[int, np.ndarray, list[str]]] = {}
    for start in range(0, len(places), BLOCK):
        block = places[start : start + BLOCK]
        for position, row in zip(block.tolist(), context.store.rows(block), strict=True):
            picture, *texts = modality.sides(row)
            if texts:
                seen = modality.standardise([picture])[0]  # as the model sees it: no larger than it must be kept
                found.setdefault(seen.tobytes(), (position, seen, []))[2].extend(map(modality.text, texts))
    if not found:
        raise DataError(f"no test record of {context.store.name!r} has a sentence; nothing can be measured")
    every = list(found.values())
    chosen = _writing.some(len(every))
    if len(chosen) < len(every):
        context.notes.append(f"{len(chosen):,} of {len(every):,} test pictures were captioned, evenly spaced")
    positions, pictures, references = zip(*(every[place] for place in chosen), strict=True)
    return list(positions), list(pictures), list(references)


def _commonest(context: Context) -> str:
    """Return the sentence that most training pictures have, of equally common ones the first."""
    modality, places = cast("Any", context.model.modality), context.positions["train"]
    places = places[np.linspace(0, len(places) - 1, min(len(places), COUNTED)).astype(int)]
    counts: Counter[bytes] = Counter()
    for start in range(0, len(places), BLOCK):
        for row in context.store.rows(places[start : start + BLOCK]):
            counts.update(ids.tobytes() for ids in modality.sides(row)[1:])
    return str(modality.text(np.frombuffer(counts.most_common(1)[0][0], np.int32))) if counts else ""


def _dealt(texts: list[str], *, seed: int) -> list[str]:
    """Return the same texts, each at another's place."""
    order = np.random.default_rng(seed).permutation(len(texts))
    dealt = list(texts)
    for place, other in zip(order, np.roll(order, 1), strict=True):
        dealt[place] = texts[other]
    return dealt
