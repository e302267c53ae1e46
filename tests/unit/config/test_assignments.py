"""Settings as words and as TOML files."""

from __future__ import annotations

import math

import pytest

from bodh.config.assignments import parse_assignments, read_toml
from bodh.errors import ConfigError


@pytest.mark.parametrize(
    ("word", "settings"),
    [
        ("epochs=50", {"epochs": 50}),
        ("objective.temperature=1e-1", {"objective.temperature": 0.1}),
        ("objective=simclr", {"objective": "simclr"}),
        ("out=runs/a b=c", {"out": "runs/a b=c"}),
        ("amp=true", {"amp": True}),
        ("sizes=[1, 2]", {"sizes": [1, 2]}),
        ("names=[knn,linear]", {"names": ["knn", "linear"]}),
        ("names=", {"names": ""}),
        ('text="50"', {"text": "50"}),
        ("colour=#fff", {"colour": "#fff"}),
        ("day=2024-01-31", {"day": "2024-01-31"}),
        ("days=[2024-01-31]", {"days": ["2024-01-31"]}),
        ("batch-size=64", {"batch_size": 64}),
        ("views={flip=0.5}", {"views.flip": 0.5}),
        ("लेबल=बिल्ली", {"लेबल": "बिल्ली"}),
        ("x=1\ny=2", {"x": "1\ny=2"}),
    ],
)
def test_words_become_settings(word, settings) -> None:
    assert parse_assignments([word]) == settings


def test_infinity_is_a_number() -> None:
    assert math.isinf(parse_assignments(["clip=inf"])["clip"])


def test_words_that_are_no_settings_are_all_refused_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        parse_assignments(["epochs", "=3", "a=1", "a=2", "b c=3"])
    text = str(caught.value)
    assert "'epochs' is no setting; write key=value, as in epochs=50" in text
    assert "'=3' is no setting" in text
    assert "'b c=3' is no setting" in text
    assert "a is given twice: 1 and 2" in text


def test_toml_tables_and_dotted_keys_are_the_same(tmp_path) -> None:
    one, two = tmp_path / "one.toml", tmp_path / "दो.toml"
    one.write_text('epochs = 3\n[objective]\ntemperature = 0.1\n[modality.views]\nflip = 0\nname = "क"\n', "utf-8")
    two.write_text(
        '\ufeffepochs = 3\n"objective.temperature" = 0.1\nmodality.views.flip = 0\nmodality.views.name = "क"', "utf-8"
    )
    assert read_toml(one) == read_toml(two)
    assert read_toml(str(two))["modality.views.name"] == "क"


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (None, "no config file '{path}'"),
        (b"epochs = ", "'{path}' is no valid TOML: "),
        (b"\xff\xfe\x00", "'{path}' cannot be read: "),
        (b'"a.b" = 1\n[a]\nb = 2', "'{path}' gives a.b twice: 1 and 2"),
    ],
)
def test_a_bad_file_is_named(tmp_path, content, text) -> None:
    path = tmp_path / "run.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        read_toml(path)
    assert text.format(path=path) in str(caught.value)


def test_a_folder_is_no_config_file(tmp_path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        read_toml(tmp_path)
