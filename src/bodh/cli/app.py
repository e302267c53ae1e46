"""The command line: all verbs in one typer application, and what happens when a verb ends or fails."""

from __future__ import annotations

import logging
import os
import sys
import traceback
import warnings
from collections.abc import Sequence
from importlib import import_module
from typing import Annotated, Any, TextIO

import typer
from typer.main import get_command

from bodh import __version__
from bodh.cli import _output
from bodh.cli._command import Call, Command, add
from bodh.errors import BodhError, UserError, suggestion

VERBS = (
    "pretrain", "finetune", "evaluate", "compare", "embed", "search", "predict", "generate", "fill", "translate",
    "caption", "export", "serve", "data", "list", "doctor", "demo",
)  # fmt: skip
"""In the order of `bodh --help`; each is a file of this room with a `COMMAND`."""

UsageError = typer.BadParameter.__mro__[1]
"""Root of "the line cannot be parsed"; typer re-exports only this branch of it, and older versions from click."""


def application() -> typer.Typer:
    """Return the typer application with every verb."""
    app = typer.Typer(
        name="bodh",
        help="bodh (बोध): learn from data without labels, prove whether it helped, adapt with few labels, ship it.",
        epilog="First steps: bodh demo. What is installed: bodh doctor. What a verb does: bodh VERB --help.",
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
    )

    @app.callback()
    def main(
        version: Annotated[
            bool, typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True)
        ] = False,
    ) -> None: ...

    for verb in VERBS:
        add(app, command(verb))
    return app


def command(verb: str) -> Command:
    """Return what `cli/<verb>.py` says about its verb."""
    found: Command = import_module(f"bodh.cli.{verb}").COMMAND
    return found


def run(words: Sequence[str] | None = None) -> int:
    """Carry out one command line and return its exit code: 0, 1 (ours), 2 (the user's), 128 + signal.

    Args:
        words: the words after `bodh`; None for those of this process.
    """
    _output.use_utf8()
    words = (sys.argv[1:] if words is None else list(words)) or ["--help"]
    debug = "--debug" in words
    try:
        call = get_command(application()).main(args=words, prog_name="bodh", standalone_mode=False)
        if not isinstance(call, Call):
            return int(call or 0)  # help, version, completion
        return _carry_out(call)
    except BrokenPipeError:
        return _reader_left()
    except Exception as error:  # noqa: BLE001 the outermost place: whatever happens becomes one line and a code
        return _fail(error, words, debug)
    except KeyboardInterrupt:
        print("bodh: interrupted", file=sys.stderr)
        return 130


def _carry_out(call: Call) -> int:
    options = call.options
    level = logging.WARNING if options.quiet else logging.DEBUG if options.verbose else logging.INFO
    with _output.logged(level), warnings.catch_warnings():
        if not options.debug:
            warnings.simplefilter("ignore")  # nobody at a command line can act on a library's deprecations
        if not options.json:
            _show(call, _call(call))
            sys.stdout.flush()
            return 0
        with _output.reserved_stdout() as stdout:
            return _as_json(call, stdout)


def _call(call: Call) -> Any:
    verb = call.command.verb
    return getattr(import_module(f"bodh.api.{verb}"), verb)(**call.arguments)


def _show(call: Call, result: Any) -> None:
    if call.command.live is not None and call.command.live(result):
        return
    payload = _output.to_json(result)
    if call.command.lines is not None and not sys.stdout.isatty():
        for line in call.command.lines(payload):
            print(_output.as_line(line))
    else:
        typed = {"typed": dict(call.arguments)} if call.command.typed else {}
        call.command.show(payload | typed, _output.console())


def _as_json(call: Call, stdout: TextIO) -> int:
    """Print the result, or what went wrong, as the one JSON object on stdout."""
    try:
        payload, code = _output.to_json(_call(call)), 0
    except Exception as error:  # noqa: BLE001 said on stderr as ever, and on stdout for the program that reads it
        code = _fail(error, [call.command.verb], call.options.debug)
        payload = {"error": str(error), "kind": type(error).__name__, "exit_code": code}
    print(_output.as_line(payload), file=stdout, flush=True)
    return code


def _fail(error: Exception, words: Sequence[str], debug: bool) -> int:
    """Say `error` in one line on stderr and return the exit code that it means."""
    if debug:
        traceback.print_exception(error, file=sys.stderr)
    if isinstance(error, UsageError):
        return _misused(error, words)
    if isinstance(error, BodhError):
        _say(str(error))
        return error.exit_code
    if isinstance(error, typer.Abort):
        _say("aborted")
        return 1
    hint = "" if debug else "; run again with --debug"
    text = " ".join(str(error).split())
    _say(f"{type(error).__name__}: {text[:300]}; this is a bug in bodh{hint}")
    return 1


def _misused(error: Exception, words: Sequence[str]) -> int:
    """Say why the line cannot be parsed, in the house's form."""
    text = " ".join(error.format_message().split()).rstrip(".")  # type: ignore[attr-defined]
    verb = words[0] if words and words[0] in VERBS else ""
    if not verb and words and not words[0].startswith("-"):
        text = f"no verb named {words[0]!r}{suggestion(words[0], VERBS)}; there are: {', '.join(VERBS)}"
    see = " ".join(part for part in ("bodh", verb, "--help") if part)
    _say(f"{text[:1].lower()}{text[1:]}; type: {see}")
    return UserError.exit_code


def _say(text: str) -> None:
    print(_output.coloured(f"bodh: {text}", "31", sys.stderr), file=sys.stderr, flush=True)


def _reader_left() -> int:
    """End quietly when what reads our output (head, a pager) has gone."""
    sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115, PTH123 closed by the end of the process
    return 141


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"bodh {__version__}")
        raise typer.Exit
