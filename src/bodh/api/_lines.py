"""A JSON record an input: written to a file line by line, or counted; never nothing but mistakes."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from pathlib import Path

from bodh.contracts import Json
from bodh.errors import DataError, OutputError


def refuse_existing(out: Path) -> None:
    """Raise OutputError where `out` exists."""
    if out.exists():
        raise OutputError(f"{str(out)!r} exists already; choose another name or remove it first")


def write_lines(out: Path, records: Iterator[Json], *, verb: str) -> tuple[int, int]:
    """Write `records` line by line; the file gets its name when it is complete.

    Args:
        out: the file; its folder is made.
        records: of the inputs, with "error" where one cannot be read.
        verb: for the message where there are none.

    Returns:
        how many there were, and how many could not be read.

    Raises:
        DataError: there are none, or not one could be read.
        OutputError: the file cannot be written.
    """
    from bodh.model.folder import cannot_write

    partial = out.with_name(f".{out.name}.{secrets.token_hex(4)}.partial")
    count = broken = 0
    first: Json | None = None
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("x", encoding="utf-8") as file:
            for record in records:
                first = first or record
                count += 1
                broken += "error" in record
                file.write(json.dumps(record, ensure_ascii=False) + "\n")
        insist_on_some(first, count, broken, verb=verb)
        partial.replace(out)
    except OSError as error:
        raise cannot_write(out, error) from error
    finally:
        partial.unlink(missing_ok=True)
    return count, broken


def insist_on_some(first: Json | None, count: int, broken: int, *, verb: str) -> None:
    """Raise DataError where there is no record, or not one that could be read.

    Args:
        first: record.
        count: of all.
        broken: how many could not be read.
        verb: what was to be done with them.
    """
    if first is None:
        raise DataError(f"there is nothing to {verb}: the input holds no records")
    if broken == count:
        raise DataError(f"{first['id']}: {first['error']}" + (f" (and {count - 1} more)" if count > 1 else ""))
