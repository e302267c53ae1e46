"""Folders for the library transformers: what others read in them, what they refuse, and that nothing else is lost."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from bodh import _optional
from bodh.backbones import _text_weights
from bodh.errors import ConfigError, ModelError, OutputError
from bodh.exporters.export import export_model, parity_path
from bodh.exporters.formats import transformers as format_
from bodh.model.loaded import LoadedModel, load_model
from bodh.model.networks import build
from bodh.testing.formats import TEXTS, small_model, small_text_model

pytest.importorskip("tokenizers", reason="the extra 'text' is not installed")

BERT = {"norm": "post", "embedding_norm": True}
KINDS = {
    "megatron-bert": ({}, "MegatronBertForMaskedLM"),
    "bert": (BERT, "BertForMaskedLM"),
    "gpt2": ({"causal": True, "activation": "gelu_tanh"}, "GPT2LMHeadModel"),
}


def _model(folder: Path, **arguments: Any) -> LoadedModel:
    return load_model(small_text_model(folder / "model", **arguments))


@pytest.mark.parametrize("kind", KINDS)
def test_language_models_of_every_layout(kind, tmp_path) -> None:
    arguments, name = KINDS[kind]
    out = tmp_path / "out"
    found = export_model(_model(tmp_path, speaks=True, **arguments), "transformers", out)
    assert {one.output for one in found} == {"embedding", "logits"}
    assert json.loads((out / "config.json").read_text())["architectures"] == [name]
    library = _optional.transformers("this test")
    tokenizer = library.AutoTokenizer.from_pretrained(out, local_files_only=True)
    ids = tokenizer(TEXTS[0])["input_ids"]
    assert tokenizer.convert_ids_to_tokens([ids[0], ids[-1]]) == ["[CLS]", "[SEP]"]
    assert tokenizer.mask_token == "[MASK]"


def test_the_library_reads_a_text_as_the_model_does(tmp_path) -> None:
    model = _model(tmp_path, **BERT)
    export_model(model, "transformers", tmp_path / "out")
    library = _optional.transformers("this test")
    tokenizer = library.AutoTokenizer.from_pretrained(tmp_path / "out", local_files_only=True)
    for text in TEXTS:
        assert tokenizer(text)["input_ids"] == model.modality.decode(text.encode()).tolist()


def test_what_was_written_is_a_start_for_us(tmp_path) -> None:
    model = _model(tmp_path, pool="last", **BERT)
    export_model(model, "transformers", tmp_path / "out")
    folder = _text_weights.open_folder(tmp_path / "out")
    records = model.modality.network_arguments
    found = _text_weights.fit("transformer", folder, shape=(24,), arguments={}, records=records)
    network = build({"backbone": found.spec})["backbone"].eval()
    found.fill(network)
    assert found.spec.arguments["pool"] == "last"
    ids = torch.from_numpy(model.records())
    with torch.no_grad():
        torch.testing.assert_close(network(ids), model.network["backbone"](ids))


def test_without_the_library_the_folder_is_read_back(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(format_, "find_spec", lambda _name: None)
    found = export_model(_model(tmp_path, speaks=True), "transformers", tmp_path / "out")
    assert {one.output for one in found} == {"embedding", "logits"}


def test_a_network_of_the_library_goes_back_as_its_kind(tmp_path) -> None:
    model = _model(tmp_path, backbone="huggingface", model="distilbert", dim=16, n_layers=2, n_heads=2, hidden_dim=32)
    export_model(model, "transformers", tmp_path / "out")
    told = json.loads((tmp_path / "out" / "config.json").read_text())
    assert (told["model_type"], told["architectures"]) == ("distilbert", ["DistilBertModel"])
    assert told["vocab_size"] == model.modality.network_arguments["vocabulary"]


def test_a_block_in_between(tmp_path) -> None:
    from bodh.model.save import remember_block

    folder = small_text_model(tmp_path / "model")
    remember_block(folder, "block1", 1, measured={})
    model = load_model(folder)
    export_model(model, "transformers", tmp_path / "out", capability="embed")
    assert not (tmp_path / "out" / "modules.json").exists()  # sentence-transformers would take the last one


@pytest.mark.parametrize(
    ("arguments", "error", "told"),
    [
        ({"positions": "rotary"}, ModelError, "no published layout has positions=rotary"),
        ({"norm": "post"}, ModelError, "norm=post, causal=false, embedding_norm=false"),
        ({"speaks": True, "activation": "relu"}, ModelError, "it has gelu and eps=1e-05, the network relu .*embed"),
    ],
)
def test_networks_that_have_no_layout(arguments, error, told, tmp_path) -> None:
    with pytest.raises(error, match=told):
        export_model(_model(tmp_path, **arguments), "transformers", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert [entry.name for entry in tmp_path.iterdir()] == ["model"]


def test_images_and_classifiers_are_refused(tmp_path) -> None:
    model = load_model(small_model(tmp_path / "model"))
    with pytest.raises(ConfigError, match="for models of texts, this one reads image records; type --format onnx"):
        export_model(model, "transformers", tmp_path / "out")


def test_a_folder_that_holds_something_else_is_never_replaced(tmp_path) -> None:
    model, out = _model(tmp_path), tmp_path / "out"
    export_model(model, "transformers", out)
    with pytest.raises(OutputError, match="exists already"):
        export_model(model, "transformers", out)
    before = (out / "model.safetensors").stat().st_ino
    export_model(model, "transformers", out, overwrite=True)
    assert (out / "model.safetensors").stat().st_ino != before
    assert parity_path(out).is_file()
    (out / "letters.txt").write_text("dear")
    with pytest.raises(OutputError, match=r"holds other things .letters\.txt. and is not replaced"):
        export_model(model, "transformers", out, overwrite=True)
    assert (out / "letters.txt").read_text() == "dear"
