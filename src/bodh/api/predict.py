"""Say what is in an image: class and probability, one record a line."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bodh.contracts import Json
from bodh.errors import DataError, ModelError, OutputError

if TYPE_CHECKING:
    from bodh.api.load import Model
    from bodh.model.manifest import Manifest

TOP = 5
"""Classes that a record names, the most probable first."""


@dataclass(frozen=True)
class Predictions:
    """What the model says.

    Attributes:
        records: one an input: {"id", "class", "probability", "probabilities": {class: p, the first 5}}; with several
            labels at once {"id", "classes", "probabilities"}; of measured numbers {"id", "values": {name: number}};
            {"id", "error"} for an input that cannot be read.
            Empty where they were written to a file.
        count: inputs, the broken ones too.
        broken: inputs that could not be read.
        out: the file with one record a line, or None.
    """

    records: list[Json] = field(default_factory=list)
    count: int = 0
    broken: int = 0
    out: Path | None = None

    def to_json(self) -> Json:
        """Return everything as JSON values."""
        out = str(self.out) if self.out else None
        return {"records": self.records, "count": self.count, "broken": self.broken, "out": out}

    def __iter__(self) -> Iterator[Json]:
        return iter(self.records)

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> Json:
        return self.records[index]


def predict(
    model: Model | str | Path,
    inputs: Sequence[str | Path] | Any,
    *,
    out: str | Path | None = None,
    device: str = "auto",
) -> Predictions:
    """Predict classes of images with their probabilities, or measured numbers.

    Args:
        model: a model with classes: its folder, or the folder of the run that made it.
        inputs: images; a folder or data file stands for all its records. In Python also bytes, PIL images and arrays.
        out: write one JSON record a line to this file instead of returning them; for any number of inputs.
        device: auto, cpu, cuda, cuda:N or mps.

    Returns:
        one record an input: id, class, probability, and the five most probable classes; or id and values.

    Raises:
        ModelError: the model has no classes yet.
        DataError: an input is not there, or not one of them can be read.
        OutputError: `out` exists or cannot be written.

    Example:
        bodh predict runs/photos-finetune cat.jpg
        bodh predict runs/photos-finetune photos/ --out classes.jsonl
    """
    from bodh.api.load import load

    handle = load(model)
    if "predict" not in handle.manifest.capabilities:
        raise ModelError(
            f"this model has no classes yet: {handle.folder} was trained without labels; "
            f"type: bodh finetune LABELLED --from {handle.folder}"
        )
    if out is None:
        records = list(_records(handle, inputs, device))
        broken = sum("error" in record for record in records)
        _insist_on_some(records[0] if records else None, len(records), broken)
        return Predictions(records, len(records), broken)
    return _written(Path(out), _records(handle, inputs, device))


def _records(handle: Model, inputs: Any, device: str) -> Iterator[Json]:
    from bodh.api._inputs import read_rows

    model = handle.loaded(device)
    capability = model.capability("predict")
    for batch in read_rows(model.modality, inputs):
        found: Iterator[np.ndarray] = iter(())
        if batch.rows is not None:
            said = "value" if handle.manifest.task == "regress" else "probabilities"
            found = iter(model.compute(batch.rows, capability)[said])
        for name in batch.ids:
            if name in batch.broken:
                yield {"id": name, "error": batch.broken[name]}
            else:
                yield {"id": name, **describe(next(found), handle.manifest)}


def describe(probabilities: np.ndarray, manifest: Manifest) -> Json:
    """Return what `probabilities` [k], or measured numbers [k], say, with their names."""
    names = manifest.class_names
    if manifest.task == "regress":
        return {"values": {name: float(value) for name, value in zip(names, probabilities, strict=True)}}
    order = np.argsort(-probabilities, kind="stable")[:TOP]
    top = {names[i]: round(float(probabilities[i]), 6) for i in order}
    if manifest.task == "multi":
        chosen = [names[i] for i in np.argsort(-probabilities, kind="stable") if probabilities[i] > 0.5]
        return {"classes": chosen, "probabilities": top}
    best = names[order[0]]
    return {"class": best, "probability": top[best], "probabilities": top}


def _written(out: Path, records: Iterator[Json]) -> Predictions:
    """Write `records` line by line; the file gets its name when it is complete."""
    from bodh.model.folder import cannot_write

    if out.exists():
        raise OutputError(f"{str(out)!r} exists already; choose another name or remove it first")
    partial = out.with_name(f".{out.name}.{secrets.token_hex(4)}.partial")
    count = broken = 0
    first: Json | None = None
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("x", encoding="utf-8") as file:
            for record in records:
                first = first or record
                count += 1
                broken += "error" in record
                file.write(json.dumps(record, ensure_ascii=False) + "\n")
        _insist_on_some(first, count, broken)
        partial.replace(out)
    except OSError as error:
        raise cannot_write(out, error) from error
    finally:
        partial.unlink(missing_ok=True)
    return Predictions([], count, broken, out)


def _insist_on_some(first: Json | None, count: int, broken: int) -> None:
    if first is None:
        raise DataError("there is nothing to predict: the input holds no records")
    if broken == count:
        raise DataError(f"{first['id']}: {first['error']}" + (f" (and {count - 1} more)" if count > 1 else ""))
