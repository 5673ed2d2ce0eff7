"""English numbers in words and digits."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from servers.llm.numerals import ONES, TENS, duration_s, parse


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("zero", 0),
        ("seventeen", 17),
        ("forty two", 42),
        ("forty-two", 42),
        ("a hundred", 100),
        ("nine hundred and ninety nine", 999),
        ("twelve thousand three hundred and four", 12_304),
        ("a thousand and one", 1_001),
        ("two million three thousand", 2_003_000),
        ("minus five", -5),
        ("123456789", 123_456_789),
    ],
)
def test_numbers_are_read(text: str, value: int) -> None:
    assert parse(text) == value


@pytest.mark.parametrize(
    "text",
    [
        *("", "minus", "minus minus two", "two three", "twenty twelve", "hundred", "ten hundred", "one hundred and"),
        *("five thousand thousand", "1234567890", "\u0663", "twelve apples", "two hundred zero", "zero million"),
    ],
)
def test_what_is_no_number_is_none(text: str) -> None:
    assert parse(text) is None


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("ten minutes", 600),
        ("one second", 1),
        ("an hour", 3_600),
        ("half an hour", 1_800),
        ("a half hour", 1_800),
        ("a quarter of an hour", 900),
        ("three quarters of an hour", 2_700),
        ("an hour and a half", 5_400),
        ("two and a half hours", 9_000),
        ("two hours and thirty minutes", 9_000),
        ("1 hour 5 minutes and 7 seconds", 3_907),
        ("10min", 600),
        ("twenty-five minute", 1_500),
    ],
)
def test_durations_are_read(text: str, seconds: int) -> None:
    assert duration_s(text) == seconds


@pytest.mark.parametrize(
    "text",
    [
        *("", "ten", "minutes", "and a half", "minus ten minutes", "zero minutes", "half a second", "1 5 hours"),
        *("ten minutes one hour", "ten minutes ten minutes", "ten minutes later", "ten minutes and", "many hours"),
    ],
)
def test_what_is_no_duration_is_none(text: str) -> None:
    assert duration_s(text) is None


@given(st.integers(min_value=0, max_value=999_999))
def test_every_number_below_a_million_is_read_as_it_is_spelled(value: int) -> None:
    assert parse(_spelled(value)) == value


def _spelled(value: int) -> str:
    thousands, rest = divmod(value, 1_000)
    if thousands:
        return f"{_spelled(thousands)} thousand" + (f" {_spelled(rest)}" if rest else "")
    hundreds, rest = divmod(rest, 100)
    if hundreds:
        return f"{_spelled(hundreds)} hundred" + (f" and {_spelled(rest)}" if rest else "")
    names = {number: word for word, number in (ONES | TENS).items()}
    return names[rest] if rest in names else f"{names[rest - rest % 10]} {names[rest % 10]}"
