"""What `translate` and `caption` share: inputs in, a text for each out."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from pydantic import Field

from bodh.api._records import FiledRecords
from bodh.config.base import Config
from bodh.config.resolve import resolve
from bodh.contracts import Json

if TYPE_CHECKING:
    from bodh.api.load import Model

logger = logging.getLogger("bodh")

AT_ONCE = {"translate": 1024, "caption": 128}
"""Inputs that are read before anything is written: texts of similar length are written together, pictures are large."""
CALLED = {"translate": "translation", "caption": "caption"}
"""What a record calls that which was written."""


class WritingConfig(Config):
    """Settings of `translate` and `caption`."""

    penalty: float = Field(1.0, ge=0, le=4, description="scores are divided by the length to this power; 0: not at all")


@dataclass(frozen=True)
class Writings(FiledRecords):
    """What the model wrote.

    Attributes:
        records: one an input: {"id", "text" where one was read, "translation" or "caption", "score": log-probability a
            token, "ended": whether it came to its end}; {"id", "error"} for an input that cannot be read. Empty where
            they were written to a file.
        count: inputs, the broken ones too.
        broken: inputs that could not be read.
        out: the file with one record a line, or None.
        called: what records call that which was written.
    """

    called: str = "translation"

    @property
    def texts(self) -> list[str]:
        """What was written, an input each; "" for one that could not be read."""
        return [record.get(self.called, "") for record in self.records]


def write(
    model: Model | str | Path,
    inputs: Any,
    *,
    verb: Literal["translate", "caption"],
    options: Json,
    out: str | Path | None,
    device: str,
    settings: Json,
) -> Writings:
    """Return what `model` writes for `inputs`, or write it to a file.

    Args:
        model: of task "sequence".
        inputs: whatever `read_rows` takes.
        verb: what is done.
        options: beams and length.
        out: the file; None: return the records.
        device: where.
        settings: see `WritingConfig`.

    Raises:
        ModelError: the model does not do that.
        ConfigError: an option is out of its range, or no such setting.
        DataError: an input is not there, or not one of them can be read.
        OutputError: `out` exists or cannot be written.
    """
    from bodh.api._lines import insist_on_some, refuse_existing, write_lines
    from bodh.api.load import load
    from bodh.model.translate import insist_on_writer

    penalty = cast("WritingConfig", resolve(settings, {"": WritingConfig})[""]).penalty
    handle = load(model)
    insist_on_writer(handle.manifest, verb)
    if out is not None:
        refuse_existing(Path(out))
    records = _records(handle, inputs, device, verb, options | {"penalty": penalty})
    if out is not None:
        return Writings([], *write_lines(Path(out), records, verb=verb), Path(out), CALLED[verb])
    given = list(records)
    broken = sum("error" in record for record in given)
    insist_on_some(given[0] if given else None, len(given), broken, verb=verb)
    return Writings(given, len(given), broken, called=CALLED[verb])


def _records(handle: Model, inputs: Any, device: str, verb: str, options: Json) -> Iterator[Json]:
    from bodh.api._inputs import read_rows
    from bodh.model.translate import translate_rows

    model = handle.loaded(device)
    modality = cast("Any", model.modality)
    texts = verb == "translate"
    padding, longest, cut = modality.tokens().padding, modality.config.length, 0
    for batch in read_rows(modality, inputs, batch=AT_ONCE[verb]):
        rows = [] if batch.rows is None else [_without(row, padding) if texts else row for row in batch.rows]
        cut += sum(len(row) == longest for row in rows) if texts else 0
        said = iter(zip(rows, translate_rows(model, rows, **options), strict=True))
        for name in batch.ids:
            if name in batch.broken:
                yield {"id": name, "error": batch.broken[name]}
                continue
            row, one = next(said)
            yield {"id": name} | ({"text": modality.text(row)} if texts else {}) | one.to_json(CALLED[verb])
    if cut:
        logger.warning("%d texts have %d tokens or more, of which this model reads no more than those", cut, longest)


def _without(row: Any, padding: int) -> Any:
    """Return a row of ids without what fills it up at the end; the end token stays, also where it is the same id."""
    import numpy as np

    real = np.flatnonzero(row != padding)
    return row[: real[-1] + 1] if len(real) else row[:1]
