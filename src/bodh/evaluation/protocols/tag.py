"""What a model says of the words of test sentences: right words, F1 of tags and of entities, against what is simple.

Beside the model stand the commonest tag; the tag that each word has most often in training, which for parts of speech
is hard to beat; an untrained network whose head was fitted on the same labels; and the same network, all of it trained
from scratch on them. Intervals are bootstraps over sentences, for words of one sentence are told together.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import numpy as np

from bodh.contracts import Json, derive_seed
from bodh.errors import DataError
from bodh.evaluation.judge import class_grid
from bodh.evaluation.result import PRETRAINED, TITLES, Confusion, Grid, Judged, ProtocolResult
from bodh.evaluation.tagged import Sentences, Tally, by_word, commonest, drawn, entity_rows, fitted, measured
from bodh.metrics import classification
from bodh.model.tagging import probabilities, tokens

if TYPE_CHECKING:
    from bodh.evaluation.context import Context

logger = logging.getLogger("bodh")

LABELS = False
HEAD = False
LEARNED = "tags"
MODELS = ("tags",)
"""Tasks of the models that this is for."""
COMMONEST, BY_WORD = "commonest", "word"
NAMES = {
    PRETRAINED: "the model", COMMONEST: "the commonest tag", BY_WORD: "each word's commonest tag",
    "untrained": TITLES["untrained"], "scratch": TITLES["scratch"],
}  # fmt: skip
COLUMNS = {
    "accuracy": "words right", "macro_f1": "macro F1", "entity_precision": "entity precision",
    "entity_recall": "entity recall", "entity_f1": "entity F1", "unseen_accuracy": "new words right",
}  # fmt: skip
WITHIN = ("accuracy", "macro_f1", "entity_f1")
"""Figures that are shown with their intervals."""


def run(context: Context) -> ProtocolResult:
    """Return how right the model's tags of test sentences are, and how right those of the floors.

    Raises:
        DataError: the model tells no tags, the data has none that it knows, or there are no test sentences.
    """
    if context.model.manifest.task not in MODELS:
        raise DataError("the model tells no tags of words; train one: bodh finetune DATA --from MODEL --task tag")
    names, place = _names(context)
    test = Sentences.of(context.store, context.positions["test"], place)
    if not len(test.rows) or not (test.tags >= 0).any():
        raise DataError(f"{context.store.name!r} has no test sentences with tags; nothing can be measured")
    labels = _labels(context)
    train = Sentences.of(context.store, labels, place)
    unseen = ~np.isin(test.words, train.words)
    shares = np.concatenate(probabilities(context.model, test.rows))  # [w k']
    shares = np.pad(shares, ((0, 0), (0, len(names) - shares.shape[1])))
    told = {PRETRAINED: [shares.argmax(axis=1)]} | _floors(context, train, test, labels, place, len(names))
    systems = {name: [Tally.of(test, one, names, unseen) for one in each] for name, each in told.items()}
    draws = context.config.bootstrap
    figures = measured(systems, own=PRETRAINED, draws=draws, seed=context.config.seed)
    figures[PRETRAINED] |= {"sentences": len(test.rows), "words": int((test.tags >= 0).sum())}
    tables = {
        "tag": Grid("Words and entities", [_row(*one) for one in figures.items()], _note(test, train, unseen, draws))
    }
    if "entity_f1" in figures[PRETRAINED]:
        rows = entity_rows(test, told[PRETRAINED][0], names)
        tables["tag_entities"] = Grid("Each type of entity", rows, "right where type, first and last word are (CoNLL)")
    judged = _judged(context, test, shares, names, figures[PRETRAINED])
    tables["classes"] = class_grid(judged)
    tables["tag_errors"] = Grid("Words most often told wrongly", _errors(context, test, told[PRETRAINED][0], names))
    counts = classification.confusion(judged.probabilities.argmax(axis=1), judged.targets, len(names))
    note = "words; rows: the right tag; columns: what the model says"
    return ProtocolResult(
        "tag", figures=figures, tables=tables, confusions=(Confusion("Confusion", names, counts, note=note),),
        judged=judged,
    )  # fmt: skip


def sentence(figures: Json) -> str:
    """Return in one sentence what `run` found, from its figures."""
    own = figures[PRETRAINED]
    told = (
        f"On {own['sentences']:,} test sentences it tells {_percent(own, 'accuracy')} of {own['words']:,} words right"
    )
    if "accuracy_low" in own:
        told += f" (95 % interval {_percent(own, 'accuracy_low')} to {_percent(own, 'accuracy_high')})"
    told += f", entity F1 {own['entity_f1']:.3f}" if "entity_f1" in own else f", macro F1 {own['macro_f1']:.3f}"
    others = [f"{NAMES[arm]} {_percent(found, 'accuracy')}" for arm, found in figures.items() if arm != PRETRAINED]
    return f"{told}; {', '.join(others)}." if others else f"{told}."


def _percent(found: Json, key: str) -> str:
    return f"{100 * found[key]:.1f} %"


def _names(context: Context) -> tuple[tuple[str, ...], np.ndarray]:
    """Return the tags of the model and those that only the data has, and which of these each of the data's is.

    Words of a tag that the model does not know are told wrongly: they stay in the figures.
    """
    ours, theirs = context.model.manifest.class_names, context.class_names
    strange = [name for name in theirs if name not in ours]
    if len(strange) == len(theirs):
        raise DataError(
            f"the model knows the tags {', '.join(ours[:5])}; the data has {', '.join(theirs[:5]) or 'none'}: none in "
            "common; choose another column with data.label=NAME"
        )
    if strange:
        context.notes.append(f"the model does not know {', '.join(strange)}: words with these count as told wrongly")
    names = (*ours, *strange)
    return names, np.array([names.index(name) for name in theirs])


def _labels(context: Context) -> np.ndarray:
    """Return the positions of the sentences that the model learned from, as far as that is known: all for training.

    Raises:
        DataError: none of them has a tag.
    """
    provenance = context.model.manifest.provenance
    notes = provenance.get("notes") or {}
    same = (provenance.get("data") or {}).get("fingerprint") == context.store.fingerprint
    most = notes.get("labels_per_class") if same else None
    found = drawn(context.store, context.positions["train"], most, int(provenance.get("seed") or 0))
    if not len(found):
        raise DataError(f"{context.store.name!r} has no training sentences with tags, which floors are made of")
    if most is not None:
        context.notes.append(f"floors learn from the {len(found):,} sentences that the model learned from")
    return found


def _floors(
    context: Context, train: Sentences, test: Sentences, labels: np.ndarray, place: np.ndarray, k: int
) -> dict[str, list[np.ndarray]]:
    """Return what each floor that was asked for says of the test words, [w] a network."""
    config = context.config
    found: dict[str, list[np.ndarray]] = {}
    if "raw" in config.arms:
        found[COMMONEST] = [np.full(len(test.tags), commonest(train, k))]
        found[BY_WORD] = [by_word(train, test, k)]
    if "untrained" in config.arms:
        found["untrained"] = []
        for draw in range(config.seeds):
            twin = context.network("untrained", draw)
            classifier, scale, _ = fitted(
                twin, train.rows, k, seed=derive_seed("probe", config.seed, draw), place=place
            )
            found["untrained"].append(classifier.probabilities(scale(tokens(twin, test.rows))).argmax(axis=1))
    if "scratch" in config.arms and context.scratch is not None:
        found["scratch"] = []
        for draw in range(config.seeds):
            seed = derive_seed("scratch", config.seed, draw)
            logger.info("training from scratch, network %d of %d", draw + 1, config.seeds)
            said = context.scratch(labels, context.positions["test"], seed)
            found["scratch"].append(place[said.argmax(axis=1)])
    return found


def _row(arm: str, found: Json) -> Json:
    row: Json = {"who": NAMES[arm]}
    for key, name in COLUMNS.items():
        if key not in found:
            continue
        row[name] = round(found[key], 4)
        if f"{key}_low" in found and key in WITHIN:
            row[f"{name} from"], row[f"{name} to"] = round(found[f"{key}_low"], 4), round(found[f"{key}_high"], 4)
    return row


def _note(test: Sentences, train: Sentences, unseen: np.ndarray, draws: int) -> str:
    known = test.tags >= 0
    within = f"; intervals: 95 %, {draws:,} bootstrap draws of the sentences" if draws else ""
    return (
        f"{int(known.sum()):,} words of {len(test.rows):,} test sentences{within}; macro F1: mean over the tags that "
        f"occur there; floors learn from {len(train.rows):,} training sentences; new words: "
        f"{(unseen & known).sum() / max(1, known.sum()):.1%} do not occur in these"
    )


def _judged(context: Context, test: Sentences, shares: np.ndarray, names: tuple[str, ...], figures: Json) -> Judged:
    """Return what was said of all words whose tag is known, as of records of a classifier."""
    known = test.tags >= 0
    shares, targets = shares[known], test.tags[known]
    owner = np.repeat(context.positions["test"], test.sizes)[known]
    told = classification.single_label(shares, targets)
    ends = {
        key: (figures[f"{key}_low"], figures[f"{key}_high"])
        for key in ("accuracy", *(key for key in figures if key.startswith("entity")))
        if f"{key}_low" in figures
    }
    told |= {key: figures[key] for key in ("entity_precision", "entity_recall", "entity_f1") if key in figures}
    rows = classification.per_class(shares, targets, names)
    return Judged("tags, word by word,", names, shares, targets, owner, told, ends, rows)


def _errors(context: Context, test: Sentences, told: np.ndarray, names: tuple[str, ...], most: int = 12) -> list[Json]:
    """Return the commonest confusions with an example sentence each."""
    wrong = np.flatnonzero((test.tags >= 0) & (told != test.tags))
    k = len(names)
    kinds, first, counts = np.unique(test.tags[wrong] * k + told[wrong], return_index=True, return_counts=True)
    owner = np.repeat(np.arange(len(test.sizes)), test.sizes)
    modality = context.model.modality
    rows: list[Json] = []
    for one in np.argsort(-counts, kind="stable")[:most]:
        row = test.rows[int(owner[wrong[first[one]]])]
        text = modality.describe(row)  # type: ignore[attr-defined]
        rows.append(
            {
                "right": names[kinds[one] // k], "told": names[kinds[one] % k], "words": int(counts[one]),
                "for example in": text if len(text) <= 120 else text[:119] + "…",
            }
        )  # fmt: skip
    return rows
