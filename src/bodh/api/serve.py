"""Serve models over HTTP on onnxruntime; the serving process imports no torch."""

from __future__ import annotations

import hashlib
import json
import logging
import secrets
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from bodh import __version__, _optional, errors
from bodh.contracts import Json
from bodh.errors import BodhError, DataError, ModelError

if TYPE_CHECKING:
    from bodh.api.load import Model
    from bodh.serving.config import ServingConfig
    from bodh.serving.index import NeighbourIndex
    from bodh.serving.runtimes.onnx import OnnxModel

log = logging.getLogger("bodh")

WRITES = ("generate", "translate")
"""Capabilities of models that write texts."""
EXPORT_SECONDS = 1800
"""An export that takes longer hangs."""

_CHILD = "import sys; from bodh.api.serve import export_in_child; sys.exit(export_in_child(*sys.argv[1:]))"


def serve(
    model: Model | str | Path | Sequence[Model | str | Path],
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    data: Any = None,
    **settings: Any,
) -> None:
    """Serve models over HTTP, with a web page to try them on.

    The page at / takes a picture or a text and shows what the model makes of it; /predict, /embed, /neighbours, of
    models of texts /fill, /generate and /translate, and /health and /model are for programs, /docs describes them.
    Several models answer at /models/NAME/predict. Every model is exported to ONNX first, checked, and kept in the
    cache folder. Runs until Ctrl-C or SIGTERM, then finishes what it has accepted.

    Args:
        model: one or several: model folders, run folders, or .onnx files that `bodh export` wrote.
        host: address to listen at; 0.0.0.0 lets other machines in, without asking who they are.
        port: port to listen at; 0 takes a free one.
        data: training data to show nearest neighbours from; up to 5,000 of its records are embedded.
        settings: limits (`threads`, `batch`, `records`, `body_megabytes`, `seconds`, `tokens`, …), and how the data is
            read (`data.input`, `data.label`, `data.cache`).

    Raises:
        ModelError: no such model, or it cannot be served.
        UserError: the port is in use; the message names the next free one.
        ConfigError: an unknown setting.
        MissingExtra: what serving needs is not installed.

    Example:
        bodh serve runs/photos --data photos/
        bodh serve runs/cats runs/dogs --port 8080 threads=2
    """
    for module in ("onnxruntime", "fastapi", "uvicorn", "python_multipart"):
        _optional.require(module, extra="serve", feature="serving a model")
    from bodh.serving.app import create_app, open_models
    from bodh.serving.server import bind, run

    config, reading = _resolve(settings)
    single = isinstance(model, str | Path) or hasattr(model, "manifest")
    given = cast("Sequence[Model | str | Path]", [model] if single else list(cast("Sequence[Any]", model)))
    if not given:
        raise ModelError("no model to serve; type: bodh serve MODEL")
    with bind(host, port) as listening:
        models = open_models({name: onnx_files(one) for name, one in _named(given).items()}, config=config)
        indexes = {} if data is None else neighbour_indexes(models, data, reading)
        app = create_app(models, config=config, indexes=indexes)
        address = _address(listening.getsockname())

        def announce() -> None:
            log.info("serving %s at %s (API: %s/docs); stop with Ctrl-C", ", ".join(models), address, address)

        run(app, listening, drain_seconds=config.drain_seconds, announce=announce)
        log.info("stopped; everything accepted was answered")


def onnx_files(model: Model | str | Path) -> list[Path]:
    """Return `model` as checked .onnx files: itself, or its exports from the cache folder, made where they are missing.

    A model that writes has two: what it tells of a text, and how it writes. Where its network cannot be exported to
    write, that is said, and the first is served alone.

    Raises:
        ModelError: no such model.
        ParityError: an export does not compute what the model computes.
    """
    from bodh.api.load import load

    if isinstance(model, str | Path) and Path(model).suffix == ".onnx" and Path(model).is_file():
        return [Path(model)]
    handle = load(model)
    writes = next((name for name in WRITES if name in handle.manifest.capabilities), None)
    if writes is None:
        return [_exported(handle, None)]
    files = [_exported(handle, "embed")]
    try:
        files.append(_exported(handle, writes))
    except ModelError as error:
        log.warning("%s is served without %s: %s", handle.folder, writes, error)
    return files


def _exported(model: Model, capability: str | None) -> Path:
    """Return the export of `model` in the cache folder."""
    from bodh.records.cache import cache_root

    what = json.dumps([model.manifest.to_json(), __version__, *([capability] if capability else [])], sort_keys=True)
    path = cache_root() / "serving" / f"{hashlib.sha256(what.encode()).hexdigest()[:32]}.onnx"
    if not _is_proven(path):
        log.info("exporting %s to ONNX%s, once", model.folder, f" ({capability})" if capability else "")
        _export(model.folder, path, capability)
    return path


def neighbour_indexes(models: Mapping[str, OnnxModel], data: Any, settings: Json) -> dict[str, NeighbourIndex]:
    """Return an index of training records for every model, embedded by the model itself, kept in the cache folder.

    Args:
        models: by name.
        data: whatever `records.open` takes.
        settings: `data.*`, as on the command line.

    Raises:
        DataError: the data cannot be read, or is of another modality than a model.
    """
    from bodh.api._inputs import open_records
    from bodh.model.modality import modality_of
    from bodh.serving import index

    indexes: dict[str, NeighbourIndex] = {}
    pictures: dict[str, list[bytes | str]] = {}  # models that see records alike share them
    for name, model in models.items():
        if "embed" not in model.capabilities:
            log.warning("model %s gives no embeddings; it shows no neighbours", name)
            continue
        modality = modality_of(model.manifest.modality, model.read)
        store = open_records(modality, data, settings)
        positions = index.choose(store)
        if not len(positions):
            raise DataError(f"{store.name} holds no records to show as neighbours")
        path = _vectors_path(model, store.fingerprint, positions)
        vectors = _kept(path, len(positions))
        if vectors is None:
            log.info("embedding %d records of %s for %s", len(positions), store.name, name)
            vectors = index.embeddings(store, modality, lambda rows, m=model: m.compute(rows)["embedding"], positions)  # type: ignore[misc]
            _keep(path, vectors)
        looks = f"{modality.name} {modality.store_key()} {store.fingerprint}"
        if looks not in pictures:
            pictures[looks] = index.thumbnails(store, modality, positions)
        indexes[name] = index.build(store, positions, vectors=vectors, pictures=pictures[looks])
    return indexes


def export_in_child(folder: str, out: str, capability: str = "") -> int:
    """Export `folder`, or one capability of it, to `out`; errors go to stdout as JSON; returns the exit code.

    It runs in a process of its own, so that the server's never imports torch.
    """
    from bodh.api.export import export

    try:
        export(folder, format="onnx", out=out, capability=capability or None, overwrite=True)
    except BodhError as error:
        sys.stdout.write(json.dumps({"kind": type(error).__name__, "error": str(error)}))
        return error.exit_code
    return 0


def _resolve(settings: Json) -> tuple[ServingConfig, Json]:
    """Return the limits, and the settings that say how data is read; all mistakes at once."""
    from bodh.api._settings import DataConfig
    from bodh.config.resolve import resolve
    from bodh.serving.config import ServingConfig

    sections = resolve(settings, {"": ServingConfig, "data": DataConfig})
    reading = {key: value for key, value in settings.items() if key.partition(".")[0] == "data"}
    return cast("ServingConfig", sections[""]), reading


def _named(models: Sequence[Model | str | Path]) -> dict[str, Model | str | Path]:
    """Return the models by the name of their run, folder or file; a second one of a name gets a number."""
    named: dict[str, Model | str | Path] = {}
    for model in models:
        path = Path(model) if isinstance(model, str | Path) else model.folder
        path = path.absolute()
        stem = path.stem if path.suffix == ".onnx" else path.parent.name if path.name == "model" else path.name
        name = stem.replace("/", "-") or "model"
        number = 2
        while name in named:
            name, number = f"{stem}-{number}", number + 1
        named[name] = model
    return named


def _is_proven(path: Path) -> bool:
    """Return whether `path` and the proof beside it are there and belong together."""
    try:
        proof = json.loads(path.with_name(path.name + ".parity.json").read_text(encoding="utf-8"))
        with path.open("rb") as file:
            return bool(hashlib.file_digest(file, "sha256").hexdigest() == proof["sha256"])
    except (OSError, ValueError, KeyError):
        return False


def _export(folder: Path, path: Path, capability: str | None) -> None:
    """Run the export in a child process and raise here what it raised there."""
    _optional.require("onnxscript", extra="serve", feature="serving a model")
    try:
        # -P: a file in the working folder must not pass for a library
        child = subprocess.run(
            [sys.executable, "-P", "-c", _CHILD, str(folder), str(path), capability or ""],
            capture_output=True,
            timeout=EXPORT_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise BodhError(f"the export of {folder} did not end within {EXPORT_SECONDS // 60} minutes") from None
    if child.returncode == 0:
        return
    try:
        told = json.loads(child.stdout.decode())
        kind, message = getattr(errors, told["kind"], BodhError), told["error"]
    except (ValueError, KeyError):
        last = (child.stderr.decode(errors="replace").strip().splitlines() or ["no message"])[-1]
        raise BodhError(f"the export of {folder} failed (exit {child.returncode}): {last}") from None
    raise (kind(message) if kind in _PLAIN else BodhError(message))


_PLAIN = (
    errors.UserError,
    errors.ModelError,
    errors.OutputError,
    errors.MissingExtra,
    errors.ParityError,
    errors.DataError,
)
"""Errors that are made of their message alone."""


def _vectors_path(model: OnnxModel, fingerprint: str, positions: np.ndarray) -> Path:
    from bodh.records.cache import cache_root

    what = hashlib.sha256(f"{model.digest} {fingerprint} ".encode() + positions.astype("<i8").tobytes())
    return cache_root() / "serving" / f"{what.hexdigest()[:32]}.npy"


def _kept(path: Path, n: int) -> np.ndarray | None:
    try:
        vectors = np.load(path, allow_pickle=False)
    except (OSError, ValueError):
        return None
    return cast("np.ndarray", vectors) if vectors.ndim == 2 and len(vectors) == n else None


def _keep(path: Path, vectors: np.ndarray) -> None:
    """Write `vectors`; a cache that cannot be written costs time, not the server."""
    partial = path.with_name(f".{path.stem}.{secrets.token_hex(4)}.partial.npy")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(partial, vectors, allow_pickle=False)
        partial.replace(path)
    except OSError as error:
        log.warning("cannot keep the embeddings in the cache folder: %s", error.strerror or error)
    finally:
        partial.unlink(missing_ok=True)


def _address(name: tuple[Any, ...]) -> str:
    """Return the address to open: a server that listens everywhere is reached at this machine."""
    host, port = str(name[0]), name[1]
    shown = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)  # noqa: S104
    return f"http://{shown}:{port}"
