"""What `predict` does for models that answer questions: read questions with their texts, and tell the answers."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from bodh.contracts import Json
from bodh.errors import BadRecord, ConfigError, DataError

if TYPE_CHECKING:
    import numpy as np

    from bodh.api.load import Model
    from bodh.api.predict import PredictConfig

AT_ONCE = 64
"""Questions that are read before any is answered."""
MANY = {".jsonl", ".json", ".parquet", ".gz", ".ndjson"}
"""Files of many questions; any other is one text."""
OWN = ("answers", "words", "threshold", "language")
"""Settings of `predict` that are for these models alone."""

Reader = tuple[str, Callable[[], bytes]]


def check(task: str | None, question: Any, chosen: PredictConfig, others: Mapping[str, Any]) -> bool:
    """Return whether questions are to be answered; refuse what does not go together.

    Args:
        task: of the model.
        question: as the user gave it.
        chosen: settings of `predict`.
        others: what is for models of other kinds, where it was given.

    Raises:
        ConfigError: a question for a model that answers none, or what is for other models.
    """
    answers = task == "span" and others.get("shots") is None
    own = [name for name in OWN if name in chosen.model_fields_set]
    if not answers and (question is not None or own):
        raise ConfigError(
            f"{'question' if question is not None else own[0]}: this model answers no questions; train one that does: "
            "bodh finetune QUESTIONS --from MODEL --task extract"
        )
    wrong = [name for name, value in others.items() if value]
    if answers and wrong:
        raise ConfigError(f"{wrong[0]}: that is for models of other kinds, this one answers questions; leave it out")
    return answers


def records(handle: Model, inputs: Any, device: str, question: Any, chosen: PredictConfig) -> Iterator[Json]:
    """Yield what the model answers, one record a question.

    Args:
        handle: the model.
        inputs: texts, where a question is given; else questions with their texts.
        device: where it runs.
        question: asked of every text; None: questions come with the inputs.
        chosen: settings of `predict`.

    Raises:
        DataError: an input is not there, or has no question.
    """
    from bodh.model.answers import answer_rows

    model = handle.loaded(device)
    modality = cast("Any", model.modality)
    found = _asked(modality, inputs, question) if question is not None else _with_questions(modality, inputs, chosen)
    readers = iter(found)
    while chunk := list(itertools.islice(readers, AT_ONCE)):
        decoded = [_decode(modality, read) for _, read in chunk]
        rows = [row for row in decoded if not isinstance(row, str)]
        said = iter(zip(rows, answer_rows(model, rows, most=chosen.answers, words=chosen.words), strict=True))
        for (name, _), row in zip(chunk, decoded, strict=True):
            if isinstance(row, str):
                yield {"id": name, "error": row}
                continue
            own, told = next(said)
            best = told.best(chosen.threshold)
            none: Json = {"answer": "", "probability": round(told.none or 0.0, 6), "start": None, "end": None}
            yield {
                "id": name, "question": modality.row(own).record.question,
                **(none if best is None else best.to_json()),
                "answers": [one.to_json() for one in told.answers],
                **({} if told.none is None else {"no_answer": round(told.none, 6)}),
            }  # fmt: skip


def _decode(modality: Any, read: Callable[[], bytes]) -> np.ndarray | str:
    """Return a record, or the reason why there is none."""
    try:
        return cast("np.ndarray", modality.decode(read()))
    except BadRecord as error:
        return str(error)
    except OSError as error:
        return f"cannot be read: {error.strerror or error}"


def _asked(modality: Any, inputs: Any, question: str) -> Iterator[Reader]:
    """Yield every text with the question."""
    from bodh.records.sources._encoding import read_text

    if not isinstance(question, str) or not question.strip():
        raise DataError(f'the question is empty, given {question!r}; give one: --question "Who …?"')
    for number, item in enumerate(_items(inputs)):
        if not isinstance(item, str | os.PathLike):
            raise DataError(
                f"an input of type {type(item).__name__} is no text; with a question, give texts or paths of text files"
            )
        name, text, path = f"input:{number}", str(item), _path(item)
        if path is not None:
            if not path.is_file() or path.suffix.lower() in MANY:
                raise DataError(
                    f"{str(path)!r} is no text file to ask about; give texts or .txt files, or leave the question out "
                    "where a file has questions of its own"
                )
            name, text = str(path), read_text(path, path.name).text
        record = {"question": question, "context": text}
        yield name, lambda record=record: modality.raw(record)  # type: ignore[misc]


def _path(item: Any) -> Path | None:
    """Return the path that an input is, None where it is the text itself."""
    from bodh.api._inputs import TEXT_SUFFIXES

    if not isinstance(item, str) or (len(item.split()) == 1 and Path(item).suffix.lower() in {*TEXT_SUFFIXES, *MANY}):
        return Path(item)
    try:
        return Path(item) if item.strip() and Path(item).exists() else None
    except (OSError, ValueError):  # longer than any path, or with letters that none has
        return None


def _with_questions(modality: Any, inputs: Any, chosen: PredictConfig) -> Iterator[Reader]:
    """Yield questions that come with their texts: dicts, files, folders."""
    from bodh.records.open import open_source

    counter = itertools.count()
    for item in _items(inputs):
        if isinstance(item, Mapping) and "question" in item:
            name = str(item.get("id") or f"input:{next(counter)}")
            yield name, lambda item=item: modality.raw(item)  # type: ignore[misc]
            continue
        if isinstance(item, str) and _path(item) is None:
            raise DataError(
                f'{item[:60]!r} comes without a question; type --question "…", or give a file of questions with '
                "their texts (.jsonl with question and context)"
            )
        source = open_source(item, modality="questions", input=chosen.language)
        for index, name in enumerate(source.ids):
            yield name, lambda index=index, source=source: bytes(source.read(index))  # type: ignore[misc]


def _items(inputs: Any) -> Sequence[Any]:
    if isinstance(inputs, list | tuple):
        if not inputs:
            raise DataError("no input was given; give a question with its text, or a file of them")
        return inputs
    return [inputs]
