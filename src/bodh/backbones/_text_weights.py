"""A published language model on disk: its weights, its config.json, its tokenizer; and those weights in a backbone.

Nothing of it is run: weights are read as `_weights_file` does it, the rest is JSON.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from bodh.backbones import _layouts, _names
from bodh.backbones._origin import reachable
from bodh.backbones._published import Published
from bodh.backbones._weights_file import WeightsFile, read
from bodh.contracts import Json
from bodh.errors import ConfigError, ModelError

REMOTE = "hf:"
"""Before the name of a model that is fetched from the Hugging Face hub."""
FILES = ("model.safetensors", "pytorch_model.bin")
PARTS = "model.safetensors.index.json"
TOKENIZER = "tokenizer.json"
FETCHED = ["*.json", "*.safetensors", "*.txt", "*.model"]
READERS = ("transformer", "huggingface")
"""Backbones whose weights are published as such folders."""

_FREE = ("dropout", "attention_dropout", "pool")
"""Settings of the backbone that say nothing of its weights: the user may choose them."""


@dataclass(frozen=True)
class Folder:
    """A published language model.

    Attributes:
        file: its weights.
        config: what its config.json says; guessed from the weights where there is none.
        guessed: whether it is so.
        tokenizer: the folder or file that its tokenizer is read from, or None.
        pool: how its sentences are pooled, as sentence-transformers keeps it, or None.
    """

    file: WeightsFile
    config: Json
    guessed: bool
    tokenizer: Path | None
    pool: str | None

    @property
    def kind(self) -> str:
        """Its `model_type`."""
        return str(self.config.get("model_type"))


def fetch(weights: str) -> Path:
    """Return the folder of the model that `weights`, "hf:NAME", names; from the hub's cache where it lies there.

    Raises:
        ModelError: there is none, or it cannot be fetched.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.constants import ENDPOINT

    name = weights.removeprefix(REMOTE)
    try:
        # without a name to look up only the cache is asked, at once; the hub's client would retry for a minute
        return Path(snapshot_download(name, allow_patterns=FETCHED, local_files_only=not reachable(ENDPOINT)))
    except (OSError, RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())[:160] or type(error).__name__
        raise ModelError(
            f"weights: {weights!r} could not be fetched ({reason}); where there is no network, get the folder "
            "elsewhere and type weights=FOLDER (config.json, model.safetensors, tokenizer.json)"
        ) from error


def open_folder(path: Path) -> Folder:
    """Return the published model at `path`: its folder, or its file of weights.

    Raises:
        ModelError: the weights or the config cannot be used.
    """
    if not path.exists():
        raise ModelError(
            f"weights: {path} is not there; allowed are the folder of a published language model (config.json, "
            f"{FILES[0]}, {TOKENIZER}), a file of its weights, or {REMOTE}NAME to fetch one"
        )
    folder = path if path.is_dir() else path.parent
    file = _whole(path)
    config = read_json(folder / "config.json")
    tokenizer = folder if (folder / TOKENIZER).is_file() else None
    return Folder(file, config or _layouts.guess(file.weights), not config, tokenizer, _pooling(folder))


def _whole(path: Path) -> WeightsFile:
    """Return the weights of a folder, from one file or from all its parts; of a file, what it holds."""
    if not path.is_dir() or (path / "model.json").is_file() or (path / "model" / "model.json").is_file():
        return read(path)
    for name in FILES:
        if (path / name).is_file():
            return read(path / name)
    parts = sorted(set(read_json(path / PARTS).get("weight_map", {}).values()))
    if not parts or any("/" in part or "\\" in part for part in parts):
        raise ModelError(
            f"weights: {path} holds no weights; allowed are folders with config.json and {' or '.join(FILES)}, "
            "as published language models come"
        )
    found = [read(path / part) for part in parts]
    merged = {name: tensor for part in found for name, tensor in part.weights.items()}
    return replace(found[0], weights=merged)


def read_json(file: Path) -> Json:
    """Return the object in a JSON file; nothing where it is not there.

    Raises:
        ModelError: it is damaged.
    """
    if not file.is_file():
        return {}
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"weights: {file} cannot be read: {' '.join(str(error).split())[:120]}") from None
    if not isinstance(found, dict):
        raise ModelError(f"weights: {file} holds a {type(found).__name__}; a JSON object is expected")
    return found


def _pooling(folder: Path) -> str | None:
    """Return how sentence-transformers pools this model, in our words; None where it does not say, or otherwise."""
    told = read_json(folder / "1_Pooling" / "config.json")
    words = {"mean_tokens": "mean", "cls_token": "first", "lasttoken": "last"}
    chosen = [ours for theirs, ours in words.items() if told.get(f"pooling_mode_{theirs}") is True]
    return chosen[0] if len(chosen) == 1 else None


def fit(name: str, folder: Folder, *, shape: Sequence[int], arguments: Mapping[str, Any], records: Json) -> Published:
    """Return how the weights of `folder` fill the backbone `name`.

    Args:
        name: "transformer" or "huggingface".
        folder: from `open_folder`.
        shape: (length,) of the rows.
        arguments: of the backbone, as the user gave them.
        records: what the tokenizer tells: `vocabulary` and `padding`, and where a row may be of two texts the
            `separator` that ends each.

    Raises:
        ConfigError: settings that the weights contradict, or a tokenizer of more ids than they know.
        ModelError: the weights are of another network.
    """
    if name.partition(":")[0] == "huggingface":
        from bodh.backbones import _transformers_weights

        return _transformers_weights.fit(folder, shape=shape, arguments=arguments, records=records)
    told = _layouts.architecture(folder.config)
    if "separator" in records:
        told["types"] = _layouts.types_of(folder.file.weights, folder.kind)
    if folder.guessed:
        if "heads" not in arguments:
            raise ConfigError(
                f"weights: {folder.file.name} has no config.json beside it, and weights do not tell how many heads "
                "attention has; give the folder as it was published, or type backbone.heads=N"
            )
        told["heads"] = arguments["heads"]
    if wrong := [key for key, value in arguments.items() if key in told and key not in _FREE and value != told[key]]:
        raise ConfigError(
            f"backbone.{wrong[0]}: {arguments[wrong[0]]!r} was asked for, but the weights {folder.file.name} are of a "
            f"network with {wrong[0]}={told[wrong[0]]!r}; leave it out"
        )
    pool = {} if folder.pool is None else {"pool": folder.pool}
    spec = _names.spec_for(name, shape=shape, arguments=told | pool | dict(arguments), records=records)
    found, used, missing = _layouts.take(folder.file.weights, folder.kind, told["depth"], types=bool(told.get("types")))
    if missing:
        raise ModelError(
            f"weights: {folder.file.name} does not fit its config.json: {len(missing)} weights are missing "
            f"(first: {missing[0]}); give the whole folder as it was published"
        )
    found["embedding.weight"] = rows_for(found["embedding.weight"], records["vocabulary"], folder)
    _check_shapes(spec, found, folder)
    speaks = _layouts.take_head(folder.file.weights, folder.config)
    if speaks and "bias" in speaks:
        speaks["bias"] = speaks["bias"][: records["vocabulary"]]
    known = ["position_ids", "attn.bias"]  # which every network makes itself
    if speaks is not None:
        known += ["decoder.bias", *_layouts.head_names(folder.kind).values()]
    rest = [key for key in folder.file.weights if key not in used and not key.endswith(tuple(known))]
    said = f"weights {folder.file.name}: all {len(found)} weights of {name}, in the layout of {folder.kind}"
    said += f"; pooled as its sentences are: {folder.pool}" if pool and "pool" not in arguments else ""
    parts = sorted({key.split(".")[0] for key in rest})
    said += f"; left out: {', '.join(parts[:5])}" if rest else ""
    record = {
        "network": name, "file": folder.file.name, "sha256": folder.file.sha256, "found": len(found),
        "needed": len(found), "fresh": [], "left_out": {"elsewhere": len(rest)} if rest else {},
    }  # fmt: skip
    return Published(spec, found, None, (name, folder.kind), said, record, speaks)


def rows_for(embedding: Tensor, vocabulary: int, folder: Folder) -> Tensor:
    """Return the vectors of a tokenizer's ids; published networks often hold a few more than it has.

    Raises:
        ConfigError: it has more ids than the weights.
    """
    if vocabulary > len(embedding):
        raise ConfigError(
            f"modality.tokenizer: it has {vocabulary:,} ids, but the weights {folder.file.name} "
            f"know {len(embedding):,}; they do not belong together; give the folder of the model that they are of"
        )
    return embedding[:vocabulary]


def _check_shapes(spec: Any, found: Mapping[str, Tensor], folder: Folder) -> None:
    import torch

    with torch.device("meta"):
        target = _names.build(spec).state_dict()
    for key, tensor in target.items():
        given = found.get(key)
        if given is None or given.shape != tensor.shape:
            has = "nothing" if given is None else f"{list(given.shape)}"
            raise ModelError(
                f"weights: {folder.file.name} does not fit its config.json: {key} is {has}, "
                f"the network needs {list(tensor.shape)}"
            )
