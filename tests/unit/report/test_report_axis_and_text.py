from __future__ import annotations

import math

import pytest

from bodh.report.axis import compact, position_axis, value_axis
from bodh.report.text import column, looks_numeric, number, shorten, tidy


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (0, "0"),
        (-1234567, "−1\u202f234\u202f567"),
        (0.91234567, "0.9123"),
        (12.3456, "12.35"),
        (123456.7, "123\u202f457"),
        (1.5e-7, "1.50·10⁻⁷"),
        (math.nan, "not a number"),
        (-math.inf, "−∞"),
    ],
)
def test_numbers_are_written_for_reading(value: float | int | None, text: str) -> None:
    assert number(value) == text


def test_a_column_has_the_same_decimals() -> None:
    assert column([12.4, 301.2, 11.0, 3.4]) == ["12.4", "301.2", "11.0", "3.4"]
    assert column([0.884, None, 0.61]) == ["0.884", "–", "0.610"]
    assert column([1, 20]) == ["1", "20"]
    assert column([math.nan, 0.5]) == ["not a number", "0.5"]


@pytest.mark.parametrize("text", ["0.91 ± 0.01", "93 %", "−1.2", "+17", "0.91 [0.90, 0.92]", "<0.01"])
def test_texts_that_are_numbers_are_seen(text: str) -> None:
    assert looks_numeric(text)


@pytest.mark.parametrize("text", ["3 cats", "simclr", "t-shirt", "", "–"])
def test_other_texts_are_not_numbers(text: str) -> None:
    assert not looks_numeric(text)


def test_units_stay_with_their_number() -> None:
    assert tidy("78.4 % of") == "78.4\u00a0% of"
    assert shorten("कमीज़ और कोट", 6).endswith("…")


@pytest.mark.parametrize("values", [[0.2, 0.97], [1e-9, 3e-9], [-5, 12345], [3.0], [0, 0], [], [math.nan, 2.0]])
def test_a_value_axis_encloses_its_values_with_few_round_ticks(values: list[float]) -> None:
    axis = value_axis(values, 100, 0)
    finite = [value for value in values if math.isfinite(value)]
    assert all(axis.low <= value + 1e-12 and value - 1e-12 <= axis.high for value in finite)
    assert 2 <= len(axis.ticks) <= 8
    assert axis(axis.low) == pytest.approx(100)
    assert axis(axis.high) == pytest.approx(0)
    assert len({axis.label(tick) for tick in axis.ticks}) == len(axis.ticks)


def test_a_logarithmic_axis_has_its_few_values_as_ticks() -> None:
    axis = position_axis([1, 2, 5, 10, 20], 0, 100, log=True)
    assert axis.ticks == (1, 2, 5, 10, 20)
    assert axis(2) - axis(1) == pytest.approx(axis(20) - axis(10))
    assert axis(20) == pytest.approx(100)


def test_a_long_logarithmic_axis_has_decades() -> None:
    axis = position_axis([10**k for k in range(9)] + [3], 0, 100, log=True)
    assert axis.ticks == tuple(10.0**k for k in range(9))


def test_one_position_alone_is_drawn() -> None:
    for log in (True, False):
        axis = position_axis([5.0], 0, 100, log=log)
        assert 0 <= axis(5.0) <= 100


def test_large_ticks_are_short() -> None:
    assert [compact(v) for v in (250, 12_000, 1_500_000, 2e-5)] == ["250", "12k", "1.5M", "2.00·10⁻⁵"]


def test_there_are_no_ticks_between_two_steps() -> None:
    axis = position_axis([50, 51], 0, 100, log=False)
    assert [axis.label(tick) for tick in axis.ticks] == ["50", "51"]
    assert len(position_axis([0.5, 1.0], 0, 100, log=False).ticks) > 2


def test_ticks_of_values_that_hardly_differ_are_not_alike() -> None:
    axis = value_axis([19.88851, 19.88857], 0, 100)
    labels = [axis.label(tick) for tick in axis.ticks]
    assert len(set(labels)) == len(labels)
