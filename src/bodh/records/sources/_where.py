"""Rows that count: `data.where=COLUMN=VALUE` leaves out all others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from bodh.errors import DataError, suggestion
from bodh.records.sources._columns import Table


def rows_where(tables: Sequence[Table], where: str | None, *, owner: str) -> tuple[list[Table], int]:
    """Return the tables with the rows that count alone, and how many were left out.

    Args:
        tables: of one data set.
        where: "COLUMN=VALUE"; None: all rows count.
        owner: of the tables, for messages.

    Raises:
        DataError: it is no such condition, there is no such column, or no row is left.
    """
    if where is None:
        return list(tables), 0
    column, equals, value = where.partition("=")
    if not equals or not column.strip() or not value.strip():
        raise DataError(f"data.where={where!r} is no condition; allowed is COLUMN=VALUE, such as data.where=label=1")
    names = list(dict.fromkeys(name for table in tables for name in table.columns))
    column = column.strip()
    if column not in names:
        raise DataError(
            f"{owner} has no column {column!r} for data.where={where!r}{suggestion(column, names)}; its columns are: "
            f"{', '.join(names)}"
        )
    kept = [_rows(table, column, value.strip()) for table in tables]
    rows = sum(map(len, tables))
    if not sum(map(len, kept)):
        held = dict.fromkeys(str(cell) for table in tables for cell in table.column(column) if cell is not None)
        raise DataError(
            f"no row of {owner} has {column!r} = {value.strip()!r}; it holds: {', '.join(list(held)[:6])}"
            f"{' …' if len(held) > 6 else ''}"
        )
    return kept, rows - sum(map(len, kept))


def _rows(table: Table, column: str, value: str) -> Table:
    chosen = [place for place, cell in enumerate(table.column(column)) if _is(cell, value)]
    return replace(
        table,
        columns={name: [values[place] for place in chosen] for name, values in table.columns.items()},
        numbers=[table.numbers[place] for place in chosen],
        broken={new: table.broken[old] for new, old in enumerate(chosen) if old in table.broken},
    )


def _is(cell: Any, value: str) -> bool:
    """Return whether a cell holds `value`: the same word in any case, or the same number."""
    if cell is None:
        return False
    if str(cell).strip().casefold() == value.casefold():
        return True
    try:
        return not isinstance(cell, bool) and float(cell) == float(value)
    except (TypeError, ValueError):
        return False
