"""Settings by dotted key become configurations, and every mistake is said with its value."""

from __future__ import annotations

from typing import Annotated, Literal

import pytest
from annotated_types import Ge, Gt, Le
from pydantic import Field, model_validator

from bodh.config.base import Config
from bodh.config.fields import settings_of
from bodh.config.resolve import resolve
from bodh.errors import ConfigError


class Views(Config):
    flip: float = Field(0.5, ge=0, le=1, description="chance of a horizontal flip")
    crop: tuple[float, float] = Field((0.2, 1.0), description="smallest and largest share of the area")


class Image(Config):
    size: int | None = Field(None, ge=1, description="side in pixels")
    views: Views = Views()


class Train(Config):
    epochs: int = Field(10, ge=1, description="passes over the data")
    schedule: Literal["cosine", "constant"] = Field("cosine", description="course of the learning rate")
    optimiser: str = "adamw"
    stops: int | Literal["auto"] = Field("auto", description="when to stop")
    blocks: tuple[int, ...] = ()


class Contrast(Config):
    temperature: float = Field(0.5, gt=0, description="sharpness of the softmax")
    norm: Literal["batch", "none"] = "batch"


Share = Annotated[float, Field(ge=0, le=1)]


class Ranges(Config):
    size: Annotated[int, Ge(1), Le(2048)] | None = Field(None, description="side")
    mean: tuple[Share, ...] | None = None
    both: tuple[Annotated[float, Gt(0.0)], float] = (1.0, 2.0)
    plain: dict[str, int] = Field(default_factory=dict)


class Needy(Config):
    inputs: int = Field(description="width that comes in")


class Ordered(Config):
    low: float = 0.0
    high: float = 1.0

    @model_validator(mode="after")
    def _ordered(self) -> Ordered:
        if self.low > self.high:
            raise ValueError(f"low ({self.low}) lies above high ({self.high})")
        return self


SECTIONS = {"": Train, "objective": Contrast, "modality": Image}


def message(settings, sections=SECTIONS) -> str:
    with pytest.raises(ConfigError) as caught:
        resolve(settings, sections)
    assert caught.value.exit_code == 2
    return str(caught.value)


def test_keys_are_routed_by_section_and_nested_further() -> None:
    got = resolve({"epochs": 3, "objective.temperature": 0.1, "modality.views.flip": 0}, SECTIONS)
    assert got["modality"] == Image(views=Views(flip=0))
    assert got["objective"] == Contrast(temperature=0.1)
    assert got[""] == Train(epochs=3)


def test_nested_mappings_say_the_same_as_dotted_keys() -> None:
    nested = resolve({"modality": {"views": {"flip": 0.25}, "size": 32}}, SECTIONS)
    assert nested == resolve({"modality.views.flip": 0.25, "modality.size": 32}, SECTIONS)


def test_defaults_lie_between_the_settings_and_the_class() -> None:
    defaults = {"": {"epochs": 7, "optimiser": "lars"}, "modality": {"views": {"flip": 0.1}}}
    got = resolve({"epochs": 2, "modality.views.crop": [0.5, 1]}, SECTIONS, defaults)
    assert got[""] == Train(epochs=2, optimiser="lars")
    assert got["modality"] == Image(views=Views(flip=0.1, crop=(0.5, 1.0)))


def test_all_mistakes_of_all_sections_are_told_at_once() -> None:
    text = message({"epochs": 0, "objective.temprature": 0.1, "modality.views.flip": 2, "colour": 1})
    assert text.startswith("4 settings are wrong:")
    assert "epochs = 0: must be greater than or equal to 1 (passes over the data)" in text
    assert "objective.temprature = 0.1: no such setting (did you mean 'objective.temperature'?)" in text
    assert "modality.views.flip = 2: must be less than or equal to 1 (chance of a horizontal flip)" in text
    assert "colour = 1: no such setting\n" in text
    assert text.endswith(
        "there are: epochs, schedule, optimiser, stops, blocks, objective.*, modality.*"
        "\n  objective has: temperature, norm"
    )


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"epoch": 5}, "epoch = 5: no such setting (did you mean 'epochs'?)"),
        ({"temperature": 0.2}, "temperature = 0.2: no such setting (did you mean 'objective.temperature'?)"),
        ({"views.flip": 0}, "views.flip = 0: no such setting (did you mean 'modality.views.flip'?)"),
        ({"modality.views.flop": 0}, "modality.views.flop = 0: no such setting (did you mean 'modality.views.flip'?)"),
        ({"objective.zzz": 0}, "objective.zzz = 0: no such setting; objective has: temperature, norm"),
        ({"schedule": "cosin"}, "schedule = 'cosin': must be 'cosine' or 'constant' (did you mean 'cosine'?)"),
        ({"epochs": "many"}, "epochs = 'many': must be a valid integer"),
        ({"objective.temperature": 0}, "objective.temperature = 0: must be greater than 0 (sharpness of the softmax)"),
        ({"stops": "never"}, "stops = 'never': must be a valid integer, unable to parse string as an integer, or must"),
        ({"modality.views": 3}, "modality.views = 3: must be a valid dictionary or instance of Views"),
        ({"modality.views": 3, "modality.views.flip": 1}, "modality.views.flip = 1: clashes with another setting"),
    ],
)
def test_a_mistake_says_its_value_and_what_is_allowed(settings, text) -> None:
    assert text in message(settings)
    assert message(settings).count("wrong") == 1


def test_a_single_mistake_is_one_line() -> None:
    assert "\n" not in message({"epochs": 0})


def test_a_missing_setting_is_named_with_its_meaning() -> None:
    assert "head.inputs is missing and must be given (width that comes in)" in message({}, {"head": Needy})


def test_a_mistake_that_involves_several_settings_names_the_section_and_the_values() -> None:
    assert message({"range.low": 2}, {"range": Ordered}).endswith("low (2.0) lies above high (1.0)")


def test_none_and_comma_lists_are_read_where_the_setting_wants_them() -> None:
    got = resolve({"modality.size": "none", "blocks": "1,2,3", "objective.norm": "none"}, SECTIONS)
    assert got["modality"].size is None
    assert got[""].blocks == (1, 2, 3)
    assert got["objective"].norm == "none"
    assert resolve({"blocks": 4, "optimiser": "a,b"}, SECTIONS)[""] == Train(blocks=(4,), optimiser="a,b")


def test_settings_are_listed_with_kind_default_range_and_meaning() -> None:
    rows = {row.key: row for row in settings_of(Image)}
    assert list(rows) == ["size", "views.flip", "views.crop"]
    assert (rows["size"].kind, rows["size"].default, rows["size"].allowed) == ("int or none", None, ">= 1")
    assert (rows["views.flip"].allowed, rows["views.flip"].meaning) == (">= 0, <= 1", "chance of a horizontal flip")
    kinds = {row.key: row.kind for row in settings_of(Train)}
    assert kinds["schedule"] == "'cosine' or 'constant'"
    assert kinds["blocks"] == "list of int"
    assert [row.required for row in settings_of(Needy)] == [True]


def test_ranges_inside_unions_and_lists_are_said() -> None:
    rows = {row.key: (row.kind, row.allowed) for row in settings_of(Ranges)}
    assert rows == {
        "size": ("int or none", ">= 1, <= 2048"),
        "mean": ("list of float or none", "each >= 0, <= 1"),
        "both": ("list of float", "each > 0"),
        "plain": ("dict", ""),
    }
