"""`translate`: what a model of pairs writes for texts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bodh.api._writing import Writings
    from bodh.api.load import Model


def translate(
    model: Model | str | Path,
    texts: Sequence[str | Path] | Any,
    *,
    beams: int = 4,
    length: int | None = None,
    out: str | Path | None = None,
    device: str = "auto",
    **settings: Any,
) -> Writings:
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
    from bodh.api._writing import write

    return write(
        model, texts, verb="translate", options={"beams": beams, "length": length}, out=out, device=device,
        settings=settings,
    )  # fmt: skip
