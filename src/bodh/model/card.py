"""The model card: README.md of a model folder, for people and for model hubs."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any

import jinja2

from bodh.contracts import WRITTEN
from bodh.model.manifest import Manifest

KINDS = {
    "image": {
        "records_word": "images", "one": "one.jpg", "query": "one.jpg", "input_hint": "raw pixels, 0 to 255",
        "some": '["one.jpg", "two.jpg"]', "many": '"photos/"', "tag": "image-feature-extraction",
    },
    "text": {
        "records_word": "texts", "one": '"a text"', "query": '"a text"', "input_hint": "token ids",
        "some": '["a text", "another"]', "many": '["a text", "another"]', "tag": "feature-extraction",
    },
    "words": {
        "records_word": "words of sentences", "one": '"a sentence"', "query": "ID", "input_hint": "token ids",
        "some": '["a sentence", "another"]', "many": '["a sentence", "another"]', "tag": "token-classification",
    },
    "questions": {
        "records_word": "questions with their texts", "one": '--question "…" text.txt', "query": "ID",
        "input_hint": "token ids", "some": '[{"question": "…", "context": "…"}]',
        "many": '[{"question": "…", "context": "…"}]', "tag": "question-answering",
    },
    "": {
        "records_word": "records", "one": "rows.npy", "query": "ID", "input_hint": "one row a record",
        "some": "rows", "many": "rows", "tag": "",
    },
}  # fmt: skip
"""How examples of every modality look: "" for all others."""


def card(manifest: Manifest, *, parameters: int, name: str) -> str:
    """Return the card as Markdown with a YAML head.

    Args:
        manifest: what the model says of itself.
        parameters: number of weights.
        name: what the model is called; the run's name.
    """
    # Markdown, not HTML: the filters below do the quoting
    environment = jinja2.Environment(keep_trailing_newline=True, undefined=jinja2.StrictUndefined)  # noqa: S701
    environment.filters.update(
        text=_text,
        code=_code,
        figure=_figure,
        axes=lambda shape: "[" + ", ".join(map(str, shape)) + "]",
        example=_example,
    )
    template = environment.from_string(files("bodh.model").joinpath("card.md.jinja").read_text(encoding="utf-8"))
    return template.render(_facts(manifest, parameters, name))


def _facts(manifest: Manifest, parameters: int, name: str) -> dict[str, Any]:
    kind = manifest.modality.name
    words = KINDS.get({"pairs": "text", "captions": "image"}.get(kind, kind), KINDS[""])
    data = manifest.provenance.get("data")
    data = data if isinstance(data, dict) else {}
    objective = manifest.provenance.get("objective")
    objective = objective if isinstance(objective, dict) else {"name": objective}
    # folders written before the family was noted down know one supervised objective
    family = objective.get("family", "supervise" if objective.get("name") == "classify" else "")
    embed = manifest.capabilities["embed"]
    networks = manifest.networks
    return {
        **manifest.to_json(),
        "best_grid": manifest.best_grid,
        "name": name,
        "parameters": parameters,
        "modality": kind,
        "prepare": manifest.modality.config,
        "family": "supervised" if family == "supervise" else "self-supervised",
        "training_records": f"{data['records']:,}" if isinstance(data.get("records"), int) else "",
        "classifies": manifest.task not in {None, "regress", "tags", *WRITTEN},
        "tags_words": manifest.task == "tags",
        "writes": manifest.task == "sequence",
        "captions": kind == "captions",
        "sees": kind in {"image", "captions"},
        "answers": manifest.task == "span",
        "reads_texts": kind in {"text", "pairs", "words"},
        "speaks": manifest.task == "tokens",
        "measures": manifest.task == "regress",
        "deciding": {"multi": "finds any number of", "binary": "decides between"}.get(
            manifest.task or "", "chooses one of"
        ),
        "dim": embed.outputs[0].shape[1],
        "backbone": _network(networks["backbone"].name, networks["backbone"].arguments),
        "head": _network(networks["head"].name, networks["head"].arguments) if "head" in networks else "",
        "input": embed.inputs[0],
        **words,
        "metrics": _flat(manifest.metrics),
        "provenance": _flat(manifest.provenance),
    }


def _network(name: str, arguments: dict[str, Any]) -> str:
    return f"{name}({', '.join(f'{key}={value!r}' for key, value in arguments.items())})"


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested dicts as one level of dotted keys, in order; what has no value is left out."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            flat.update(_flat(value, f"{prefix}{key}."))
        elif value is not None and value != []:
            flat[prefix + key] = value
    return flat


def _text(value: object) -> str:
    """Return `value` as one line that means no Markdown, HTML or table cell."""
    text = " ".join(str(value).split())
    for mark in ("\\", "|", "`", "*", "[", "]"):
        text = text.replace(mark, "\\" + mark)
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _code(value: object) -> str:
    return "`" + " ".join(str(value).split()).replace("`", "'").replace("|", "¦") + "`"


def _figure(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return _text(text if len(text) <= 200 else text[:200] + "…")


def _example(shape: tuple[int | str, ...]) -> str:
    """Return the shape of one batch of 8 with numbers for letters."""
    numbers = [axis if isinstance(axis, int) else (8 if place == 0 else 224) for place, axis in enumerate(shape)]
    return "(" + ", ".join(map(str, numbers)) + ("," if len(numbers) == 1 else "") + ")"
