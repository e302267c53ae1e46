"""transformers: a folder that the library transformers, and sentence-transformers, load as one of their own models.

`config.json`, `model.safetensors` and the tokenizer, for texts only: BERT where blocks normalise last, Megatron-BERT
where they normalise first, GPT-2 where causal; a backbone of that library goes back as the kind that it is. A language
model's head goes along; a classifier of ours has no place there. Where the library is installed the folder is proven
by loading it with it, else by reading it back.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from bodh import _optional
from bodh.contracts import Json
from bodh.errors import ConfigError, ModelError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from bodh.model.capabilities import Capability

SUFFIX = ""
"""A folder."""
MODALITIES = ("text",)
FILES = (
    *("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "modules.json"),
    *("sentence_bert_config.json", "config_sentence_transformers.json", "generation_config.json"),
    "1_Pooling",
)
"""What lies in the folder; one that holds anything else is never replaced."""

FEATURE = "the check of a folder for transformers"
_CLASSES = {
    "bert": ("BertModel", "BertForMaskedLM"),
    "megatron-bert": ("MegatronBertModel", "MegatronBertForMaskedLM"),
    "gpt2": ("GPT2Model", "GPT2LMHeadModel"),
}
_POOLS = {"mean": "mean_tokens", "first": "cls_token", "last": "lasttoken"}


def write(capability: Capability, example: np.ndarray, path: Path, *, manifest: Json) -> None:  # noqa: ARG001
    """Write the folder `path`.

    Raises:
        ConfigError: the model reads no texts, or has a classifier, which has no place there.
        ModelError: no published layout has such a network.
    """
    from safetensors.torch import save_file

    backbone = cast("Any", capability.backbone)
    if manifest["modality"]["name"] not in MODALITIES or "vocabulary" not in backbone.spec.arguments:
        raise ConfigError(
            f"format transformers: it is for models of texts, this one reads {manifest['modality']['name']} records; "
            "type --format onnx"
        )
    if capability.head is not None and (capability.task != "tokens" or _foreign(backbone)):
        raise ConfigError(
            "format transformers: its models have no place for this model's head; type --capability embed for the "
            "network without it, or --format onnx for both"
        )
    special = manifest["modality"]["config"]["special"]
    config, weights = _of_library(backbone) if _foreign(backbone) else _ours(capability, special)
    path.mkdir()
    plain = {name: tensor.contiguous() for name, tensor in weights.items()}
    save_file(plain, path / FILES[1], metadata={"format": "pt"})
    _json(path / FILES[0], config)
    length = int(backbone.spec.arguments["shape"][0])
    _tokenizer(path, capability.files["tokenizer.json"], special, length)
    if capability.head is None and capability.block is None:
        _sentences(path, pool=str(backbone.spec.arguments["pool"]), width=int(backbone.dim), length=length)


def load(path: Path, *, capability: Capability) -> Callable[[np.ndarray], dict[str, np.ndarray]]:
    """Return the folder as a function from ids `[n t]` to named arrays, on the library where it is installed."""
    if find_spec("transformers") is None:
        from bodh.exporters.weights import filled

        return filled(capability, _read_back(path, capability))
    import torch

    from bodh.backbones._stages import pooled_tokens
    from bodh.backbones._transformers import quiet

    library = _optional.transformers(FEATURE)
    backbone = cast("Any", capability.backbone)
    config = json.loads((path / FILES[0]).read_text(encoding="utf-8"))
    kind = getattr(library, config["architectures"][0])
    with quiet():
        network = kind.from_pretrained(path, local_files_only=True, use_safetensors=True, dtype=torch.float32).eval()
    if backbone.causal:
        network.config.pad_token_id = None  # padding lies at the end, where nothing sees it: no warning that it is seen
    place = -1 if capability.block is None else backbone.block_names.index(capability.block)

    def compute(rows: np.ndarray) -> dict[str, np.ndarray]:
        ids = torch.from_numpy(rows)
        real = ids != backbone.padding
        seen = None if backbone.causal else (real | ~real.any(dim=1, keepdim=True)).long()
        with torch.inference_mode():
            out = network(input_ids=ids, attention_mask=seen, output_hidden_states=True)
            pooled = pooled_tokens(out.hidden_states[place], real, backbone.pool)
        found = {"embedding": pooled.numpy()}
        return found | ({"logits": out.logits.numpy()} if hasattr(out, "logits") else {})

    return compute


def _foreign(backbone: Any) -> bool:
    return bool(backbone.spec.name == "huggingface")


def _of_library(backbone: Any) -> tuple[Json, dict[str, Tensor]]:
    """Return (config.json, weights) of a network that is the library's own."""
    network = backbone.network
    config = network.config.to_diff_dict() | {
        "architectures": [type(network).__name__], "pad_token_id": backbone.padding, "vocab_size": backbone.vocabulary,
    }  # fmt: skip
    shared: set[int] = set()
    weights = {}
    for name, tensor in network.state_dict().items():
        if tensor.data_ptr() not in shared:  # what is tied is kept once, as the library does it
            shared.add(tensor.data_ptr())
            weights[name] = tensor.detach()
    return config, weights


def _ours(capability: Capability, special: Mapping[str, int | None]) -> tuple[Json, dict[str, Tensor]]:
    """Return (config.json, weights) of our Transformer, and of its language-model head where there is one."""
    from bodh.backbones import _layouts

    backbone = cast("Any", capability.backbone)
    if backbone.spec.name != "transformer":
        raise ModelError(
            f"format transformers: the backbone {backbone.spec.name!r} has no published layout; allowed are "
            "transformer and huggingface; type --format onnx or safetensors"
        )
    arguments = backbone.spec.arguments
    kind = _layouts.kind_of(arguments)
    told = _layouts.configuration(kind, arguments, special=special)
    headed = capability.head is not None
    prefix = {"gpt2": "transformer."}.get(kind, "bert.") if headed else ""
    weights = _layouts.give(backbone.state_dict(), kind, int(arguments["depth"]), prefix=prefix)
    if capability.head is not None:
        weights |= _layouts.give_head(_fitting(capability.head, backbone, kind), kind)
    return {"architectures": [_CLASSES[kind][headed]], "dtype": "float32", **told}, weights


def _fitting(head: nn.Module, backbone: Any, kind: str) -> dict[str, Tensor]:
    """Return the weights of a language-model head that the layout `kind` can hold.

    Raises:
        ModelError: it has the embedding as its weight no more, or is of the other sort.
    """
    import torch

    weights = head.state_dict()
    told = cast("Any", head).spec.arguments
    wrong = None
    if not torch.equal(weights["weight"], backbone.embedding.weight):
        wrong = "its output weight is not the embedding"
    elif told["transform"] is not (kind != "gpt2"):
        wrong = f"it is made for {'an encoder' if told['transform'] else 'a decoder'}"
    elif told["transform"] and (told["eps"], "gelu") != (backbone.eps, backbone.spec.arguments["activation"]):
        inner = backbone.spec.arguments["activation"]
        wrong = f"it has gelu and eps={told['eps']}, the network {inner} and {backbone.eps}"
    if wrong is not None:
        raise ModelError(
            f"format transformers: a {kind} model cannot hold this head: {wrong}; type --capability embed for the "
            "network without it"
        )
    return weights


def _read_back(path: Path, capability: Capability) -> dict[str, Tensor]:
    """Return the weights of a written folder under the names of the capability's networks."""
    from bodh.backbones import _layouts
    from bodh.backbones._text_weights import open_folder

    folder = open_folder(path)
    backbone = cast("Any", capability.backbone)
    arguments = backbone.spec.arguments
    found, _, missing = _layouts.take(
        folder.file.weights, folder.kind, int(arguments["depth"]), types=bool(arguments.get("types"))
    )
    if missing:
        raise ModelError(f"format transformers: {missing[0]} is missing in the folder that was written")
    names = set(cast("nn.Module", backbone).state_dict())
    weights = {f"backbone.{name}": tensor for name, tensor in found.items() if name in names}
    if capability.head is not None:
        head = _layouts.take_head(folder.file.weights, folder.config) or {}
        weights |= {f"head.{name}": tensor for name, tensor in head.items()}
        weights["head.weight"] = found["embedding.weight"]
    return weights


def _tokenizer(path: Path, definition: bytes, special: Mapping[str, int | None], length: int) -> None:
    """Write the tokenizer so that the library, too, puts begin and end around every text."""
    lib = _optional.require("tokenizers", extra="text", feature="a tokenizer")
    tokenizer = lib.Tokenizer.from_str(definition.decode("utf-8"))
    names = {role: tokenizer.id_to_token(place) for role, place in special.items() if place is not None}
    around = [names[role] for role in ("begin", "end") if role in names]
    if tokenizer.encode("").tokens != around:
        pieces = [(token, tokenizer.token_to_id(token)) for token in sorted(set(around))]
        form = " ".join([*around[:-1], "$A", around[-1]])
        tokenizer.post_processor = lib.processors.TemplateProcessing(single=form, special_tokens=pieces)
    tokenizer.no_padding()
    tokenizer.no_truncation()
    (path / FILES[2]).write_text(tokenizer.to_str(), encoding="utf-8")
    called = {"padding": "pad", "unknown": "unk", "begin": "cls", "end": "sep", "mask": "mask"}
    told = {f"{called[role]}_token": token for role, token in names.items()}
    told |= {"bos_token": names.get("begin", names["end"]), "eos_token": names["end"]}
    _json(path / FILES[3], {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": length, **told})


def _sentences(path: Path, *, pool: str, width: int, length: int) -> None:
    """Write how sentence-transformers pools the tokens."""
    modules = [("", "Transformer"), ("1_Pooling", "Pooling")]
    _json(
        path / FILES[4],
        [
            {"idx": number, "name": str(number), "path": place, "type": f"sentence_transformers.models.{kind}"}
            for number, (place, kind) in enumerate(modules)
        ],
    )
    _json(path / FILES[5], {"max_seq_length": length, "do_lower_case": False})
    (path / "1_Pooling").mkdir()
    modes = {f"pooling_mode_{theirs}": ours == pool for ours, theirs in _POOLS.items()}
    _json(path / "1_Pooling" / "config.json", {"word_embedding_dimension": width, **modes})


def _json(file: Path, content: Any) -> None:
    file.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
