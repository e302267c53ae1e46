"""Every objective in the catalog passes the shipped checks, in every form that it comes in."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest

from bodh import _catalog
from bodh.testing.objectives import CHECKS, Check, Subject

TEXT: dict[str, Any] = {"text": True, "shape": (12,), "rate": 2e-4}
FORMS: dict[str, list[dict[str, Any]]] = {
    "moco": [{"settings": {"version": "v3"}}, {"settings": {"groups": 4, "queue": 40}}],
    "byol": [{"settings": {"head_norm": "none"}}],
    "supcon": [{"task": "binary", "settings": {"head_norm": "none"}}],
    "dino": [{"settings": {"head_norm": "none", "small_views": 0, "outputs": 64}}],
    "classify": [
        {"task": "binary", "settings": {"dropout": 0.3}},
        {"task": "multi", "settings": {"class_weights": "balanced", "label_smoothing": 0.1}},
    ],
    "mae": [{"settings": {"normalise": False, "mask": 0.5}}],
    "fixmatch": [{"task": "binary", "settings": {"threshold": 0.3}}],
    "regress": [{"settings": {"loss": "squared", "turns": True}}],
    "masked_lm": [
        {**TEXT, "settings": {"unit": "word", "mask": 0.4}},
        {**TEXT, "settings": {"unit": "span", "random": 0.0, "same": 0.0}},
    ],
    "tsdae": [{**TEXT, "settings": {"depth": 2, "heads": 2}}],
    "seq2seq": [
        {**TEXT, "settings": {"decoder": "gru"}},
        {**TEXT, "settings": {"tied": False, "depth": 1}},
        {"settings": {"decoder": "gru", "attention": False}},
        {"settings": {"decoder": "transformer", "width": 32}},
    ],
    "simcse": [{**TEXT, "settings": {"head": False}}],
    "tag": [{**TEXT, "settings": {"class_weights": "balanced", "label_smoothing": 0.1, "dropout": 0.0}}],
    "extract": [{**TEXT, "settings": {"dropout": 0.2}}],
}
"""Circumstances beside the default ones."""


def _subjects() -> list[object]:
    found = []
    for name in _catalog.names("objectives"):
        module: ModuleType = _catalog.get("objectives", name)
        for number, form in enumerate([{}, {"shape": (6,)}, TEXT, *FORMS.get(name, [])]):
            found.append(pytest.param(Subject(module, **form), id=f"{name}-{number}"))
    return found


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("subject", _subjects())
def test_objective(subject: Subject, check: Check) -> None:
    modalities = subject.module.NEEDS.modalities
    kind = "text" if subject.text else "image" if len(subject.shape) == 3 else "vector"
    if modalities is not None and kind not in (
        "text" if one in ("pairs", "questions", "words") else one for one in modalities
    ):
        pytest.skip(f"learns from {', '.join(modalities)} only")
    if kind == "vector" and subject.module.NEEDS.features != "pooled":
        pytest.skip("looks at tokens or a map, and a vector gives neither")
    check(subject)


def test_catalog_is_not_empty() -> None:
    shipped = {"simclr", "byol", "moco", "simsiam", "barlow", "vicreg", "supcon", "dino", "classify"}
    assert shipped <= set(_catalog.names("objectives"))
