"""`bodh list`: what there is, without importing it, and all about one."""

from __future__ import annotations

import json

import pytest

import bodh
from bodh import _catalog
from bodh.api.list import KINDS, SECTIONS
from bodh.cli.app import run
from bodh.errors import UnknownName


def test_without_a_kind_everything_is_listed() -> None:
    rows = bodh.list().rows
    assert {row["kind"] for row in rows} == {*KINDS, "settings"}
    for kind, room in KINDS.items():
        assert [row["name"] for row in rows if row["kind"] == kind] == list(_catalog.names(room))


@pytest.mark.parametrize("kind", [*KINDS, "settings"])
def test_every_component_can_be_described(kind) -> None:
    for row in bodh.list(kind).rows:
        found = bodh.list(kind, row["name"])
        assert found.text
        assert json.dumps(found.to_json())
        for setting in found.settings:
            assert setting["default"] is not None
            assert setting["meaning"] or kind == "backbones", f"{kind} {row['name']}: {setting['key']} has no meaning"


def test_the_settings_of_an_objective_are_written_as_they_are_typed() -> None:
    rows = {row["key"]: row for row in bodh.list("objectives", "simclr").settings}
    temperature = rows["objective.temperature"]
    default = _catalog.get("objectives", "simclr").Config().temperature
    assert (temperature["kind"], temperature["default"]) == ("float", default)
    assert temperature["allowed"] == ">= 0.01, <= 10"


def test_the_singular_will_do() -> None:
    assert bodh.list("objective") == bodh.list("objectives")
    assert bodh.list("modality") == bodh.list("modalities")


def test_a_family_names_its_networks_and_a_network_its_family() -> None:
    assert "resnet18" in bodh.list("backbones", "timm").members
    assert "family 'timm'" in bodh.list("backbones", "resnet18").text


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("objectivs",), "no kind named 'objectivs' (did you mean 'objectives'?)"),
        (("objectives", "simcrl"), "no objective named 'simcrl' (did you mean 'simclr'?)"),
        (("settings", "trian"), "no group of settings named 'trian' (did you mean 'train'?)"),
    ],
)
def test_unknown_names_are_told_with_what_there_is(words, text) -> None:
    with pytest.raises(UnknownName) as caught:
        bodh.list(*words)
    assert str(caught.value).startswith(text)


def test_for_people_it_is_a_table(capsys) -> None:
    assert run(["list", "objectives", "simclr"]) == 0
    out = capsys.readouterr().out
    assert "arXiv 2002.05709" in out
    assert "objective.temperature" in out
    assert ">= 0.01, <= 10" in out


def test_settings_groups_are_all_found() -> None:
    for name in SECTIONS:
        assert bodh.list("settings", name).settings
