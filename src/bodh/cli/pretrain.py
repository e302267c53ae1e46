"""`bodh pretrain`: the model that came out."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

from bodh.cli._command import Command
from bodh.cli._tables import trained
from bodh.contracts import Json

if TYPE_CHECKING:
    from rich.console import Console

READING = ("data.input", "data.label", "data.modality", "data.task", "data.split_lines")
"""Settings without which the same data would be read in another way."""


def show(payload: Json, console: Console) -> None:
    """Print where the model is, what it is, and what to type next."""
    place = payload["run"] or payload["model"]
    data = _data(payload["typed"])
    origin = payload["provenance"].get("data") or {}
    labelled = data if origin.get("labelled") else "LABELLED"
    tested = data if origin.get("labelled") or origin.get("set_aside") else "LABELLED"
    following = [f"bodh evaluate {place} {tested}", f"bodh finetune {labelled} --from {place}"]
    if payload["task"] == "sequence":
        seen = "caption" in payload["capabilities"]
        measured = f"bodh evaluate {place} {'CAPTIONED' if seen else 'PAIRS'} data.input=NAME data.target=NAME"
        following = [f"bodh caption {place} picture.png" if seen else f'bodh translate {place} "a text"', measured]
    if payload["task"] == "tags":
        following = [f'bodh predict {place} "a sentence"', f"bodh evaluate {place} {data}"]
    if payload["task"] == "span":
        following = [f'bodh predict {place} text.txt --question "…"', f"bodh evaluate {place} QUESTIONS"]
    if "generate" in payload["capabilities"]:
        following = [f'bodh generate {place} "a beginning"', *following]
    if "fill" in payload["capabilities"]:
        following = [f'bodh fill {place} "a text with a [MASK]"', *following]
    trained(console, payload, following)


def _data(typed: Json) -> str:
    """Return what was typed as data, with how it is to be read."""
    words = [f"{name}={_word(typed[name])}" for name in READING if name in typed]
    return " ".join(map(shlex.quote, [str(typed["data"]), *words]))


def _word(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ",".join(map(_word, value))
    return str(value).lower() if isinstance(value, bool) else str(value)


COMMAND = Command("pretrain", show, typed=True)
