"""The reply, read from JSON that is still arriving."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from servers.llm.partial import ReplyText

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5) | st.just("reply"), inner, max_size=3)
    ),
    max_leaves=8,
)


def read(*pieces: str) -> list[str]:
    reply = ReplyText()
    return [reply.feed(piece) for piece in pieces]


def cut(text: str, places: list[int]) -> list[str]:
    edges = sorted({0, len(text), *(place % (len(text) + 1) for place in places)})
    return [text[begin:end] for begin, end in pairwise(edges)]


@given(
    reply=st.text(),
    others=st.dictionaries(st.text(max_size=5).filter(lambda key: key != "reply"), JSON, max_size=4),
    before=st.integers(0, 4),
    ascii_only=st.booleans(),
    indent=st.sampled_from([None, 2]),
    places=st.lists(st.integers(0, 10_000), max_size=40),
)
def test_the_pieces_joined_are_the_reply_wherever_the_json_is_cut(
    reply: str, others: dict[str, object], before: int, ascii_only: bool, indent: int | None, places: list[int]
) -> None:
    items = list(others.items())
    packet = dict([*items[:before], ("reply", reply), *items[before:]])
    text = json.dumps(packet, ensure_ascii=ascii_only, indent=indent)
    assert "".join(read(*cut(text, places))) == reply


def test_it_gives_what_it_can_with_every_piece() -> None:
    assert read('{"intent": "a", "re', 'ply"', ': "It', " is", ' noon."', ', "x": 1}') == [
        "",
        "",
        "It",
        " is",
        " noon.",
        "",
    ]


@pytest.mark.parametrize(
    ("pieces", "said"),
    [
        (['{"reply": "a\\', 'nb"}'], ["a", "\nb"]),
        (['{"reply": "\\u00', 'e9"}'], ["", "é"]),
        (['{"reply": "\\ud83d', '\\ude00!"}'], ["", "😀!"]),
        (['{"reply": "\\ud83d\\', "u", "de0", '0"}'], ["", "", "", "😀"]),
        (['{"reply": "\\\\', '"}'], ["\\", ""]),
        (['{"reply": "\\"', 'quoted\\""}'], ['"', 'quoted"']),
        (['{"reply": "\\/\\b\\f\\r\\t"}'], ["/\b\f\r\t"]),
        (['{"r\\u0065ply": "spelt otherwise"}'], ["spelt otherwise"]),
    ],
)
def test_an_escape_cut_in_two_is_one_character(pieces: list[str], said: list[str]) -> None:
    assert read(*pieces) == said


@pytest.mark.parametrize(
    "text",
    [
        '{"slots": [{"reply": "inner"}], "reply": "outer"}',
        '{"slots": {"reply": "inner"}, "reply": "outer"}',
        '{"intent": "reply", "reply": "outer"}',
        '{"a": "\\"reply\\": \\"inner\\"", "reply": "outer"}',
        '{"a": ["reply", "inner"], "reply": "outer"}',
        '{"replyx": "inner", "xreply": "inner", "reply": "outer"}',
        '\n {"reply" \t:\n "outer"}',
    ],
)
def test_only_the_outermost_reply_counts(text: str) -> None:
    assert "".join(read(*text)) == "outer"


@pytest.mark.parametrize(
    "text",
    [
        '["reply", "no object"]',
        '"reply"',
        '{"reply": 5}',
        '{"reply": null}',
        '{"reply": ["a"]}',
        '{"reply": {"reply": "a"}}',
        "",
        "}",
        '}{"reply": "after the end"}',
        '{}{"reply": "after the end"}',
    ],
)
def test_what_has_no_reply_says_nothing(text: str) -> None:
    assert "".join(read(*text)) == ""


@pytest.mark.parametrize(
    ("text", "before_the_break"),
    [
        ('{"reply": "a\\x", "reply": "b"}', "a"),
        ('{"reply": "a\\u00zz"}', "a"),
        ('{"reply": "a\\ud83d"}', "a"),
        ('{"reply": "a\\ud83db"}', "a"),
        ('{"reply": "a\\ud83d\\n"}', "a"),
        ('{"reply": "a\\ud83d\\ud83d"}', "a"),
        ('{"reply": "a\\ude00"}', "a"),
        ('{"reply": "a\nb"}', "a"),
        ('{"reply": "a\ud83db"}', "a"),
    ],
)
def test_after_a_break_nothing_more_is_said(text: str, before_the_break: str) -> None:
    assert "".join(read(*text)) == before_the_break
    assert read(text)[0] == before_the_break


@given(st.lists(st.text(alphabet='{}[]":,\\u0drepy 1\n\ud83d', max_size=12), max_size=12))
def test_whatever_comes_nothing_is_raised_and_no_half_character_said(pieces: list[str]) -> None:
    "".join(read(*pieces)).encode()
