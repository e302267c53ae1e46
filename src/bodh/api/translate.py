"""`translate`: what a model of pairs writes for texts."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from pydantic import Field

from bodh.config.base import Config
from bodh.config.resolve import resolve
from bodh.contracts import Json

if TYPE_CHECKING:
    from bodh.api.load import Model

logger = logging.getLogger("bodh")

AT_ONCE = 1024
"""Texts that are read before any of them is written: those of similar length are written together."""


class TranslateConfig(Config):
    """Settings of `translate`."""

    penalty: float = Field(1.0, ge=0, le=4, description="scores are divided by the length to this power; 0: not at all")


@dataclass(frozen=True)
class Translations:
    """What the model wrote.

    Attributes:
        records: one an input: {"id", "text", "translation", "score": log-probability a token, "ended": whether it
            came to its end}; {"id", "error"} for an input that cannot be read. Empty where they were written to a file.
        count: inputs, the broken ones too.
        broken: inputs that could not be read.
        out: the file with one record a line, or None.
    """

    records: list[Json] = field(default_factory=list)
    count: int = 0
    broken: int = 0
    out: Path | None = None

    @property
    def texts(self) -> list[str]:
        """What was written, an input each; "" for one that could not be read."""
        return [record.get("translation", "") for record in self.records]

    def to_json(self) -> Json:
        """Return everything as JSON values."""
        return {
            "records": self.records, "count": self.count, "broken": self.broken,
            "out": str(self.out) if self.out else None,
        }  # fmt: skip

    def __iter__(self) -> Iterator[Json]:
        return iter(self.records)

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> Json:
        return self.records[index]


def translate(
    model: Model | str | Path,
    texts: Sequence[str | Path] | Any,
    *,
    beams: int = 4,
    length: int | None = None,
    out: str | Path | None = None,
    device: str = "auto",
    **settings: Any,
) -> Translations:
    """Write for each text what the model learned to write from pairs: its translation.

    Args:
        model: a model trained on pairs of texts (objective seq2seq), or the folder of the run that made it.
        texts: the texts themselves; what exists as a path is one: every line of a .txt, every record of a data file.
        beams: beginnings that are kept at every step, from which the likeliest text comes; 1: greedy, the quickest.
        length: most tokens of what is written; by default twice as many as were read, and 16 more.
        out: write one JSON record a line to this file instead of returning them; for any number of texts.
        device: auto, cpu, cuda, cuda:N or mps.
        **settings: `penalty=P`: scores are divided by the length to this power (1); more favours longer texts.

    Returns:
        one record a text: id, text, translation, score; `.texts` are the translations alone.

    Raises:
        ModelError: the model does not write texts.
        ConfigError: beams or length are out of their range, or no such setting.
        DataError: an input is not there, or not one of them can be read.
        OutputError: `out` exists or cannot be written.

    Example:
        bodh translate runs/multi30k-seq2seq "Two dogs are playing in the snow."
        bodh translate runs/multi30k-seq2seq "A man is sleeping." --beams 1
        bodh translate runs/multi30k-seq2seq sentences.txt --out translated.jsonl
    """
    from bodh.api._lines import insist_on_some, refuse_existing, write_lines
    from bodh.api.load import load
    from bodh.model.translate import insist_on_writer

    penalty = cast("TranslateConfig", resolve(settings, {"": TranslateConfig})[""]).penalty
    handle = load(model)
    insist_on_writer(handle.manifest)
    if out is not None:
        refuse_existing(Path(out))
    records = _records(handle, texts, device, {"beams": beams, "length": length, "penalty": penalty})
    if out is not None:
        return Translations([], *write_lines(Path(out), records, verb="translate"), Path(out))
    given = list(records)
    broken = sum("error" in record for record in given)
    insist_on_some(given[0] if given else None, len(given), broken, verb="translate")
    return Translations(given, len(given), broken)


def _records(handle: Model, texts: Any, device: str, options: Json) -> Iterator[Json]:
    from bodh.api._inputs import read_rows
    from bodh.model.translate import translate_rows

    model = handle.loaded(device)
    modality = cast("Any", model.modality)
    padding, longest, cut = modality.tokens().padding, modality.config.length, 0
    for batch in read_rows(modality, texts, batch=AT_ONCE):
        rows = [] if batch.rows is None else [_without(row, padding) for row in batch.rows]
        cut += sum(len(row) == longest for row in rows)
        said = iter(zip(rows, translate_rows(model, rows, **options), strict=True))
        for name in batch.ids:
            if name in batch.broken:
                yield {"id": name, "error": batch.broken[name]}
                continue
            row, one = next(said)
            text = modality.text(row)
            yield {"id": name, "text": text, **one.to_json()}
    if cut:
        logger.warning("%d texts have %d tokens or more, of which this model reads no more than those", cut, longest)


def _without(row: Any, padding: int) -> Any:
    """Return a row of ids without what fills it up at the end; the end token stays, also where it is the same id."""
    import numpy as np

    real = np.flatnonzero(row != padding)
    return row[: real[-1] + 1] if len(real) else row[:1]
