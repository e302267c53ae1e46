"""`bodh finetune`: the classifier that came out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bodh.cli._command import Command
from bodh.cli._tables import trained
from bodh.contracts import Json

if TYPE_CHECKING:
    from rich.console import Console


def show(payload: Json, console: Console) -> None:
    """Print where the classifier is, what it is, and what to type next."""
    place = payload["run"] or payload["model"]
    asked = 'text.txt --question "…"' if payload["task"] == "span" else "INPUT"
    trained(console, payload, [f"bodh predict {place} {asked}", f"bodh export {place} --format onnx --out model.onnx"])


COMMAND = Command("finetune", show)
