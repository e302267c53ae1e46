"""The folder is the registry: whatever lies there is found, described, and complete."""

from __future__ import annotations

import importlib
import re
import sys

import pytest

from bodh import _catalog
from bodh.errors import UnknownName

COMPONENTS = [(room, name) for room in _catalog.ROOMS for name in _catalog.names(room)]

OFFERS = {
    "objectives": ("Config", "NEEDS", "FAMILY", "DEFAULTS", "build"),
    "backbones": ("build", "members"),
    "heads": ("build",),
    "modalities": ("Modality",),
    "exporters/formats": ("SUFFIX", "write", "load"),
    "records/sources": ("accepts", "open_"),
}
"""What every file of a room must offer."""


@pytest.mark.parametrize("room", _catalog.ROOMS)
def test_every_file_is_listed(room) -> None:
    folder = _catalog.ROOT / room
    files = {path.stem for path in folder.glob("*.py") if not path.stem.startswith("_")}
    assert files
    assert files <= set(_catalog.names(room))


@pytest.mark.parametrize(("room", "name"), COMPONENTS)
def test_a_component_says_in_one_line_what_it_is(room, name) -> None:
    line = _catalog.summary(room, name)
    assert 15 <= len(line) <= 140, f"{room}/{name}.py: {line!r}"
    assert line.endswith("."), f"{room}/{name}.py: {line!r} is no sentence"


@pytest.mark.parametrize(("room", "name"), [pair for pair in COMPONENTS if pair[0] in OFFERS])
def test_a_component_offers_what_its_room_promises(room, name) -> None:
    module = _catalog.get(room, name)
    missing = [offer for offer in OFFERS[room] if not hasattr(module, offer)]
    assert not missing, f"{room}/{name}.py lacks {missing}"


@pytest.mark.parametrize("name", _catalog.names("objectives"))
def test_an_objective_names_its_paper_and_when_not_to_use_it(name) -> None:
    module = _catalog.get("objectives", name)
    header = (module.__doc__ or "").lower()
    assert "not " in header
    assert module.FAMILY == "supervise" or ("paper" in header and re.search(r"\d %|\d\.\d", header))


@pytest.mark.parametrize("room", _catalog.ROOMS)
def test_an_unknown_name_is_told_with_what_there_is(room) -> None:
    near = _catalog.names(room)[0]
    with pytest.raises(UnknownName) as caught:
        _catalog.get(room, near + "x")
    assert f"no {_catalog.ROOMS[room]} named '{near}x' (did you mean " in str(caught.value)
    assert near in str(caught.value).partition("there are: ")[2]


def test_an_entry_point_adds_a_component(tmp_path, monkeypatch) -> None:
    (tmp_path / "their_package.py").write_text('"""Theirs: an objective of another package."""\nBUILT = 1\n', "utf-8")
    info = tmp_path / "their_package-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: their-package\nVersion: 1.0\n", "utf-8")
    (info / "entry_points.txt").write_text("[bodh.objectives]\ntheirs = their_package\n", "utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    _clear()
    try:
        assert "theirs" in _catalog.names("objectives")
        assert _catalog.get("objectives", "theirs").BUILT == 1
        assert _catalog.summary("objectives", "theirs") == "Theirs: an objective of another package."
    finally:
        sys.modules.pop("their_package", None)
        monkeypatch.undo()
        _clear()
    assert "theirs" not in _catalog.names("objectives")


def _clear() -> None:
    _catalog.names.cache_clear()
    _catalog._foreign.cache_clear()
