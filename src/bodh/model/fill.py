"""Which token belongs where a text has a gap: what a masked language model tells. No torch: servers use it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from bodh.contracts import Json
from bodh.errors import DataError, ModelError
from bodh.model.pieces import decoders

if TYPE_CHECKING:
    from bodh.contracts import Modality, Tokens

GAP = re.compile(r"\[MASK\]|_{3,}|…_+…")
"""How a gap may be written, beside the tokenizer's own word for it."""
BATCH = 64
"""Texts in one pass."""


@dataclass(frozen=True, slots=True)
class Filled:
    """What was told of one text.

    Attributes:
        gaps: one a gap, each the likeliest (word, probability), the likeliest first.
        text: the text with every gap's likeliest word in it.
    """

    gaps: list[list[tuple[str, float]]]
    text: str

    def to_json(self, given: str) -> Json:
        """Return it as JSON values, as the command line and servers tell it; `given` is the text as it came."""
        gaps = [[{"word": word, "probability": round(chance, 6)} for word, chance in gap] for gap in self.gaps]
        return {"text": given, "filled": self.text, "gaps": gaps}


class Filler:
    """Texts with gaps to what belongs there.

    Args:
        modality: of texts.

    Raises:
        ModelError: its tokenizer has no token for a gap.
    """

    def __init__(self, modality: Modality) -> None:
        self.modality = cast("Any", modality)
        self.tokens: Tokens = self.modality.tokens()
        if self.tokens.mask is None:
            raise ModelError("the tokenizer of this model has no token for a gap, so the model cannot fill one")
        definition = self.modality.files()["tokenizer.json"]
        self.word = mask_word(definition, self.tokens.mask)
        # where a token holds the space before its word, so does the one that is missing
        self.spaced = bool(decoders(definition) & {"ByteLevel", "Metaspace"})

    def ids(self, text: str) -> np.ndarray:
        """Return the ids of `text` with its gaps, int32 `[t]`.

        Raises:
            DataError: there is no gap, or one lies beyond what the model reads.
        """
        given = GAP.sub(lambda _: self.word, text)
        if self.spaced:
            given = re.sub(rf"\s?{re.escape(self.word)}", lambda _: self.word, given)
        ids: np.ndarray = self.modality.encode(given)
        places = np.flatnonzero(ids == self.tokens.mask)
        if not len(places):
            raise DataError(f"{_short(text)} has no gap to fill; write {self.word} (or ___) where a word is missing")
        longest = self.modality.config.length
        if places[-1] >= longest - 1:
            raise DataError(
                f"{_short(text)} has a gap at token {places[-1] + 1}, but this model reads {longest - 1} tokens and "
                "the end; give a shorter text"
            )
        return ids

    def fill(
        self, rows: Sequence[np.ndarray], logits_of: Callable[[np.ndarray], np.ndarray], *, top: int
    ) -> list[Filled]:
        """Return the `top` likeliest words of every gap in each of `rows` [n], as `ids` gives them.

        Args:
            rows: ids `[t]`, unlike lengths.
            logits_of: the model, from standardised ids `[n t]` to `[n t v]`.
            top: words of each gap, from 1.
        """
        found = []
        for start in range(0, len(rows), BATCH):
            ids = self.modality.standardise(list(rows[start : start + BATCH]))
            found += [self.told(row, said, top) for row, said in zip(ids, logits_of(ids), strict=True)]
        return found

    def told(self, row: np.ndarray, logits: np.ndarray, top: int) -> Filled:
        """Return the answers for ids `[t]` with logits `[t v]`; special tokens are no words."""
        whole, gaps = row.copy(), []
        for place in np.flatnonzero(row == self.tokens.mask):
            told = logits[place].astype(np.float64)
            told[self.tokens.special] = -np.inf
            chance = np.exp(told - told.max())
            chance /= chance.sum()
            best = np.argsort(-chance, kind="stable")[:top]
            gaps.append([(self.modality.text([one]).strip(), float(chance[one])) for one in best.tolist()])
            whole[place] = best[0]
        return Filled(gaps, self.modality.text(whole))


def mask_word(definition: bytes, mask: int) -> str:
    """Return what a tokenizer.json calls the id of a gap ("[MASK]", "<mask>")."""
    added = json.loads(definition)["added_tokens"]
    return next((str(token["content"]) for token in added if token["id"] == mask), "[MASK]")


def _short(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:59] + "…")
