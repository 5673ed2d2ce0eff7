"""How far a decoder's words are believed."""

from __future__ import annotations

import math

import pytest

from servers.stt.adapter import Word
from servers.stt.confidence import plausible, quality_bp, to_bp


@pytest.mark.parametrize(
    ("posterior", "bp"),
    [(0.0, 0), (0.5, 5_000), (1.0, 10_000), (1.0001, 10_000), (-1.0, 0), (math.nan, 0), (math.inf, 10_000)],
)
def test_a_posterior_becomes_basis_points(posterior: float, bp: int) -> None:
    assert to_bp(posterior) == bp


def test_quality_weighs_words_by_how_long_they_last() -> None:
    assert quality_bp([Word("long", 0.0, 0.9, 8_000), Word("a", 0.9, 1.0, 3_000)]) == 7_500


def test_no_words_have_no_quality() -> None:
    assert quality_bp([]) == 0
    assert quality_bp([Word("a", 1.0, 1.0, 9_000)]) == 0


@pytest.mark.parametrize(
    ("text", "lasted_s", "believed"),
    [
        ("a", 0.9, True),
        ("thigh", 2.9, False),
        ("thigh", 1.2, True),
        ("responsibilities", 2.0, True),
        ("c", 1.96, False),
    ],
)
def test_a_word_that_lasts_too_long_for_its_letters_was_not_said(text: str, lasted_s: float, believed: bool) -> None:
    assert plausible(Word(text, 3.0, 3.0 + lasted_s, 10_000)) is believed
