"""The command line reads the same signature and docstring that Python sees."""

from __future__ import annotations

import importlib
import inspect

import pytest

from bodh.cli._signature import read_entries, read_signature, split_docstring
from bodh.cli.app import VERBS


@pytest.mark.parametrize("verb", VERBS)
def test_the_source_is_read_as_python_reads_it(verb) -> None:
    function = getattr(importlib.import_module(f"bodh.api.{verb}"), verb)
    real = inspect.signature(function).parameters
    read = read_signature(verb)
    assert [p.name for p in read.parameters] == [n for n, p in real.items() if p.kind is not p.VAR_KEYWORD]
    assert (read.settings is not None) == any(p.kind is p.VAR_KEYWORD for p in real.values())
    for parameter in read.parameters:
        other = real[parameter.name]
        assert parameter.required == (other.default is other.empty)
        assert parameter.positional == (other.kind is other.POSITIONAL_OR_KEYWORD)
    assert read.summary == inspect.getdoc(function).split("\n\n")[0].replace("\n", " ")


def test_a_google_docstring_is_split() -> None:
    summary, description, sections = split_docstring(
        "Do it\nnow.\n\nA long\nstory.\n\nArgs:\n    a: one\n        more.\n    **settings: rest.\n\n"
        "Example:\n    bodh do it\n      again\n"
    )
    assert (summary, description) == ("Do it now.", "A long\nstory.")
    assert read_entries(sections["Args"]) == {"a": "one more.", "settings": "rest."}
    assert sections["Example"] == "bodh do it\n  again"


def test_text_after_a_section_is_kept() -> None:
    assert split_docstring("Do.\n\nArgs:\n    a: b\n\nMore words.\n")[1] == "More words."
