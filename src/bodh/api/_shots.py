"""A handful of examples a class, read and turned into a classifier on a model's features."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bodh.contracts import Json
from bodh.errors import DataError

if TYPE_CHECKING:
    from bodh.api.load import Model
    from bodh.evaluation.shots import FewShot
    from bodh.model.loaded import LoadedModel

logger = logging.getLogger("bodh")

MOST = 20
"""Examples a class; with more, training is worth its seconds."""


class ShotClassifier:
    """Classes learned from examples.

    Args:
        class_names: [k].
        fitted: features [m d] -> probabilities [m k].
        counts: [k] examples a class.
    """

    def __init__(self, class_names: tuple[str, ...], fitted: FewShot, counts: list[int]) -> None:
        self.class_names, self.fitted, self.counts = class_names, fitted, counts

    def __call__(self, features: np.ndarray) -> np.ndarray:
        """Return probabilities [m k] for features [m d]."""
        return self.fitted(features)

    def to_json(self) -> Json:
        """Return what it was made of, how, and how good it will be."""
        estimate = self.fitted.estimate
        return {
            "classes": dict(zip(self.class_names, self.counts, strict=True)),
            "method": self.fitted.method,
            "tried": self.fitted.tried,
            "accuracy": estimate.accuracy,
            "low": estimate.low,
            "high": estimate.high,
            "tested": estimate.tested,
            "how": estimate.how,
        }

    def sentence(self) -> str:
        """Return the same as one line for people."""
        estimate, few, many = self.fitted.estimate, min(self.counts), max(self.counts)
        examples = f"{few} example{'s' * (few > 1)}" if few == many else f"{few} to {many} examples"
        start = f"few-shot: {len(self.class_names)} classes, {examples} each, method {self.fitted.method}"
        if estimate.accuracy is None:
            return f"{start}; how good it is: {estimate.how}"
        return (
            f"{start}; accuracy to expect {estimate.accuracy:.1%} ({estimate.low:.1%} to {estimate.high:.1%}, "
            f"{estimate.how}, {estimate.tested} examples)"
        ).replace("%", " %")


def learn(handle: Model, shots: Any, *, method: str, device: str) -> ShotClassifier:
    """Return a classifier made of examples.

    Args:
        handle: whose features.
        shots: a folder with one folder a class, or {class: inputs}.
        method: auto, mean, ridge or knn.
        device: where features are computed.

    Raises:
        DataError: fewer than two classes, a class with no example or too many, an example that cannot be read.
        ConfigError: no such method.
    """
    from bodh.evaluation.shots import fit

    given = shots if isinstance(shots, Mapping) else _folders(shots)
    if len(given) < 2:
        only = f"one class only ({next(iter(given))})" if given else "no class"
        raise DataError(f"the shots hold {only}; to tell anything apart at least two are needed")
    model = handle.loaded(device)
    features, targets = [], []
    for number, (name, inputs) in enumerate(given.items()):
        found = _features(model, name, inputs, handle)
        features.append(found)
        targets += [number] * len(found)
    fitted = fit(np.concatenate(features), np.array(targets), len(given), method=method)
    classifier = ShotClassifier(tuple(map(str, given)), fitted, [len(part) for part in features])
    logger.info("%s", classifier.sentence())
    return classifier


def _folders(shots: Any) -> dict[str, Path]:
    """Return the folder of every class, in natural order.

    Raises:
        DataError: there is no such folder, or none in it.
    """
    from bodh.records.ids import natural_key, readable
    from bodh.records.sources._parts import SPLIT_WORDS

    if not isinstance(shots, str | os.PathLike):
        raise DataError(
            f"shots of type {type(shots).__name__} cannot be read; allowed are a folder with one folder a class, and "
            "{class: examples}"
        )
    root = Path(shots).expanduser()
    if not root.is_dir():
        raise DataError(f"no such folder: {str(root)!r}; the shots are a folder with one folder of examples a class")
    classes = sorted(
        (entry for entry in root.iterdir() if entry.is_dir() and not entry.name.startswith((".", "__MACOSX"))),
        key=lambda entry: natural_key(entry.name),
    )
    if not classes:
        raise DataError(
            f"{str(root)!r} holds no folder of a class; put the 1 to {MOST} examples of every class into a folder of "
            "its own, named like the class"
        )
    if all(entry.name.casefold() in SPLIT_WORDS for entry in classes):
        parts = ", ".join(entry.name for entry in classes)
        raise DataError(f"{str(root)!r} holds parts ({parts}), not classes; give one of them: {str(classes[0])!r}")
    return {readable(entry.name): entry for entry in classes}


def _features(model: LoadedModel, name: str, inputs: Any, handle: Model) -> np.ndarray:
    """Return the features [n d] of one class's examples.

    Raises:
        DataError: none, too many, or one that cannot be read.
    """
    from bodh.api._inputs import read_rows

    if isinstance(inputs, Path) and not any(entry.is_file() for entry in inputs.rglob("*")):
        raise DataError(f"the class {name!r} has no example: {str(inputs)!r} is empty; allowed are 1 to {MOST}")
    if isinstance(inputs, list | tuple) and not inputs:
        raise DataError(f"the class {name!r} has no example; allowed are 1 to {MOST}")
    found, count = [], 0
    capability = model.capability("embed")
    for batch in read_rows(model.modality, inputs if not isinstance(inputs, Path) else str(inputs)):
        count += len(batch.ids)
        if batch.broken:
            broken, reason = next(iter(batch.broken.items()))
            raise DataError(f"an example of the class {name!r} cannot be read: {broken}: {reason}; mend or remove it")
        if count > MOST:
            raise DataError(
                f"the class {name!r} has more than {MOST} examples; allowed are 1 to {MOST}; to learn from more type: "
                f"bodh finetune LABELLED --from {handle.run or handle.folder}"
            )
        if batch.rows is not None:
            found.append(model.compute(batch.rows, capability)["embedding"])
    return np.concatenate(found)
