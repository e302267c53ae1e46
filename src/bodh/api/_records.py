"""What verbs return that tell something of every input: records, read like a list."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from bodh.contracts import Json


@dataclass(frozen=True)
class Records:
    """Records, one an input.

    Attributes:
        records: as the verb says.
    """

    records: list[Json] = field(default_factory=list)

    def to_json(self) -> Json:
        """Return everything as JSON values."""
        return {"records": self.records}

    def __iter__(self) -> Iterator[Json]:
        return iter(self.records)

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> Json:
        return self.records[index]


@dataclass(frozen=True)
class FiledRecords(Records):
    """Records that may lie in a file instead, of inputs that may be broken.

    Attributes:
        records: empty where they were written to a file.
        count: inputs, the broken ones too.
        broken: inputs that could not be read.
        out: the file with one record a line, or None.
    """

    count: int = 0
    broken: int = 0
    out: Path | None = None

    def to_json(self) -> Json:
        """Return everything as JSON values."""
        out = str(self.out) if self.out else None
        return {**super().to_json(), "count": self.count, "broken": self.broken, "out": out}
