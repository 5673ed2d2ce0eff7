"""One stream at one rate across providers: offsets, marks, and where the next provider begins."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from servers.tts.adapter import AudioChunk, Mark, MarkKind
from servers.tts.speech import MAX_CHUNK_BYTES, Part, Resampler, Resumed, Speech

NATIVE = 24_000
RATES = (8_000, 16_000, 24_000, 44_100, 48_000)
TEXT = "First one. Second one. Third one."
SECOND, THIRD = TEXT.index("Second"), TEXT.index("Third")


def tone(samples: int) -> bytes:
    return bytes((np.sin(np.arange(samples) * 0.05) * 8_000).astype("<i2").tobytes())


def spoken(speech: Speech, part: Part, pcm: bytes, rate_hz: int = NATIVE) -> list[AudioChunk]:
    """What is sent of this audio."""
    return [speech.place(piece) for piece in part.pieces(AudioChunk(pcm, 0, rate_hz))]


def ended(speech: Speech, part: Part) -> list[AudioChunk]:
    return [speech.place(piece) for piece in part.rest()]


def sentence(sample: int, text_offset: int) -> Mark:
    return Mark(MarkKind.SENTENCE, sample, text_offset)


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("native", [16_000, 22_050, 24_000])
def test_the_audio_is_as_long_as_the_providers_at_every_rate(rate: int, native: int) -> None:
    speech = Speech(TEXT, rate_hz=rate, resumable=True)
    part, samples = speech.part(), 3 * native + 17
    pcm = tone(samples)
    chunks = [chunk for at in range(0, len(pcm), 4_802) for chunk in spoken(speech, part, pcm[at : at + 4_802], native)]
    chunks += ended(speech, part)
    assert abs(sum(len(chunk.pcm) for chunk in chunks) / 2 - samples * rate / native) <= 1
    assert all(0 < len(chunk.pcm) <= MAX_CHUNK_BYTES for chunk in chunks)
    assert [chunk.sample_offset for chunk in chunks] == [
        sum(len(before.pcm) // 2 for before in chunks[:place]) for place in range(len(chunks))
    ]


@given(st.lists(st.integers(1, 3_000), min_size=1, max_size=12), st.sampled_from(RATES))
def test_the_audio_does_not_depend_on_how_it_was_cut(sizes: list[int], rate: int) -> None:
    pcm = tone(sum(sizes))
    whole, cut = Resampler(NATIVE, rate), Resampler(NATIVE, rate)
    at, joined = 0, b""
    for size in sizes:
        joined += cut.push(pcm[2 * at : 2 * (at + size)])
        at += size
    assert joined + cut.flush() == whole.push(pcm) + whole.flush()


@pytest.mark.parametrize("rate", RATES)
def test_a_mark_at_the_end_of_the_audio_lies_within_it(rate: int) -> None:
    speech = Speech(TEXT, rate_hz=rate, resumable=True)
    part, samples = speech.part(), 22_050 + 11
    spoken(speech, part, tone(samples), 22_050)
    ended(speech, part)
    mark = part.mark(Mark(MarkKind.NAMED, samples, len(TEXT), name="end"), 22_050)
    assert abs(mark.sample_offset - speech.samples) <= 1


def test_the_next_provider_begins_at_the_last_sentence_that_was_begun() -> None:
    speech = Speech(TEXT, rate_hz=NATIVE, resumable=True)
    first = speech.part()
    for mark, samples in ((sentence(0, 0), 1_000), (sentence(1_000, SECOND), 600)):
        first.mark(mark, NATIVE)
        spoken(speech, first, tone(samples))
    assert speech.resumed() == Resumed(SECOND, 1_000)
    second = speech.part()
    assert second.text == TEXT[SECOND:]
    assert second.mark(sentence(0, 0), NATIVE).text_offset == SECOND
    (chunk,) = spoken(speech, second, tone(500))
    assert chunk.sample_offset == 1_600


def test_a_sentence_that_was_told_of_and_never_came_is_not_where_the_next_begins() -> None:
    speech = Speech(TEXT, rate_hz=NATIVE, resumable=True)
    first = speech.part()
    first.mark(sentence(0, 0), NATIVE)
    spoken(speech, first, tone(900))
    first.mark(sentence(1_000, SECOND), NATIVE)  # its chunk, which ends the first sentence too, never comes
    assert speech.resumed() == Resumed(0, 0)
    assert speech.part().text == TEXT


def test_what_the_resampler_held_back_of_a_sentence_is_said_again() -> None:
    speech = Speech(TEXT, rate_hz=8_000, resumable=True)
    first = speech.part()
    first.mark(sentence(0, 0), NATIVE)
    spoken(speech, first, tone(1_200))
    assert speech.samples < 400
    first.mark(sentence(1_200, SECOND), NATIVE)
    assert speech.resumed() == Resumed(0, 0)


def test_a_third_provider_begins_where_the_second_was() -> None:
    speech = Speech(TEXT, rate_hz=NATIVE, resumable=True)
    first = speech.part()
    first.mark(sentence(0, 0), NATIVE)
    spoken(speech, first, tone(1_000))
    first.mark(sentence(1_000, SECOND), NATIVE)
    spoken(speech, first, tone(100))
    second = speech.part()
    second.mark(sentence(0, 0), NATIVE)
    spoken(speech, second, tone(800))
    second.mark(sentence(800, THIRD - SECOND), NATIVE)
    spoken(speech, second, tone(10))
    assert speech.resumed() == Resumed(THIRD, 1_900)
    assert speech.part().text == TEXT[THIRD:]


@pytest.mark.parametrize("resumable", [True, False])
def test_without_a_place_to_go_on_from_the_beginning_is_said_again(resumable: bool) -> None:
    speech = Speech(TEXT, rate_hz=NATIVE, resumable=resumable)
    first = speech.part()
    if not resumable:
        first.mark(sentence(0, SECOND), NATIVE)
    spoken(speech, first, tone(1_000))
    assert speech.resumed() == Resumed(0, 0)
    second = speech.part()
    assert second.text == TEXT
    (chunk,) = spoken(speech, second, tone(10))
    assert chunk.sample_offset == 1_000


def test_a_provider_that_told_of_sentences_and_made_no_sound_is_followed_from_the_beginning() -> None:
    speech = Speech(TEXT, rate_hz=NATIVE, resumable=True)
    first = speech.part()
    first.mark(sentence(0, 0), NATIVE)
    first.mark(sentence(0, SECOND), NATIVE)
    assert speech.resumed() == Resumed(0, 0)
    assert speech.part().text == TEXT


def test_a_mark_is_placed_at_the_streams_rate() -> None:
    speech = Speech(TEXT, rate_hz=48_000, resumable=True)
    word = Mark(MarkKind.WORD, 2_205, 6, 3)
    assert speech.part().mark(word, 22_050) == Mark(MarkKind.WORD, 4_800, 6, 3)
