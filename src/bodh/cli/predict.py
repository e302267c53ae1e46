"""`bodh predict`: how predictions look, on a terminal and in a pipe."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bodh.cli._command import Command
from bodh.cli._tables import heading, paragraph, table
from bodh.contracts import Json

if TYPE_CHECKING:
    from rich.console import Console


def show(payload: Json, console: Console) -> None:
    """Print one row an input: class or classes with probability, numbers, tagged words, or why it cannot be read."""
    records = payload["records"]
    names = next((list(record["values"]) for record in records if "values" in record), [])
    if names:
        console.print()
        told = [[record["id"], *(_number(record, name) for name in names)] for record in records]
        table(console, ["input", *names], told)
    tagged = any("words" in record for record in records)
    if tagged:
        _show_words(records, console)
    answered = any("answer" in record for record in records)
    if answered:
        console.print()
        table(
            console, ["question", "answer", "probability", "characters", "otherwise"], [_answer(one) for one in records]
        )
    rows = (
        []
        if names or tagged or answered
        else [[record["id"], _said(record), _sure(record), _others(record)] for record in records]
    )
    if rows:
        console.print()
        table(console, ["input", "class", "probability", "otherwise"], rows)
    if payload["out"]:
        heading(console, f"{payload['count']} inputs, {payload['broken']} unreadable")
        paragraph(console, payload["out"])


def _answer(record: Json) -> list[str]:
    """Return what a record says of its question."""
    if "error" in record:
        return [record["id"], f"unreadable: {record['error']}", "", "", ""]
    rest = [one for one in record["answers"] if one["answer"] != record["answer"]]
    others = ", ".join(f"{one['answer']} {one['probability']:.1%}" for one in rest[:2])
    place = "" if record["start"] is None else f"{record['start']}-{record['end']}"
    return [record["question"], record["answer"] or "no answer", f"{record['probability']:.1%}", place, others]


def _show_words(records: list[Json], console: Console) -> None:
    """Print every sentence with its tags, and the entities in it."""
    told = [[record["id"], _tags(record)] for record in records]
    console.print()
    table(console, ["input", "word/tag"], told)
    found = [(record["id"], one) for record in records for one in record.get("entities", ())]
    if any("entities" in record for record in records):
        rows = [[name, one["text"], one["type"], f"{one['start']}-{one['end']}", f"{one['probability']:.1%}"]
                for name, one in found]  # fmt: skip
        console.print()
        table(console, ["input", "entity", "type", "characters", "probability"], rows)


def _tags(record: Json) -> str:
    if "error" in record:
        return f"unreadable: {record['error']}"
    return " ".join(word["word"] if word["tag"] == "O" else f"{word['word']}/{word['tag']}" for word in record["words"])


def _number(record: Json, name: str) -> str:
    return f"{record['values'][name]:.6g}" if "values" in record else f"unreadable: {record['error']}"


def _said(record: Json) -> str:
    if "error" in record:
        return "unreadable"
    if "classes" in record:
        return ", ".join(record["classes"]) or "none"
    return str(record["class"])


def _sure(record: Json) -> str:
    if "error" in record:
        return ""
    named = record["classes"] if "classes" in record else [record["class"]]
    return ", ".join(f"{record['probabilities'].get(name, 0.0):.1%}" for name in named)


def _others(record: Json) -> str:
    if "error" in record:
        return str(record["error"])
    named = record["classes"] if "classes" in record else [record["class"]]
    rest = [(name, p) for name, p in record["probabilities"].items() if name not in named]
    return ", ".join(f"{name} {p:.1%}" for name, p in rest[:2])


def lines(payload: Json) -> list[Json]:
    """Return one object an input: what a program reads from a pipe."""
    return list(payload["records"])


COMMAND = Command("predict", show, lines)
