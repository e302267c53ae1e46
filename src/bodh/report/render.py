"""From blocks to one self-contained HTML file: no network, light and dark, phone and paper."""

from __future__ import annotations

import base64
import hashlib
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from bodh import __version__
from bodh.errors import OutputError
from bodh.report import heatmap, lines, pictures, scatter
from bodh.report.blocks import Block, Cell, Facts, Gallery, Heatmap, Lines, Report, Scatter, Table
from bodh.report.text import column, looks_numeric, tidy

_TEMPLATES = Path(__file__).parent / "templates"


def render(report: Report) -> str:
    """Return the report as one HTML document.

    Every text of the report is escaped; a content security policy in the file allows only its own script and
    pictures inside it, so that it stays silent whatever the class names say.
    """
    shelves = (row for block in report.blocks if isinstance(block, Gallery) for row in block.rows)
    gallery = iter(pictures.fit([one.png for row in shelves for one in row if isinstance(one.png, bytes)]))
    anchors = (f"part-{count}" for count in range(1, len(report.blocks) + 1))
    items = [
        [_item(block, next(anchors), gallery, paired=len(group) > 1) for block in group]
        for group in _groups(report.blocks)
    ]
    script = _template("report.js").render()
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    page = _template("report.html").render(
        report=report,
        groups=items,
        contents=[{"anchor": one["anchor"], "title": one["block"].title} for group in items for one in group],
        script_hash=f"sha256-{digest}",
        version=__version__,
    )
    return str(page)


def write(report: Report, path: Path) -> None:
    """Render to `path` atomically; folders above are made.

    Raises:
        OutputError: the file cannot be written; nothing is left behind.
    """
    page = render(report)
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        temporary = Path(name)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(page)
        temporary.chmod(0o644)
        temporary.replace(path)
    except OSError as error:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
        raise OutputError(f"cannot write the report {str(path)!r}: {error.strerror}; choose another place") from error


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES, encoding="utf-8"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["tidy"] = tidy
    return environment


def _template(name: str) -> Any:
    return _environment().get_template(name)


def _groups(blocks: Iterable[Block]) -> Iterator[list[Block]]:
    """Yield the blocks; neighbouring curves of a run stand side by side, two in a row."""
    waiting: list[Block] = []
    for block in blocks:
        if isinstance(block, Lines) and not block.log_x and len(block.series) <= 3:
            waiting.append(block)
            continue
        yield from _rows(waiting)
        waiting = []
        yield [block]
    yield from _rows(waiting)


def _rows(curves: list[Block]) -> Iterator[list[Block]]:
    if len(curves) > 1:
        yield curves
    elif curves:
        yield curves[:1]


def _item(block: Block, anchor: str, gallery: Iterator[bytes], *, paired: bool) -> dict[str, Any]:
    """Return what the template needs of one block."""
    common: dict[str, Any] = {"block": block, "anchor": anchor, "kind": type(block).__name__.lower()}
    if isinstance(block, Lines):
        return common | _lines(block, paired=paired)
    if isinstance(block, Gallery):
        return common | {"rows": _shelves(block, gallery)}
    plain: dict[type, Callable[[Any], dict[str, Any]]] = {
        Table: _table,
        Heatmap: lambda one: {"view": heatmap.view(one)},
        Scatter: lambda one: {"view": scatter.view(one)},
        Facts: lambda _: {},
    }
    return common | plain[type(block)](block)


def _lines(block: Lines, *, paired: bool) -> dict[str, Any]:
    rows = lines.numbers(block)
    columns = [block.x_label, *(one.name for one in block.series)]
    return {
        "wide": None if paired else lines.chart(block, narrow=False),
        "narrow": lines.chart(block, narrow=True),
        "legend": lines.legend(block),
        "hover": lines.hover(block),
        "numbers": rows,
        "columns": columns,
        "numeric": [True] * len(columns),
    }


def _table(block: Table) -> dict[str, Any]:
    """Raises ValueError where a row has not one cell a column."""
    if any(len(row) != len(block.columns) for row in block.rows):
        raise ValueError(f"every row of the table {block.title!r} needs {len(block.columns)} cells")
    numeric = [
        bool(block.rows) and all(_is_number(row[place]) for row in block.rows) for place in range(len(block.columns))
    ]
    columns = [_column([row[place] for row in block.rows]) for place in range(len(block.columns))]
    rows = [list(row) for row in zip(*columns, strict=True)]
    return {"rows": rows, "numeric": numeric}


def _column(cells: list[Cell]) -> list[str]:
    texts = iter(column([cell for cell in cells if not isinstance(cell, str)]))
    return [cell if isinstance(cell, str) else next(texts) for cell in cells]


def _is_number(cell: Cell) -> bool:
    return not isinstance(cell, str) or looks_numeric(cell) or cell in {"", "–", "-"}


def _shelves(block: Gallery, gallery: Iterator[bytes]) -> list[list[dict[str, Any]]]:
    shelves = []
    for row in block.rows:
        shelf = []
        for one in row:
            told: dict[str, Any] = {
                "caption": one.caption,
                "tone": one.tone,
                "words": one.png if isinstance(one.png, str) else "",
            }
            if isinstance(one.png, str):
                shelf.append(told)
                continue
            content = next(gallery)
            shelf.append({**told, "uri": pictures.data_uri(content), "crisp": pictures.pixelated(content)})
        shelves.append(shelf)
    return shelves
