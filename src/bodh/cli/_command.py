"""A typer command from an API verb: its arguments, flags and help come from the function's source.

Positional parameters become words, keyword parameters become flags (`start` is `--from`), `**settings` become
`key=value` words at the end. A flag that is not given is not passed on, so that defaults live in one place.
"""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bodh.cli._signature import Parameter, Signature, read_signature
from bodh.config.assignments import parse_assignments, parse_value, split_list
from bodh.contracts import Json
from bodh.errors import ConfigError

if TYPE_CHECKING:
    from rich.console import Console

FLAGS = {"start": "from"}
"""Parameters whose flag is not their name: `from` is a keyword in Python."""

SHORT = {"out": "-o"}

_SETTING = re.compile(r"[A-Za-z_][\w.-]*=")

_COMMON = {
    "json": "Print one JSON object on stdout; everything else goes to stderr.",
    "quiet": "Say nothing but warnings and the result.",
    "verbose": "Say more.",
    "debug": "Show the traceback of an error, and all warnings.",
}


@dataclass(frozen=True, slots=True)
class Command:
    """What a verb's file in `cli/` adds to the API function: how people see the result.

    Attributes:
        verb: name of the function in `bodh.api.<verb>`.
        show: prints the result, as the function's `to_json()`, for people.
        lines: what a program that reads the output wants instead of tables, one JSON object a line; or None.
        arrange: takes (values by parameter, words after them) and returns both, where words may stand for more than
            the parameter in whose place they are; or None.
        typed: whether `show` gets the arguments as they were typed too, as "typed".
        live: takes the result itself, prints it while it comes and returns True, or returns False where it is there
            all at once; or None.
    """

    verb: str
    show: Callable[[Json, Console], None]
    lines: Callable[[Json], list[Json]] | None = None
    arrange: Callable[[dict[str, Any], list[str]], tuple[dict[str, Any], list[str]]] | None = None
    typed: bool = False
    live: Callable[[Any], bool] | None = None


@dataclass(frozen=True, slots=True)
class Options:
    """The flags that every verb has."""

    json: bool = False
    quiet: bool = False
    verbose: bool = False
    debug: bool = False


@dataclass(frozen=True, slots=True)
class Call:
    """A parsed command line: which verb, with which arguments, said how."""

    command: Command
    options: Options
    arguments: Mapping[str, Any] = field(default_factory=dict)


def add(app: typer.Typer, command: Command) -> None:
    """Register `command` with `app`."""
    signature = read_signature(command.verb)
    app.command(
        name=command.verb,
        help=_help(signature),
        short_help=signature.summary,
        epilog=_epilog(signature),
    )(_callback(command, signature))


def _callback(command: Command, signature: Signature) -> Callable[..., Call]:
    """Return a function with the signature that typer reads; it returns the call that the line means."""
    parameters = {p.name: p for p in signature.parameters}
    several = _variadic(signature)

    def parse(**given: Any) -> Call:
        options = Options(**{name: given.pop(f"{name}_") for name in _COMMON})
        words = given.pop("settings_", None) or []
        if signature.settings is not None and several is not None and given[several]:
            given[several], words = _parted(given[several])
        if command.arrange is not None:
            given, words = command.arrange(given, words)
        arguments = {
            name: _read(value, parameters[name]) for name, value in given.items() if value is not None and value != []
        }
        return Call(command, options, arguments | _settings(words, arguments))

    shown = _typer_parameters(signature)
    parse.__signature__ = inspect.Signature(shown)  # type: ignore[attr-defined]
    parse.__annotations__ = {parameter.name: parameter.annotation for parameter in shown}
    return parse


def _variadic(signature: Signature) -> str | None:
    """Return the name of the parameter that takes any number of words, or None."""
    return next((p.name for p in signature.parameters if p.positional and p.several), None)


def is_setting(word: str) -> bool:
    """Return whether a word is `key=value`; a path with "=" in it is written `./a=b`."""
    return _SETTING.match(word) is not None


def _parted(words: list[str]) -> tuple[list[str], list[str]]:
    """Return (inputs, settings) of words that stand together."""
    settings = [word for word in words if is_setting(word)]
    return [word for word in words if word not in settings], settings


def _settings(words: list[str], arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return what `key=value` words set; `epochs=50` and `--epochs 50` are the same, and both together a mistake."""
    names = {flag: name for name, flag in FLAGS.items()}
    settings = {names.get(key, key): value for key, value in parse_assignments(words).items()}
    for key, value in settings.items():
        if key in arguments:
            raise ConfigError(
                f"{key} is given twice: {arguments[key]!r} and {value!r}; give it as a flag or as key=value"
            )
    return settings


def _read(value: Any, parameter: Parameter) -> Any:
    """Return a word as the value that the parameter wants: a number, `a,b` as a list, or the word itself."""
    if not isinstance(value, str):
        return value
    if parameter.several and ("," in value or "str" not in parameter.kinds):
        return split_list(value)
    numbers = {"int", "float"} & set(parameter.kinds)
    read = parse_value(value) if numbers else value
    if numbers == {"float"} and isinstance(read, int) and not isinstance(read, bool):
        return float(read)
    wrong = isinstance(read, (bool, str)) or (numbers == {"int"} and isinstance(read, float))
    if wrong and numbers and not {"str"} & set(parameter.kinds) and value not in parameter.choices:
        kind = "whole number" if numbers == {"int"} else "number"
        flag = FLAGS.get(parameter.name, parameter.name).replace("_", "-")
        raise ConfigError(f"--{flag} {value}: {value!r} is no {kind}; write one, as in --{flag} 10")
    return read


# ------------------------------------------------------------------------------------ typer's parameters


def _typer_parameters(signature: Signature) -> list[inspect.Parameter]:
    shown = [_typer_parameter(parameter, signature) for parameter in signature.parameters]
    if signature.settings is not None and _variadic(signature) is None:
        words = typer.Argument(metavar="KEY=VALUE", help=_plain(signature.settings), show_default=False)
        shown.insert(
            sum(parameter.positional for parameter in signature.parameters),
            _keyword("settings_", list[str] | None, words, None),
        )
    for name, text in _COMMON.items():
        flags = [f"--{name}"] + (["-v"] if name == "verbose" else ["-q"] if name == "quiet" else [])
        option = typer.Option(*flags, help=text)
        shown.append(_keyword(f"{name}_", bool, option, False))
    return shown


def _typer_parameter(parameter: Parameter, signature: Signature) -> inspect.Parameter:
    kind, metavar = _kind(parameter)
    text = _plain(parameter.meaning) + _default(parameter)
    if parameter.positional and parameter.name == _variadic(signature) and signature.settings is not None:
        text += f" Then KEY=VALUE: {_plain(signature.settings)}"
    if parameter.positional:
        word = typer.Argument(metavar=parameter.name.upper(), help=text, show_default=False)
        return _keyword(parameter.name, kind, word, inspect.Parameter.empty if parameter.required else None)
    flag = FLAGS.get(parameter.name, parameter.name).replace("_", "-")
    flags = [f"--{flag}/--no-{flag}"] if parameter.default == "True" else [f"--{flag}"]
    flags += [SHORT[parameter.name]] if parameter.name in SHORT else []
    option = typer.Option(*flags, metavar=metavar, help=text, show_default=False)
    return _keyword(parameter.name, kind, option, inspect.Parameter.empty if parameter.required else None)


def _keyword(name: str, kind: Any, info: Any, default: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[kind, info])


def _kind(parameter: Parameter) -> tuple[Any, str | None]:
    """Return (type for typer, metavar or None for typer's own)."""
    kinds = set(parameter.kinds) - {"None"}
    kind: Any = str
    metavar: str | None = "NAME"
    if kinds == {"bool"}:
        kind, metavar = bool, None
    elif kinds <= {"int", "float"} and not parameter.choices:
        metavar = "N"  # read by `_read`, whose message says what was given
    elif parameter.several and parameter.positional:
        kind = list[str]
    elif parameter.several:
        metavar = "A,B,..."
    elif parameter.choices:
        metavar = "|".join(parameter.choices + (("N",) if {"int", "float"} & kinds else ()))
    elif "Path" in kinds:
        metavar = "PATH"
    return (kind if parameter.required else kind | None), metavar


def _default(parameter: Parameter) -> str:
    """Return what help shows as default; the value itself stays the API's business."""
    if parameter.required or parameter.default in ("None", "False", "True"):
        return ""
    return f" [default: {ast.literal_eval(str(parameter.default))}]"


def _help(signature: Signature) -> str:
    return _plain("\n\n".join(part for part in (signature.summary, signature.description) if part))


def _epilog(signature: Signature) -> str:
    """Return the examples, marked with a backspace so that typer keeps their lines as they are."""
    return f"\b\nExamples:\n{textwrap.indent(signature.example, '  ')}" if signature.example else ""


def _plain(text: str) -> str:
    """Return a docstring's text without its code marks."""
    return text.replace("`", "")
