"""What verbs print for people: numbers, intervals, verdicts."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from bodh.cli import _tables


@pytest.fixture
def console() -> Console:
    return Console(file=io.StringIO(), width=90, highlight=False, markup=False, emoji=False)


def shown(console: Console) -> str:
    return console.file.getvalue()


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"), (True, "yes"), (3, "3"), (0.12345, "0.1235"), (2.0, "2"), (1e-4, "0.0001"), (1.5e-7, "1.5e-07"),
        (float("nan"), "nan"), (["a", 1], "a, 1"), ("[bold]", "[bold]"),
    ],
)  # fmt: skip
def test_values_as_people_read_them(value, text) -> None:
    assert _tables.text(value) == text


def test_intervals_join_their_figures() -> None:
    rows = [
        {"labels": "2 labels a class", "pretrained": 0.87123, "± pretrained": 0.0114, "raw input": 0.73,
         "± raw input": None, "best baseline": "raw input", "difference": 0.141, "from": 0.1, "to": 0.18},
        {"features": "pretrained", "accuracy": 0.5, "±": 0.25, "networks": 3},
    ]  # fmt: skip
    first, second = _tables.measured(rows)
    assert first == {
        "labels": "2 labels a class", "pretrained": "0.871 ± 0.011", "raw input": "0.730",
        "best baseline": "raw input", "difference": "+0.141 (+0.100 to +0.180)",
    }  # fmt: skip
    assert second == {"features": "pretrained", "accuracy": "0.500 ± 0.250", "networks": 3}
    first, second = _tables.measured(rows, percent=True)
    assert (first["pretrained"], first["difference"]) == ("87.1 ± 1.1", "+14.1 (+10.0 to +18.0)")
    assert second == {"features": "pretrained", "accuracy": "50.0 ± 25.0", "networks": 3}


def test_names_with_brackets_and_other_scripts_are_printed_as_they_are(console) -> None:
    _tables.table(console, ["name", "n"], [["[red]बिल्ली[/red]", 1], [":smile:", 2]])
    assert "[red]बिल्ली[/red]" in shown(console)
    assert ":smile:" in shown(console)


def test_a_long_text_is_wrapped_and_never_cut(console) -> None:
    words = " ".join(f"word{number}" for number in range(60))
    _tables.table(console, ["name", "meaning"], [["short", words]])
    assert all(word in shown(console) for word in words.split())
    assert max(len(line) for line in shown(console).splitlines()) <= 90


@pytest.mark.parametrize("width", [30, 60, 90, 130])
def test_a_wide_table_of_short_cells_is_wrapped_and_never_cut(width) -> None:
    console = Console(file=io.StringIO(), width=width)
    columns = ["labels", "pretrained", "untrained network", "trained from scratch", "best baseline", "difference"]
    rows = [
        [
            "2 labels a class",
            "0.860 ± 0.018",
            "0.651 ± 0.099",
            "0.667 ± 0.194",
            "raw input",
            "+0.118 (-0.078 to +0.314)",
        ]
    ]
    _tables.table(console, columns, rows)
    text = "".join(shown(console).split())
    assert text.count("±") == 3
    assert "…" not in text
    letters = sorted(letter for cell in [*columns, *rows[0]] for letter in cell if letter != " ")
    assert sorted(letter for letter in text if letter not in "─") == letters


@pytest.mark.parametrize(("helped", "text"), [("yes", "Yes."), ("no", "No."), ("cannot tell", "Cannot tell.")])
def test_the_verdict_comes_first(console, helped, text) -> None:
    _tables.verdict(console, helped, "Because.")
    assert shown(console).split() == ["Did", "it", "help?", *text.split(), "Because."]


def test_wrapped_lines_of_a_docstring_are_joined_and_others_are_kept(console) -> None:
    _tables.paragraph(console, "x" * 85 + "\nand more\nshort\n\nnew")
    assert shown(console) == "x" * 85 + " and \nmore\nshort\n\nnew\n"


def test_anything_can_be_printed(console) -> None:
    payload = {
        "name": "n",
        "empty": None,
        "labels_per_class": 3,
        "more": {"a_b": 1},
        "rows": [{"x": 1}],
        "list": ["a", "b"],
    }
    _tables.anything(payload, console)
    for text in ("labels per class", "a b", "x", "a, b"):
        assert text in shown(console)


FIGURES = {
    "objective": "masked_lm", "steps": 812, "linear": "0.612 ± 0.012", "1% of the labels": "0.523 ± 0.012",
    "10% of the labels": "0.580 ± 0.011", "collapsed": False,
}  # fmt: skip


@pytest.mark.parametrize("width", [40, 60, 80, 200])
def test_a_wide_table_breaks_no_word_and_no_figure(width: int) -> None:
    console = Console(file=io.StringIO(), width=width, highlight=False, markup=False, emoji=False)
    rows = [FIGURES | {"objective": name} for name in ("masked_lm", "simcse", "untrained", "raw input")]
    _tables.table(console, *_tables.rows_of(rows))
    lines = shown(console).splitlines()
    assert max(map(len, lines)) <= width
    for name, value in FIGURES.items():
        assert all(word in shown(console) for word in name.split())
        assert shown(console).count(_tables.text(value)) >= 1
    assert shown(console).count("0.612 ± 0.012") == 4
    turned = any(line.startswith("linear") for line in lines)
    assert turned == (width < 80)


def test_figures_stand_to_the_right_and_wide_letters_are_counted(console) -> None:
    _tables.table(console, ["वर्ग", "recall", "±"], [["भोजन का समय", "0.5 ± 0.1", "yes"], ["हिन्दी", "0.25", "no"]])
    lines = shown(console).splitlines()
    assert lines[2].rstrip().endswith("0.5 ± 0.1   yes")
    assert lines[3].rstrip().endswith("     0.25    no")
