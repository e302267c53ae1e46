"""The Transformer's weights under the names of published models: BERT, RoBERTa, Megatron-BERT and GPT-2, both ways.

A layout is a `config.json` and names of weights, as the library transformers writes them. What differs is told here
once: how settings are called, how weights are called, which lie transposed, which are cut into three.

Axis letters: `v` vocabulary, `t` places, `d` width.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from bodh.contracts import Json
from bodh.errors import ModelError

Names = dict[str, tuple[str, ...]]
"""Name in our network → names in the published one; several are laid one below the other."""

_BERT = {
    "width": ("hidden_size", 768),
    "depth": ("num_hidden_layers", 12),
    "heads": ("num_attention_heads", 12),
    "hidden": ("intermediate_size", 3072),
    "activation": ("hidden_act", "gelu"),
    "dropout": ("hidden_dropout_prob", 0.1),
    "attention_dropout": ("attention_probs_dropout_prob", 0.1),
    "context": ("max_position_embeddings", 512),
    "eps": ("layer_norm_eps", 1e-12),
}
_GPT2 = {
    "width": ("n_embd", 768),
    "depth": ("n_layer", 12),
    "heads": ("n_head", 12),
    "hidden": ("n_inner", None),
    "activation": ("activation_function", "gelu_new"),
    "dropout": ("resid_pdrop", 0.1),
    "attention_dropout": ("attn_pdrop", 0.1),
    "context": ("n_positions", 1024),
    "eps": ("layer_norm_epsilon", 1e-5),
}
SETTINGS: dict[str, dict[str, tuple[str, Any]]] = {
    "bert": _BERT,
    "roberta": _BERT,
    "megatron-bert": _BERT,
    "gpt2": _GPT2,
}
"""Kind (`model_type`) → our setting → (what config.json calls it, its value where it is left out)."""

FIXED: dict[str, Json] = {
    "bert": {"causal": False, "norm": "post", "embedding_norm": True},
    "roberta": {"causal": False, "norm": "post", "embedding_norm": True},
    "megatron-bert": {"causal": False, "norm": "pre", "embedding_norm": False},
    "gpt2": {"causal": True, "norm": "pre", "embedding_norm": False},
}
"""Kind → what all networks of it have in common."""

ACTIVATIONS = {
    "gelu": "gelu", "gelu_new": "gelu_tanh", "gelu_pytorch_tanh": "gelu_tanh", "gelu_fast": "gelu_tanh", "relu": "relu",
}  # fmt: skip
_ELSEWISE = {
    "is_decoder": False, "add_cross_attention": False, "position_embedding_type": "absolute",
    "scale_attn_weights": True, "scale_attn_by_inverse_layer_idx": False,
}  # fmt: skip
"""Switches of config.json that must stand so: the networks are others else."""

_SHIFT = 2
"""RoBERTa's places count from the padding's id, 1, plus one."""


def architecture(config: Json) -> Json:
    """Return the settings of `transformer.Config` that a published network's `config.json` stands for.

    Raises:
        ModelError: it is of a kind that has no layout here, or built otherwise.
    """
    kind = config.get("model_type")
    if kind not in SETTINGS:
        raise ModelError(
            f"weights: config.json is of a {kind!r} model; the backbone transformer reads {', '.join(SETTINGS)}; "
            "type: --backbone huggingface (finetune: --from huggingface)"
        )
    for key, wanted in _ELSEWISE.items():
        if config.get(key, wanted) != wanted:
            raise ModelError(
                f"weights: config.json says {key}={config[key]!r}; the backbone transformer reads those of "
                f"{key}={wanted!r}; type: --backbone huggingface (finetune: --from huggingface)"
            )
    found = {ours: config.get(theirs, value) for ours, (theirs, value) in SETTINGS[kind].items()}
    if found["activation"] not in ACTIVATIONS:
        raise ModelError(
            f"weights: config.json has the activation {found['activation']!r}; allowed are {', '.join(ACTIVATIONS)}"
        )
    found["activation"] = ACTIVATIONS[found["activation"]]
    found["hidden"] = found["hidden"] or 4 * found["width"]
    found["context"] -= _SHIFT if kind == "roberta" else 0
    return {"positions": "learned", "bias": True, **FIXED[kind], **found}


def configuration(kind: str, arguments: Mapping[str, Any], *, special: Mapping[str, int | None]) -> Json:
    """Return the `config.json` of a network that `arguments`, a spec's, describe; `architecture` reads it back.

    Args:
        kind: from `kind_of`.
        arguments: of the network's spec.
        special: ids of padding, begin and end.
    """
    back = {ours: theirs for theirs, ours in reversed(ACTIVATIONS.items())}
    told = {theirs: arguments[ours] for ours, (theirs, _) in SETTINGS[kind].items()}
    activation = SETTINGS[kind]["activation"][0]
    told[activation] = back[told[activation]]
    common = {
        "model_type": kind, "vocab_size": arguments["vocabulary"], "pad_token_id": special["padding"],
        "bos_token_id": special["begin"], "eos_token_id": special["end"], "tie_word_embeddings": True,
    }  # fmt: skip
    more = {"embd_pdrop": arguments["dropout"]} if kind == "gpt2" else {"type_vocab_size": arguments.get("types") or 2}
    return {**common, **more, **told}


def kind_of(arguments: Mapping[str, Any]) -> str:
    """Return the kind of published network that is built as `arguments`, a spec's, say.

    Raises:
        ModelError: there is none.
    """
    if arguments["positions"] == "learned":
        for kind in ("gpt2", "megatron-bert", "bert"):
            if all(arguments[key] == value for key, value in FIXED[kind].items()):
                return kind
    raise ModelError(
        f"no published layout has positions={arguments['positions']}, norm={arguments['norm']}, "
        f"causal={str(arguments['causal']).lower()}, embedding_norm={str(arguments['embedding_norm']).lower()} "
        "together; allowed are learned positions with norm=pre, or for encoders with norm=post embedding_norm=true"
    )


def guess(weights: Mapping[str, Tensor]) -> Json:
    """Return what the shapes of weights tell of the `config.json` that they lack: all but the number of heads.

    Raises:
        ModelError: they are of no kind that has a layout here.
    """
    before = re.compile(r"^.*?(?=embeddings\.|encoder\.|wte|wpe|h\.\d)")
    shapes = {before.sub("", name, count=1): tensor.shape for name, tensor in weights.items()}
    depth = 1 + max((int(found[1]) for name in shapes if (found := re.match(r"(?:encoder\.layer|h)\.(\d+)\.", name))),
                    default=-1)  # fmt: skip
    if depth and "wte.weight" in shapes and "wpe.weight" in shapes:
        width, places = shapes["wte.weight"][1], shapes["wpe.weight"][0]
        return {"model_type": "gpt2", "n_embd": width, "n_layer": depth, "n_head": 0,
                "n_positions": places, "n_inner": shapes["h.0.mlp.c_fc.weight"][1]}  # fmt: skip
    if depth and "embeddings.word_embeddings.weight" in shapes:
        width, places = (
            shapes["embeddings.word_embeddings.weight"][1],
            shapes["embeddings.position_embeddings.weight"][0],
        )
        kind = "megatron-bert" if "encoder.ln.weight" in shapes else "bert"
        kind = "roberta" if any(name.startswith("roberta.") for name in weights) else kind
        return {"model_type": kind, "hidden_size": width, "num_hidden_layers": depth,
                "num_attention_heads": 0, "max_position_embeddings": places,
                "intermediate_size": shapes["encoder.layer.0.intermediate.dense.weight"][0]}  # fmt: skip
    raise ModelError(
        f"weights: their names are of none of {', '.join(SETTINGS)} (first: {', '.join(list(weights)[:3])}); "
        "name the network that they are of, or give the folder with its config.json"
    )


def names_of(kind: str, depth: int) -> Names:
    """Return our names of the backbone's weights → those of the layout, without prefix; see `Names`."""
    found: Names = {}
    for i in range(depth):
        ours, bert, gpt2 = f"layers.{i}.", f"encoder.layer.{i}.", f"h.{i}."
        if kind == "gpt2":
            parts: dict[str, tuple[str, ...]] = {
                "norm1": ("ln_1",), "attention.qkv": ("attn.c_attn",), "attention.out": ("attn.c_proj",),
                "norm2": ("ln_2",), "mlp.0": ("mlp.c_fc",), "mlp.2": ("mlp.c_proj",),
            }  # fmt: skip
        else:
            before = kind == "megatron-bert"
            parts = {
                "norm1": ("attention.ln" if before else "attention.output.LayerNorm",),
                "attention.qkv": tuple(f"attention.self.{part}" for part in ("query", "key", "value")),
                "attention.out": ("attention.output.dense",),
                "norm2": ("ln" if before else "output.LayerNorm",),
                "mlp.0": ("intermediate.dense",),
                "mlp.2": ("output.dense",),
            }
        within = gpt2 if kind == "gpt2" else bert
        for part, theirs in parts.items():
            for leaf in ("weight", "bias"):
                found[f"{ours}{part}.{leaf}"] = tuple(f"{within}{one}.{leaf}" for one in theirs)
    embedding, places = ("wte", "wpe") if kind == "gpt2" else (
        "embeddings.word_embeddings", "embeddings.position_embeddings")  # fmt: skip
    found |= {"embedding.weight": (f"{embedding}.weight",), "places.weight": (f"{places}.weight",)}
    last = {"gpt2": ("norm", "ln_f"), "megatron-bert": ("norm", "encoder.ln")}.get(
        kind, ("embedding_norm", "embeddings.LayerNorm"))  # fmt: skip
    return found | {f"{last[0]}.{leaf}": (f"{last[1]}.{leaf}",) for leaf in ("weight", "bias")}


_TYPES = "embeddings.token_type_embeddings.weight"


def types_of(weights: Mapping[str, Tensor], kind: str) -> int:
    """Return how many texts of a row the weights tell apart, by a vector each; 0: none."""
    found = weights.get(_prefix(weights, kind) + _TYPES)
    return 0 if found is None or len(found) < 2 else len(found)


def take(
    weights: Mapping[str, Tensor], kind: str, depth: int, *, types: bool = False
) -> tuple[dict[str, Tensor], set[str], list[str]]:
    """Return (our name → tensor, names in the file that were used, names that it lacks).

    Args:
        weights: of the file.
        kind: of the layout.
        depth: blocks.
        types: whether our network tells the texts of a row apart; else every token is taken to be of BERT's first
            type, whose vector joins the places'.
    """
    prefix = _prefix(weights, kind)
    found, used, missing = {}, set(), []
    for ours, theirs in names_of(kind, depth).items():
        names = [_old(weights, prefix + name) for name in theirs]
        if lost := [name for name in names if name not in weights]:
            missing += lost
            continue
        used.update(names)
        parts = [_turned(weights[name], kind, ours) for name in names]
        found[ours] = parts[0] if len(parts) == 1 else torch.cat(parts)
    if kind == "roberta" and "places.weight" in found:
        found["places.weight"] = found["places.weight"][_SHIFT:]
    if prefix + _TYPES in weights and "places.weight" in found:
        used.add(prefix + _TYPES)
        if types:
            found["types.weight"] = weights[prefix + _TYPES]
        else:
            found["places.weight"] = found["places.weight"] + weights[prefix + _TYPES][0]
    return found, used, missing


def give(weights: Mapping[str, Tensor], kind: str, depth: int, *, prefix: str = "") -> dict[str, Tensor]:
    """Return our backbone's `weights` under the names of the layout; `take` reads them back.

    Biases that the network has none of are noughts there.

    Args:
        weights: our name → tensor.
        kind: of the layout.
        depth: blocks.
        prefix: before every name ("bert.").
    """
    found = {}
    for ours, theirs in names_of(kind, depth).items():
        own = weights.get(ours)
        if own is None:  # a bias
            own = torch.zeros(len(weights[ours.removesuffix("bias") + "weight"]))
        parts = own.chunk(len(theirs)) if len(theirs) > 1 else (own,)
        for name, part in zip(theirs, parts, strict=True):
            found[prefix + name] = _turned(part, kind, ours).contiguous()
    if kind != "gpt2":
        types = weights.get("types.weight")
        found[prefix + _TYPES] = torch.zeros(2, weights["embedding.weight"].shape[1]) if types is None else types
    return found


_HEADS: dict[str, dict[str, str]] = {
    "bert": {
        "transform.0": "cls.predictions.transform.dense", "transform.2": "cls.predictions.transform.LayerNorm",
        "bias": "cls.predictions.bias", "weight": "cls.predictions.decoder.weight",
    },
    "roberta": {
        "transform.0": "lm_head.dense", "transform.2": "lm_head.layer_norm", "bias": "lm_head.bias",
        "weight": "lm_head.decoder.weight",
    },
    "gpt2": {"weight": "lm_head.weight"},
}  # fmt: skip
_HEADS["megatron-bert"] = _HEADS["bert"]
"""Kind → part of our language-model head → what the layout calls it, always without prefix."""


def take_head(weights: Mapping[str, Tensor], config: Json) -> dict[str, Tensor] | None:
    """Return the language-model head in a file, under our names (`heads.language`), all but its weight, which is tied.

    Returns:
        None where there is no such head, or one that ours cannot be: a weight of its own, another activation.
    """
    kind = str(config["model_type"])
    if config.get("tie_word_embeddings", True) is not True or config.get("hidden_act", "gelu") != "gelu":
        return None
    found = {ours: weights[theirs] for ours, theirs in head_names(kind).items() if theirs in weights}
    found.pop("weight", None)  # the embedding's
    return found if len(found) == len(head_names(kind)) - 1 else None


def give_head(weights: Mapping[str, Tensor], kind: str) -> dict[str, Tensor]:
    """Return a language-model head of ours, all but its tied weight, under the names of the layout."""
    return {theirs: weights[ours] for ours, theirs in head_names(kind).items() if ours != "weight"}


def head_names(kind: str) -> dict[str, str]:
    """Return our names of the head's weights → those of the layout."""
    found: dict[str, str] = {}
    for ours, theirs in _HEADS[kind].items():
        leaves = ("weight", "bias") if ours.startswith("transform") else ("",)
        found |= {f"{ours}.{leaf}".rstrip("."): f"{theirs}.{leaf}".rstrip(".") for leaf in leaves}
    return found


def _prefix(weights: Mapping[str, Tensor], kind: str) -> str:
    """Return what stands before the names of the layout in a file ("bert.", "transformer.", …)."""
    first = "wte.weight" if kind == "gpt2" else "embeddings.word_embeddings.weight"
    return next((name.removesuffix(first) for name in weights if name.endswith(first)), "")


def _old(weights: Mapping[str, Tensor], name: str) -> str:
    """Return `name`, or how TensorFlow's files called it (`LayerNorm.gamma`, `LayerNorm.beta`) where they do."""
    old = name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")
    return old if name not in weights and old in weights else name


def _turned(tensor: Tensor, kind: str, ours: str) -> Tensor:
    """Return a weight as the other side has it: GPT-2 keeps those of linear layers transposed."""
    linear = any(part in ours for part in ("attention.", "mlp.")) and ours.endswith("weight")
    return tensor.T if kind == "gpt2" and linear else tensor
