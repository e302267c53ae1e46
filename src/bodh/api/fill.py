"""`fill`: what belongs where a text has a gap."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bodh.api._records import Records
from bodh.errors import ConfigError, DataError

if TYPE_CHECKING:
    from pathlib import Path

    from bodh.api.load import Model


@dataclass(frozen=True)
class Fillings(Records):
    """What the model tells.

    Attributes:
        records: one a text: {"text": as it was given, "filled": with every gap's likeliest word, "gaps": one a gap,
            each a list of {"word", "probability"}, the likeliest first}.
    """


def fill(model: Model | str | Path, texts: Sequence[str], *, top: int = 5, device: str = "auto") -> Fillings:
    """Say which words belong where a text has a gap, and how likely each is.

    A gap stands for one token of the model's tokenizer: a word or a part of one.

    Args:
        model: a model that sees a text from both sides (objective masked_lm), or the folder of the run that made it.
        texts: texts with gaps, written [MASK], ___ or as the model's tokenizer has it; several gaps in a text are
            told one by one, each as if the others stayed gaps.
        top: words that are told for each gap.
        device: auto, cpu, cuda, cuda:N or mps.

    Returns:
        one record a text: text, filled (with the likeliest words), gaps (words with probabilities).

    Raises:
        ModelError: the model does not fill gaps.
        DataError: a text has no gap, or one beyond what the model reads.
        ConfigError: `top` is below 1.

    Example:
        bodh fill runs/news "The [MASK] sat on the mat."
        bodh fill runs/news "Oil prices ___ today." --top 10
    """
    from bodh.api._language import insist_on
    from bodh.api.load import load
    from bodh.model.fill import Filler

    if top < 1:
        raise ConfigError(f"top: {top} is too small; allowed are whole numbers from 1")
    handle = load(model)
    insist_on(handle, "fill")
    given = [texts] if isinstance(texts, str) else list(texts)
    for text in given:
        if not isinstance(text, str):
            raise DataError(f"an input of type {type(text).__name__} cannot be read; give texts")
    if not given:
        raise DataError("there is nothing to fill; give a text with a gap, as in 'The ___ sat.'")
    loaded = handle.loaded(device)
    filler, capability = Filler(loaded.modality), loaded.capability("fill")
    found = filler.fill(
        [filler.ids(text) for text in given], lambda ids: loaded.compute(ids, capability)["logits"], top=top
    )
    return Fillings([one.to_json(text) for text, one in zip(given, found, strict=True)])
