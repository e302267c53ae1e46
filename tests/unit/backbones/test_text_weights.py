"""Published language models on disk: what is found beside the weights, and what is refused, in one line each."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from bodh.api import _published
from bodh.backbones import _layouts, _text_weights, transformer
from bodh.errors import ConfigError, ModelError, UnknownName
from bodh.model.networks import build

SETTINGS = {"width": 16, "depth": 2, "heads": 2, "norm": "post", "embedding_norm": True, "eps": 1e-12, "context": 20}
RECORDS = {"vocabulary": 30, "padding": 0}


def _network(**settings: Any) -> transformer.Transformer:
    torch.manual_seed(0)
    return transformer.build(shape=(16,), vocabulary=32, padding=0, **(SETTINGS | settings)).eval()


def _folder(path: Path, network: Any, prefix: str = "bert.") -> dict[str, Tensor]:
    """Write `network` as published ones come and return the weights."""
    arguments = network.spec.arguments
    kind = _layouts.kind_of(arguments)
    weights = _layouts.give(network.state_dict(), kind, arguments["depth"], prefix=prefix)
    path.mkdir(exist_ok=True)
    save_file(weights, path / "model.safetensors")
    config = _layouts.configuration(kind, arguments, special={"padding": 0, "begin": 1, "end": 2})
    (path / "config.json").write_text(json.dumps(config))
    return weights


def _fit(path: Path, **arguments: Any) -> Any:
    folder = _text_weights.open_folder(path)
    return _text_weights.fit("transformer", folder, shape=(16,), arguments=arguments, records=RECORDS)


def _same(found: Any, network: Any) -> None:
    again = build({"backbone": found.spec}, seed=3)["backbone"].eval()
    found.fill(again)
    ids = torch.randint(1, 30, (2, 9), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        torch.testing.assert_close(again(ids), network(ids))


@pytest.mark.parametrize(
    "settings",
    [{}, {"norm": "pre", "embedding_norm": False}, {"norm": "pre", "embedding_norm": False, "causal": True}],
    ids=["bert", "megatron-bert", "gpt2"],
)
@pytest.mark.parametrize("prefix", ["", "model.inner."])
def test_what_is_written_is_read(settings, prefix, tmp_path) -> None:
    network = _network(**settings)
    _folder(tmp_path, network, prefix)
    found = _fit(tmp_path)
    assert found.spec.arguments["vocabulary"] == 30  # the network's 32 rows are cut to the tokenizer's ids
    _same(found, network)


def test_parts_of_a_large_model_are_put_together(tmp_path) -> None:
    network = _network()
    weights = _folder(tmp_path, network)
    (tmp_path / "model.safetensors").unlink()
    names = sorted(weights)
    parts = {"a.safetensors": names[:10], "b.safetensors": names[10:]}
    for part, held in parts.items():
        save_file({name: weights[name] for name in held}, tmp_path / part)
    told = {"weight_map": {name: part for part, held in parts.items() for name in held}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(told))
    _same(_fit(tmp_path), network)
    told["weight_map"]["x"] = "../a.safetensors"
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(told))
    with pytest.raises(ModelError, match="holds no weights"):
        _fit(tmp_path)


def test_old_names_of_normalisations(tmp_path) -> None:
    network = _network()
    weights = _folder(tmp_path, network)
    old = {
        name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): tensor
        for name, tensor in weights.items()
    }
    save_file(old, tmp_path / "model.safetensors")
    _same(_fit(tmp_path), network)


def test_the_first_kind_of_token_joins_the_places(tmp_path) -> None:
    weights = _folder(tmp_path, _network())
    kinds = torch.randn(2, 16)
    weights["bert.embeddings.token_type_embeddings.weight"] = kinds
    save_file(weights, tmp_path / "model.safetensors")
    found = _fit(tmp_path)
    assert torch.equal(found.weights["places.weight"], weights["bert.embeddings.position_embeddings.weight"] + kinds[0])


def test_a_file_without_its_config_needs_the_heads(tmp_path) -> None:
    network = _network(eps=1e-12)
    _folder(tmp_path, network)
    (tmp_path / "config.json").unlink()
    with pytest.raises(ConfigError, match=r"model\.safetensors has no config\.json .* type backbone\.heads=N"):
        _fit(tmp_path / "model.safetensors")
    _same(_fit(tmp_path / "model.safetensors", heads=2), network)


def test_pooling_of_sentences_is_taken_over(tmp_path) -> None:
    _folder(tmp_path, _network())
    (tmp_path / "1_Pooling").mkdir()
    (tmp_path / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode_cls_token": True}))
    assert _fit(tmp_path).spec.arguments["pool"] == "first"
    assert _fit(tmp_path, pool="last").spec.arguments["pool"] == "last"


def _spoil(change: dict[str, Any], path: Path) -> None:
    config = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps(config | change))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"model_type": "bart"}, "a 'bart' model; the backbone transformer reads bert, .*--backbone huggingface"),
        ({"position_embedding_type": "relative_key"}, "position_embedding_type='relative_key'"),
        ({"hidden_act": "swish"}, "the activation 'swish'; allowed are gelu"),
        ({"num_hidden_layers": 3}, "does not fit its config.json: 16 weights are missing .first: .*layer.2"),
        ({"intermediate_size": 32}, r"does not fit its config.json: layers.0.mlp.0.weight is \[64, 16\], .*\[32, 16\]"),
    ],
)
def test_a_config_that_does_not_go_is_told(change, told, tmp_path) -> None:
    _folder(tmp_path, _network())
    _spoil(change, tmp_path)
    with pytest.raises(ModelError, match=told):
        _fit(tmp_path)


def test_settings_that_the_weights_contradict(tmp_path) -> None:
    _folder(tmp_path, _network())
    with pytest.raises(ConfigError, match=r"backbone\.width: 32 was asked for, but .* with width=16; leave it out"):
        _fit(tmp_path, width=32)
    assert _fit(tmp_path, width=16, dropout=0.3).spec.arguments["dropout"] == 0.3


def test_a_tokenizer_of_more_ids_than_the_weights_know(tmp_path) -> None:
    _folder(tmp_path, _network())
    folder = _text_weights.open_folder(tmp_path)
    with pytest.raises(ConfigError, match=r"it has 33 ids, but the weights .* know 32; they do not belong together"):
        _text_weights.fit("transformer", folder, shape=(16,), arguments={}, records={"vocabulary": 33, "padding": 0})


def test_rows_longer_than_the_places(tmp_path) -> None:
    _folder(tmp_path, _network())
    folder = _text_weights.open_folder(tmp_path)
    with pytest.raises(ConfigError, match=r"rows have up to 64 tokens; type modality\.length=20"):
        _text_weights.fit("transformer", folder, shape=(64,), arguments={}, records=RECORDS)


def test_damaged_and_missing_files(tmp_path) -> None:
    with pytest.raises(ModelError, match="nowhere is not there; allowed are the folder of a published language model"):
        _text_weights.open_folder(tmp_path / "nowhere")
    with pytest.raises(ModelError, match=r"holds no weights; allowed are folders with config\.json"):
        _text_weights.open_folder(tmp_path)
    _folder(tmp_path, _network())
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ModelError, match=r"config\.json cannot be read"):
        _text_weights.open_folder(tmp_path)


def test_a_network_without_a_layout_is_told() -> None:
    with pytest.raises(ModelError, match="no published layout has positions=rotary, norm=pre, causal=false"):
        _layouts.kind_of(_network(positions="rotary", norm="pre", embedding_norm=False).spec.arguments)


# ------------------------------------------------------------------------------------------- as a user asks for it


def test_the_tokenizer_beside_the_weights_is_taken(tmp_path) -> None:
    _folder(tmp_path, _network())
    _, ask = _published.asked("transformer", {"weights": str(tmp_path)})
    with pytest.raises(ConfigError, match=r"no tokenizer\.json beside model\.safetensors.*modality\.tokenizer=FILE"):
        _published.reading(ask, {}, "text")
    (tmp_path / "tokenizer.json").write_text("{}")
    _, ask = _published.asked("transformer", {"weights": str(tmp_path)})
    assert _published.reading(ask, {"a": 1}, "text") == {"a": 1, "modality.tokenizer": str(tmp_path)}
    with pytest.raises(ConfigError, match="'bpe' would be trained on these texts, and the weights would not know"):
        _published.reading(ask, {"modality.tokenizer": "bpe"}, "text")
    with pytest.raises(ConfigError, match=r"transformer reads texts, but the records are of kind image; .* resnet18"):
        _published.reading(ask, {}, "image")


def test_mistakes_in_what_is_asked_for(tmp_path) -> None:
    with pytest.raises(UnknownName, match="roberto"):
        _published.asked("huggingface:roberto", {"weights": str(tmp_path)})
    with pytest.raises(ConfigError, match="3 is neither the folder of a published language model nor its weights"):
        _published.asked("transformer", {"weights": 3})
    with pytest.raises(ConfigError, match="head: 'old' is not one of"):
        _published.asked("transformer", {"weights": str(tmp_path), "head": "old"})


def test_nothing_is_fetched_without_a_network(monkeypatch) -> None:
    monkeypatch.setattr(_text_weights, "reachable", lambda _url: False)
    with pytest.raises(ModelError, match=r"'hf:nobody/nothing-of-this-name' could not be fetched .* weights=FOLDER"):
        _text_weights.fetch("hf:nobody/nothing-of-this-name")
