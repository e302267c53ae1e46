"""What is to be typed after pretraining names the data that was given, where it can serve."""

from __future__ import annotations

from typing import Any

import pytest
from rich.console import Console

from bodh.cli.pretrain import show


def _said(typed: dict[str, Any], capabilities: tuple[str, ...] = ("embed",), **data: object) -> str:
    payload = {
        "run": "runs/a", "model": "runs/a/model", "task": None, "capabilities": list(capabilities), "class_names": [],
        "metrics": {}, "networks": {"backbone": {"name": "transformer", "arguments": {}}},
        "provenance": {"data": data}, "typed": typed,
    }  # fmt: skip
    console = Console(width=200)
    with console.capture() as capture:
        show(payload, console)
    return capture.get()


def test_data_with_labels_is_named_as_it_was_read() -> None:
    typed = {
        "data": "my texts/",
        "data.input": ["title", "text"],
        "data.label": 1,
        "data.split_lines": False,
        "epochs": 3,
    }
    said = _said(typed, labelled=True)
    reading = "'my texts/' data.input=title,text data.label=1 data.split_lines=false"
    assert f"bodh evaluate runs/a {reading}\n" in said
    assert f"bodh finetune {reading} --from runs/a\n" in said


@pytest.mark.parametrize("aside", [0, 12])
def test_data_without_labels_is_not(aside: int) -> None:
    said = _said({"data": "hindi.txt"}, ("embed", "generate"), set_aside=aside)
    assert "bodh generate runs/a" in said
    assert f"bodh evaluate runs/a {'hindi.txt' if aside else 'LABELLED'}\n" in said
    assert "bodh finetune LABELLED --from runs/a" in said
