"""What a run tells: log.jsonl always, a live bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import json
import logging
import math
import os
import statistics
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TextIO

from bodh.contracts import Json

logger = logging.getLogger("bodh")


class JsonLog:
    """Appends one JSON object a line; a resumed run first drops what was logged after its checkpoint.

    Without a path it keeps quiet: processes of a run that do not write.
    """

    def __init__(self, path: Path | None, *, resumed_at: int) -> None:
        self._file: TextIO | None = None
        if path is None:
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists():
            kept = [line for line in read(path) if line.get("step", 0) <= resumed_at]
            draft = path.with_suffix(".draft")
            draft.write_text("".join(_line(record) for record in kept), encoding="utf-8")
            draft.replace(path)
        self._file = path.open("a", encoding="utf-8")

    def write(self, record: Json) -> None:
        """Append one record and flush, so that a killed run leaves whole lines."""
        if self._file is not None:
            self._file.write(_line(record))
            self._file.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()


def read(path: Path) -> list[Json]:
    """Return the records of a log; a last line cut short by a kill is left out."""
    records = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            records.append(json.loads(line))
        except json.JSONDecodeError:
            logger.debug("left out a line of %s that was cut short", path)
    return records


def pace(path: Path) -> Json:
    """Return how quick a run was: the middle of its log's rates, and of texts how much of all tokens was padding."""
    steps = [record for record in read(path) if record.get("kind") == "step"]
    found = {}
    for name in ("records_per_second", "tokens_per_second"):
        if rates := [record[name] for record in steps if name in record]:
            found[name] = round(statistics.median(rates), 1)
    if shares := [record["padding"] for record in steps if "padding" in record]:
        found["padding"] = round(statistics.fmean(shares), 4)
    return found


def _line(record: Json) -> str:
    # JSON has no NaN: readers in other languages would stop at it
    clean = {
        key: None if isinstance(value, float) and not math.isfinite(value) else value for key, value in record.items()
    }
    return json.dumps(clean, ensure_ascii=False) + "\n"


class Progress:
    """A bar with rate, remaining time, loss and label-free score; or a line every few seconds."""

    seconds_between_lines = 10.0

    def __init__(self, mode: str, *, title: str, steps: int, start: int) -> None:
        if mode == "auto" and logger.level >= logging.WARNING:
            mode = "none"  # somebody asked for quiet
        elif mode == "auto":
            mode = "bar" if sys.stderr.isatty() and os.environ.get("TERM") != "dumb" else "plain"
        self.mode, self.title, self.steps = mode, title, steps
        self._told = time.monotonic()
        self._score = ""
        self._bar: Any = None
        if mode == "bar":
            self._bar = _bar()
            self._task = self._bar.add_task(title, total=steps, completed=start, loss="", rate="", score="")

    def __enter__(self) -> Self:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def advance(self, step: int) -> None:
        """Move the bar."""
        if self._bar is not None:
            self._bar.update(self._task, completed=step)

    def update(self, record: Json) -> None:
        """Show one step record of the log."""
        rate = _rate(record)
        loss = f"loss {record['loss']:.4f}"
        if self._bar is not None:
            steps = f"{record['steps']}"
            shown = _fitting(self._bar.console.width - len(self.title) - 2 * len(steps) - 1, loss, self._score, rate)
            self._bar.update(
                self._task, completed=record["step"], total=record["steps"],
                **dict(zip(("loss", "score", "rate"), shown, strict=True)),
            )  # fmt: skip
        elif self.mode == "plain" and time.monotonic() - self._told >= self.seconds_between_lines:
            self._told = time.monotonic()
            done = f"step {record['step']}/{record['steps']}  epoch {record['epoch']}"
            logger.info("%s  %s", self.title, "  ".join(filter(None, [done, loss, rate, self._score])))

    def score(self, record: Json) -> None:
        """Show one monitor record of the log from now on."""
        self._score = f"rank {record['rankme']:.0f}" if record.get("rankme") is not None else ""

    def validated(self, record: Json) -> None:
        """Show one validation record of the log from now on."""
        figures = (f"{name} {record[name]:.3f}" for name in ("loss", "accuracy") if name in record)
        self._score = "validation " + " ".join(figures)


def _fitting(width: int, *parts: str) -> list[str]:
    """Return `parts`, empty from the first on that does not fit into `width` places beside a bar and a time.

    What is cut in the middle of a word tells nothing.
    """
    room, shown = width - _BESIDE, []
    for part in parts:
        room -= len(part) + 1 if part else 0
        shown.append(part if room >= 0 else "")
    return shown


_BESIDE = 20
"""Places of a line that a short bar, the time that is left and the spaces between take."""


def _rate(record: Json) -> str:
    """Return how quick a step record says that it went: tokens of texts, whatever their rows, else records."""
    if "tokens_per_second" not in record:
        return f"{record['records_per_second']:,.0f} records/s"
    padding = f", {record['padding']:.0%} padding" if record["padding"] >= 0.005 else ""
    return f"{record['tokens_per_second']:,.0f} tokens/s{padding}"


def _bar() -> Any:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    return Bar(
        TextColumn("[bold]{task.description}"),
        BarColumn(bar_width=None),
        MofNCompleteColumn(),
        TimeRemainingColumn(compact=True),
        TextColumn("{task.fields[loss]}"),
        TextColumn("[dim]{task.fields[rate]}"),
        TextColumn("[cyan]{task.fields[score]}"),
        console=Console(stderr=True),
        transient=False,
    )
