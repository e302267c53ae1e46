"""What verbs of language models share: which of them can what."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bodh.errors import ModelError

if TYPE_CHECKING:
    from bodh.api.load import Model

HOW = {
    "generate": 'generate: bodh generate {} "a beginning"',
    "fill": 'fill gaps: bodh fill {} "a text with a ___"',
    "translate": 'translate: bodh translate {} "a text"',
    "caption": "caption pictures: bodh caption {} picture.png",
    "predict": "predict classes or numbers: bodh predict {} INPUT",
    "embed": "embed: bodh embed {} DATA --out vectors.parquet",
}
"""What is typed for what a model can do."""
LEARNS = {"generate": "causal_lm", "fill": "masked_lm"}


def insist_on(model: Model, capability: str) -> None:
    """Raise ModelError unless `model` can do `capability` ("generate", "fill"); the line says what it can."""
    able = model.manifest.capabilities
    if capability in able:
        return
    told = next(text for name, text in HOW.items() if name in able).format(model.folder)
    verb = {"generate": "does not generate texts", "fill": "does not fill gaps in texts"}[capability]
    raise ModelError(
        f"this model {verb}: it can {', '.join(sorted(able))}; to {told}; "
        f"or train one that does: bodh pretrain TEXTS --objective {LEARNS[capability]}"
    )
