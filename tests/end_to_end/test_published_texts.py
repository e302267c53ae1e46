"""Published language models as a user takes them: from the folder straight into every verb, or as a start."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import bodh
from bodh.errors import ConfigError, ModelError
from bodh.testing.formats import TEXTS, small_text_model

pytest.importorskip("tokenizers", reason="the extra 'text' is not installed")

LABELLED = (
    [f"good {text}" for text in TEXTS * 3] + [f"bad {text}" for text in TEXTS * 3],
    ["good"] * 24 + ["bad"] * 24,
)


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A masked language model of ours; nothing is taught."""
    place = tmp_path_factory.mktemp("ours")
    return small_text_model(place / "model", speaks=True, norm="post", embedding_norm=True)


@pytest.fixture(scope="module")
def published(ours, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same in the layout of the library transformers."""
    folder = tmp_path_factory.mktemp("published") / "bert"
    bodh.export(ours, format="transformers", out=folder)
    return folder


def test_it_is_used_as_it_is(ours, published) -> None:
    model = bodh.load(published)
    assert sorted(model.manifest.capabilities) == ["embed", "fill"]
    assert model.manifest.provenance["published"]["network"] == "transformer"
    texts = list(TEXTS)
    np.testing.assert_allclose(model.embed(texts), bodh.load(ours).embed(texts), atol=1e-5)
    assert bodh.load(published).folder == model.folder  # made once


def test_a_published_network_without_a_layout_of_ours_is_the_librarys(published, tmp_path) -> None:
    from bodh import _optional

    library = _optional.transformers("this test")
    config = library.DistilBertConfig(dim=16, n_layers=2, n_heads=2, hidden_dim=32, vocab_size=64)
    library.DistilBertModel(config).save_pretrained(tmp_path / "distil")
    (tmp_path / "distil" / "tokenizer.json").write_bytes((published / "tokenizer.json").read_bytes())
    model = bodh.load(tmp_path / "distil")
    assert model.manifest.networks["backbone"].name == "huggingface"
    assert model.embed(["a text"]).shape == (1, 16)


def test_without_a_tokenizer_it_is_refused(published, tmp_path) -> None:
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).write_bytes((published / name).read_bytes())
    with pytest.raises(ConfigError, match=r"has no tokenizer\.json"):
        bodh.load(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(ModelError, match="holds no weights"):
        bodh.load(tmp_path)
    with pytest.raises(ModelError, match="holds no weights"):
        bodh.finetune(LABELLED, start=tmp_path)


def test_a_name_of_the_hub_is_fetched(published, monkeypatch) -> None:
    from bodh.backbones import _text_weights

    asked = []
    monkeypatch.setattr(_text_weights, "fetch", lambda name: asked.append(name) or published)
    assert bodh.load("hf:someone/tiny-bert").folder.name.startswith("tiny-bert-")
    assert asked == ["hf:someone/tiny-bert"]


def test_its_folder_alone_is_a_start(published, tmp_path) -> None:
    quick = {"epochs": 1, "batch": 8, "progress": "none", "monitor_records": 0, "device": "cpu"}
    frozen = bodh.finetune(LABELLED, start=str(published), freeze="backbone", out=tmp_path / "frozen")
    assert frozen.predict("good old days").records[0]["class"] in {"good", "bad"}
    told = frozen.manifest.provenance["notes"]["published"]
    assert told["network"] == "transformer"
    np.testing.assert_allclose(frozen.embed(["a text"]), bodh.load(published).embed(["a text"]), atol=1e-6)
    trained = bodh.finetune(LABELLED, start=published, freeze="none", out=tmp_path / "trained", **quick)
    assert trained.manifest.provenance["notes"]["published"] == told
    again = bodh.pretrain(list(TEXTS) * 4, objective="masked_lm", start=published, out=tmp_path / "again", **quick)
    assert again.manifest.provenance["notes"]["published"] == told
    assert "fill" in again.manifest.capabilities


@pytest.mark.parametrize("backbone", ["transformer", "huggingface"])
def test_it_is_a_start_for_classes(backbone, published, tmp_path) -> None:
    model = bodh.finetune(
        LABELLED,
        start=backbone,
        weights=str(published),
        freeze="backbone",
        out=tmp_path / "run",
        **{"modality.length": 24},
    )
    assert model.predict(["good a text"])[0]["class"] in ("good", "bad")
    assert model.manifest.provenance["notes"]["published"]["sha256"]
    given = json.loads((model.folder / "model.json").read_text())["networks"]["backbone"]["arguments"]
    assert given["vocabulary"] == bodh.load(published).manifest.networks["backbone"].arguments["vocabulary"]


def test_learning_without_labels_goes_on_with_its_head(published, tmp_path) -> None:
    model = bodh.pretrain(
        LABELLED[0], objective="masked_lm", backbone="transformer", weights=str(published), out=tmp_path / "run",
        epochs=1, **{"modality.length": 24},
    )  # fmt: skip
    assert "fill" in model.manifest.capabilities
    assert model.manifest.networks["head"].arguments["eps"] == 1e-5


def test_a_decoder_is_no_start_for_masks(published, tmp_path) -> None:
    with pytest.raises(ConfigError, match=r"'causal_lm' guesses the next token.*causal=false"):
        bodh.pretrain(
            LABELLED[0], objective="causal_lm", backbone="transformer", weights=str(published), out=tmp_path / "run",
            epochs=1, **{"modality.length": 24},
        )  # fmt: skip
