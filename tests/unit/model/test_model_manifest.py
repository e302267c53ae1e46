"""What model.json may say, and what is refused before anything else is read."""

from __future__ import annotations

import json
from copy import deepcopy
from typing import Any

import pytest

from bodh.errors import ModelError
from bodh.model.manifest import LARGEST_MANIFEST, Manifest, check_file_name, parse

IMAGE = {"name": "image", "dtype": "uint8", "shape": ["n", "h", "w", 3]}
GOOD: dict[str, Any] = {
    "schema_version": 1,
    "modality": {"name": "image", "config": {"size": 32}},
    "networks": {"backbone": {"room": "backbones", "name": "cnn", "arguments": {"shape": [3, 32, 32]}}},
    "capabilities": {
        "embed": {"inputs": [IMAGE], "outputs": [{"name": "embedding", "dtype": "float32", "shape": ["n", 512]}]}
    },
    "task": None,
    "class_names": [],
    "best_block": None,
    "metrics": {},
    "provenance": {},
    "files": {"model.safetensors": {"bytes": 1, "sha256": "0" * 64}},
}
PREDICT: dict[str, Any] = {
    "inputs": [IMAGE],
    "outputs": [
        {"name": "logits", "dtype": "float32", "shape": ["n", 1]},
        {"name": "probabilities", "dtype": "float32", "shape": ["n", 2]},
    ],
}


def changed(**parts: Any) -> bytes:
    return json.dumps({**deepcopy(GOOD), **parts}).encode()


def classified(**parts: Any) -> bytes:
    head = {"room": "heads", "name": "linear", "arguments": {"inputs": 512, "outputs": 1}}
    whole = {
        "task": "binary",
        "class_names": ["a", "b"],
        "networks": {**GOOD["networks"], "head": head},
        "capabilities": {**GOOD["capabilities"], "predict": PREDICT},
    }
    return changed(**{**whole, **parts})


def network(**parts: Any) -> bytes:
    return changed(networks={"backbone": {**GOOD["networks"]["backbone"], **parts}})


def test_a_manifest_survives_the_way_to_json_and_back():
    hindi = {
        **deepcopy(GOOD),
        "class_names": ["बिल्ली", "कुत्ता"],
        "task": "binary",
        "networks": {
            **GOOD["networks"],
            "head": {"room": "heads", "name": "linear", "arguments": {"inputs": 512, "outputs": 1}},
        },
        "capabilities": {**GOOD["capabilities"], "predict": PREDICT},
    }
    manifest = Manifest.model_validate(hindi)
    assert parse(json.dumps(manifest.to_json(), ensure_ascii=False).encode()) == manifest
    assert manifest.to_json() == hindi
    assert manifest.specs()["head"].arguments == {"inputs": 512, "outputs": 1}


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "not JSON"),
        (b"not json", "not JSON"),
        (b"\xff\xfe{}", "not JSON"),
        (b"[1, 2]", "holds a list"),
        (b"[" * 200_000, "not JSON"),
        (b'{"schema_version": 1, "schema_version": 1}', "a key occurs twice"),
        (b'{"schema_version": NaN}', "NaN is not a JSON number"),
        (b'{"schema_version": ' + b"9" * 10_000 + b"}", "not JSON"),
        (b"{}", "schema version None"),
        (changed(schema_version=2), "schema version 2; this bodh reads versions 1 to 1"),
        (changed(schema_version="1"), "schema version '1'"),
        (changed(schema_version=True), "schema version True"),
        (changed(code="import os"), "code: Extra inputs"),
        (changed(files=[]), "files: "),
        (changed(files={"model.safetensors": {"bytes": -1, "sha256": "0" * 64}}), "bytes"),
        (changed(files={"model.safetensors": {"bytes": "1", "sha256": "0" * 64}}), "bytes"),
        (changed(files={"model.safetensors": {"bytes": 1, "sha256": "../x"}}), "sha256"),
        (changed(files={}), "'model.safetensors' is not listed"),
        (changed(networks={}), "'backbone' is missing"),
        (changed(networks={"teacher": GOOD["networks"]["backbone"]}), "networks.teacher"),
        (changed(class_names=["one"]), "come together"),
        (changed(capabilities={}), "capabilities"),
        (changed(capabilities={"predict": PREDICT}), "come together"),
        (classified(class_names=["a", "b", "c"]), "3 class names for probabilities of shape"),
        (network(room="objectives"), "networks.backbone.room"),
        (network(name="../../evil"), "networks.backbone.name"),
        (network(name="os.path"), "networks.backbone.name"),
        (network(arguments={"shape": [3, 32, 10**12]}), "1000000000000 is out of range"),
        (network(arguments={"model": "hf-hub:evil/model"}), "'hf-hub:evil/model' is not a plain name"),
        (network(arguments={"model": "/etc/passwd"}), "not a plain name"),
        (network(arguments={"pretrained": True}), "'pretrained' would fetch"),
        (network(arguments={"weights": "DEFAULT"}), "'weights' would fetch"),
    ],
)
def test_a_bad_manifest_is_refused_in_one_line(content: bytes, told: str):
    with pytest.raises(ModelError) as caught:
        parse(content)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 900


def test_a_huge_manifest_is_not_parsed():
    with pytest.raises(ModelError, match=f"at most {LARGEST_MANIFEST}"):
        parse(b" " * (LARGEST_MANIFEST + 1))


@pytest.mark.parametrize(
    "name",
    [
        "../model.safetensors", "/etc/passwd", "a/b", "a\\b", "..", "",
        ".", "a\nb", ".hidden", "C:evil", "con", "NUL.txt", "a\0b",
        "é.txt", "end.", "x" * 200,
    ],
)  # fmt: skip
def test_file_names_that_could_leave_the_folder_are_refused(name: str):
    with pytest.raises(ValueError, match="not allowed"):
        check_file_name(name)
    listed = {**GOOD["files"], name: {"bytes": 1, "sha256": "0" * 64}}
    with pytest.raises(ModelError, match=r"model\.json is not valid: files"):
        parse(changed(files=listed))


def test_names_that_differ_in_capitals_only_are_refused():
    entry = {"bytes": 1, "sha256": "0" * 64}
    with pytest.raises(ModelError, match="differ in capitals"):
        parse(changed(files={**GOOD["files"], "Notes.md": entry, "notes.md": entry}))
