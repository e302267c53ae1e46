"""What no file of the package may hold."""

from __future__ import annotations

import ast
import re

import pytest

from tests.house._source import ROOT, modules, parse, tracked

PICKLES = {"cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
UNPICKLING = {f"pickle.{name}" for name in ("load", "loads", "dump", "dumps", "Pickler", "Unpickler")}
_MACHINE = re.compile(rb"(?<![\w.])/(?:home|Users)/[A-Za-z][\w.-]*/|(?<![\w.])/(?:root|work)/|[A-Z]:\\\\Users\\\\")
TEXT = {".py", ".md", ".toml", ".txt", ".yml", ".yaml", ".html", ".css", ".js", ".json", ".svg", ".cfg", ""}


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_no_assert_no_pickle_no_unsafe_load_no_print(path) -> None:
    for node in ast.walk(parse(path)):
        where = f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 0)}"
        assert not isinstance(node, ast.Assert), f"{where}: raise an error of errors.py instead of assert"
        if isinstance(node, ast.Import):
            names = {alias.name.split(".")[0] for alias in node.names}
            assert not names & PICKLES, f"{where}: nothing is pickled"
        if isinstance(node, ast.ImportFrom) and node.module:
            assert node.module.split(".")[0] not in PICKLES, f"{where}: nothing is pickled"
            if node.module == "pickle":
                names = {alias.name for alias in node.names}  # errors run nothing
                assert names <= {"PicklingError", "UnpicklingError"}, f"{where}: nothing is pickled"
        if isinstance(node, ast.Call):
            _check_call(node, where)
        if isinstance(node, ast.ExceptHandler):
            silent = all(isinstance(part, ast.Pass) for part in node.body) and _catches_all(node)
            assert node.type is not None, f"{where}: name the errors that are meant"
            assert not silent, f"{where}: an error is swallowed"


def _catches_all(node: ast.ExceptHandler) -> bool:
    return isinstance(node.type, ast.Name) and node.type.id in ("Exception", "BaseException")


def _check_call(node: ast.Call, where: str) -> None:
    name = ast.unparse(node.func)
    given = {keyword.arg: keyword.value for keyword in node.keywords}
    if name in ("torch.load", "load") and "weights_only" in given:
        safe = isinstance(given["weights_only"], ast.Constant) and given["weights_only"].value is True
        assert safe, f"{where}: weights_only must be True"
    assert name != "torch.load" or "weights_only" in given, f"{where}: torch.load without weights_only=True"
    if "allow_pickle" in given:
        allowed = given["allow_pickle"]
        assert ast.unparse(allowed) == "False", f"{where}: allow_pickle must be False"
    assert name not in UNPICKLING, f"{where}: nothing is pickled"
    assert name not in ("eval", "exec"), f"{where}: nothing is executed from text"
    assert name != "print" or "/cli/" in where, f"{where}: log it (logging.getLogger('bodh')) instead of printing"


def test_no_file_names_a_path_of_one_machine() -> None:
    for path in tracked():
        if path.suffix not in TEXT or path == ROOT / "tests" / "house" / "test_rules.py":
            continue
        for number, line in enumerate(path.read_bytes().splitlines(), 1):
            found = _MACHINE.search(line)
            assert found is None, f"{path.relative_to(ROOT)}:{number} names {found.group().decode()!r}"


def test_nothing_large_or_generated_is_tracked() -> None:
    for path in tracked():
        size = path.stat().st_size
        assert size < 300_000, f"{path.relative_to(ROOT)} has {size} bytes; data and outputs do not belong here"
        assert path.suffix not in {".safetensors", ".onnx", ".pt", ".pth", ".npz", ".npy", ".parquet", ".pkl"}


def test_no_work_is_left_for_later() -> None:
    marks = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b|raise NotImplementedError")
    for path in tracked():
        if path.suffix == ".py" and path.name != "test_rules.py":
            for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
                assert not marks.search(line), f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
