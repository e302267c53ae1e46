"""Published weights of any network of the library transformers, put into the backbone `huggingface`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from bodh.backbones import huggingface
from bodh.backbones._published import Published
from bodh.backbones._text_weights import Folder, rows_for
from bodh.backbones._transformers import configured, known_settings, quiet
from bodh.contracts import Json
from bodh.errors import ConfigError, ModelError

_ABOUT = {
    *("_name_or_path", "architectures", "auto_map", "dtype", "torch_dtype", "transformers_version", "model_type"),
    *("id2label", "label2id", "problem_type", "task_specific_params", "tokenizer_class", "prefix", "finetuning_task"),
    *("vocab_size", "pad_token_id", "is_encoder_decoder", "gradient_checkpointing", "use_cache", "n_ctx"),
    *("output_past", "summary_activation", "summary_first_dropout", "summary_proj_to_labels", "summary_type"),
    *("summary_use_proj", "attn_implementation", "_attn_implementation_autoset", "tie_word_embeddings"),
}
"""What a config.json says that does not shape the network, or that the tokenizer tells."""


def fit(folder: Folder, *, shape: Sequence[int], arguments: Mapping[str, Any], records: Json) -> Published:
    """Return how the weights of a published language model fill its network; see `_text_weights.fit`.

    Raises:
        ModelError: there is no config.json, or it is of a kind that the library does not have.
        ConfigError: settings that the weights contradict, or a tokenizer of more ids than they know.
    """
    if folder.guessed:
        raise ModelError(f"weights: there is no config.json beside {folder.file.name}; give the folder as published")
    wanted = arguments.get("model", folder.kind)
    own = {key: value for key, value in arguments.items() if key in ("pool", "causal")}
    if wanted != folder.kind or len(arguments) > len(own) + ("model" in arguments):
        other = next((key for key in arguments if key not in own), "model")
        raise ConfigError(
            f"backbone.{other}: the weights {folder.file.name} are of a {folder.kind} network as its config.json says; "
            "leave it out (pool may be chosen)"
        )
    config = configured(folder.kind, {key: value for key, value in folder.config.items() if key not in _ABOUT},
                         published=True)  # fmt: skip
    known = known_settings(folder.kind) - _ABOUT
    told = {key: value for key, value in config.to_diff_dict().items() if key in known}
    pool = {} if folder.pool is None else {"pool": folder.pool}
    backbone = huggingface.build(shape=shape, **{"model": folder.kind, **plain(told), **pool, **own, **records})
    weights, rest = _loaded(folder, backbone, records["vocabulary"])
    said = f"weights {folder.file.name}: {len(weights)} weights of {folder.kind}"
    said += f"; pooled as its sentences are: {folder.pool}" if pool and "pool" not in own else ""
    said += f"; left out: {', '.join(sorted({key.split('.')[0] for key in rest})[:5])}" if rest else ""
    record = {
        "network": f"huggingface:{folder.kind}", "file": folder.file.name, "sha256": folder.file.sha256,
        "found": len(weights), "needed": len(weights), "fresh": [], "left_out": {"elsewhere": len(rest)},
    }  # fmt: skip
    return Published(backbone.spec, weights, None, ("huggingface", folder.kind), said, record)


def _loaded(folder: Folder, backbone: huggingface.HuggingFace, vocabulary: int) -> tuple[dict[str, Tensor], list[str]]:
    """Return (name in the backbone → tensor, names in the file without a place).

    The library itself puts the weights into place: it knows how its older versions called them.
    """
    whole = folder.file.weights
    config = configured(folder.kind, {key: value for key, value in folder.config.items() if key != "auto_map"},
                         published=True)  # fmt: skip
    with quiet(), torch.random.fork_rng(devices=[]):
        kind = type(backbone.network)
        network, told = kind.from_pretrained(
            None, config=config, state_dict=dict(whole), output_loading_info=True, dtype=torch.float32
        )
    state = network.state_dict()
    pool = ("pooler",)
    missing = [key for key in told["missing_keys"] if key.split(".")[0] not in pool]
    if missing or told["mismatched_keys"]:
        raise ModelError(
            f"weights: {folder.file.name} does not fit its config.json: {len(missing)} weights are missing"
            f"{f' (first: {sorted(missing)[0]})' if missing else ''}; give the whole folder as it was published"
        )
    shared = network.get_input_embeddings().weight
    embeddings = {name for name, weight in network.named_parameters(remove_duplicate=False) if weight is shared}
    found = {}
    for name in backbone.network.state_dict():
        tensor = state[name]
        found[f"network.{name}"] = rows_for(tensor, vocabulary, folder) if name in embeddings else tensor
    return found, sorted(told["unexpected_keys"])


def plain(values: Mapping[str, Any]) -> Json:
    """Return settings as JSON values."""
    found: Json = json.loads(json.dumps(dict(values), default=str))
    return found
