"""Documentation that a machine reads: pages are up to date, links lead somewhere, commands can be typed."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import tomllib

import pytest
from typer.main import get_command

from bodh.cli._command import Call
from bodh.cli.app import application
from bodh.config.assignments import flatten
from tests.house._source import ROOT

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
_FENCE = re.compile(r"^[ ]*```(\w*)[^\n]*\n(.*?)^[ ]*```", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"(?<!\\)\[[^\]\n]*\]\(([^)\s]+)\)")


def name(path) -> str:
    return str(path.relative_to(ROOT))


def fences(path, language: str) -> list[str]:
    return [body for kind, body in _FENCE.findall(path.read_text("utf-8")) if kind == language]


def commands() -> list[object]:
    found = []
    for page in PAGES:
        lines = [
            line.strip().removeprefix("$ ")
            for body in fences(page, "") + fences(page, "bash")
            for line in body.splitlines()
        ]
        found += [pytest.param(line, id=f"{name(page)}: {line[:60]}") for line in lines if line.startswith("bodh ")]
    return found


def test_the_generated_pages_are_up_to_date() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "docs" / "build.py", "--check"], capture_output=True, encoding="utf-8", check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_to_files_that_exist(page) -> None:
    for target in _LINK.findall(page.read_text("utf-8")):
        if "://" not in target and not target.startswith("#"):
            assert (page.parent / target.partition("#")[0]).exists(), f"{name(page)} links to {target}"


@pytest.mark.parametrize("line", commands())
def test_every_command_in_the_documentation_can_be_typed(line) -> None:
    words = shlex.split(line, comments=True)[1:]
    if "--help" in words or "--version" in words or "VERB" in words:
        return
    call = get_command(application()).main(args=words, prog_name="bodh", standalone_mode=False)
    assert isinstance(call, Call), line


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_toml_and_python_in_the_documentation_are_valid(page) -> None:
    for body in fences(page, "toml"):
        assert dict(flatten(tomllib.loads(body)))
    for body in fences(page, "python"):
        compile(body, name(page), "exec")


@pytest.mark.parametrize("target", ["demo", "test", "lint", "bench", "docs"])
def test_the_makefile_has_the_targets_that_are_promised(target) -> None:
    done = subprocess.run(["make", "-n", target], cwd=ROOT, capture_output=True, encoding="utf-8", check=False)
    assert done.returncode == 0, done.stderr
    assert ".venv" in done.stdout
    with_mine = ["make", "-n", target, "VENV=elsewhere"]
    done = subprocess.run(with_mine, cwd=ROOT, capture_output=True, encoding="utf-8", check=False)
    assert "elsewhere/bin/" in done.stdout
    assert "pip install" not in done.stdout


def test_the_readme_is_one_page() -> None:
    assert len((ROOT / "README.md").read_text("utf-8").splitlines()) <= 120


def test_every_verb_is_in_the_readme() -> None:
    from bodh.cli.app import VERBS

    text = (ROOT / "README.md").read_text("utf-8")
    assert [verb for verb in VERBS if f"`{verb}`" not in text and f"bodh {verb}" not in text] == []
