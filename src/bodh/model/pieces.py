"""Token ids as text while they come, in pieces that never have to be taken back. Imports no torch: servers use it."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence

BROKEN = "\ufffd"
JOINERS = "\u200c\u200d"
"""Zero-width joiners: what follows belongs to the letter before."""


def pieces(
    text_of: Callable[[list[int]], str], prompt: Sequence[int], ids: Iterable[int], *, closing: bool = False
) -> Iterator[str]:
    """Yield the text that `ids` are, piece by piece as they come, none of them empty; see `each`."""
    return (piece for piece in each(text_of, prompt, ids, closing=closing) if piece)


def each(
    text_of: Callable[[list[int]], str], prompt: Sequence[int], ids: Iterable[int], *, closing: bool = False
) -> Iterator[str]:
    """Yield for each of `ids` what is certain of the text since the last, maybe nothing, and at the end the rest.

    Joined they are what follows the prompt. Held back is what may still change: a character of which bytes are
    missing, a letter whose signs may follow (as in Devanagari), and, where a tokenizer closes up words and marks, the
    last word.

    Args:
        text_of: ids to text, of a tokenizer (`Modality.text`).
        prompt: ids before.
        ids: what is written.
        closing: the tokenizer closes words and marks up; see `closes_up`.
    """
    text = text_of(list(prompt))
    seen, told = list(prompt), len(text)
    for one in ids:
        seen.append(one)
        text = text_of(seen)
        stop = max(told, _sure(text, closing=closing))
        yield text[told:stop]
        told = stop
    if len(text) > told:
        yield text[told:]


class Until:
    """Pieces of a text up to the first of some texts, which is left out; what may be its beginning is held back.

    Args:
        parts: the pieces, maybe empty.
        stops: texts; none: all pieces pass.
    """

    def __init__(self, parts: Iterator[str], stops: Sequence[str]) -> None:
        self.parts, self.stops = parts, stops
        self.stopped = False
        """whether one of them came"""

    def __iter__(self) -> Iterator[str]:
        held = ""
        for part in self.parts:
            held += part
            places = [place for place in map(held.find, self.stops) if place >= 0]
            if places:
                self.stopped = True
                yield held[: min(places)]
                return
            keep = self._beginning(held)
            yield held[:keep]
            held = held[keep:]
        if held:
            yield held

    def _beginning(self, text: str) -> int:
        """Return where in `text` one of the stops may begin that has not come whole; no sign is torn off its letter."""
        place = min(
            (
                len(text) - size
                for stop in self.stops
                for size in range(1, min(len(stop), len(text) + 1))
                if text.endswith(stop[:size])
            ),
            default=len(text),
        )
        while 0 < place < len(text) and unicodedata.category(text[place])[0] == "M":
            place -= 1
        return place


def after(text_of: Callable[[list[int]], str], prompt: Sequence[int], ids: Sequence[int]) -> str:
    """Return the text that `ids` are after `prompt`, with the space that lies between them where there is one."""
    whole, before = text_of([*prompt, *ids]), text_of(list(prompt))
    return whole[len(before) :] if whole.startswith(before) else text_of(list(ids))


def decoders(definition: bytes) -> frozenset[str]:
    """Return the kinds of decoder in a tokenizer.json ("ByteLevel", "WordPiece", "Metaspace" …)."""
    decoder = json.loads(definition)["decoder"] or {}
    return frozenset(part["type"] for part in decoder.get("decoders", [decoder]) if "type" in part)


def closes_up(definition: bytes) -> bool:
    """Return whether a tokenizer puts spaces between words and marks, and takes some away when more of them come."""
    return "WordPiece" in decoders(definition)


def _sure(text: str, *, closing: bool) -> int:
    """Return how many characters of `text` stay as they are, whatever follows."""
    stop = len(text)
    if text.endswith(BROKEN):
        stop -= 1
    if closing:
        return max(text.rfind(" ", 0, stop), 0)
    while stop and _waits(text[stop - 1]):
        stop -= 1
        if text[stop].isalpha() and (not stop or text[stop - 1] not in "\u094d" + JOINERS):
            break
    return stop


def _waits(letter: str) -> bool:
    """Return whether a sign may still follow `letter` that belongs to it."""
    return ord(letter) >= 0x300 and (letter.isalpha() or unicodedata.category(letter)[0] == "M" or letter in JOINERS)
