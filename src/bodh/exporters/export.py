"""Write, replay, then give the name: no file is left that does not compute what the model computes."""

from __future__ import annotations

import copy
import hashlib
import json
import logging
import os
import secrets
import shutil
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import numpy as np

from bodh import _catalog
from bodh.contracts import Json
from bodh.errors import DataError, OutputError, ParityError
from bodh.exporters.contract import Parity
from bodh.model.capabilities import END, LOGITS, PROBABILITIES, START, VALUE, Capability, changed_decisions
from bodh.model.folder import cannot_write, sync_folder
from bodh.model.loaded import LoadedModel

TOLERANCE = 1e-4
"""Largest difference that is let through, per unit of the output's largest value (at least 1, but of numbers)."""

BATCHES = (1, 3, 8)
"""Batch sizes that every export is replayed with; the remaining records go as one more."""

WRITTEN_BY_STEPS = ("generate", "translate")
"""Capabilities that write texts, token by token."""

Replay = Callable[[np.ndarray], dict[str, np.ndarray]]
log = logging.getLogger("bodh")


def export_model(
    model: LoadedModel,
    format: str,  # noqa: A002 -- the word of the command line
    path: str | Path,
    *,
    capability: str | None = None,
    records: np.ndarray | None = None,
    overwrite: bool = False,
    tolerance: float = TOLERANCE,
) -> list[Parity]:
    """Export `model` and prove it: real records go through the target runtime and through the model.

    Args:
        model: what to export.
        format: file name in `exporters/formats`.
        path: the file to be, or the folder where the format is one; beside it `<name>.parity.json` keeps the proof.
        capability: "embed", "predict", …, or None for all that is one function of a record, in one file; "generate" or
            "translate": a file that writes texts token by token, where the format holds such.
        records: standardised rows to replay; None: those that the model carries.
        overwrite: replace files that are there.
        tolerance: see `TOLERANCE`.

    Returns:
        One comparison for every output; all of them hold.

    Raises:
        UnknownName: no such format or capability.
        OutputError: the file exists, or cannot be written.
        ParityError: the file computes something else; nothing is left behind.
    """
    exporter = _catalog.get("exporters/formats", format)
    path = Path(path)
    _check_path(path, exporter, overwrite=overwrite)
    prove = _writing(model, exporter, capability) or _computing(model, exporter, capability)
    rows = model.records() if records is None else np.ascontiguousarray(records)
    if len(rows) == 0:
        raise DataError("no records to replay through the export; give some: --data DATA")
    partial = path.with_name(f".{secrets.token_hex(4)}.partial{exporter.SUFFIX}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        found = prove(rows, partial, tolerance)
        _insist(found, format)
        _publish(partial, path, _record(exporter, format, partial, found))
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        _remove(partial)
    log.info("%s: %d real records give the same outputs as the model", path, min(len(rows), found[0].records))
    return found


Proof = Callable[[np.ndarray, Path, float], list[Parity]]
"""Write a file, given real rows, its path and the tolerance, and return how it compares."""


def _computing(model: LoadedModel, exporter: ModuleType, capability: str | None) -> Proof:
    """Return how a capability is written and proven: a function of a record.

    Raises:
        UnknownName: no such capability.
    """
    chosen = copy.deepcopy(model.capability(capability or "all")).cpu().eval()
    manifest = model.manifest.to_json()

    def prove(rows: np.ndarray, path: Path, tolerance: float) -> list[Parity]:
        exporter.write(chosen, rows[:2], path, manifest=manifest)
        return compare(chosen, exporter.load(path, capability=chosen), rows, tolerance=tolerance)

    return prove


def _writing(model: LoadedModel, exporter: ModuleType, capability: str | None) -> Proof | None:
    """Return how writing step by step is written and proven; None where it is not asked for, or not in this format.

    Raises:
        ModelError: the model writes, but its network cannot be exported so.
    """
    if capability not in WRITTEN_BY_STEPS or not hasattr(exporter, "write_steps"):
        return None
    import torch

    from bodh.exporters.writing import compare_writing
    from bodh.model.steps import stepwise

    own = replace(model, network=copy.deepcopy(model.network).cpu().eval(), device=torch.device("cpu"))
    steps = stepwise(own)
    if steps is None or steps.name != capability:
        return None
    manifest = model.manifest.to_json()

    def prove(rows: np.ndarray, path: Path, tolerance: float) -> list[Parity]:
        exporter.write_steps(steps, rows[:2], path, manifest=manifest)
        replay = exporter.load_steps(path, cast("Any", model.modality).tokens(), steps=steps)
        return compare_writing(own, replay, rows, capability=steps.name, tolerance=tolerance)

    return prove


def compare(capability: Capability, replay: Replay, rows: np.ndarray, *, tolerance: float = TOLERANCE) -> list[Parity]:
    """Return how `replay` compares with `capability` on real `rows` [n …], one entry an output.

    The model computes all rows in one batch, the export in batches of 1, 3, 8 and the rest, so that an export that
    fixed its batch size, or depends on it, is found out. Where sides may vary, other sides are replayed as well.
    """
    if capability.task == "tokens" and LOGITS in capability.output_names:
        rows = rows[: sum(BATCHES) + 1]  # logits of a whole vocabulary for every token are large
    whole = _reference(capability, rows)
    inputs, wanted = [], []
    for index in _batches(len(rows)):
        inputs.append(np.ascontiguousarray(rows[index]))
        wanted.append({name: value[index] for name, value in whole.items()})
    for other in _other_sides(rows, capability):
        inputs.append(other)
        wanted.append(_reference(capability, other))
    given = [replay(batch) for batch in inputs]
    sizes = tuple(len(batch) for batch in inputs)
    return [
        _parity(
            capability,
            name,
            np.concatenate([_flat(part[name], name) for part in wanted]),
            _joined([None if part.get(name) is None else _flat(part[name], name) for part in given]),
            sizes,
            tolerance,
        )
        for name in capability.output_names
    ]


def _parity(
    capability: Capability,
    name: str,
    wanted: np.ndarray,
    given: np.ndarray | None,
    batches: tuple[int, ...],
    tolerance: float,
) -> Parity:
    """Return the comparison of one output; one that is missing, misshapen or not finite differs infinitely."""
    largest, changed = float("inf"), None
    if given is not None and given.shape == wanted.shape and np.isfinite(given).all():
        largest = float(np.abs(wanted.astype(np.float64) - given).max())
        if name == PROBABILITIES or (name == LOGITS and capability.task == "single"):
            changed = changed_decisions(wanted, given, capability.task)
    most = float(np.abs(wanted).max())
    scale = most if name == VALUE else max(1.0, most)  # measured numbers may all be tiny; what is given has its unit
    return Parity(
        capability=capability.name,
        output=name,
        records=sum(batches),
        batches=batches,
        largest_difference=largest,
        tolerance=tolerance * scale,
        changed=changed,
    )


def _reference(capability: Capability, rows: np.ndarray) -> dict[str, np.ndarray]:
    import torch

    with torch.inference_mode():
        return {
            name: tensor.numpy() for name, tensor in capability(torch.from_numpy(np.ascontiguousarray(rows))).items()
        }


def _batches(n: int) -> list[np.ndarray]:
    """Return positions of 0 … n-1 in batches of 1, 3, 8 and the rest; few records are taken again."""
    order = np.arange(max(n, sum(BATCHES))) % n
    cuts = np.cumsum(BATCHES)
    return [part for part in np.split(order, cuts) if len(part)]


def _other_sides(rows: np.ndarray, capability: Capability) -> list[np.ndarray]:
    """Return some of `rows` with other sides, where the capability takes any: twice as tall, then twice as wide.

    Rows of tokens are cut to half of their length.
    """
    if capability.any_length:
        return [np.ascontiguousarray(rows[:2, : max(1, rows.shape[1] // 2)])]
    if not capability.any_sides:
        return []
    return [np.ascontiguousarray(np.repeat(rows[:2], 2, axis=axis)) for axis in (1, 2)]


def _flat(output: np.ndarray, name: str) -> np.ndarray:
    """Return an output as rows: what is told of every token, `[n t k]` or `[n t]`, as `[n·t k]`; rows differ in length.

    Args:
        output: of a few records.
        name: of the output.
    """
    if name in (START, END):
        return output.reshape(-1, 1)
    return output.reshape(-1, output.shape[-1]) if output.ndim == 3 else output


def _joined(parts: list[np.ndarray | None]) -> np.ndarray | None:
    present = [part for part in parts if part is not None]
    if len(present) != len(parts) or len({part.shape[1:] for part in present}) != 1:
        return None
    return np.concatenate(present)


def _insist(found: list[Parity], format_: str) -> None:
    broken = [parity for parity in found if not parity.holds]
    if broken:
        told = "; ".join(
            f"{parity.output}: largest difference {parity.largest_difference:.3g}, allowed {parity.tolerance:.3g}"
            + (f", {parity.changed} of {parity.records} predictions changed" if parity.changed else "")
            for parity in broken
        )
        raise ParityError(
            f"the {format_} file does not compute what the model computes: {told}; nothing was written; "
            "try another format, and please report it with the model's model.json"
        )


def _check_path(path: Path, exporter: ModuleType, *, overwrite: bool) -> None:
    if not exporter.SUFFIX:
        _check_folder(path, exporter, overwrite=overwrite)
        return
    if path.is_dir():
        raise OutputError(f"{str(path)!r} is a folder; give a file: {path / ('model' + exporter.SUFFIX)}")
    if path.suffix != exporter.SUFFIX:
        raise OutputError(
            f"{str(path)!r} should end in {exporter.SUFFIX}; type: --out {path.with_suffix(exporter.SUFFIX)}"
        )
    if os.path.lexists(path) and not overwrite:
        raise OutputError(f"{str(path)!r} exists already; choose another name or remove it first")


def _check_folder(path: Path, exporter: ModuleType, *, overwrite: bool) -> None:
    """Refuse a folder that is there, unless it may be replaced and holds nothing but such an export."""
    if not os.path.lexists(path):
        return
    if not overwrite:
        raise OutputError(f"{str(path)!r} exists already; choose another name or remove it first")
    if not path.is_dir() or path.is_symlink():
        raise OutputError(f"{str(path)!r} is not a folder, as this format is; choose another name")
    others = sorted({entry.name for entry in path.iterdir()} - set(exporter.FILES))
    if others:
        raise OutputError(f"{str(path)!r} holds other things ({others[0]}) and is not replaced; choose another name")


def _remove(path: Path) -> None:
    """Remove a file, or a folder of ours with all that is in it; nothing where there is none."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def files_in(path: Path) -> list[Path]:
    """Return an exported file, or all files of an exported folder in the order of their names."""
    return sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]


def parity_path(path: Path) -> Path:
    """Return where the proof of the exported file `path` lies: `model.onnx` -> `model.onnx.parity.json`."""
    return path.with_name(path.name + ".parity.json")


def _record(exporter: ModuleType, format_: str, partial: Path, found: list[Parity]) -> Json:
    """Return the proof: which file (by hash; of a folder: of its files one after the other), replayed how."""
    digest = hashlib.sha256()
    for part in files_in(partial):
        with part.open("rb") as file:
            while block := file.read(2**20):
                digest.update(block)
    more = exporter.describe(partial) if hasattr(exporter, "describe") else {}
    return {
        "format": format_,
        "bytes": sum(part.stat().st_size for part in files_in(partial)),
        "sha256": digest.hexdigest(),
        **more,
        "parity": [asdict(parity) for parity in found],
    }


def _publish(partial: Path, path: Path, record: Json) -> None:
    """Give the checked file its name; its proof follows."""
    for part in files_in(partial):
        with part.open("rb") as file:
            os.fsync(file.fileno())
    proof = partial.with_name(partial.name + ".json")
    proof.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    try:
        if path.is_dir():
            _remove(path)  # a folder cannot be replaced at one stroke; `_check_folder` has looked at what is in it
        partial.replace(path)
        proof.replace(parity_path(path))
    finally:
        proof.unlink(missing_ok=True)
    sync_folder(path.parent)
