"""Run the protocols that fit, and weigh what they found."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from bodh import _catalog
from bodh.contracts import Json, Task
from bodh.errors import DataError, UnknownName
from bodh.evaluation.context import Context
from bodh.evaluation.result import ProtocolResult
from bodh.evaluation.verdict import Verdict, decide, no_verdict

if TYPE_CHECKING:
    from bodh.contracts import RecordStore
    from bodh.evaluation.config import EvaluationConfig
    from bodh.evaluation.context import Scratch
    from bodh.model.loaded import LoadedModel

logger = logging.getLogger("bodh")

ROOM = "evaluation/protocols"
ORDER = (
    "translate",
    "caption",
    "tag",
    "answers",
    "perplexity",
    "budget",
    "task",
    "regress",
    "linear",
    "knn",
    "retrieval",
    "novelty",
    "cluster",
    "label_free",
)
"""The order in which a reader wants them; protocols of others come after."""
CLASSES = ("single", "binary", "multi")
"""What labels mean to a protocol that says nothing of it (`TASKS`)."""
JUDGED: dict[Task | None, str] = {
    "sequence": "a model that writes texts is judged by these", "tags": "a model of words is judged by its tags",
    "span": "a model that answers questions is judged by its answers",
}  # fmt: skip
"""Tasks of models that only protocols of their own (`MODELS`) are for, unless others are asked for; and why."""
DECIDING = ("budget", "linear", "knn")
"""Where the verdict comes from: the first of these that ran."""


@dataclass(frozen=True, slots=True)
class Proof:
    """Everything an evaluation found.

    Attributes:
        verdict: the answer.
        results: protocol -> what it found, in the order of reading.
        skipped: protocol -> why it did not run.
        seconds: protocol -> time it took, features included where it was the first to need them.
        context: model, data and features, for whoever draws the report.
    """

    verdict: Verdict
    results: Mapping[str, ProtocolResult]
    skipped: Mapping[str, str]
    seconds: Mapping[str, float]
    context: Context

    def to_json(self) -> Json:
        """Return what goes into `evaluation.json`."""
        context = self.context
        parts = {part: len(positions) for part, positions in context.positions.items()}
        return {
            **self.verdict.to_json(),
            "figures": {name: dict(result.figures) for name, result in self.results.items()},
            "notes": {key: grid.note for result in self.results.values() for key, grid in result.tables.items()},
            "metric": context.metric if context.labelled else None,
            "records": parts,
            "data": {"name": context.store.name, "fingerprint": context.store.fingerprint},
            "config": context.config.model_dump(mode="json"),
            "skipped": dict(self.skipped),
            "remarks": context.notes,
            "seconds": {name: round(value, 3) for name, value in self.seconds.items()},
        }


def prove(
    model: LoadedModel,
    store: RecordStore,
    *,
    config: EvaluationConfig,
    train_scratch: Scratch | None = None,
    outside: RecordStore | None = None,
) -> Proof:
    """Measure `model` on `store` and say whether learning without labels helped.

    Args:
        model: what is evaluated, in its last state; no checkpoint is chosen here.
        store: decoded records; where it has no test part, the fifth that training set aside is the test.
        config: settings.
        train_scratch: trains the supervised baseline on some labels; None: that arm is left out, and said.
        outside: records of no class of `store`, for protocol novelty.

    Raises:
        DataError: labels that cannot be used (one class only, no test records).
        UnknownName: a protocol that does not exist.
    """
    context = Context(model, store, config=config, scratch=train_scratch, outside=outside)
    names, skipped = _choose(context)
    results: dict[str, ProtocolResult] = {}
    seconds: dict[str, float] = {}
    for name in names:
        started = time.perf_counter()
        try:
            results[name] = _catalog.get(ROOM, name).run(context)
        except DataError as error:
            if config.protocols != ("auto",):
                raise
            skipped[name] = str(error)
        seconds[name] = time.perf_counter() - started
        logger.info("evaluated %s in %.1f s", name, seconds[name])
    verdict = _verdict(context, results)
    tables = {key: grid.rows for result in results.values() for key, grid in result.tables.items()}
    verdict = Verdict(verdict.helped, verdict.sentence, verdict.evidence, tables)
    return Proof(verdict, results, skipped, seconds, context)


def _choose(context: Context) -> tuple[list[str], dict[str, str]]:
    """Return the protocols to run, and why others are left out.

    Raises:
        UnknownName: a protocol that does not exist.
        DataError: one that was asked for by name cannot run.
    """
    known = _catalog.names(ROOM)
    asked = context.config.protocols
    automatic = asked == ("auto",)
    for name in () if automatic else asked:
        if name not in known:
            raise UnknownName("protocol", name, (*known, "auto"))
    order = [name for name in (*ORDER, *known) if name in known]
    chosen, skipped = [], {}
    for name in dict.fromkeys(order if automatic else [n for n in order if n in asked]):
        reason = _obstacle(context, name, automatic=automatic)
        if reason and not automatic:
            raise DataError(f"protocol {name!r} cannot run: {reason}")
        if reason:
            skipped[name] = reason
        else:
            chosen.append(name)
    return chosen, skipped


def _obstacle(context: Context, name: str, *, automatic: bool) -> str:
    module = _catalog.get(ROOM, name)
    task = context.model.manifest.task
    if task not in getattr(module, "MODELS", (task,)):
        return "it is for models of another kind"
    verb = getattr(context.model.modality, "verb", "")
    if getattr(module, "VERB", verb) != verb:
        return "it is for models of another kind"
    if automatic and task in JUDGED and not hasattr(module, "MODELS"):
        return JUDGED[task]
    if module.LABELS and not context.labelled:
        return "the data has no labels"
    able = getattr(module, "TASKS", CLASSES)
    if module.LABELS and ("regress" if context.measured else "single") not in able:
        return "labels are measured numbers" if context.measured else "labels are classes, not measured numbers"
    if module.HEAD and not context.model.manifest.class_names:
        return "the model has no classifier; type: bodh finetune"
    return _unasked(context, name, module) if automatic else ""


def _unasked(context: Context, name: str, module: Any) -> str:
    """Return why a protocol that nobody asked for by name is left out; "" where it is not."""
    if len(context.positions["test"]) < getattr(module, "FEWEST", 1):
        return f"there are {len(context.positions['test'])} test records; it wants {module.FEWEST} at least"
    if name == "budget" and context.saw_labels:
        return f"a comparison with few labels would not be fair: {context.saw_labels}"
    if name == "novelty" and context.config.novel is None:
        return "nothing was said to be novel; type novel=CLASS or novel=DATA"
    return ""


def _verdict(context: Context, results: Mapping[str, ProtocolResult]) -> Verdict:
    for name, result in results.items():
        module = _catalog.get(ROOM, name)
        if hasattr(module, "LEARNED"):
            told = module.sentence(dict(result.figures))
            return no_verdict(
                f"{told} It learned from {module.LEARNED}, so whether learning without labels helped is no question."
            )
    if not context.labelled:
        from bodh.evaluation.protocols.perplexity import sentence as in_words

        found = f"{in_words(dict(results['perplexity'].figures))} " if "perplexity" in results else ""
        return no_verdict(
            f"{found}The data has no labels, so nothing can be said about use for a task; "
            "give labelled data of the same kind."
        )
    if context.saw_labels:
        return no_verdict(f"This backbone did not learn without labels alone: {context.saw_labels}.")
    for name in DECIDING:
        if name in results:
            contests = results[name].contests
            compared = set().union(*(contest.scores for contest in contests))
            missing = [arm for arm in ("untrained", "raw", "scratch") if arm not in compared]
            verdict = decide(contests, classes=context.classes, missing=missing)
            if context.measured:
                verdict = replace(verdict, sentence=f"Of the variance of the numbers (R²): {verdict.sentence}")
            return verdict
    return no_verdict("No protocol that compares with baselines was run; type --protocol auto.")
