"""Features of frozen networks, computed once for a model and its data and kept beside the decoded records.

They lie in the data's own folder of the cache, so `bodh doctor` counts them and `bodh data DATA --forget` frees them.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bodh.contracts import Json

if TYPE_CHECKING:
    from bodh.contracts import RecordStore
    from bodh.model.loaded import LoadedModel

logger = logging.getLogger("bodh")


def cached_features(model: LoadedModel, store: RecordStore, positions: np.ndarray) -> np.ndarray:
    """Return pooled features `[n d]`, float32, of records at `positions` [n]; only those not known yet are computed.

    Features of one record can differ in the last digit with the records that it was computed beside.

    Args:
        model: its weights and its modality's settings are the key.
        store: decoded records; those in memory have no folder, and nothing is kept.
        positions: in the store.
    """
    block = model.block_names[-1] if model.manifest.best_block else None
    folder: Path | None = getattr(store, "folder", None)
    if folder is None or not _known(model):
        return model.features(store, positions, block=block)
    path = folder / f"features-{_key(model)}.safetensors"
    known, features = _read(path)
    missing = np.setdiff1d(positions, known)
    if len(missing):
        fresh = model.features(store, missing, block=block)
        known = np.concatenate([known, missing])
        features = np.concatenate([features, fresh]) if len(features) else fresh
        _write(path, known, features)
    if len(missing) < len(np.unique(positions)):
        logger.info("features of %d records were computed before", len(np.unique(positions)) - len(missing))
    order = np.argsort(known, kind="stable")
    rows: np.ndarray = features[order[np.searchsorted(known[order], positions)]]
    return rows


def _known(model: LoadedModel) -> bool:
    """Return whether the manifest's hash tells the weights: of a model folder, or published and all of them found."""
    published = model.manifest.provenance.get("published")
    return model.folder is not None or (published is not None and not published["fresh"])


def _key(model: LoadedModel) -> str:
    """Return a text that differs wherever features would: weights, network, preparation, device."""
    from bodh.model.folder import WEIGHTS

    what: Json = {
        "network": model.manifest.networks["backbone"].model_dump(mode="json"),
        "weights": model.manifest.files[WEIGHTS].sha256,
        "modality": model.modality.config.model_dump(mode="json"),
        "device": model.device.type,
    }
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:24]


def _read(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return (positions [m], features [m d]); nothing where there is no such file, or a damaged one."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        held: dict[str, Any] = load_file(path)
        return held["positions"], held["features"]
    except (OSError, SafetensorError, KeyError) as error:
        logger.debug("no features at %s: %s", path, error)
        return np.empty(0, np.int64), np.empty((0, 0), np.float32)


def _write(path: Path, positions: np.ndarray, features: np.ndarray) -> None:
    """Write the file whole or not at all; a full disk costs the next run time, not this one its life."""
    from safetensors.numpy import save_file

    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        save_file({"positions": positions.astype(np.int64), "features": np.ascontiguousarray(features)}, draft)
        draft.replace(path)
    except OSError as error:
        draft.unlink(missing_ok=True)
        logger.warning("the features are not kept for the next time: cannot write %s: %s", path, error)
