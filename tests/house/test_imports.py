"""Importing costs nothing and changes nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from bodh.cli.app import VERBS

HEAVY = {
    "torch", "torchvision", "timm", "numpy", "pyarrow", "sklearn", "scipy", "matplotlib", "PIL", "jinja2",
    "onnx", "onnxruntime", "onnxscript", "fastapi", "uvicorn", "faiss", "safetensors",
}  # fmt: skip


def loaded(code: str) -> set[str]:
    """Return the heavy packages that are in memory after `code` ran in a process of its own."""
    report = "\nimport sys, json; sys.stderr.write(json.dumps(sorted({m.split('.')[0] for m in sys.modules})))"
    done = subprocess.run(
        [sys.executable, "-c", code + report], capture_output=True, encoding="utf-8", timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stderr.splitlines()[-1])) & (HEAVY | {"pydantic", "rich", "typer"})


def test_importing_bodh_loads_nothing() -> None:
    assert loaded("import bodh; bodh.__version__; dir(bodh)") == set()


def test_help_and_version_load_only_typer() -> None:
    run_all = "from bodh.cli.app import run; assert [run(words) for words in {}].count(0) == {}"
    first = [["--help"], ["--version"]]
    assert loaded(run_all.format(first, len(first))) == {"typer"}
    verbs = [[verb, "--help"] for verb in VERBS]
    # newer typer reads words with pydantic; nothing else is loaded for the help of any verb
    assert loaded(run_all.format(verbs, len(verbs))) <= {"typer", "pydantic"}


def test_listing_names_loads_nothing_heavy() -> None:
    assert not loaded("from bodh.cli.app import run; assert run(['list', '--json']) == 0") & HEAVY


@pytest.mark.parametrize(
    "module",
    [
        "bodh.contracts", "bodh.errors", "bodh._catalog", "bodh._optional", "bodh.model.manifest", "bodh.model.folder",
        "bodh.config.resolve", "bodh.config.dump",
    ],
)  # fmt: skip
def test_the_lower_floors_load_no_torch(module) -> None:
    assert not loaded(f"import {module}") & {"torch", "torchvision", "timm", "sklearn", "scipy", "matplotlib"}


def test_every_file_of_the_rooms_that_need_no_torch_imports_without_it() -> None:
    code = (
        "import importlib, pathlib, bodh\n"
        "root = pathlib.Path(bodh.__file__).parent\n"
        "for room in ('cli', 'api', 'config', 'serving', 'report', 'records', 'modalities'):\n"
        "    for path in sorted((root / room).rglob('*.py')):\n"
        "        if path.name != 'feed.py':\n"
        "            name = '.'.join(path.relative_to(root.parent).with_suffix('').parts)\n"
        "            importlib.import_module(name.removesuffix('.__init__'))"
    )
    assert not loaded(code) & {"torch", "torchvision", "timm"}


def test_importing_changes_no_environment() -> None:
    code = (
        "import os; before = dict(os.environ); import bodh, bodh.cli.app, bodh.api.list; "
        "assert before == dict(os.environ)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env=dict(os.environ), timeout=60)
