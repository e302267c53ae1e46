"""What is dumped can be read back, and equal settings have equal digests."""

from __future__ import annotations

import tomllib
from typing import Any, Literal

import pytest
from pydantic import Field, ValidationError

from bodh.config.assignments import read_toml
from bodh.config.base import Config
from bodh.config.dump import digest, dump_toml
from bodh.config.files import overlay
from bodh.config.resolve import resolve


class Inner(Config):
    flip: float = 0.5
    size: int | None = 32
    path: str = 'C:\\dir "ü" \x7f\n'


class Outer(Config):
    views: Inner = Inner()
    names: tuple[str, ...] = ("बिल्ली", "dog")
    extra: dict[str, Any] = Field(default_factory=dict)
    rate: float = 1e-20
    limit: float = float("inf")
    name: str | None = None
    kind: Literal["a", "b"] = "a"
    on: bool = True


class Top(Config):
    epochs: int = 1


SECTIONS = {"": Top, "modality": Outer}


def test_dump_is_read_back_exactly(tmp_path) -> None:
    settings = {"epochs": 4, "modality.views.size": None, "modality.extra": {"depth": 3, "a b": [1.5, True, "x"]}}
    first = resolve(settings, SECTIONS)
    (tmp_path / "config.toml").write_text(dump_toml(first), "utf-8")
    again = resolve(read_toml(tmp_path / "config.toml"), SECTIONS)
    assert again == first
    assert digest(again) == digest(first)
    assert again["modality"].views.size is None


def test_digest_changes_with_any_setting() -> None:
    assert digest(resolve({}, SECTIONS)) != digest(resolve({"modality.views.flip": 0.4}, SECTIONS))
    assert digest(resolve({}, SECTIONS)) == digest(resolve({"epochs": 1}, SECTIONS))


def test_arguments_stand_beside_a_section_of_the_same_name(tmp_path) -> None:
    text = dump_toml({"modality": Outer()}, {"modality": "image", "out": None, "seed": 0})
    assert tomllib.loads(text)["modality"] == "image"
    assert '"modality.views.flip" = 0.5' in text
    assert "out" not in tomllib.loads(text)


def test_configs_are_frozen_and_refuse_unknown_names() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Top().epochs = 3
    with pytest.raises(ValidationError, match="epoch"):
        Top(epoch=3)


def test_a_config_file_lies_below_what_was_given(tmp_path) -> None:
    def verb(data: str, *, objective: str = "auto", seed: int = 0, **settings: Any) -> None: ...

    path = tmp_path / "run.toml"
    path.write_text('objective = "byol"\nseed = 3\nepochs = 9\n"objective.momentum" = 0.9\n', "utf-8")
    arguments, settings = overlay(path, verb, {"objective": "simclr", "seed": 0}, {"epochs": 2})
    assert arguments == {"objective": "simclr", "seed": 3}
    assert settings == {"epochs": 2, "objective.momentum": 0.9}
    assert overlay(None, verb, {"seed": 0}, {"views": {"flip": 1}}) == ({"seed": 0}, {"views.flip": 1})
