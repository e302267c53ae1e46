"""Words become calls: positions, flags, settings, and what is refused."""

from __future__ import annotations

import pytest
from typer.main import get_command

from bodh.cli._command import Call, _read
from bodh.cli._signature import Parameter
from bodh.cli.app import application, run
from bodh.errors import ConfigError


def parse(*words: str) -> Call:
    call = get_command(application()).main(args=list(words), prog_name="bodh", standalone_mode=False)
    assert isinstance(call, Call)
    return call


def test_only_what_was_given_is_passed_on() -> None:
    assert parse("pretrain", "photos/").arguments == {"data": "photos/"}


def test_flags_settings_and_common_options() -> None:
    call = parse(
        "pretrain", "sklearn:digits", "--objective", "byol", "--epochs", "2.5", "--seed", "3", "--resume",
        "--json", "-q", "objective.momentum=0.9", "modality.views.flip=0",
    )  # fmt: skip
    assert call.command.verb == "pretrain"
    assert call.arguments == {
        "data": "sklearn:digits", "objective": "byol", "epochs": 2.5, "seed": 3, "resume": True,
        "objective.momentum": 0.9, "modality.views.flip": 0,
    }  # fmt: skip
    assert (call.options.json, call.options.quiet, call.options.debug) == (True, True, False)


def test_from_is_start_in_python() -> None:
    assert parse("finetune", "d", "--from", "runs/a").arguments == {"data": "d", "start": "runs/a"}
    assert parse("pretrain", "d", "from=runs/a").arguments == {"data": "d", "start": "runs/a"}


def test_an_argument_can_be_given_as_setting_but_not_twice() -> None:
    assert parse("pretrain", "d", "epochs=50").arguments == {"data": "d", "epochs": 50}
    with pytest.raises(ConfigError, match=r"epochs is given twice: 5.0 and 6"):
        parse("pretrain", "d", "--epochs", "5", "epochs=6")


def test_settings_may_stand_before_flags() -> None:
    assert parse("pretrain", "d", "batch=64", "--epochs", "1").arguments == {"data": "d", "batch": 64, "epochs": 1.0}


def test_lists_and_several_words() -> None:
    assert parse("compare", "d", "--objectives", "simclr,byol", "--minutes", "1").arguments == {
        "data": "d", "objectives": ["simclr", "byol"], "minutes": 1.0,
    }  # fmt: skip
    assert parse("predict", "m", "a.png", "बिल्ली.png").arguments == {"model": "m", "inputs": ["a.png", "बिल्ली.png"]}


def test_a_number_where_a_word_or_a_number_is_allowed() -> None:
    def read(word: str, *kinds: str, choices: tuple[str, ...] = ()) -> object:
        return _read(word, Parameter("freeze", kinds, choices, "'backbone'", False, False, ""))

    assert read("2", "str", "int") == 2
    assert read("none", "str", "int") == "none"
    assert read("none", "int", choices=("backbone", "none")) == "none"
    assert read("2", "str") == "2"
    assert repr(read("2", "float")) == "2.0"


def test_switches_that_are_on_can_be_turned_off() -> None:
    assert parse("data", "d", "--no-check").arguments == {"data": "d", "check": False}


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["pretrian"], "bodh: no verb named 'pretrian' (did you mean 'pretrain'?); there are: pretrain, finetune,"),
        (["pretrain"], "bodh: missing argument 'DATA'"),
        (["finetune", "d"], "bodh: missing option '--from'"),
        (["pretrain", "d", "--objektive", "x"], "bodh: no such option: --objektive"),
        (
            ["pretrain", "d", "--epochs", "many"],
            "bodh: --epochs many: 'many' is no number; write one, as in --epochs 10",
        ),
        (["pretrain", "d", "--seed", "1.5"], "bodh: --seed 1.5: '1.5' is no whole number; write one, as in"),
        (["pretrain", "d", "--seed", "true"], "bodh: --seed true: 'true' is no whole number"),
        (["pretrain", "d", "epochs"], "bodh: 'epochs' is no setting; write key=value, as in epochs=50"),
        (["list", "objectives", "simcrl"], "bodh: no objective named 'simcrl' (did you mean 'simclr'?); there are: "),
        (["list", "objektives"], "bodh: no kind named 'objektives' (did you mean 'objectives'?); there are: "),
        (["--colour"], "bodh: no such option: --colour"),
    ],
)
def test_a_wrong_line_is_told_in_one_line_with_code_2(words, text, capsys) -> None:
    assert run(words) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(text)
    assert captured.err.count("\n") == 1


def test_a_parse_error_names_the_help_to_read(capsys) -> None:
    run(["finetune", "d"])
    assert capsys.readouterr().err.endswith("; type: bodh finetune --help\n")


def test_words_and_settings_stand_together_where_there_may_be_several_words() -> None:
    call = parse("serve", "runs/a", "runs/b", "--port", "0", "threads=2")
    assert call.arguments == {"model": ["runs/a", "runs/b"], "port": 0, "threads": 2}
    assert parse("serve", "./a=b").arguments == {"model": ["./a=b"]}


def test_one_word_or_a_list_of_them() -> None:
    assert parse("evaluate", "m", "d", "--protocol", "knn,linear").arguments["protocol"] == ["knn", "linear"]
    assert parse("evaluate", "m", "d", "--protocol", "knn").arguments["protocol"] == "knn"
