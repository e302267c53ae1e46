"""`bodh pretrain`: the model that came out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bodh.cli._command import Command
from bodh.cli._tables import trained
from bodh.contracts import Json

if TYPE_CHECKING:
    from rich.console import Console


def show(payload: Json, console: Console) -> None:
    """Print where the model is, what it is, and what to type next."""
    place = payload["run"] or payload["model"]
    following = [f"bodh evaluate {place} LABELLED", f"bodh finetune LABELLED --from {place}"]
    if payload["task"] == "sequence":
        seen = "caption" in payload["capabilities"]
        measured = f"bodh evaluate {place} {'CAPTIONED' if seen else 'PAIRS'} data.input=NAME data.target=NAME"
        following = [f"bodh caption {place} picture.png" if seen else f'bodh translate {place} "a text"', measured]
    if payload["task"] == "span":
        following = [f'bodh predict {place} text.txt --question "…"', f"bodh evaluate {place} QUESTIONS"]
    if "generate" in payload["capabilities"]:
        following = [f'bodh generate {place} "a beginning"', *following]
    if "fill" in payload["capabilities"]:
        following = [f'bodh fill {place} "a text with a [MASK]"', *following]
    trained(console, payload, following)


COMMAND = Command("pretrain", show)
