"""How verbs end: results, errors, signals, and which stream gets what."""

from __future__ import annotations

import json
import logging
import os
import re
import signal
import subprocess
import sys
import types
import warnings

import pytest

from bodh.api import list as list_module
from bodh.cli.app import run
from bodh.errors import BodhError, DataError, Interrupted


def failing(error: BaseException):
    def verb(**_: object) -> None:
        raise error

    return verb


@pytest.fixture
def instead(monkeypatch):
    """Puts another function in place of the verb `list`."""
    return lambda function: monkeypatch.setattr(list_module, "list", function)


class Result(types.SimpleNamespace):
    def to_json(self):
        return {"kind": None, "name": None, "rows": [], **vars(self)}


def test_an_error_of_the_user_is_one_line_and_code_2(instead, capsys) -> None:
    instead(failing(DataError("no folder 'photos'; give one that exists")))
    assert run(["list"]) == 2
    assert capsys.readouterr() == ("", "bodh: no folder 'photos'; give one that exists\n")


def test_a_bug_says_so_and_how_to_see_more(instead, capsys) -> None:
    instead(failing(ZeroDivisionError("division\n by zero")))
    assert run(["list"]) == 1
    line = "bodh: ZeroDivisionError: division by zero; this is a bug in bodh; run again with --debug\n"
    assert capsys.readouterr() == ("", line)
    assert run(["list", "--debug"]) == 1
    err = capsys.readouterr().err
    assert "Traceback (most recent call last)" in err
    assert err.endswith("this is a bug in bodh\n")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (BodhError("x"), 1),
        (Interrupted(signal.SIGTERM, "x"), 143),
        (KeyboardInterrupt(), 130),
        (BrokenPipeError(), 141),
    ],
)
def test_exit_codes(instead, error, code) -> None:
    instead(failing(error))
    before = sys.stdout
    try:
        assert run(["list"]) == code
    finally:
        if sys.stdout is not before:
            sys.stdout.close()
            sys.stdout = before


def test_json_is_one_object_on_stdout_also_when_it_fails(instead, capsys) -> None:
    instead(failing(DataError("सब टूटा")))
    assert run(["list", "--json"]) == 2
    captured = capsys.readouterr()
    assert json.loads(captured.out) == {"error": "सब टूटा", "kind": "DataError", "exit_code": 2}
    assert "सब टूटा" in captured.out
    assert captured.err == "bodh: सब टूटा\n"


def test_json_holds_no_not_a_number_and_what_is_printed_goes_to_stderr(instead, capsys) -> None:
    def verb():
        print("chatter")
        logging.getLogger("bodh").info("said")
        return Result(loss=float("nan"), rate=float("inf"), names=("a", "b"))

    instead(verb)
    assert run(["list", "--json"]) == 0
    captured = capsys.readouterr()
    payload = json.loads(captured.out, parse_constant=pytest.fail)
    assert (payload["loss"], payload["rate"], payload["names"]) == (None, None, ["a", "b"])
    assert captured.err == "chatter\nsaid\n"


def test_json_refuses_what_json_cannot_say(instead, capsys) -> None:
    instead(lambda: Result(thing=object()))
    assert run(["list", "--json"]) == 1
    assert "a result holds a object, which JSON cannot say" in json.loads(capsys.readouterr().out)["error"]


def test_how_much_is_said(instead, capsys) -> None:
    def verb():
        logger = logging.getLogger("bodh")
        logger.debug("fine")
        logger.info("news")
        logger.warning("careful")
        warnings.warn("a library is old", DeprecationWarning, stacklevel=1)
        return Result()

    instead(verb)
    assert run(["list"]) == 0
    assert capsys.readouterr().err == "news\nbodh: careful\n"
    assert run(["list", "--quiet"]) == 0
    assert capsys.readouterr().err == "bodh: careful\n"
    assert run(["list", "--verbose"]) == 0
    assert capsys.readouterr().err == "fine\nnews\nbodh: careful\n"
    with pytest.warns(DeprecationWarning, match="a library is old"):
        run(["list", "--debug"])


def test_logging_is_left_as_it_was(instead) -> None:
    logger = logging.getLogger("bodh")
    before = (logger.level, logger.propagate, list(logger.handlers))
    instead(Result)
    run(["list", "--quiet"])
    assert (logger.level, logger.propagate, list(logger.handlers)) == before


# --------------------------------------------------------------------------------- in a process of its own


def bodh(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "bodh", *words],
        capture_output=True, encoding="utf-8", env={**os.environ, **environment}, timeout=120, check=False,
    )  # fmt: skip


def test_help_names_every_verb_and_nothing_is_an_error() -> None:
    done = bodh("--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert bodh().stdout == done.stdout
    for verb in ("pretrain", "finetune", "evaluate", "serve", "demo"):
        assert re.search(rf"^  {verb} ", done.stdout, re.MULTILINE)


def test_version() -> None:
    done = bodh("--version")
    assert (done.returncode, done.stderr) == (0, "")
    assert re.fullmatch(r"bodh \d+\.\d+\.\d+\n", done.stdout)


def test_json_catches_what_c_libraries_and_children_print() -> None:
    code = (
        "import os, sys, bodh.api.list as m, types\n"
        "def verb():\n"
        "    os.system('echo child'); os.write(1, b'raw\\n')\n"
        "    return types.SimpleNamespace(to_json=lambda: {'name': None, 'rows': []})\n"
        "m.list = verb\n"
        "from bodh.cli.app import run\n"
        "sys.exit(run(['list', '--json']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8", timeout=60, check=False)
    assert done.stdout == '{"name": null, "rows": []}\n'
    assert done.stderr == "child\nraw\n"
    assert done.returncode == 0


def test_output_is_utf8_whatever_the_locale_says() -> None:
    done = bodh("list", LC_ALL="C", PYTHONIOENCODING="ascii", PYTHONUTF8="0")
    assert done.returncode == 0, done.stderr
    assert "बोध" in bodh("--help", LC_ALL="C", PYTHONIOENCODING="ascii", PYTHONUTF8="0").stdout


def test_a_reader_that_leaves_is_no_error() -> None:
    line = f"{sys.executable} -m bodh list | head -c 1 >/dev/null; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", line], capture_output=True, encoding="utf-8", timeout=120, check=False)
    assert done.stderr == ""
    assert done.stdout.strip() in ("0", "1", "141")  # rich itself ends with 1


@pytest.mark.parametrize("width", [40, 200])
def test_tables_fit_the_terminal(width) -> None:
    done = bodh("list", COLUMNS=str(width))
    assert max(len(line) for line in done.stdout.splitlines()) <= width


def test_no_colour_codes_reach_a_pipe_or_a_terminal_that_wants_none() -> None:
    assert "\x1b" not in bodh("list").stdout
    assert "\x1b" not in bodh("list", "nothing").stderr


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_complete_verbs(shell) -> None:
    done = bodh(_BODH_COMPLETE=f"complete_{shell}", COMP_WORDS="bodh pre", COMP_CWORD="1",
                _TYPER_COMPLETE_ARGS="bodh pre", _TYPER_COMPLETE_FISH_ACTION="get-args")  # fmt: skip
    assert "pretrain" in done.stdout
    assert "finetune" not in done.stdout
