"""`caption`: what a model of pictures with sentences writes for pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bodh.api._writing import Writings
    from bodh.api.load import Model


def caption(
    model: Model | str | Path,
    pictures: Sequence[str | Path] | Any,
    *,
    beams: int = 4,
    length: int | None = None,
    out: str | Path | None = None,
    device: str = "auto",
    **settings: Any,
) -> Writings:
    """Write for each picture what the model learned to write from pictures with sentences: its caption.

    Args:
        model: a model trained on pictures with sentences (objective seq2seq), or the folder of the run that made it.
        pictures: files, folders, or a data file, which stands for all its pictures; in Python also bytes, PIL images
            and arrays.
        beams: beginnings that are kept at every step, from which the likeliest text comes; 1: greedy, the quickest.
        length: most tokens of what is written; by default as many as the model writes at all.
        out: write one JSON record a line to this file instead of returning them; for any number of pictures.
        device: auto, cpu, cuda, cuda:N or mps.
        **settings: `penalty=P`: scores are divided by the length to this power (1); more favours longer texts.

    Returns:
        one record a picture: id, caption, score; `.texts` are the captions alone.

    Raises:
        ModelError: the model does not write captions.
        ConfigError: beams or length are out of their range, or no such setting.
        DataError: a picture is not there, or not one of them can be read.
        OutputError: `out` exists or cannot be written.

    Example:
        bodh caption runs/photos-seq2seq picture.png
        bodh caption runs/photos-seq2seq one.jpg two.jpg --beams 1
        bodh caption runs/photos-seq2seq photos/ --out captions.jsonl
    """
    from bodh.api._writing import write

    return write(
        model, pictures, verb="caption", options={"beams": beams, "length": length}, out=out, device=device,
        settings=settings,
    )  # fmt: skip
