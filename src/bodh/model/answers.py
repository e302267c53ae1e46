"""From questions with their texts to the pieces of the texts that a model of task "span" answers with.

A long text is read in windows that overlap. A token counts where it stands in the middle of a window, as far as may be
(Devlin et al. 2018, run_squad.py: "maximum context"), so that every span of the text is told once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np

from bodh.errors import ModelError

if TYPE_CHECKING:
    from bodh.contracts import Json
    from bodh.model.loaded import LoadedModel
    from bodh.model.manifest import Manifest

WORDS = 25
"""Most words of an answer where nobody says: about the 30 tokens that the paper's own program allows."""
BATCH, AT_ONCE = 32, 256
"""Windows in one pass, of similar length; and questions whose windows are sorted for it."""


class Answer(NamedTuple):
    """A piece of a text.

    Attributes:
        text: as it stands there.
        start: its first character.
        end: the character after its last.
        probability: among all pieces that are not too long, and that there is no answer where that may be.
    """

    text: str
    start: int
    end: int
    probability: float

    def to_json(self) -> Json:
        """Return the answer as JSON values."""
        return {"answer": self.text, "probability": round(self.probability, 6), "start": self.start, "end": self.end}


@dataclass(frozen=True, slots=True)
class Told:
    """What a model says of one question.

    Attributes:
        answers: the likeliest pieces of the text, the likeliest first.
        none: the probability that the text has no answer; None where the model learned of no such texts.
        margin: score of the likeliest piece above that of no answer; infinite where there always is one.
    """

    answers: tuple[Answer, ...]
    none: float | None
    margin: float

    def best(self, threshold: float = 0.0) -> Answer | None:
        """Return the answer, None where there is none.

        Args:
            threshold: what the score of an answer must be above that of none.
        """
        return self.answers[0] if self.answers and self.margin > threshold else None


def insist_on_answers(manifest: Manifest) -> None:
    """Raise ModelError unless the model answers questions."""
    if manifest.task != "span":
        raise ModelError(
            "this model does not answer questions; train one that does: bodh finetune QUESTIONS --from MODEL --task "
            "extract"
        )


def answer_rows(
    model: LoadedModel, rows: Sequence[np.ndarray], *, most: int = 1, words: int = WORDS, batch: int = BATCH
) -> list[Told]:
    """Return what `model` answers to each of `rows`, in their order.

    Args:
        model: of task "span".
        rows: [n] as its modality decodes them.
        most: answers to each question.
        words: most words of an answer.
        batch: windows at a time.

    Raises:
        ModelError: the model does not answer questions.
    """
    insist_on_answers(model.manifest)
    found: list[Told] = []
    for start in range(0, len(rows), AT_ONCE):
        found += _answered(model, rows[start : start + AT_ONCE], most, words, batch)
    return found


def _answered(model: LoadedModel, rows: Sequence[np.ndarray], most: int, words: int, batch: int) -> list[Told]:
    modality = cast("Any", model.modality)
    opened = [modality.row(row) for row in rows]
    windows = [modality.windows(row) for row in opened]
    every = [(place, number) for place, own in enumerate(windows) for number in range(len(own))]
    scores: dict[tuple[int, int], tuple[np.ndarray, np.ndarray]] = {}
    lengths = np.array([len(windows[place][number].ids) for place, number in every])
    capability = model.capability("answer")
    for chosen in _alike(lengths, batch):
        keys = [every[one] for one in chosen]
        told = model.compute(modality.filled([windows[place][number].ids for place, number in keys]), capability)
        for key, start, end in zip(keys, told["start_logits"], told["end_logits"], strict=True):
            scores[key] = start, end
    return [
        _best(modality, row, own, [scores[place, number] for number in range(len(own))], most, words)
        for place, (row, own) in enumerate(zip(opened, windows, strict=True))
    ]


def _alike(lengths: np.ndarray, batch: int) -> Iterator[np.ndarray]:
    """Yield the positions of windows of similar length, at most `batch` at a time."""
    order = np.argsort(lengths, kind="stable")
    for start in range(0, len(order), batch):
        yield order[start : start + batch]


def _best(
    modality: Any, row: Any, windows: Sequence[Any], scores: Sequence[tuple[np.ndarray, np.ndarray]], most: int,
    words: int,
) -> Told:  # fmt: skip
    """Return the likeliest spans of one text.

    Args:
        modality: of questions.
        row: the record in tokens.
        windows: its windows.
        scores: (starts, ends) of every window, each `[t]` or longer.
        most: answers.
        words: most words of one.
    """
    record = row.record
    tokens = len(row.context)
    longest = max(1, round(words * tokens / max(1, len(record.context.split()))))
    owners = owner(windows, tokens)
    totals, firsts, lasts = [], [], []
    for number, (window, (starts, ends)) in enumerate(zip(windows, scores, strict=True)):
        own = np.flatnonzero(owners[window.start : window.stop] == number)  # [m], from the window's first text token
        inner = slice(window.place, window.place + window.stop - window.start)
        width = min(longest, window.stop - window.start)
        told = np.pad(ends[inner].astype(np.float64), (0, width - 1), constant_values=-np.inf)
        reach = np.lib.stride_tricks.sliding_window_view(told, width)[own]  # [m w] ends at 0 … w - 1 tokens further
        totals.append((starts[inner].astype(np.float64)[own, None] + reach).reshape(-1))
        firsts.append(np.repeat(window.start + own, width))
        lasts.append((window.start + own[:, None] + np.arange(width)).reshape(-1))
    total, first, last = np.concatenate(totals), np.concatenate(firsts), np.concatenate(lasts)
    nothing = (
        min(float(starts[0]) + float(ends[0]) for starts, ends in scores) if modality.config.unanswerable else None
    )
    whole = np.append(total, [] if nothing is None else [nothing])
    top = whole.max()
    norm = top + np.log(np.exp(whole - top).sum())
    answers: dict[str, Answer] = {}
    for place in np.argsort(-total, kind="stable"):
        if len(answers) == most or not np.isfinite(total[place]):
            break
        text, start, end = modality.answer(record, row, int(first[place]), int(last[place]))
        if text.strip():
            answers.setdefault(text, Answer(text, start, end, float(np.exp(total[place] - norm))))
    none = None if nothing is None else float(np.exp(nothing - norm))
    return Told(tuple(answers.values()), none, np.inf if nothing is None else float(total.max() - nothing))


def owner(windows: Sequence[Any], tokens: int) -> np.ndarray:
    """Return [tokens] in which window each token of a text counts: where the shorter side around it is longest.

    Args:
        windows: of the text.
        tokens: of the text.
    """
    best = np.full(tokens, -1.0)
    found = np.zeros(tokens, np.int64)
    for number, window in enumerate(windows):
        place = np.arange(window.start, window.stop)
        around = np.minimum(place - window.start, window.stop - 1 - place) + 0.01 * len(place)
        better = around > best[place]
        best[place[better]], found[place[better]] = around[better], number
    return found
