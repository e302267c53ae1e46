"""Networks of the library transformers: from the values of a config.json to one that is ready, quietly.

Code that comes with a model is never run: only what the installed library has is built.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from bodh import _optional
from bodh.backbones._modes import evaluating
from bodh.errors import ConfigError, UnknownName, suggestion

FEATURE = "a network of the library transformers"
KINDS = (
    *("bert", "camembert", "deberta-v2", "distilbert", "electra", "ernie", "gpt2", "gpt_neo"),
    *("gpt_neox", "llama", "megatron-bert", "mistral", "modernbert", "mpnet", "opt", "qwen2", "roberta"),
    *("t5", "xlm-roberta"),
)
"""Kinds of networks that the whole interface was tried on."""


def configured(model: str, values: Mapping[str, Any], *, published: bool = False) -> Any:
    """Return the library's configuration of a kind of network.

    Args:
        model: the kind.
        values: of its config.json.
        published: they come from such a file, where more may stand than the library knows.

    Raises:
        UnknownName: the library has no such kind.
        ConfigError: it knows no such setting, or refuses its value.
    """
    kind = _default(model)
    known = known_settings(model)
    if "vocab_size" not in known:
        raise ConfigError(f"{model!r} reads no texts; allowed are {', '.join(KINDS)} and the like")
    if not published and (unknown := sorted(set(values) - known - {"pad_token_id"})):
        raise ConfigError(f"backbone.{unknown[0]}: no setting of {model}{suggestion(unknown[0], sorted(known))}")
    with quiet():
        size = int(values.get("vocab_size", getattr(kind, "vocab_size", 0) or 0))
        ends = {key: None for key in ("bos_token_id", "eos_token_id") if (_number(kind, values, key) or 0) >= size}
        try:
            return type(kind).from_dict({**values, **ends})
        except (TypeError, ValueError, AttributeError, KeyError) as error:
            reason = " ".join(str(error).split())[:300] or type(error).__name__
            raise ConfigError(f"transformers' {model!r} refuses its settings: {reason}") from error


def known_settings(model: str) -> set[str]:
    """Return the names of all settings of a kind of network.

    Raises:
        UnknownName: the library has no such kind.
    """
    found = _default(model)
    return {*found.to_dict(), *(found.attribute_map or {})}


def _default(model: str) -> Any:
    """Return the library's own configuration of a kind."""
    library = _optional.transformers(FEATURE)
    mapping = library.models.auto.configuration_auto.CONFIG_MAPPING_NAMES
    if model not in mapping:
        raise UnknownName("kind of network in the installed transformers", model, sorted(mapping))
    with quiet():
        return library.AutoConfig.for_model(model)


def _number(config: Any, values: Mapping[str, Any], key: str) -> int | None:
    found = values.get(key, getattr(config, key, None))
    return found if isinstance(found, int) else None


def network_of(config: Any, model: str) -> Any:
    """Return the network of a configuration, without what stands behind the tokens.

    Raises:
        ConfigError: it is none that reads texts, or has a decoder that is fed besides.
    """
    library = _optional.transformers(FEATURE)
    if config.is_encoder_decoder:
        encoders = library.models.auto.modeling_auto.MODEL_FOR_TEXT_ENCODING_MAPPING
        if type(config) not in encoders:
            raise ConfigError(f"{model!r} has an encoder and a decoder, and its encoder is not offered alone; take t5")
        network = encoders[type(config)](config)
    else:
        network = library.AutoModel.from_config(config, trust_remote_code=False)
    if getattr(network, "pooler", None) is not None:
        network.pooler = None
    embedding = network.get_input_embeddings()
    if not isinstance(embedding, nn.Embedding) or "input_ids" not in inspect.signature(network.forward).parameters:
        raise ConfigError(f"{model!r} reads no texts; allowed are {', '.join(KINDS)} and the like")
    width = getattr(config, "hidden_size", None)
    if embedding.weight.shape[1] != width:
        raise ConfigError(
            f"{model!r} has an embedding {embedding.weight.shape[1]} wide and tokens of {width}; a language model's "
            "head could not share it; allowed are networks where both are equal"
        )
    return network.float()


def is_causal(network: Any) -> bool:
    """Return whether a token of `network` sees itself and earlier ones only: it is tried on four tokens.

    Where there is no memory to run it in (the meta device), what its attention says of itself is believed.
    """
    weight = network.get_input_embeddings().weight
    if weight.is_meta:
        return any(getattr(module, "is_causal", False) is True for module in network.modules())
    pad = network.config.pad_token_id
    ids = [place for place in range(min(len(weight), 8)) if place != pad]
    first = torch.tensor([[ids[0], ids[-1], ids[0], ids[0]]], device=weight.device)
    other = first.clone()
    other[0, -1] = ids[-1]
    with torch.no_grad(), evaluating(network), quiet():
        one, two = (network(input_ids=x).last_hidden_state[0, :-1] for x in (first, other))
    return bool(torch.allclose(one, two, atol=1e-6))


def context_of(config: Any) -> int | None:
    """Return the most tokens of a row; None where positions are told by distance alone."""
    found = getattr(config, "max_position_embeddings", None)
    if found is None or found < 1:
        return None
    shifted = config.model_type in ("roberta", "xlm-roberta", "camembert", "mpnet", "xlm-roberta-xl", "longformer")
    return int(found) - (config.pad_token_id + 1 if shifted else 0)


def layers_of(network: nn.Module, depth: int) -> str:
    """Return the dotted path of the list of layers.

    Raises:
        ConfigError: there is none of that length.
    """
    for path, module in network.named_modules():
        if isinstance(module, nn.ModuleList) and len(module) == depth:
            return str(path)
    raise ConfigError(f"{type(network).__name__} has no list of {depth} layers, so its blocks cannot be told apart")


@contextmanager
def quiet() -> Iterator[None]:
    """Silence what the library says about itself, for a while."""
    said = _optional.transformers(FEATURE).utils.logging
    level, bars = said.get_verbosity(), said.is_progress_bar_enabled()
    said.set_verbosity_error()
    said.disable_progress_bar()
    try:
        yield
    finally:
        said.set_verbosity(level)
        if bars:
            said.enable_progress_bar()
