"""The local synthesiser, on the real engine."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from datetime import UTC, datetime

import numpy as np
import protovalidate
import pytest
from selene.provider.v1.provider_pb2 import (
    CAPABILITY_TTS,
    PROVIDER_STATUS_OK,
    PROVIDER_STATUS_RETRYABLE_FAIL,
    PROVIDER_STATUS_TERMINAL_FAIL,
    ProviderResultV1,
)

from servers.routing.reasons import ProviderReason
from servers.runtime.clock import ManualClock
from servers.tts import espeak
from servers.tts.adapter import AudioChunk, Mark, MarkKind, Markup, Synthesis, TtsAdapter, TtsEvent, TtsReason
from servers.tts.espeak import Espeak, EspeakFailed, OnAudio
from servers.tts.local import LocalTts

LONG = "This is a sentence that goes on for a while, and then it ends. " * 70
FAR = 60.0


class _Stuck(Espeak):
    """The engine, but a call of it does not come back until it is let."""

    def __init__(self) -> None:
        self.voices = espeak.load().voices
        self.entered, self.release = threading.Event(), threading.Event()

    def render(self, text: str, identifier: str, rate_percent: int, on_audio: OnAudio) -> None:
        self.entered.set()
        self.release.wait(30)


class _Failing(Espeak):
    """The engine, but it refuses."""

    def __init__(self) -> None:
        self.voices = espeak.load().voices

    def render(self, text: str, identifier: str, rate_percent: int, on_audio: OnAudio) -> None:
        raise EspeakFailed("espeak_Synth: 1")


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(datetime(2026, 1, 1, tzinfo=UTC))


@pytest.fixture
def tts(clock: ManualClock) -> Iterator[LocalTts]:
    local = LocalTts(espeak.load(), monotonic=clock.monotonic)
    yield local
    local.close()


def to_say(text: str, locale: str = "en-US", markup: Markup = Markup.PLAIN, rate_percent: int = 100) -> Synthesis:
    return Synthesis("t-1", "req-1", "idem-1", text, locale, markup, rate_percent)


async def spoken(
    tts: TtsAdapter, request: Synthesis, deadline: float = FAR
) -> tuple[list[AudioChunk], list[Mark], ProviderResultV1]:
    *events, result = [event async for event in tts.synthesise(request, deadline=deadline)]
    assert isinstance(result, ProviderResultV1)
    protovalidate.validate(result)
    chunks = [event for event in events if isinstance(event, AudioChunk)]
    return chunks, [event for event in events if isinstance(event, Mark)], result


def seconds(chunks: list[AudioChunk]) -> float:
    return sum(len(chunk.pcm) / 2 / chunk.rate_hz for chunk in chunks)


async def test_text_becomes_consecutive_audible_chunks_and_one_result(tts: LocalTts) -> None:
    chunks, _, result = await spoken(tts, to_say("Hello there. What time is it?"))
    assert 1.0 < seconds(chunks) < 4.0
    assert len(chunks) > 10
    offset = 0
    for chunk in chunks:
        assert chunk.sample_offset == offset
        offset += len(chunk.pcm) // 2
    assert np.abs(np.frombuffer(b"".join(chunk.pcm for chunk in chunks), "<i2")).max() > 3_000
    assert (result.status, result.reason_code, result.quality_score_bp) == (PROVIDER_STATUS_OK, "SPOKEN", 10_000)
    assert (result.provider_ref, result.capability) == ("selene-local/tts", CAPABILITY_TTS)


async def test_every_word_and_sentence_is_marked_before_the_chunk_it_lies_in(tts: LocalTts) -> None:
    text = "Hello there. What time is it?"
    events = [event async for event in tts.synthesise(to_say(text), deadline=FAR)]
    heard = 0
    words, sentences = [], []
    for event in events:
        if isinstance(event, AudioChunk):
            heard = event.sample_offset
        elif isinstance(event, Mark):
            assert event.sample_offset >= heard
            (words if event.kind is MarkKind.WORD else sentences).append(event)
    assert [text[mark.text_offset :][: mark.text_length] for mark in words] == [
        "Hello",
        "there",
        "What",
        "time",
        "is",
        "it",
    ]
    assert [mark.text_offset for mark in sentences] == [0, 13]
    offsets = [mark.sample_offset for mark in words]
    assert offsets == sorted(set(offsets))


async def test_marks_of_a_long_text_stay_true_across_segments(tts: LocalTts) -> None:
    chunks, marks, _ = await spoken(tts, to_say(LONG))
    words = [mark for mark in marks if mark.kind is MarkKind.WORD]
    sentences = [mark for mark in marks if mark.kind is MarkKind.SENTENCE]
    assert len(sentences) == 70
    assert {LONG[mark.text_offset :][:4] for mark in sentences} == {"This"}
    assert [mark.sample_offset for mark in words] == sorted(mark.sample_offset for mark in words)
    last = words[-1]
    assert last.sample_offset > 0.98 * chunks[-1].sample_offset
    assert LONG[last.text_offset :][: last.text_length] == "ends"


async def test_ssml_pauses_marks_and_rates_are_heard(tts: LocalTts) -> None:
    plain, _, _ = await spoken(tts, to_say("one two three four five"))
    ssml = '<speak>one two <mark name="here"/>three<break time="2s"/> four five</speak>'
    chunks, marks, result = await spoken(tts, to_say(ssml, markup=Markup.SSML))
    assert result.reason_code == TtsReason.SPOKEN
    assert seconds(chunks) > seconds(plain) + 1.9
    (named,) = [mark for mark in marks if mark.kind is MarkKind.NAMED]
    assert (named.name, named.text_offset) == ("here", 8)
    assert 0 < named.sample_offset < chunks[-1].sample_offset
    assert [mark.text_offset for mark in marks if mark.kind is MarkKind.SENTENCE] == [0]


async def test_a_faster_rate_is_shorter(tts: LocalTts) -> None:
    slow, _, _ = await spoken(tts, to_say(LONG[:200], rate_percent=60))
    fast, _, _ = await spoken(tts, to_say(LONG[:200], rate_percent=200))
    assert seconds(fast) < 0.5 * seconds(slow)


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        (to_say(""), TtsReason.TEXT_EMPTY),
        (to_say(" \n"), TtsReason.TEXT_EMPTY),
        (to_say("..."), TtsReason.TEXT_UNSPEAKABLE),
        (to_say("a\x0150P"), TtsReason.TEXT_UNSPEAKABLE),
        (to_say("a" * 1_000_000), TtsReason.TEXT_TOO_LONG),
        (to_say("hello", "en-AU"), TtsReason.LOCALE_UNSUPPORTED),
        (to_say("hello", "tlh"), TtsReason.LOCALE_UNSUPPORTED),
        (to_say("hello", rate_percent=20), TtsReason.RATE_OUT_OF_RANGE),
        (to_say("hello", rate_percent=1_000), TtsReason.RATE_OUT_OF_RANGE),
        (to_say("<speak>open", markup=Markup.SSML), TtsReason.SSML_MALFORMED),
        (to_say("<speak><audio/></speak>", markup=Markup.SSML), TtsReason.SSML_UNSUPPORTED),
        (to_say("<speak><break/></speak>", markup=Markup.SSML), TtsReason.TEXT_UNSPEAKABLE),
        (to_say('<speak><prosody rate="999%">x</prosody></speak>', markup=Markup.SSML), TtsReason.RATE_OUT_OF_RANGE),
    ],
)
async def test_what_cannot_be_said_is_refused_with_its_reason(
    tts: LocalTts, request_: Synthesis, reason: TtsReason
) -> None:
    chunks, marks, result = await spoken(tts, request_)
    assert (chunks, marks) == ([], [])
    assert (result.status, result.reason_code) == (PROVIDER_STATUS_TERMINAL_FAIL, reason)
    assert result.normalized_payload_ref == ""


async def test_markup_in_plain_text_is_not_obeyed(tts: LocalTts) -> None:
    chunks, marks, result = await spoken(tts, to_say('one <break time="9s"/> two'))
    assert result.reason_code == TtsReason.SPOKEN
    assert seconds(chunks) < 5.0
    assert "break" in ['one <break time="9s"/> two'[mark.text_offset :][: mark.text_length] for mark in marks]


async def test_an_interrupt_lets_no_further_chunk_through(tts: LocalTts) -> None:
    interrupt = asyncio.Event()
    after: list[TtsEvent] = []
    async for event in tts.synthesise(to_say(LONG), deadline=FAR, interrupt=interrupt):
        if interrupt.is_set():
            after.append(event)
        elif isinstance(event, AudioChunk):
            interrupt.set()
    (result,) = after
    assert isinstance(result, ProviderResultV1)
    assert (result.status, result.reason_code) == (PROVIDER_STATUS_OK, TtsReason.INTERRUPTED)


async def test_an_interrupt_reaches_a_synthesis_that_waits_for_the_engine() -> None:
    engine = _Stuck()
    tts = LocalTts(engine)
    interrupt = asyncio.Event()
    stream = tts.synthesise(to_say("hello"), deadline=float("inf"), interrupt=interrupt)
    first = asyncio.ensure_future(anext(stream))
    await asyncio.to_thread(engine.entered.wait, 10)
    interrupt.set()
    result = await asyncio.wait_for(first, 10)
    engine.release.set()
    assert isinstance(result, ProviderResultV1)
    assert result.reason_code == TtsReason.INTERRUPTED
    tts.close()


async def test_the_deadline_ends_a_synthesis_between_chunks(tts: LocalTts, clock: ManualClock) -> None:
    async with aclosing(tts.synthesise(to_say(LONG), deadline=1.0)) as stream:
        while not isinstance(await anext(stream), AudioChunk):
            pass
        clock.advance(1.0)
        result = await anext(stream)
    assert isinstance(result, ProviderResultV1)
    assert (result.status, result.reason_code) == (PROVIDER_STATUS_RETRYABLE_FAIL, ProviderReason.DEADLINE_EXCEEDED)


async def test_the_deadline_ends_a_synthesis_that_waits_for_the_engine() -> None:
    engine = _Stuck()
    tts = LocalTts(engine, monotonic=lambda: 100.0)
    _, _, result = await spoken(tts, to_say("hello"), deadline=100.0)
    engine.release.set()
    assert (result.status, result.reason_code) == (PROVIDER_STATUS_RETRYABLE_FAIL, ProviderReason.DEADLINE_EXCEEDED)
    tts.close()


async def test_closing_a_stream_stops_the_engine_and_leaves_it_to_others(tts: LocalTts) -> None:
    stream: AsyncGenerator[TtsEvent, None] = tts.synthesise(to_say(LONG), deadline=FAR)
    await anext(stream)
    await stream.aclose()
    _, _, result = await spoken(tts, to_say("hello"))
    assert result.reason_code == TtsReason.SPOKEN


async def test_an_engine_that_fails_is_a_retryable_failure() -> None:
    tts = LocalTts(_Failing())
    chunks, _, result = await spoken(tts, to_say("hello"), deadline=float("inf"))
    assert chunks == []
    assert (result.status, result.reason_code) == (PROVIDER_STATUS_RETRYABLE_FAIL, ProviderReason.PROVIDER_CRASHED)
    tts.close()


async def test_a_closed_provider_fails_and_does_not_hang(tts: LocalTts) -> None:
    tts.close()
    _, _, result = await spoken(tts, to_say("hello"))
    assert (result.status, result.reason_code) == (PROVIDER_STATUS_RETRYABLE_FAIL, ProviderReason.PROVIDER_CRASHED)


async def test_concurrent_streams_keep_their_voice_pace_and_words(tts: LocalTts) -> None:
    asked = [to_say(LONG[:600]), to_say("Guten Tag", "de-DE"), to_say("one two", rate_percent=50), to_say("one two")]
    english, german, slow, normal = await asyncio.gather(*(spoken(tts, request) for request in asked))
    assert len([mark for mark in english[1] if mark.kind is MarkKind.WORD]) > 100
    assert len([mark for mark in german[1] if mark.kind is MarkKind.WORD]) == 2
    assert seconds(slow[0]) > 1.5 * seconds(normal[0])
    alone, _, _ = await spoken(tts, to_say("one two"))
    assert seconds(normal[0]) == pytest.approx(seconds(alone), rel=0.02)


async def test_a_short_text_does_not_wait_for_a_long_one_to_end(tts: LocalTts) -> None:
    order: list[str] = []

    async def say(name: str, text: str) -> None:
        await spoken(tts, to_say(text))
        order.append(name)

    await asyncio.gather(say("long", LONG), say("short", "hello"))
    assert order == ["short", "long"]


def test_the_voices_are_listed_by_locale(tts: LocalTts) -> None:
    assert {"en-us", "en-gb", "de", "fr-fr", "cmn", "ja"} <= tts.voices.keys()
    assert len(tts.voices) > 100


def test_a_voice_without_its_dictionary_is_not_listed(tts: LocalTts) -> None:
    assert not {"fo", "kaa", "xex"} & tts.voices.keys()
    assert {"nb", "ltg"} <= tts.voices.keys()  # read by the dictionaries of others
