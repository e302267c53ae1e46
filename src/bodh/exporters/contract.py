"""What a format of export is, and how an exported file compares with its model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from bodh.contracts import Json

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from torch import nn


@dataclass(frozen=True, slots=True)
class Parity:
    """How an exported file compares with the model on real records."""

    capability: str
    output: str
    records: int
    batches: tuple[int, ...]
    largest_difference: float
    tolerance: float
    changed: int | None
    """changed predictions, where the output decides a class; else None"""

    @property
    def holds(self) -> bool:
        """True where the difference is within tolerance and no prediction changed."""
        return self.largest_difference <= self.tolerance and not self.changed


class Exporter(Protocol):
    """One file format: the module-level functions of `exporters/formats/<name>.py`, beside `SUFFIX: str`.

    A format that can hold a network which writes texts token by token has `write_steps` and `load_steps` beside them;
    see `formats/onnx`.
    """

    def write(self, capability: nn.Module, example: np.ndarray, path: Path, *, manifest: Json) -> None:
        """Write `capability` (see `model.capabilities`) so that any batch size can be replayed."""
        ...

    def load(self, path: Path, *, capability: nn.Module) -> Any:
        """Return a callable `(input array) -> {name: array}` on the target runtime.

        `capability` serves formats that hold weights only: they fill a fresh copy of it.
        """
        ...
