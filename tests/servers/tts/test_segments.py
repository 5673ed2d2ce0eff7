"""How text is cut for the engine."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from servers.tts.adapter import Mark, MarkKind
from servers.tts.segments import MAX_SEGMENT, Named, Segment, Silence, plan, speakable, word_mark
from servers.tts.ssml import Pause, Place, Spoken

SENTENCE = "This sentence has exactly so many letters. "


def segments(text: str) -> list[Segment]:
    return [step for step in plan((Spoken(text),), 100) if isinstance(step, Segment)]


def test_short_text_is_one_segment() -> None:
    assert segments("Hello, Dr. Jones. Go on.") == [Segment("Hello, Dr. Jones. Go on.", 0, 100, True)]


def test_long_text_is_cut_between_sentences() -> None:
    made = segments(SENTENCE * 10)
    assert len(made) > 1
    assert all(segment.text.endswith("letters. ") and segment.starts_sentence for segment in made)


def test_an_abbreviation_does_not_end_a_sentence() -> None:
    made = segments("a" * 40 + " came to see Dr. " + "Jones " * 40)
    assert not any(segment.text.endswith("Dr. ") for segment in made)


def test_a_sentence_too_long_is_cut_at_a_comma_and_goes_on() -> None:
    first, second, *_ = segments("word " * 20 + "end, " + "word " * 30)
    assert first.text.endswith("end, ")
    assert not second.starts_sentence


def test_a_mark_inside_a_sentence_does_not_begin_another() -> None:
    steps = plan((Spoken("Hello "), Place("here"), Spoken("world. "), Pause(10), Spoken("Again")), 100)
    assert steps == (
        Segment("Hello ", 0, 100, True),
        Named("here", 6),
        Segment("world. ", 6, 100, False),
        Silence(10),
        Segment("Again", 13, 100, True),
    )


def test_rates_multiply() -> None:
    (step,) = plan((Spoken("x", 50),), 120)
    assert isinstance(step, Segment)
    assert step.rate_percent == 60


@given(st.text(alphabet=st.characters(codec="utf-8"), max_size=3_000))
def test_segments_are_the_text_where_it_says_something(text: str) -> None:
    made = segments(text)
    assert all(len(segment.text) <= MAX_SEGMENT for segment in made)
    assert all(text[segment.text_offset :].startswith(segment.text) for segment in made)
    kept = "".join(segment.text for segment in made)
    assert [c for c in kept if c.isalnum()] == [c for c in text if c.isalnum()]


def test_a_word_mark_spans_the_word() -> None:
    segment = Segment("Grüße, it's me", 100, 100, True)
    assert word_mark(segment, 7, 42) == Mark(MarkKind.WORD, 42, 107, 4)
    assert word_mark(segment, 5, 42) is None
    assert word_mark(segment, 99, 42) is None


@pytest.mark.parametrize("text", ["", "...", "?!", "a\0b", "a\x01b", "a\x1b[0m", "\ud800a", "a\x7f", "a\x85"])
def test_nothing_to_say_and_commands_to_the_engine_are_unspeakable(text: str) -> None:
    assert not speakable(text)


@pytest.mark.parametrize("text", ["a", "7", "日本", "line\none\ttwo\r"])
def test_text_is_speakable(text: str) -> None:
    assert speakable(text)
