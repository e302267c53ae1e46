"""Say what a record is: class and probability, one record a line."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
from pydantic import Field

from bodh.api._records import FiledRecords
from bodh.config.base import Config
from bodh.config.resolve import resolve
from bodh.contracts import Json
from bodh.errors import ConfigError, ModelError

if TYPE_CHECKING:
    from bodh.api._explain import Drawer
    from bodh.api._shots import ShotClassifier
    from bodh.api.load import Model

TOP = 5
"""Classes that a record names, the most probable first."""


class PredictConfig(Config):
    """Settings of `predict`."""

    views: int = Field(1, ge=1, le=64, description="the record itself and weak views of it that are averaged over")
    spaces: bool = Field(
        False,
        description="of texts whose words get tags: words are what stands between spaces; else signs that are neither "
        "letter nor digit are words of their own",
    )
    answers: int = Field(3, ge=1, le=100, description="of questions: likeliest answers that a record names")
    words: int = Field(25, ge=1, le=1000, description="of questions: most words of an answer")
    threshold: float = Field(
        0.0, description="of questions that may have no answer: what the score of one must be above that of none"
    )
    language: str | None = Field(None, description="of questions, where a file has them in several")


@dataclass(frozen=True)
class Predictions(FiledRecords):
    """What the model says.

    Attributes:
        records: one an input: {"id", "class", "probability", "probabilities": {class: p, the first 5}}; of questions
            {"id", "question", "answer": "" where there is none, "probability", "start", "end": characters of the text,
            "answers": the likeliest, as such records}; with several
            labels at once {"id", "classes", "probabilities"}; of measured numbers {"id", "values": {name: number}};
            of tagged words {"id", "text", "words": [{"word", "tag", "probability", "start", "end"}]} and, where tags
            write entities down (BIO, BILOU), "entities": [{"type", "text", "start", "end", "probability"}];
            {"id", "error"} for an input that cannot be read.
            Empty where they were written to a file.
        count: inputs, the broken ones too.
        broken: inputs that could not be read.
        out: the file with one record a line, or None.
        shots: of few-shot: classes with their examples, method, accuracy to expect with its interval, how that was
            found; or None.
    """

    shots: Json | None = None

    def to_json(self) -> Json:
        """Return everything as JSON values."""
        return {**super().to_json(), "shots": self.shots}


def predict(
    model: Model | str | Path,
    inputs: Sequence[str | Path] | Any,
    *,
    out: str | Path | None = None,
    device: str = "auto",
    shots: str | Path | Any = None,
    method: Literal["auto", "mean", "knn", "ridge"] = "auto",
    explain: str | Path | None = None,
    question: str | None = None,
    **settings: Any,
) -> Predictions:
    """Predict classes with their probabilities, tags of words and entities, measured numbers, or answers from texts.

    With `shots` the classes are those of a few examples: nothing is trained, any model will do.

    Args:
        model: a model with classes: its folder, or the folder of the run that made it; with shots any model.
        inputs: images, or, for a model of texts, the texts themselves; a folder or data file stands for all its
            records. What exists as a path is a path. In Python also bytes, PIL images, arrays and, for
            a model that tags words, lists of words. For a model that answers questions: the texts that the question is
            about, or files of questions with their texts (in Python {"question", "context"}).
        out: write one JSON record a line to this file instead of returning them; for any number of inputs.
        device: auto, cpu, cuda, cuda:N or mps.
        shots: a folder with one folder of 1 to 20 examples a class (in Python also {class: examples}); the records
            are told by what they are like, and how well that works is estimated on the examples.
        method: of shots: mean (nearest class mean), knn (nearest examples), ridge (regression), or auto: what tells
            held-out examples best.
        explain: a folder for one PNG an input: the image with a map of what decided (Grad-CAM; attention rollout for
            transformers).
        question: of models that answer questions: asked of every input, which is a text.
        **settings: `views=N` averages over each record and N - 1 weak views of it: N times the work, often a little
            more right. Exported and served models see the record alone. `spaces=true`: words of a text to
            be tagged are what stands between spaces, else commas and the like are words of their own. Of
            questions: `answers=5` likeliest answers, of at most `words=25` words each; `threshold=T`, how much likelier
            an answer must be than none (a difference of scores); `language=hi`, where a file has several.

    Returns:
        one record an input: id, class, probability, and the five most probable classes; or id and values; or id,
        words with their tags, and entities; or id, question, answer, probability, start, end and the likeliest answers.

    Raises:
        ModelError: the model has no classes yet, or nothing to explain by.
        ConfigError: no such method, a method without shots, both shots and explain, or no such setting.
        DataError: an input is not there, or not one of them can be read; the shots cannot be used.
        OutputError: `out` exists or cannot be written.

    Example:
        bodh predict runs/photos-finetune cat.jpg
        bodh predict runs/photos-finetune photos/ --out classes.jsonl
        bodh predict runs/reviews-finetune "a film to see twice"
        bodh predict runs/entities-finetune "Sita was born in Pune."
        bodh predict runs/squad-finetune tower.txt --question "How high is it?"
        bodh predict runs/squad-finetune questions.jsonl --out answers.jsonl
        bodh predict runs/photos-finetune cat.jpg views=8
        bodh predict runs/photos new/ --shots examples/
        bodh predict runs/photos-finetune cat.jpg --explain maps/
    """
    from bodh.api import _answering, _tagged
    from bodh.api._explain import Drawer
    from bodh.api._lines import insist_on_some, refuse_existing, write_lines
    from bodh.api._shots import learn
    from bodh.api.load import load

    chosen = cast("PredictConfig", resolve(settings, {"": PredictConfig})[""])
    views, handle = chosen.views, load(model)
    others = {"shots": shots, "explain": explain, "views": views > 1}
    asks = _answering.check(handle.manifest.task, question, chosen, others)
    if views > 1 and (shots is not None or explain is not None):
        raise ConfigError(f"views: {views} views are averaged by a model's own head; leave out --shots and --explain")
    if method != "auto" and shots is None:
        raise ConfigError(f"method: {method!r} is for few-shot; give the examples too: --shots FOLDER")
    if shots is not None and explain is not None:
        raise ConfigError(
            "explain: a map shows what decided among a model's own classes; leave out --shots or --explain"
        )
    for verb, what in {"translate": "TEXT", "caption": "PICTURE"}.items():
        if shots is None and verb in handle.manifest.capabilities:
            raise ModelError(f"this model writes texts, it tells no classes; type: bodh {verb} {handle.folder} {what}")
    if shots is None and not asks and "predict" not in handle.manifest.capabilities:
        raise ModelError(
            f"this model has no classes yet: {handle.folder} was trained without labels; "
            f"type: bodh finetune LABELLED --from {handle.folder}, or give examples: --shots FOLDER"
        )
    if out is not None:
        refuse_existing(Path(out))
    learned = None if shots is None else learn(handle, shots, method=method, device=device)
    drawer = None if explain is None else Drawer(Path(explain))
    if asks:
        records = _answering.records(handle, inputs, device, question, chosen)
    elif handle.manifest.task == "tags" and learned is None:
        records = _tagged.records(handle, inputs, device, spaces=_of_words_alone(chosen, drawer))
    else:
        records = _records(handle, inputs, device, learned, drawer, views)
    facts = None if learned is None else learned.to_json()
    if out is None:
        given = list(records)
        broken = sum("error" in record for record in given)
        insist_on_some(given[0] if given else None, len(given), broken, verb="predict")
        return Predictions(given, len(given), broken, shots=facts)
    count, broken = write_lines(Path(out), records, verb="predict")
    return Predictions([], count, broken, Path(out), shots=facts)


def _of_words_alone(chosen: PredictConfig, drawer: Drawer | None) -> bool:
    """Return whether words are what stands between spaces; refuse what is for records that are one thing.

    Raises:
        ConfigError: views or a map were asked for.
    """
    if chosen.views > 1 or drawer is not None:
        raise ConfigError("views and explain are for images; a model that tags words has neither: leave them out")
    return chosen.spaces


def _records(
    handle: Model, inputs: Any, device: str, learned: ShotClassifier | None, drawer: Drawer | None, views: int
) -> Iterator[Json]:
    from bodh.api._inputs import read_rows

    model = handle.loaded(device)
    manifest = handle.manifest
    capability = model.capability("predict" if learned is None else "embed")
    said = "embedding" if learned else "value" if manifest.task == "regress" else "probabilities"
    names, task = (manifest.class_names, manifest.task) if learned is None else (learned.class_names, "single")
    for batch in read_rows(model.modality, inputs):
        found: Iterator[np.ndarray] = iter(())
        pictures: Iterator[Json] = iter(())
        if batch.rows is not None:
            one = views == 1
            values = model.compute(batch.rows, capability)[said] if one else model.averaged(batch.rows, views=views)
            values = values if learned is None else learned(values)
            found = iter(values)
            if drawer is not None:
                good = [name for name in batch.ids if name not in batch.broken]
                pictures = iter(drawer.draw(model, good, batch.rows, values))
        for name in batch.ids:
            if name in batch.broken:
                yield {"id": name, "error": batch.broken[name]}
            else:
                yield {"id": name, **told(next(found), names, task), **next(pictures, {})}


def told(probabilities: np.ndarray, names: Sequence[str], task: str | None) -> Json:
    """Return what `probabilities` [k], or measured numbers [k], say, with their names.

    Args:
        probabilities: of one record.
        names: [k].
        task: what labels mean.
    """
    if task == "regress":
        return {"values": {name: float(value) for name, value in zip(names, probabilities, strict=True)}}
    order = np.argsort(-probabilities, kind="stable")[:TOP]
    top = {names[i]: round(float(probabilities[i]), 6) for i in order}
    if task == "multi":
        chosen = [names[i] for i in np.argsort(-probabilities, kind="stable") if probabilities[i] > 0.5]
        return {"classes": chosen, "probabilities": top}
    best = names[order[0]]
    return {"class": best, "probability": top[best], "probabilities": top}
