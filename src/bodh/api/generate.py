"""`generate`: texts that a language model writes."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from bodh.contracts import Json
from bodh.errors import ConfigError, DataError

if TYPE_CHECKING:
    from pathlib import Path

    from bodh.api.load import Model
    from bodh.model.generation import Generation
    from bodh.model.loaded import LoadedModel

logger = logging.getLogger("bodh")


@dataclass(frozen=True)
class Generated:
    """What the model wrote.

    Attributes:
        records: one a text: {"prompt", "text": what follows the prompt, "tokens": how many were written, "ended":
            whether the text came to its end}, and of beams "score", its log-probability a token.
    """

    records: list[Json] = field(default_factory=list)

    @property
    def texts(self) -> list[str]:
        """Every text, its prompt included."""
        return [record["prompt"] + record["text"] for record in self.records]

    def to_json(self) -> Json:
        """Return everything as JSON values."""
        return {"records": self.records}

    def __iter__(self) -> Iterator[Json]:
        return iter(self.records)

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> Json:
        return self.records[index]


class Streamed(Iterator[str]):
    """A text while it is written: pieces of it, which joined are what follows the prompt.

    No piece ends in the middle of a character, nor between a letter and a sign that belongs to it.
    """

    def __init__(self, prompt: str, pieces: Iterator[str], facts: Json) -> None:
        self.prompt = prompt
        self._pieces, self._facts, self._told = pieces, facts, ""

    def __next__(self) -> str:
        piece = next(self._pieces)
        self._told += piece
        return piece

    def to_json(self) -> Json:
        """Return what `Generated.to_json` does, once all is written."""
        for _ in self:
            pass
        return {"records": [{"prompt": self.prompt, "text": self._told, **self._facts}]}


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
            `cache=false`: compute everything again at every token.

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
    from bodh.model.generation import Generation

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
    rows = [_begun(loaded, text) for text in texts]
    return _streamed(loaded, texts[0], rows[0], options) if stream else _written(loaded, texts, rows, options)


def _begun(model: LoadedModel, prompt: Any) -> list[int]:
    """Return the ids of a prompt, its begin among them and no end: at least one.

    A prompt of more tokens than the model reads is cut at its beginning, and that is said.
    """
    if not isinstance(prompt, str):
        raise DataError(f"a prompt of type {type(prompt).__name__} cannot be read; give texts")
    modality = cast("Any", model.modality)
    ids: list[int] = modality.encode(prompt).tolist()[:-1] or [modality.tokens().begin]
    context = cast("Any", model.network["backbone"]).context
    if context is not None and len(ids) > context:
        logger.warning(
            "a prompt has %d tokens, this model sees %d at a time: the last %d count", len(ids), context, context
        )
    return ids


def _written(model: LoadedModel, texts: Sequence[str], rows: Sequence[list[int]], options: Generation) -> Generated:
    from bodh.model.generation import continued
    from bodh.model.pieces import after

    text_of = cast("Any", model.modality).text
    records: list[Json] = []
    for prompt, row, found in zip(texts, rows, continued(model, rows, options), strict=True):
        for one in found:
            told: Json = {
                "prompt": prompt, "text": after(text_of, row, one.ids), "tokens": len(one.ids), "ended": one.ended
            }  # fmt: skip
            records.append(told if one.score is None else told | {"score": round(one.score, 4)})
    return Generated(records)


def _streamed(model: LoadedModel, prompt: str, row: list[int], options: Generation) -> Streamed:
    import torch

    from bodh.model.generation import seeds_of, tokens_of
    from bodh.model.pieces import closes_up, pieces

    modality = cast("Any", model.modality)
    end, facts = modality.tokens().end, {"tokens": 0, "ended": False}

    def ids() -> Iterator[int]:
        first = torch.tensor([row], device=model.device)
        for step in tokens_of(model, first, options, seeds_of([tuple(row)], options.seed)):
            if step[0][1] == end:
                facts["ended"] = True
                return
            facts["tokens"] += 1
            yield step[0][1]

    closing = closes_up(modality.files()["tokenizer.json"])
    return Streamed(prompt, pieces(modality.text, row, ids(), closing=closing), facts)
