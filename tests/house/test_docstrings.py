"""Argument sections match signatures: a docstring that lists arguments lists all of them and no others."""

from __future__ import annotations

import ast

import pytest

from bodh.cli._signature import read_entries, split_docstring
from tests.house._source import ROOT, modules, parameters, parse, public


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_argument_sections_match_signatures(path) -> None:
    for name, function in public(parse(path)):
        documented = read_entries(split_docstring(ast.get_docstring(function) or "")[2].get("Args", ""))
        if documented:
            assert sorted(documented) == sorted(parameters(function)), f"{path.relative_to(ROOT)}: {name}"


@pytest.mark.parametrize(
    "path", [p for p in modules() if p.name != "__init__.py"], ids=lambda p: str(p.relative_to(ROOT))
)
def test_every_file_says_what_it_is_for(path) -> None:
    text = ast.get_docstring(parse(path))
    assert text, f"{path.relative_to(ROOT)} has no docstring"
    assert len(text.splitlines()[0]) <= 120
