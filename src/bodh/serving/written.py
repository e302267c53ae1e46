"""From requests for texts to what is written: prompts are read, and the work is laid out for `turns`. No torch."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import TYPE_CHECKING, Any, cast

from bodh.contracts import Json, Modality
from bodh.errors import BadRecord, UserError
from bodh.model.telling import Telling, begun, record, telling
from bodh.model.translate import translating
from bodh.serving import problems
from bodh.serving.asks import Generate, Translate

if TYPE_CHECKING:
    import numpy as np

    from bodh.model.fill import Filler
    from bodh.model.writing import Translates, Writes
    from bodh.serving.turns import Work

AT_ONCE = 64
"""Rows of a network's batch at most: texts times beams."""


def prompt_row(modality: Modality, prompt: str, *, context: int | None, most: int) -> list[int]:
    """Return the ids of a prompt; runs in a thread.

    Args:
        modality: of texts.
        prompt: the text.
        context: most tokens that the model sees; None: any number.
        most: that the server reads.

    Raises:
        Refused: 422, it is longer.
    """
    row = begun(modality, prompt)
    longest = min(most, context or most)
    if len(row) > longest:
        who = "this model sees" if longest == context else "this server reads"
        raise problems.unreadable(f"the prompt has {len(row)} tokens; {who} {longest}; give a shorter one")
    return row


def generation(model: Writes, modality: Modality, row: Sequence[int], ask: Generate) -> Work:
    """Return the work for /generate: it yields pieces where a text is told as it comes, and returns records."""
    options = ask.options
    single = options.number == 1 and options.beams == 1
    if single and (ask.stream or options.stop):
        return _told(Telling(model, modality, row, options), ask.prompt)
    return telling(model, modality, [ask.prompt], options)


def _told(text: Telling, prompt: str) -> Generator[str | None, None, list[Json]]:
    whole = ""
    for piece in text:
        whole += piece
        yield piece
    return [record(prompt, whole, tokens=text.tokens, ended=text.ended)]


def source_rows(modality: Modality, texts: Sequence[str]) -> list[np.ndarray]:
    """Return texts to translate as the modality decodes them; runs in a thread.

    Raises:
        Refused: 422, one of them cannot be read, or is longer than the model reads.
    """
    longest = cast("Any", modality.config).length
    rows = []
    for place, text in enumerate(texts):
        name = "text" if len(texts) == 1 else f"inputs[{place}]"
        try:
            row = modality.decode(text.encode())
        except BadRecord as error:
            raise problems.unreadable(f"{name}: {error}") from None
        if len(row) > longest:
            raise problems.unreadable(f"{name} has {len(row)} tokens; this model reads {longest}; give shorter texts")
        rows.append(row)
    return rows


def translation(model: Translates, modality: Modality, rows: Sequence[np.ndarray], ask: Translate) -> Work:
    """Return the work for /translate: its result is a list of records.

    Raises:
        Refused: 422, more tokens are asked for than the model writes.
    """
    if ask.length is not None and ask.length >= model.context:
        raise problems.unreadable(
            f"length: {ask.length} is too large; this model writes texts of up to {model.context - 1} tokens"
        )
    return _translated(model, modality, rows, ask)


def _translated(
    model: Translates, modality: Modality, rows: Sequence[np.ndarray], ask: Translate
) -> Generator[None, None, list[Json]]:
    found = yield from translating(
        model, modality, rows, beams=ask.beams, length=ask.length, penalty=ask.penalty,
        batch=max(1, AT_ONCE // ask.beams),
    )  # fmt: skip
    text_of = cast("Any", modality).text
    return [{"text": text_of(row), **one.to_json()} for row, one in zip(rows, found, strict=True)]


def gap_rows(filler: Filler, texts: Sequence[str]) -> list[np.ndarray]:
    """Return texts with gaps as ids; runs in a thread.

    Raises:
        Refused: 422, one has no gap, or one beyond what the model reads.
    """
    try:
        return [filler.ids(text) for text in texts]
    except UserError as error:
        raise problems.unreadable(str(error)) from None
