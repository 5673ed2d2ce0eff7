"""English numbers in words and digits."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from servers.llm.numerals import ONES, TENS, parse


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
