"""What a user said of the data beside where it lies."""

from __future__ import annotations

from typing import NamedTuple


class Asked(NamedTuple):
    """What `records.open.open_source` was told; see there."""

    input: str | None = None
    label: str | None = None
    modality: str | None = None
    task: str = "auto"
    target: str | None = None
