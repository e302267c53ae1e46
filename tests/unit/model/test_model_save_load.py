"""Networks into a folder and out again; what a hostile or damaged folder gets to hear."""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save, save_file
from torch import nn

from bodh.backbones._modes import evaluating
from bodh.contracts import NetworkSpec
from bodh.errors import ModelError, OutputError, UnknownName
from bodh.model.loaded import LoadedModel, load_model
from bodh.model.manifest import plain
from bodh.model.networks import build, flat_weights
from bodh.model.save import save_model
from bodh.records.memory import MemoryStore
from bodh.testing.formats import small_model


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return small_model(tmp_path / "run" / "model")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    return load_model(small_model(tmp_path_factory.mktemp("saved") / "model"))


def resave(model: LoadedModel, folder: Path, **changes: Any) -> None:
    parts: dict[str, Any] = {
        "network": model.network,
        "modality": model.modality,
        "task": model.manifest.task,
        "class_names": model.manifest.class_names,
        "records": model.records(),
        "provenance": {},
        "metrics": {},
    }
    save_model(folder, **{**parts, **changes})


def rewrite(folder: Path, change: Callable[[dict[str, Any]], None], weights: bytes | None = None) -> None:
    """Change model.json (and the weights) as somebody would who can compute a sha256."""
    path = folder / "model.json"
    manifest = json.loads(path.read_text(encoding="utf-8"))
    if weights is not None:
        (folder / "model.safetensors").write_bytes(weights)
        manifest["files"]["model.safetensors"] = {
            "bytes": len(weights),
            "sha256": hashlib.sha256(weights).hexdigest(),
        }
    change(manifest)
    path.write_text(json.dumps(manifest), encoding="utf-8")


# ------------------------------------------------------------------------------------------ there and back


def test_a_loaded_model_computes_what_was_saved(model: LoadedModel, tmp_path: Path):
    resave(model, tmp_path / "again")
    again = load_model(tmp_path / "again")
    rows = model.records()
    for name in ("embed", "predict", "all"):
        wanted, got = model.compute(rows, model.capability(name)), again.compute(rows, again.capability(name))
        assert wanted.keys() == got.keys()
        for output in wanted:
            np.testing.assert_array_equal(got[output], wanted[output])
    assert again.modality.config == model.modality.config
    assert not again.network.training


def test_the_manifest_says_what_the_model_does(model: LoadedModel):
    manifest = model.manifest
    assert {name: [o.name for o in spec.outputs] for name, spec in manifest.capabilities.items()} == {
        "embed": ["embedding"],
        "predict": ["logits", "probabilities"],
    }
    assert manifest.capabilities["embed"].outputs[0].shape == ("n", 16)
    assert manifest.capabilities["predict"].outputs[1].shape == ("n", 10)
    assert manifest.class_names[0] == "शून्य"
    assert manifest.provenance["versions"]["torch"] == torch.__version__
    assert set(manifest.files) == {"model.safetensors", "records.safetensors", "README.md"}


def test_weights_have_flat_names(folder: Path):
    names = load_file(folder / "model.safetensors").keys()
    assert "head.weight" in names
    assert all(name.startswith(("backbone.", "head.")) for name in names)


def test_saving_twice_gives_the_same_bytes(model: LoadedModel, tmp_path: Path):
    resave(model, tmp_path / "model")
    first = {path.name: path.read_bytes() for path in (tmp_path / "model").iterdir()}
    resave(model, tmp_path / "model", overwrite=True)
    assert {path.name: path.read_bytes() for path in (tmp_path / "model").iterdir()} == first


def test_the_real_records_come_back_at_most_64(model: LoadedModel, tmp_path: Path):
    rows = np.concatenate([model.records(), model.records()])
    resave(model, tmp_path / "m", records=rows)
    np.testing.assert_array_equal(load_model(tmp_path / "m").records(), rows[:64])


def test_the_card_is_for_people(folder: Path):
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert card.startswith("---\nlibrary_name: bodh\n")
    for part in ("# run\n", "`शून्य`", "bodh predict", "session.run", "real records", "## Limits"):
        assert part in card
    assert "{{" not in card
    assert "{%" not in card


def test_the_card_quotes_what_could_break_it(model: LoadedModel, tmp_path: Path):
    names = ("a|b", "`c`", "<script>", *model.manifest.class_names[3:])
    resave(model, tmp_path / "m", class_names=names, metrics={"acc|uracy": "1\n2", "<b>": 0.5})
    card = (tmp_path / "m" / "README.md").read_text(encoding="utf-8")
    assert "0 `a¦b` · 1 `'c'` · 2 `<script>`" in card
    assert r"| acc\|uracy | 1 2 |" in card
    assert "| &lt;b&gt; | 0.5 |" in card


def test_a_model_without_a_head_has_no_classes(tmp_path: Path):
    model = load_model(small_model(tmp_path / "m", classes=()))
    assert set(model.manifest.capabilities) == {"embed"}
    with pytest.raises(UnknownName, match="no capability named 'predict'; there are: all, embed"):
        model.capability("predict")
    assert "It has no classes yet" in (tmp_path / "m" / "README.md").read_text(encoding="utf-8")


def test_features_of_any_block_and_of_any_number_of_records(model: LoadedModel):
    store = MemoryStore(model.records())
    index = np.array([5, 3, 60, 3])
    whole = model.features(store, np.arange(64))
    np.testing.assert_allclose(model.features(store, index, batch=3), whole[index], atol=1e-5)
    assert model.block_names == ("conv1", "conv2", "conv3", "units")
    assert model.features(store, index, block="conv2").shape == (4, 8)
    np.testing.assert_array_equal(model.features(store, index, block="units"), model.features(store, index))
    with pytest.raises(UnknownName, match=r"no block named 'conv4' \(did you mean"):
        model.features(store, index, block="conv4")
    with pytest.raises(ModelError, match="no records"):
        model.features(store, index[:0])


def test_the_best_block_is_what_embed_gives(tmp_path: Path):
    model = load_model(small_model(tmp_path / "m", best_block="conv2"))
    store = MemoryStore(model.records())
    index = np.arange(4)
    wanted = model.features(store, index, block="conv2")
    np.testing.assert_array_equal(model.features(store, index), wanted)
    np.testing.assert_array_equal(model.compute(model.records()[:4], model.capability())["embedding"], wanted)
    assert model.manifest.capabilities["embed"].outputs[0].shape == ("n", 8)


def test_an_untrained_twin_differs_in_weights_only(model: LoadedModel):
    one, same, other = model.untrained(seed=1), model.untrained(seed=1), model.untrained(seed=2)
    rows = model.records()[:4]
    found = [twin.compute(rows, twin.capability("embed"))["embedding"] for twin in (one, same, other, model)]
    np.testing.assert_array_equal(found[0], found[1])
    assert not np.allclose(found[0], found[2])
    assert not np.allclose(found[0], found[3])


def test_loading_and_building_leave_the_random_state_alone(folder: Path):
    torch.manual_seed(3)
    before = torch.get_rng_state()
    load_model(folder).untrained(seed=9)
    assert torch.equal(torch.get_rng_state(), before)


def test_saving_during_training_changes_no_mode(model: LoadedModel, tmp_path: Path):
    network = build(model.manifest.specs()).train()
    network["backbone"].eval()
    resave(model, tmp_path / "m", network=network)
    assert network["head"].training
    assert not network["backbone"].training


def test_evaluating_gives_modes_back_after_an_error():
    network = nn.Sequential(nn.Dropout(), nn.Dropout().eval())

    def fail() -> None:
        with evaluating(network):
            assert not network[0].training
            raise ValueError("x")

    with pytest.raises(ValueError, match="x"):
        fail()
    assert [module.training for module in network] == [True, False]


def test_shared_weights_are_stored_apart():
    module = nn.ModuleDict({"backbone": nn.Linear(3, 3), "head": nn.Linear(3, 3)})
    module["head"].weight = module["backbone"].weight
    weights = flat_weights(module)
    assert weights["head.weight"].data_ptr() != weights["backbone.weight"].data_ptr()
    assert save(weights)


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        ({"a": np.float32(0.5), 2: (1, np.int64(3))}, {"a": 0.5, "2": [1, 3]}),
        (np.array([1.0, np.nan]), [1.0, None]),
        (float("inf"), None),
        (torch.tensor(2), 2),
        (Path("x"), "x"),
        (None, None),
        (True, True),
    ],
)
def test_plain_json_values(value: Any, wanted: Any):
    assert plain(value) == wanted
    json.dumps(plain(value), allow_nan=False)


# -------------------------------------------------------------------------------------------- what is refused


def test_what_cannot_be_saved(model: LoadedModel, tmp_path: Path):
    with pytest.raises(ModelError, match=r"network 'backbone' \(Linear\) has no spec"):
        resave(model, tmp_path / "m", network=nn.ModuleDict({"backbone": nn.Linear(2, 2)}))
    with pytest.raises(ModelError, match="none were given"):
        resave(model, tmp_path / "m", records=model.records()[:0])
    sick = build(model.manifest.specs())
    with torch.no_grad():
        sick["head"].bias[0] = float("nan")
    with pytest.raises(ModelError, match=r"weight 'head\.bias' holds values that are not finite"):
        resave(model, tmp_path / "m", network=sick)
    specs = {
        "backbone": NetworkSpec("backbones", "timm", {"model": "resnet18", "shape": [3, 8, 8], "pretrained": True})
    }
    with pytest.raises(ModelError, match="'pretrained' would fetch"):
        build(specs)
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "x").touch()
    with pytest.raises(OutputError, match="exists already"):
        resave(model, tmp_path / "there")
    assert [path.name for path in tmp_path.iterdir()] == ["there"]


def weights_of(folder: Path, **changes: torch.Tensor | None) -> bytes:
    weights: dict[str, Any] = load_file(folder / "model.safetensors")
    weights.update({name.replace("__", "."): tensor for name, tensor in changes.items()})
    return save({name: tensor for name, tensor in weights.items() if tensor is not None})


def keep(manifest: dict[str, Any]) -> None:
    """Change nothing in model.json but size and hash."""


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"head__bias": None}, "'head.bias' is missing"),
        ({"head__extra": torch.zeros(2)}, "'head.extra' is unexpected"),
        ({"head__bias": torch.zeros(11)}, "'head.bias' is float32 [11], the network needs float32 [10]"),
        ({"head__bias": torch.zeros(10, dtype=torch.float64)}, "'head.bias' is float64 [10]"),
        ({"head__bias": torch.full((10,), float("inf"))}, "'head.bias' holds values that are not finite"),
    ],
)
def test_weights_that_do_not_fit_are_refused(folder: Path, changes: dict[str, Any], told: str):
    rewrite(folder, keep, weights_of(folder, **changes))
    with pytest.raises(ModelError) as caught:
        load_model(folder)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def header(entries: dict[str, Any], body: bytes = b"", length: int | None = None) -> bytes:
    text = json.dumps(entries).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + body


FLOAT = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x00" * 7,
        b"\x80\x04\x95" + b"pickle" * 20,
        header({}, length=2**63),
        header({}, length=100_000_001),
        header({"a": {**FLOAT, "shape": [2**40]}}, b"\0" * 4),
        header({"a": {**FLOAT, "shape": [2**63, 2**63]}}, b"\0" * 4),
        header({"a": {**FLOAT, "data_offsets": [0, 2**60]}}, b"\0" * 4),
        header({"a": FLOAT, "b": FLOAT}, b"\0" * 4),
        header({"a": FLOAT}, b"\0" * 400),
        header({"a": {**FLOAT, "dtype": "PICKLE"}}, b"\0" * 4),
        struct.pack("<Q", 4) + b"[[[[",
    ],
)
def test_header_tricks_are_refused(folder: Path, content: bytes):
    rewrite(folder, keep, content)
    with pytest.raises(ModelError, match=r"model\.safetensors is not valid|weights do not fit") as caught:
        load_model(folder)
    assert "\n" not in str(caught.value)


def test_a_truncated_file_is_refused(folder: Path):
    rewrite(folder, keep, (folder / "model.safetensors").read_bytes()[:-10])
    with pytest.raises(ModelError, match=r"model\.safetensors is not valid"):
        load_model(folder)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"name": "cnn", "arguments": {"shape": [1, 8, 8], "evil": 1}}, "unexpected keyword argument 'evil'"),
        ({"name": "resnet_from_nowhere", "arguments": {}}, "no backbone family named 'resnet_from_nowhere'"),
        ({"name": "_names", "arguments": {}}, "networks.backbone.name: String should match"),
        ({"name": "cnn", "arguments": {"shape": [1, 8, 8], "widths": [2**24, 2**24, 2**24]}}, "weights do not fit"),
        ({"name": "cnn", "arguments": {"shape": "large"}}, "cannot build backbone"),
    ],
)
def test_networks_that_bodh_does_not_know_are_refused(folder: Path, change: dict[str, Any], told: str):
    rewrite(folder, lambda manifest: manifest["networks"]["backbone"].update(change))
    with pytest.raises((ModelError, UnknownName)) as caught:
        load_model(folder)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_unknown_modality_or_setting_is_refused(folder: Path):
    rewrite(folder, lambda manifest: manifest["modality"]["config"].update(code="import os"))
    with pytest.raises(ModelError, match="modality 'image' has a configuration that is not valid"):
        load_model(folder)
    rewrite(folder, lambda manifest: manifest["modality"].update(name="smell"))
    with pytest.raises(UnknownName, match="no modality named 'smell'"):
        load_model(folder)


def test_an_unknown_best_block_is_refused(folder: Path):
    rewrite(folder, lambda manifest: manifest.update(best_block="conv9"))
    with pytest.raises(ModelError, match="best_block 'conv9' is no block"):
        load_model(folder)


def test_broken_records_are_told_when_they_are_needed(folder: Path, tmp_path: Path):
    save_file({"other": torch.zeros(1)}, tmp_path / "x")
    content = (tmp_path / "x").read_bytes()
    (folder / "records.safetensors").write_bytes(content)
    entry = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    rewrite(folder, lambda manifest: manifest["files"].update({"records.safetensors": entry}))
    with pytest.raises(ModelError, match=r"records\.safetensors is not valid"):
        load_model(folder).records()


def test_code_beside_the_model_is_never_run(folder: Path):
    for name in ("handler.py", "__init__.py", "sitecustomize.py", "modeling.py"):
        (folder / name).write_text(f"open({str(folder / 'ran')!r}, 'w')")
    load_model(folder)
    assert not (folder / "ran").exists()


def test_vectors_are_a_model_too(tmp_path: Path):
    from bodh import _catalog
    from bodh.records.open import open_source

    rows = np.random.default_rng(0).normal(size=(40, 5)).astype(np.float32)
    module = _catalog.get("modalities", "vector")
    modality = module.Modality.fit(open_source(rows), module.VectorConfig())
    network = build({"backbone": NetworkSpec("backbones", "mlp", {"shape": list(modality.prepared_shape)})})
    save_model(
        tmp_path / "m", network=network, modality=modality, task=None, class_names=(), records=rows, provenance={},
        metrics={},
    )  # fmt: skip
    model = load_model(tmp_path / "m")
    store = MemoryStore(rows)
    assert model.features(store, np.arange(40)).shape == (40, network["backbone"].dim)
    card = (tmp_path / "m" / "README.md").read_text(encoding="utf-8")
    assert "one.jpg" not in card
    assert "model.embed(rows)" in card
