"""A published language model used as it is: made into a model folder once, in the cache, and kept there."""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bodh.errors import ConfigError

if TYPE_CHECKING:
    from bodh.backbones._text_weights import Folder
    from bodh.model.loaded import LoadedModel

logger = logging.getLogger("bodh")

REMOTE = "hf:"
"""Before the name of a model of the hub; it is fetched."""
LONGEST = 512
"""Tokens of a row at most, where the model does not say how long its texts were."""

SAMPLE = (
    "A text that is read as the model reads texts.",
    "यह एक वाक्य है।",
    "One, two, three: what comes next?",
    "The record that proves an export should be of ordinary length, with words, numbers (12, 3.5) and signs!",
)
"""Records that such a model carries, for the proof of exported files."""


def is_published(path: Any) -> bool:
    """Return whether `path` is the folder of a language model as the library transformers keeps it, or "hf:NAME"."""
    if not isinstance(path, str | Path):
        return False
    if str(path).startswith(REMOTE):
        return True
    folder = Path(path).expanduser()
    own = (folder / "model.json").exists() or (folder / "model" / "model.json").exists()
    return not own and (folder / "config.json").is_file() and folder.is_dir()


def started_from(start: Any) -> LoadedModel:
    """Return the model to start a training from: of a model, a model or run folder, or a published language model.

    Raises:
        ModelError: there is none.
    """
    from bodh.model.loaded import load_model

    return load_model(converted(start) if is_published(start) else getattr(start, "folder", start))


def converted(path: str | Path) -> Path:
    """Return a model folder of what lies at `path`: the same network, head and tokenizer, nothing trained.

    Raises:
        ModelError: weights or config cannot be used.
        ConfigError: there is no tokenizer beside them.
    """
    import torch

    from bodh.backbones import _layouts, _text_weights
    from bodh.modalities._codec import Codec
    from bodh.modalities.text import Modality, TextConfig
    from bodh.model.networks import build
    from bodh.model.save import save_model
    from bodh.records.cache import cache_root

    remote = str(path).startswith(REMOTE)
    source = _text_weights.fetch(str(path)) if remote else Path(path).expanduser()
    folder = _text_weights.open_folder(source)
    if folder.tokenizer is None:
        raise ConfigError(
            f"{source} has no tokenizer.json, and the network knows only its own tokenizer's ids; "
            "get the whole folder as it was published"
        )
    name = str(path).removeprefix(REMOTE).rpartition("/")[2] if remote else source.name
    target = cache_root() / "published" / f"{name}-{_digest(source, folder)}"
    if (target / "model.json").is_file():
        return target
    own = folder.kind in _layouts.SETTINGS
    config = TextConfig(tokenizer=str(folder.tokenizer), length=_length(source, folder))
    codec = Codec.fit(config.tokenizer, iter(()), vocabulary=config.vocabulary, length=config.length)
    modality: Any = Modality(config.model_copy(update=codec.settings()), codec.files())
    found = _text_weights.fit(
        "transformer" if own else "huggingface", folder, shape=modality.prepared_shape, arguments={},
        records=modality.network_arguments,
    )  # fmt: skip
    network = build({"backbone": found.spec})
    found.fill(network["backbone"])
    if found.speaks is not None:
        from bodh.api._published import language_head

        network["head"] = language_head(found, network["backbone"])
    with torch.no_grad():
        save_model(
            target,
            network=network.eval(),
            modality=modality,
            task="tokens" if found.speaks is not None else None,
            class_names=(),
            records=modality.standardise([modality.decode(text.encode()) for text in SAMPLE]),
            provenance={"published": found.record},
            metrics={},
        )
    logger.info("%s; kept as a model of bodh at %s", found.said, target)
    return target


def _digest(source: Path, folder: Folder) -> str:
    """Return what tells published models apart: the start of the hash of weights, config and tokenizer."""
    found = hashlib.sha256(folder.file.sha256.encode())
    for name in ("config.json", "tokenizer.json", "1_Pooling/config.json", "sentence_bert_config.json"):
        if (source / name).is_file():
            found.update((source / name).read_bytes())
    return found.hexdigest()[:12]


def _length(source: Path, folder: Folder) -> int:
    """Return the most tokens of a row: as sentence-transformers keeps it, or what the network has places for."""
    from bodh.backbones._text_weights import read_json

    told = read_json(source / "sentence_bert_config.json").get("max_seq_length")
    places = [folder.config[key] for key in ("max_position_embeddings", "n_positions") if key in folder.config]
    places = [int(count) - 2 * (folder.kind in ("roberta", "xlm-roberta", "camembert", "mpnet")) for count in places]
    wanted = int(told) if isinstance(told, int) and told > 3 else LONGEST
    return int(min([wanted, *places]))
