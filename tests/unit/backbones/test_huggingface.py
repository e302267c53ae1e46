"""Networks of the library transformers: what is refused, in one line each; the conformance suite checks the rest."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from bodh.backbones import _names, huggingface
from bodh.errors import ConfigError, ModelError, UnknownName
from bodh.model.manifest import NetworkEntry
from bodh.model.networks import build
from bodh.train.freeze import Freezer

pytest.importorskip("tokenizers", reason="the extra 'text' is not installed")

BERT = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}


def _built(model: str, **settings: Any) -> huggingface.HuggingFace:
    return huggingface.build(shape=(12,), vocabulary=40, padding=0, model=model, **settings)


@pytest.mark.parametrize(
    ("model", "settings", "error", "told"),
    [
        ("", {}, ConfigError, "needs the kind of network, or weights; type huggingface:bert, or .* weights=FOLDER"),
        ("bort", {}, UnknownName, "bort"),
        ("bert", {"hiden_size": 3}, ConfigError, "backbone.hiden_size: no setting of bert .did you mean 'hidden_size'"),
        ("bert", {"hidden_size": 30, "num_attention_heads": 4}, ConfigError, "'bert' cannot be built with .*multiple"),
        ("bert", {"pool": "max"}, ConfigError, "backbone.pool: 'max' is not one of: mean, first, last"),
        ("bert", {**BERT, "causal": True}, ConfigError, "sees later tokens.*--backbone transformer, huggingface:gpt2"),
        ("bert", {**BERT, "max_position_embeddings": 8}, ConfigError, "up to 8 tokens, but rows have up to 12"),
        ("albert", {}, ConfigError, "embedding 128 wide and tokens of 4096"),
        ("bart", {"d_model": 16, "encoder_layers": 1}, ConfigError, "its encoder is not offered alone"),
        ("vit", {}, ConfigError, "'vit' reads no texts; allowed are bert"),
    ],
)
def test_what_does_not_go_is_told(model, settings, error, told) -> None:
    with torch.device("meta") if model == "albert" else torch.device("cpu"), pytest.raises(error, match=told):
        _built(model, **settings)


def test_its_spec_holds_plain_values_alone() -> None:
    spec = _built("bert", **BERT).spec
    NetworkEntry.model_validate({"room": spec.room, "name": spec.name, "arguments": dict(spec.arguments)})
    assert spec.arguments["causal"] is False
    with pytest.raises(ModelError, match="paths and addresses are not allowed"):
        build({"backbone": _names.spec_for("huggingface:bert", shape=(12,), arguments={"hidden_act": "../gelu"})})


def test_stages_freeze_from_the_input() -> None:
    network = _built("gpt2", n_embd=16, n_layer=3, n_head=2)
    Freezer(network, network, held=("embed", "block1"), gradual=0, norms=False)
    frozen = {name for name, p in network.named_parameters() if not p.requires_grad}
    assert {name.split(".")[1] for name in frozen} == {"wte", "wpe", "h"}
    assert all(".h.0." in name for name in frozen if ".h." in name)
    assert network.network.ln_f.weight.requires_grad


def test_a_text_longer_than_the_context_or_the_cache_is_refused() -> None:
    network = _built("gpt2", n_embd=16, n_layer=1, n_head=2, n_positions=16).eval()
    with pytest.raises(ConfigError, match="a text of 17 tokens is longer"):
        network.start(1, 17)
    cache = network.start(1, 2)
    with pytest.raises(ConfigError, match="3 tokens do not fit into a cache of 2"):
        network.advance(torch.ones(1, 3, dtype=torch.long), cache)
    assert _built("bert", **BERT).start(1, 4) is None
