"""Language models as models: what they can do, what is saved, how they write and fill, on small untrained ones."""

from __future__ import annotations

import json
import unicodedata

import numpy as np
import pytest
import torch
from torch import nn

import bodh
from bodh.backbones.transformer import build as transformer
from bodh.errors import ConfigError, DataError, ModelError, UnknownName
from bodh.heads.language import build as language
from bodh.model.pieces import after, closes_up, pieces
from bodh.model.save import save_model
from bodh.records.open import open_source

pytest.importorskip("tokenizers")

TEXTS = [
    "The cat sat on the mat.", "बोध का अर्थ है समझ। क्या ज्ञान शक्ति है?", "“Don't!” she said — 3,14 times…",
    "naïve café 👩‍🚀 x", "हिन्दी में लिखा हुआ वाक्य।", "a dog ran, and ran; it's fun.",
] * 3  # fmt: skip
KINDS = ("bpe", "wordpiece", "unigram", "characters")


def _model(folder, *, tokenizer="bpe", causal=True, length=32):
    from bodh.modalities.text import Modality, TextConfig

    modality = Modality.fit(open_source(TEXTS), TextConfig(tokenizer=tokenizer, vocabulary=400, length=length))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        backbone = transformer(
            shape=(length,), **modality.network_arguments, causal=causal, width=16, depth=1, heads=2, dropout=0.0
        )
        head = language(dim=16, vocabulary=backbone.vocabulary, transform=not causal)
        nn.init.normal_(head.weight, std=0.3)
    records = modality.standardise([modality.decode(text.encode()) for text in TEXTS])
    save_model(
        folder, network=nn.ModuleDict({"backbone": backbone, "head": head}), modality=modality, task="tokens",
        class_names=(), records=records, provenance={}, metrics={},
    )  # fmt: skip
    return bodh.load(folder)


@pytest.fixture(scope="module")
def writer(tmp_path_factory):
    return _model(tmp_path_factory.mktemp("writer") / "m")


@pytest.fixture(scope="module")
def filler(tmp_path_factory):
    return _model(tmp_path_factory.mktemp("filler") / "m", causal=False)


def test_capabilities(writer, filler):
    assert set(writer.manifest.capabilities) == {"embed", "generate"}
    assert set(filler.manifest.capabilities) == {"embed", "fill"}
    loaded = filler.loaded("cpu")
    told = filler.manifest.capabilities["fill"]
    vocabulary = loaded.network["backbone"].vocabulary
    assert (told.inputs[0].shape, told.outputs[0].shape) == (("n", "t"), ("n", "t", vocabulary))
    rows = loaded.records()[:3]
    out = loaded.compute(rows, loaded.capability("all"))
    assert list(out) == ["embedding", "logits"]
    np.testing.assert_array_equal(out["embedding"], loaded.compute(rows, loaded.capability("embed"))["embedding"])
    np.testing.assert_array_equal(out["logits"], loaded.compute(rows, loaded.capability("fill"))["logits"])
    tokens = loaded.network["backbone"].features(torch.from_numpy(rows)).tokens
    np.testing.assert_allclose(out["logits"], loaded.network["head"](tokens).detach(), atol=1e-5)
    with pytest.raises(UnknownName, match="predict"):
        loaded.capability("predict")
    for model in (writer, filler):
        assert "language model" in (model.folder / "README.md").read_text(encoding="utf-8")
        assert model.embed(["a text"]).shape == (1, 16)


def test_refusals(writer, filler):
    with pytest.raises(
        ModelError,
        match=r"does not generate texts: it can embed, fill; to fill gaps: bodh fill .* --objective causal_lm",
    ):
        filler.generate("a")
    with pytest.raises(
        ModelError, match=r"does not fill gaps in texts: it can embed, generate; .* --objective masked_lm"
    ):
        writer.fill("a ___")
    with pytest.raises(ConfigError, match="length = 0"):
        writer.generate("a", length=0)
    with pytest.raises(ConfigError, match="number"):
        writer.generate("a", beams=2, number=3)
    with pytest.raises(ConfigError, match="one text is written as it comes"):
        writer.generate(["a", "b"], stream=True)
    with pytest.raises(DataError, match="type int"):
        writer.generate([3])
    with pytest.raises(ConfigError, match="no such setting"):
        writer.generate("a", topk=3)
    with pytest.raises(DataError, match="has no gap to fill"):
        filler.fill("nothing missing")
    with pytest.raises(DataError, match="has a gap at token"):
        filler.fill("word " * 60 + "___")
    with pytest.raises(ConfigError, match="top: 0"):
        filler.fill("___", top=0)


def test_generate(writer):
    found = writer.generate(["The", "बोध"], length=12, number=2, seed=3)
    assert [record["prompt"] for record in found] == ["The", "The", "बोध", "बोध"]
    assert found[0]["text"] != found[1]["text"]
    assert found.texts[0].startswith("The")
    assert json.dumps(found.to_json())
    assert writer.generate("बोध", length=12, number=2, seed=3).records == found.records[2:]
    assert all(record["tokens"] <= 12 for record in found)
    greedy = writer.generate("The", length=9, temperature=0)
    assert greedy.records == writer.generate("The", length=9, temperature=0, seed=8, cache=False).records
    assert writer.generate(length=5)[0]["prompt"] == ""
    best = writer.generate("The", length=6, beams=4, number=2)
    assert best[0]["score"] >= best[1]["score"]


def test_a_prompt_longer_than_the_context_is_said(writer, caplog):
    with caplog.at_level("WARNING", logger="bodh"):
        found = writer.generate("the cat sat on the mat and ran " * 10, length=40, temperature=0)
    assert "this model sees 32 at a time: the last 32 count" in caplog.text
    assert found[0]["tokens"] == 40 or found[0]["ended"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_stream_is_the_text_in_whole_characters(tmp_path, kind):
    model = _model(tmp_path / "m", tokenizer=kind)
    for seed in range(3):
        whole = model.generate("The क्या", length=60, seed=seed, temperature=1.5)[0]
        stream = model.generate("The क्या", length=60, seed=seed, temperature=1.5, stream=True)
        parts = list(stream)
        assert "".join(parts) == whole["text"]
        assert len(parts) > 1
        assert stream.to_json() == {"records": [whole]}


@pytest.mark.parametrize("kind", KINDS)
def test_pieces_of_real_texts(writer, tmp_path, kind):
    """Texts of which each letter comes as several tokens: nothing is emitted that a later token changes."""
    modality = (writer if kind == "bpe" else _model(tmp_path / "m", tokenizer=kind)).loaded("cpu").modality
    closing = closes_up(modality.files()["tokenizer.json"])
    for text in TEXTS[:6]:
        ids = modality.encode(text)[:-1].tolist()
        for cut in (1, 3):
            parts = list(pieces(modality.text, ids[:cut], ids[cut:], closing=closing))
            assert "".join(parts) == after(modality.text, ids[:cut], ids[cut:])
            assert all("\ufffd" not in part for part in parts)
            if cut == 1:  # after a whole character
                assert not any(unicodedata.category(part[0])[0] == "M" for part in parts)
        if kind in ("bpe", "characters"):
            assert modality.text(ids[:1]) + "".join(pieces(modality.text, ids[:1], ids[1:])) == text


def test_bytes_that_are_no_characters_do_not_stop_a_stream(writer):
    text_of = lambda ids: bytes(ids).decode("utf-8", errors="replace")  # noqa: E731
    broken = [0x61, 0xE0, 0xA4, 0x61, 0xFF, 0xFF, 0xC3, 0xA9, 0xE0]
    assert "".join(pieces(text_of, [], broken)) == text_of(broken)
    assert list(pieces(text_of, [], "é".encode())) == ["é"]


def test_fill(filler):
    found = filler.fill(["The ___ sat on the [MASK].", "a …___…"], top=3)
    assert [len(record["gaps"]) for record in found] == [2, 1]
    for record in found:
        assert "[MASK]" not in record["filled"]
        assert "___" not in record["filled"]
        for gap in record["gaps"]:
            chances = [one["probability"] for one in gap]
            assert len(gap) == 3
            assert chances == sorted(chances, reverse=True)
            assert sum(chances) < 1
    # the gap takes the space before it with it, as the word would
    modality = filler.loaded("cpu").modality
    from bodh.model.fill import Filler

    assert Filler(modality).ids("The ___ sat").tolist() == modality.encode("The[MASK] sat").tolist()
    logits = filler.loaded("cpu").compute(
        modality.encode("The[MASK] sat")[None].astype(np.int64), filler.loaded("cpu").capability("fill")
    )["logits"][0]
    place = int(np.flatnonzero(modality.encode("The[MASK] sat") == modality.tokens().mask)[0])
    chance = torch.from_numpy(logits[place]).masked_fill(torch.from_numpy(modality.tokens().special), -torch.inf)
    best = chance.softmax(0).max()
    assert filler.fill("The ___ sat")[0]["gaps"][0][0]["probability"] == pytest.approx(float(best), abs=1e-5)


def test_vectors_cut_and_normalised(writer, tmp_path):
    whole = writer.embed(TEXTS[:6])
    cut = writer.embed(TEXTS[:6], dimensions=5)
    np.testing.assert_array_equal(cut, whole[:, :5])
    unit = writer.embed(TEXTS[:6], dimensions=5, normalise=True)
    np.testing.assert_allclose(unit, cut / np.linalg.norm(cut, axis=1, keepdims=True), rtol=1e-6)
    bodh.embed(writer, TEXTS[:6], out=tmp_path / "v.npy", dimensions=5, normalise=True, device="cpu")
    np.testing.assert_allclose(np.load(tmp_path / "v.npy"), unit, rtol=1e-5, atol=1e-6)
    with pytest.raises(ConfigError, match="dimensions: 17 is out of range; vectors of this model have 1 to 16 numbers"):
        writer.embed(TEXTS[:6], dimensions=17)


@pytest.mark.parametrize("causal", [True, False])
def test_exported_logits_are_those_of_the_model(writer, filler, tmp_path, causal):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    model = writer if causal else filler
    for capability, outputs in (
        (None, ["embedding", "logits"]), ("generate", ["logits", "texts"]) if causal else ("fill", ["logits"])
    ):  # fmt: skip
        found = model.export("onnx", tmp_path / f"{capability}.onnx", capability=capability)
        assert [parity.output for parity in found.parity] == outputs
        assert all(parity.holds for parity in found.parity)
    import onnxruntime

    session = onnxruntime.InferenceSession(tmp_path / "None.onnx", providers=["CPUExecutionProvider"])
    loaded = model.loaded("cpu")
    ids = loaded.modality.standardise([loaded.modality.encode("The cat")])  # shorter than any record
    (logits,) = session.run(["logits"], {"tokens": ids})
    np.testing.assert_allclose(logits, loaded.compute(ids, loaded.capability("all"))["logits"], atol=1e-4)
