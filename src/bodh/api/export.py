"""Write a model in another format, and prove that it computes the same."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bodh.contracts import Json
from bodh.exporters.contract import Parity

if TYPE_CHECKING:
    from bodh.api.load import Model


@dataclass(frozen=True)
class Exported:
    """What was written and how it compares with the model.

    Attributes:
        out: the file.
        format: what it is.
        bytes: its size.
        parity: one comparison for every output; all of them hold, or there would be no file.
        proof: the comparison as a file, beside `out`.
    """

    out: Path
    format: str
    bytes: int
    parity: tuple[Parity, ...]
    proof: Path

    def to_json(self) -> Json:
        """Return everything as JSON values."""
        return {
            "out": str(self.out),
            "format": self.format,
            "bytes": self.bytes,
            "parity": [{**asdict(parity), "holds": parity.holds} for parity in self.parity],
            "proof": str(self.proof),
        }


def export(
    model: Model | str | Path,
    *,
    format: str = "onnx",  # noqa: A002 -- the word of the command line
    out: str | Path,
    capability: str | None = None,
    data: Any = None,
    overwrite: bool = False,
    **settings: Any,
) -> Exported:
    """Export a model to a file that is proven to compute the same.

    The file is written, real records are replayed through it, and it is kept only if every output agrees.

    Args:
        model: a model folder, or the folder of the run that made it.
        format: `bodh list formats` shows them.
        out: the file to write, or the folder where the format is one (transformers); its proof goes beside it as
            `<name>.parity.json`.
        capability: embed, predict … alone; by default one file gives all that is told of a record. generate or
            translate: a file that writes texts token by token and keeps what it has computed of earlier ones (onnx).
        data: replay 64 records of this data; by default those that the model carries.
        overwrite: replace the file if it is there.
        settings: how the data is read: `data.input`, `data.label`, `data.cache`, `data.workers`.

    Returns:
        the parity table: for every output the largest difference, and how many predictions changed.

    Raises:
        UnknownName: no such format or capability.
        OutputError: the file exists, ends in something else, or cannot be written.
        ParityError: the file computes something else; nothing is left behind.
        MissingExtra: what writes the format is not installed.

    Example:
        bodh export runs/photos --format onnx --out photos.onnx
        bodh export runs/plays --format onnx --capability generate --out plays.onnx
    """
    from bodh.api.load import load
    from bodh.exporters.export import export_model, files_in, parity_path

    loaded = load(model).loaded("cpu")
    records = None if data is None else _records(loaded.modality, data, settings)
    found = export_model(loaded, format, out, capability=capability, records=records, overwrite=overwrite)
    out = Path(out)
    size = sum(file.stat().st_size for file in files_in(out))
    return Exported(out, format, size, tuple(found), parity_path(out))


def _records(modality: Any, data: Any, settings: Json) -> np.ndarray:
    """Return up to 64 standardised records, spread evenly over the data."""
    from bodh.api._inputs import open_records

    store = open_records(modality, data, settings)
    chosen = np.unique(np.linspace(0, max(0, len(store) - 1), num=min(64, len(store))).astype(int))
    return np.asarray(modality.standardise(store.rows(chosen)))
