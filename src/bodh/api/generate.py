"""`generate`: texts that a language model writes."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from bodh.api._records import Records
from bodh.contracts import Json
from bodh.errors import ConfigError, DataError

if TYPE_CHECKING:
    from pathlib import Path

    from bodh.api.load import Model
    from bodh.model.generation import Generation
    from bodh.model.loaded import LoadedModel
    from bodh.model.telling import Telling

logger = logging.getLogger("bodh")


@dataclass(frozen=True)
class Generated(Records):
    """What the model wrote.

    Attributes:
        records: one a text: {"prompt", "text": what follows the prompt, "tokens": how many were written, "ended":
            whether the text came to its end}, and of beams "score", its log-probability a token.
    """

    @property
    def texts(self) -> list[str]:
        """Every text, its prompt included."""
        return [record["prompt"] + record["text"] for record in self.records]


class Streamed(Iterator[str]):
    """A text while it is written: pieces of it, which joined are what follows the prompt.

    No piece ends in the middle of a character, nor between a letter and a sign that belongs to it.
    """

    def __init__(self, prompt: str, telling: Telling) -> None:
        self.prompt = prompt
        self._telling, self._told = telling, ""

    def __next__(self) -> str:
        piece = ""
        while not piece:
            piece = next(self._telling)
        self._told += piece
        return piece

    def to_json(self) -> Json:
        """Return what `Generated.to_json` does, once all is written."""
        for _ in self:
            pass
        from bodh.model.telling import record

        done = self._telling
        return {"records": [record(self.prompt, self._told, tokens=done.tokens, ended=done.ended)]}


def generate(
    model: Model | str | Path,
    prompts: Sequence[str] | None = None,
    *,
    length: int = 128,
    temperature: float = 0.8,
    top_k: int | None = None,
    top_p: float | None = None,
    beams: int = 1,
    repetition_penalty: float = 1.0,
    number: int = 1,
    seed: int = 0,
    stream: bool = False,
    device: str = "auto",
    **settings: Any,
) -> Generated | Streamed:
    """Let a language model write: it goes on with each prompt.

    The same seed gives the same text, whatever prompts stand beside it. A text that outgrows what the model reads at
    a time goes on from its latest half.

    Args:
        model: a model that tells the next token (objective causal_lm), or the folder of the run that made it.
        prompts: beginnings of texts; none: the model begins by itself.
        length: most tokens that are written; a text may end before.
        temperature: below 1 likely tokens are favoured, above 1 others; 0: always the likeliest (greedy).
        top_k: draw among this many likeliest tokens only.
        top_p: draw among the fewest tokens only that are this likely together, above 0 to 1.
        beams: above 1: nothing is drawn, the likeliest text is searched for with so many beginnings at every step.
        repetition_penalty: above 1: tokens of the text so far become less likely, the prompt's too.
        number: texts for each prompt; of beams, the so many best.
        seed: root of what is drawn.
        stream: write the text piece by piece as it comes; of one prompt, without beams. In Python the result is then
            an iterator of pieces.
        device: auto, cpu, cuda, cuda:N or mps.
        **settings: `length_penalty=P`: of beams, scores are divided by the length to this power (1);
            `stop=TEXT`: end where this comes, which is left out; `cache=false`: compute everything again at every
            token.

    Returns:
        one record a text: prompt, text (what follows it), tokens, ended.

    Raises:
        ModelError: the model does not write texts.
        ConfigError: a setting is unknown or out of its range, or does not go with another.
        DataError: a prompt is no text.

    Example:
        bodh generate runs/plays "To be, or" --length 200
        bodh generate runs/plays "To be, or" "My lord" --temperature 0 --repetition-penalty 1.2
        bodh generate runs/plays --number 3 --top-k 50 --seed 7
        bodh generate runs/plays "Once" --stream --length 1000
    """
    from bodh.api._language import insist_on
    from bodh.api.load import load
    from bodh.config.resolve import resolve
    from bodh.model.beam import finished
    from bodh.model.generation import Generation
    from bodh.model.on_torch import TorchWriter
    from bodh.model.telling import Telling, telling

    given = {
        "length": length, "temperature": temperature, "top_k": top_k, "top_p": top_p, "beams": beams,
        "repetition_penalty": repetition_penalty, "number": number, "seed": seed,
    }  # fmt: skip
    handle = load(model)
    insist_on(handle, "generate")
    known = {key: value for key, value in given.items() if value is not None}
    options = cast("Generation", resolve(known | settings, {"": Generation})[""])
    texts = [prompts] if isinstance(prompts, str) else list(prompts or [""])
    if stream and (len(texts) > 1 or options.number > 1 or options.beams > 1):
        raise ConfigError("stream: one text is written as it comes; give one prompt, no --number and no --beams")
    loaded = handle.loaded(device)
    writer = TorchWriter(loaded, cache=options.cache)
    rows = [_begun(loaded, text, writer.context) for text in texts]
    if stream:
        return Streamed(texts[0], Telling(writer, loaded.modality, rows[0], options))
    return Generated(finished(telling(writer, loaded.modality, texts, options)))


def _begun(model: LoadedModel, prompt: Any, context: int | None) -> list[int]:
    """Return the ids of a prompt; that one of more tokens than the model reads loses its beginning is said."""
    from bodh.model.telling import begun

    if not isinstance(prompt, str):
        raise DataError(f"a prompt of type {type(prompt).__name__} cannot be read; give texts")
    ids = begun(model.modality, prompt)
    if context is not None and len(ids) > context:
        logger.warning(
            "a prompt has %d tokens, this model sees %d at a time: the last %d count", len(ids), context, context
        )
    return ids
