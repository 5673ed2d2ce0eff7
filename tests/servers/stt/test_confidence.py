"""How far a model's words are believed."""

from __future__ import annotations

import math

import pytest

from servers.stt.adapter import Word
from servers.stt.confidence import again, quality_bp, repetitive, sayable, speech, sure, to_bp


@pytest.mark.parametrize(
    ("posterior", "bp"),
    [(0.0, 0), (0.5, 5_000), (1.0, 10_000), (1.0001, 10_000), (-1.0, 0), (math.nan, 0), (math.inf, 10_000)],
)
def test_a_posterior_becomes_basis_points(posterior: float, bp: int) -> None:
    assert to_bp(posterior) == bp


@pytest.mark.parametrize(("probability", "spoken"), [(0.0, True), (0.5, True), (0.51, False), (math.nan, False)])
def test_only_what_is_probably_speech_is_speech(probability: float, spoken: bool) -> None:
    assert speech(probability) is spoken


@pytest.mark.parametrize(("mean", "enough"), [(0.0, True), (-0.5, True), (-0.51, False), (math.nan, False)])
def test_only_a_likely_text_is_left_at_that(mean: float, enough: bool) -> None:
    assert sure(mean) is enough


@pytest.mark.parametrize(
    ("text", "circles"),
    [
        ("", False),
        ("No, no, no, no.", False),
        ("Where did I leave my keys this morning? Where did I leave my keys this morning?", False),
        ("I'm going to the end of the end of the end of the end of the end of the end of the end of the end.", True),
        ("Lobsters. " * 12, True),
    ],
)
def test_a_text_that_goes_round_in_circles_is_told_from_one_that_repeats_a_word(text: str, circles: bool) -> None:
    assert repetitive(text) is circles


@pytest.mark.parametrize(
    ("tokens", "starts"),
    [
        ([], []),
        ([1, 1, 2, 2], []),
        ([1, 2, 3, 4, 5, 6], []),
        ([1, 2, 3, 1, 2, 3, 9], []),
        ([1, 2, 3, 4, 1, 2], []),
        ([1, 2, 3, 4, 1, 2, 3], [4]),
        ([1, 2, 3, 4, 1, 2, 3, 4], [4]),
        ([9, 1, 2, 3, 1, 2, 3, 1, 2], [4, 7]),
        ([7] * 9, [3, 6]),
    ],
)
def test_where_the_end_says_again_what_came_before_it(tokens: list[int], starts: list[int]) -> None:
    assert list(again(tokens)) == starts


@pytest.mark.parametrize(
    ("words", "seconds", "fits"),
    [(0, 0.0, True), (1, 0.0, True), (2, 0.0, False), (7, 1.0, True), (8, 1.0, False), (2, math.nan, False)],
)
def test_nobody_says_more_words_than_fit_into_the_time(words: int, seconds: float, fits: bool) -> None:
    assert sayable(words, seconds, a_second=6.0) is fits


def test_quality_weighs_words_by_how_long_they_last() -> None:
    assert quality_bp([Word("long", 0.0, 0.9, 8_000), Word("a", 0.9, 1.0, 3_000)]) == 7_500


def test_no_words_have_no_quality() -> None:
    assert quality_bp([]) == 0
    assert quality_bp([Word("a", 1.0, 1.0, 9_000)]) == 0
