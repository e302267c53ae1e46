"""How well a model that writes tells the next token of test texts: loss, perplexity, bits a byte, against counting.

Every token of a text is told from those before it in that text. Texts longer than the model reads are read in windows
that overlap by half, and each token is told once, from at least half a window where there is so much before it. Of
models that fill gaps no perplexity is measured: a text would have to be read once for every token of it.

Perplexities compare models with one tokenizer; bits a byte of UTF-8 compare any.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from bodh.contracts import Json, derive_seed
from bodh.errors import DataError
from bodh.evaluation.result import PRETRAINED, TITLES, Grid, ProtocolResult
from bodh.metrics.ngrams import Bigrams, Unigrams

if TYPE_CHECKING:
    from bodh.evaluation.context import Context
    from bodh.model.loaded import LoadedModel

logger = logging.getLogger("bodh")

LABELS = False
HEAD = False
MODELS = ("tokens",)
"""Tasks of the models that this is for."""
TEXTS = 5000
"""Test texts that are read at most, evenly spaced."""
COUNTED = 100_000
"""Training texts that are counted at most, evenly spaced."""
LOGITS_AT_ONCE = 2**24
NAMES = {
    PRETRAINED: "the model", "unigram": "counts of tokens", "bigram": "counts of pairs of tokens (Kneser-Ney)",
    "untrained": TITLES["untrained"],
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Told:
    """What each of n test texts costs: its loss in nats, its tokens, its bytes of UTF-8; float64 [n] each."""

    loss: np.ndarray
    tokens: np.ndarray
    bytes: np.ndarray

    def figures(self, draws: np.ndarray) -> Json:
        """Return loss a token, perplexity and bits a byte, with 95 % intervals over texts where there are draws."""
        loss = float(self.loss.sum() / self.tokens.sum())
        per_byte = float(self.loss.sum() / self.bytes.sum()) / math.log(2)
        found: Json = {"loss": loss, "perplexity": math.exp(min(loss, 700)), "bits_per_byte": per_byte}
        if len(draws):
            low, high = np.percentile(_means(self.loss, self.tokens, draws), (2.5, 97.5))
            found |= {"loss_low": float(low), "loss_high": float(high)}
            found |= {"perplexity_low": math.exp(min(low, 700)), "perplexity_high": math.exp(min(high, 700))}
        return found


def run(context: Context) -> ProtocolResult:
    """Return the figures of the model, of counting, and of an untrained network.

    Raises:
        DataError: the model does not write texts, or there are none to read.
    """
    model = context.model
    if "generate" not in model.manifest.capabilities:
        raise DataError(
            "perplexity is of models that tell the next token, this one fills gaps; "
            "train one with --objective causal_lm, or type --protocol linear with labelled texts"
        )
    texts = _rows(context, "test", TEXTS)
    counted = _rows(context, "train", COUNTED)
    read = cast("Any", model.modality).text
    size = np.array([max(1, len(read(row).encode())) for row in texts], np.float64)
    tokens = np.array([len(row) - 1 for row in texts], np.float64)
    vocabulary = int(cast("Any", model.network["backbone"]).vocabulary)
    arms: dict[str, Callable[[], np.ndarray]] = {PRETRAINED: lambda: losses(model, texts)}
    if context.config.arms:
        for name, kind in (("unigram", Unigrams), ("bigram", Bigrams)):
            arms[name] = lambda kind=kind: _counted(kind(counted, vocabulary), texts)  # type: ignore[misc]
    if "untrained" in context.config.arms:
        arms["untrained"] = lambda: losses(context.network("untrained", 0), texts)
    found = {arm: Told(tell(), tokens, size) for arm, tell in arms.items()}
    draws = _draws(len(texts), context.config.bootstrap, context.config.seed)
    figures = {arm: told.figures(draws) for arm, told in found.items()}
    for arm, told in found.items():
        if arm != PRETRAINED and len(draws):
            spread = _means(found[PRETRAINED].loss - told.loss, tokens, draws)
            low, high = np.percentile(spread, (2.5, 97.5))
            figures[arm] |= {"difference_low": float(low), "difference_high": float(high)}
    figures[PRETRAINED] |= {"records": len(texts), "tokens": int(tokens.sum())}
    how = f"; 95 % intervals over texts ({len(draws):,} draws)" if len(draws) else ""
    read_on = f"{len(counted):,} training text{'' if len(counted) == 1 else 's'}"
    note = f"{_count(len(texts))}, {int(tokens.sum()):,} tokens; counted on {read_on}{how}"
    if _trained_on(context):
        note += "; THE MODEL WAS TRAINED ON THESE VERY TEXTS, its figures are no test: give data with a test part"
        logger.warning("perplexity: the model was trained on these very texts; give others, or data with a test part")
    rows = [_row(arm, told) for arm, told in figures.items()]
    return ProtocolResult(
        "perplexity", figures=figures, tables={"perplexity": Grid("Telling the next token", rows, note)}
    )


def _trained_on(context: Context) -> bool:
    """Return whether pretraining saw the texts set aside: where it was told to, it learns from all there are."""
    origin = context.model.manifest.provenance.get("data") or {}
    whole = origin.get("records") == context.records and not origin.get("set_aside")
    return bool(context.derived_test and whole and origin.get("fingerprint") == context.store.fingerprint)


def sentence(figures: Json) -> str:
    """Return in one sentence what `run` found, from its figures; it claims no more than the intervals hold."""
    own = figures[PRETRAINED]
    within = f" ({own['perplexity_low']:.4g} to {own['perplexity_high']:.4g})" if "perplexity_low" in own else ""
    told = (
        f"On {_count(own['records'])} its perplexity is {own['perplexity']:.4g}{within}, "
        f"{own['bits_per_byte']:.3f} bits a byte"
    )
    others = {arm: value for arm, value in figures.items() if arm != PRETRAINED}
    if not others:
        return f"{told}."
    best = min(others, key=lambda arm: float(others[arm]["loss"]))
    low, high = others[best].get("difference_low"), others[best].get("difference_high")
    kind = "not told apart for want of draws" if low is None else "within chance"
    if low is not None and high is not None and (high < 0 or low > 0):
        kind = "clearly better" if high < 0 else "clearly worse"
    return f"{told}; the best floor ({NAMES[best]}) has {others[best]['perplexity']:.4g}: {kind}."


def _count(texts: int) -> str:
    return "one test text" if texts == 1 else f"{texts:,} test texts"


def losses(model: LoadedModel, texts: Sequence[np.ndarray]) -> np.ndarray:
    """Return what each text costs `model`, in nats: minus the log-probability of all its tokens but the first, [n].

    Args:
        model: of task "tokens", causal.
        texts: ids `[t]` each, begin and end among them.
    """
    import torch

    length = int(cast("Any", model.modality).config.length)
    vocabulary = int(cast("Any", model.network["backbone"]).vocabulary)
    cuts = [
        (place, start, begin, stop)
        for place, text in enumerate(texts)
        for start, begin, stop in windows(len(text), length)
    ]
    cuts.sort(key=lambda cut: cut[3] - cut[1])  # alike in length: little of a batch is padding
    found = np.zeros(len(texts))
    capability = model.capability("generate")
    size = max(1, LOGITS_AT_ONCE // (length * vocabulary))
    for first in range(0, len(cuts), size):
        part = cuts[first : first + size]
        ids = model.modality.standardise([texts[place][start:stop] for place, start, _, stop in part])
        with torch.inference_mode():
            given = torch.from_numpy(ids).to(model.device)
            told = capability(given)["logits"][:, :-1].float().log_softmax(dim=2)
            cost = -told.gather(2, given[:, 1:, None])[:, :, 0].double().cpu().numpy()  # [n t-1]
        for row, (place, start, begin, stop) in zip(cost, part, strict=True):
            found[place] += row[begin - start - 1 : stop - start - 1].sum()
    return found


def windows(tokens: int, length: int) -> list[tuple[int, int, int]]:
    """Return (start, first told, stop) of windows over a text: each token but the first is told in exactly one.

    Args:
        tokens: of the text.
        length: most of a window.
    """
    found, told = [], 1
    while told < tokens:
        stop = min(tokens, length) if told == 1 else min(tokens, told + length - length // 2)
        found.append((max(0, stop - length), told, stop))
        told = stop
    return found


def _rows(context: Context, part: str, most: int) -> list[np.ndarray]:
    """Return the ids of texts of `part`, at most so many, evenly spaced; those with a token to tell."""
    positions = context.positions[cast("Any", part)]
    if len(positions) > most:
        context.notes.append(f"perplexity: {most:,} of {len(positions):,} {part} texts were read, evenly spaced")
        positions = positions[np.linspace(0, len(positions) - 1, most).astype(int)]
    rows = [np.asarray(row) for row in context.store.rows(positions)] if len(positions) else []
    rows = [row for row in rows if len(row) > 1]
    if not rows:
        raise DataError(f"{context.store.name!r} has no {part} texts; perplexity is measured on texts held out")
    return rows


def _counted(counts: Unigrams | Bigrams, texts: Sequence[np.ndarray]) -> np.ndarray:
    return np.array([counts.losses(text).sum() for text in texts])


def _draws(texts: int, count: int, seed: int) -> np.ndarray:
    """Return how often each text is drawn, [draws n]; none for a single text, over which nothing varies."""
    random = np.random.default_rng(derive_seed("perplexity", seed))
    return random.multinomial(texts, np.full(texts, 1 / texts), size=count if texts > 1 else 0)


def _means(loss: np.ndarray, tokens: np.ndarray, draws: np.ndarray) -> np.ndarray:
    """Return the loss a token in every draw."""
    found: np.ndarray = (draws @ loss) / (draws @ tokens)
    return found


def _row(arm: str, figures: Json) -> Json:
    row = {"who": NAMES[arm], "perplexity": figures["perplexity"]}
    if "perplexity_low" in figures:
        row["interval"] = f"{figures['perplexity_low']:.4g} to {figures['perplexity_high']:.4g}"
    return row | {"loss a token": figures["loss"], "bits a byte": figures["bits_per_byte"]}
