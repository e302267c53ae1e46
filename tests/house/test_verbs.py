"""The command line and the Python API are the same functions, and both are small and frozen."""

from __future__ import annotations

import importlib
import inspect

import pytest
from typer.main import get_command

import bodh
from bodh.cli._command import FLAGS, Call, _variadic
from bodh.cli._signature import read_signature
from bodh.cli.app import VERBS, application
from tests.house._source import SOURCE

COMMON = ["--json", "--quiet", "--verbose", "--debug"]

FROZEN = {
    "pretrain": "DATA KEY=VALUE --objective --backbone --out --epochs "
    "--minutes --device --seed --resume --from --config",
    "finetune": "DATA KEY=VALUE --from --task --freeze --labels-per-class "
    "--out --epochs --minutes --device --seed --resume --config",
    "evaluate": "MODEL DATA KEY=VALUE --against --protocol --baselines --seeds --blocks --remember "
    "--out --device --config",
    "compare": "DATA KEY=VALUE --objectives --minutes --transfer --from --out --backbone --device --seed",
    "embed": "MODEL DATA KEY=VALUE --out --device --split --normalise --dimensions",
    "search": "MODEL DATA QUERY KEY=VALUE --top --device",
    "predict": "MODEL INPUTS --out --device --shots --method --explain --question",
    "generate": "MODEL PROMPTS --length --temperature --top-k --top-p --beams --repetition-penalty --number --seed "
    "--stream --device",
    "fill": "MODEL TEXTS --top --device",
    "translate": "MODEL TEXTS --beams --length --out --device",
    "caption": "MODEL PICTURES --beams --length --out --device",
    "export": "MODEL KEY=VALUE --format --out --capability --data --overwrite",
    "serve": "MODEL --host --port --data",
    "data": "DATA KEY=VALUE --check --forget",
    "list": "KIND NAME",
    "doctor": "",
    "demo": "--out --seed",
}
"""Every verb with its words and flags. Change this only together with the documentation and the changelog."""


COMMANDS = get_command(application()).commands


def options(verb: str) -> list[str]:
    command = COMMANDS[verb]
    return [
        option
        for parameter in command.params
        for option in (parameter.opts if parameter.param_type_name == "option" else [str(parameter.metavar)])
        if not option.startswith("-") or option.startswith("--")
    ]


def test_every_verb_of_the_api_is_a_verb_of_the_command_line() -> None:
    files = {path.stem for path in (SOURCE / "api").glob("*.py") if not path.stem.startswith("_")}
    assert files - {"load"} == set(VERBS)
    assert {path.stem for path in (SOURCE / "cli").glob("*.py") if not path.stem.startswith("_")} == {*VERBS, "app"}
    assert set(VERBS) <= set(bodh.__all__)


@pytest.mark.parametrize("name", bodh.__all__)
def test_every_public_name_can_be_reached(name) -> None:
    assert getattr(bodh, name)


def test_an_unknown_name_of_the_package_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="pretrian"):
        bodh.pretrian  # noqa: B018


@pytest.mark.parametrize("verb", VERBS)
def test_names_are_the_same_in_both(verb) -> None:
    function = getattr(importlib.import_module(f"bodh.api.{verb}"), verb)
    expected = []
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.kind is parameter.VAR_KEYWORD:
            expected += ["KEY=VALUE"] * (_variadic(read_signature(verb)) is None)  # else they stand among the words
        elif parameter.kind is parameter.KEYWORD_ONLY:
            expected.append("--" + FLAGS.get(name, name).replace("_", "-"))
        else:
            expected.append(name.upper())
    assert sorted(options(verb)) == sorted(expected + COMMON)


@pytest.mark.parametrize("verb", VERBS)
def test_every_argument_and_at_least_one_example_is_in_the_help(verb) -> None:
    signature = read_signature(verb)
    assert [p.name for p in signature.parameters if not p.meaning] == []
    assert signature.settings != ""
    assert len(signature.summary) <= 110, "the summary is a line or two of `bodh --help`"
    assert f"bodh {verb}" in signature.example


@pytest.mark.parametrize("verb", VERBS)
def test_the_examples_of_the_help_can_be_typed(verb) -> None:
    import shlex

    for line in read_signature(verb).example.splitlines():
        words = shlex.split(line, comments=True)
        if "bodh" in words:
            call = get_command(application()).main(
                args=words[words.index("bodh") + 1 :], prog_name="bodh", standalone_mode=False
            )
            assert isinstance(call, Call), line


def test_verbs_and_flags_are_frozen() -> None:
    assert {verb: " ".join(options(verb)[: -len(COMMON)]) for verb in VERBS} == FROZEN
