"""`bodh evaluate`: the verdict and its evidence."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bodh.cli._command import Command, is_setting
from bodh.cli._tables import answer, paragraph, tables, verdict
from bodh.contracts import Json
from bodh.errors import ConfigError

if TYPE_CHECKING:
    from rich.console import Console


def show(payload: Json, console: Console) -> None:
    """Print the verdict first (of two models which is better), then the tables it rests on."""
    versus = payload["versus"]
    if versus:
        answer(console, versus["answer"], "good" if versus["better"] else "neutral")
        paragraph(console, versus["sentence"])
    if payload["evidence"] or not versus:
        verdict(console, payload["helped"], payload["sentence"])
    tables(console, payload["tables"])
    if payload["report"]:
        console.print()
        paragraph(console, f"report: {payload['report']}")


def two_models(given: dict[str, Any], words: list[str]) -> tuple[dict[str, Any], list[str]]:
    """Read `A B DATA` as model, second model, data: one word more than MODEL DATA.

    Raises:
        ConfigError: more than two models, or the second one twice.
    """
    more = [word for word in words if not is_setting(word)]
    if not more:
        return given, words
    if len(more) > 1 or given.get("against") is not None:
        models = [given["model"], given["data"], *more[:-1], *([given["against"]] if given.get("against") else [])]
        raise ConfigError(
            f"evaluate takes one model, or two to compare, and then the data; given are {len(models)} models "
            f"({', '.join(models)}); type: bodh evaluate A B DATA"
        )
    return given | {"against": given["data"], "data": more[0]}, [word for word in words if word != more[0]]


COMMAND = Command("evaluate", show, arrange=two_models)
