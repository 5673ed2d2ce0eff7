"""Google's synthesiser through Google's own client, against a simulator on a real socket."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import AsyncGenerator, AsyncIterator

import grpc
import protovalidate
import pytest
from google.cloud import texttospeech_v1
from selene.provider.v1.provider_pb2 import (
    CAPABILITY_TTS,
    PROVIDER_STATUS_OK,
    PROVIDER_STATUS_RETRYABLE_FAIL,
    PROVIDER_STATUS_TERMINAL_FAIL,
    ProviderResultV1,
)

from servers.routing.reasons import ProviderReason
from servers.tts.adapter import AudioChunk, Mark, MarkKind, Markup, Synthesis, TtsAdapter, TtsEvent, TtsReason
from servers.tts.google import RATE_HZ, GoogleTts
from tests.support.keys import RotatingKey, keeps
from tests.support.simulators.faults import Fault, FaultKind
from tests.support.simulators.google import (
    SECONDS_A_CHARACTER,
    STREAM,
    SYNTHESIZE,
    GoogleSimulator,
    google_simulator,
    sha256,
    wav,
)

TEXT = "Hello there. What time is it now?"
SSML = f"<speak>{TEXT}</speak>"
SPOKEN_S = len(TEXT) * SECONDS_A_CHARACTER
NEVER = math.inf

OK = PROVIDER_STATUS_OK
RETRYABLE = PROVIDER_STATUS_RETRYABLE_FAIL
TERMINAL = PROVIDER_STATUS_TERMINAL_FAIL


class Fixed:
    """A secret that is always this one."""

    def __init__(self, key: str) -> None:
        self._key = key

    async def reveal(self) -> str:
        return self._key


@pytest.fixture
def key() -> RotatingKey:
    return RotatingKey()


@pytest.fixture
async def google(key: RotatingKey) -> AsyncIterator[GoogleSimulator]:
    async with google_simulator(key.secret) as simulator:
        yield simulator


@pytest.fixture
async def tts(google: GoogleSimulator, key: RotatingKey) -> AsyncIterator[GoogleTts]:
    adapter = GoogleTts(key, endpoint=google.endpoint, plaintext=True)
    yield adapter
    await adapter.close()


def to_say(
    text: str = TEXT, locale: str = "en-US", markup: Markup = Markup.PLAIN, rate_percent: int = 100
) -> Synthesis:
    return Synthesis("t-1", "req-1", "idem-1", text, locale, markup, rate_percent, "sim-7")


def either(markup: Markup) -> Synthesis:
    return to_say(SSML if markup is Markup.SSML else TEXT, markup=markup)


async def spoken(
    tts: TtsAdapter,
    request: Synthesis | None = None,
    deadline: float | None = None,
    interrupt: asyncio.Event | None = None,
) -> tuple[list[AudioChunk], list[Mark], ProviderResultV1]:
    deadline = time.monotonic() + 20 if deadline is None else deadline
    stream = tts.synthesise(request or to_say(), deadline=deadline, interrupt=interrupt)
    *events, result = [event async for event in stream]
    assert isinstance(result, ProviderResultV1)
    protovalidate.validate(result)
    chunks = [event for event in events if isinstance(event, AudioChunk)]
    offset = 0
    for chunk in chunks:
        assert (chunk.sample_offset, chunk.rate_hz, len(chunk.pcm) % 2) == (offset, RATE_HZ, 0)
        offset += len(chunk.pcm) // 2
    return chunks, [event for event in events if isinstance(event, Mark)], result


def seconds(chunks: list[AudioChunk]) -> float:
    return sum(len(chunk.pcm) for chunk in chunks) / 2 / RATE_HZ


async def test_plain_text_streams_from_the_voice_of_its_locale(google: GoogleSimulator, tts: GoogleTts) -> None:
    chunks, marks, result = await spoken(tts)
    assert seconds(chunks) == pytest.approx(SPOKEN_S, abs=1e-3)
    assert marks == [Mark(MarkKind.SENTENCE, 0, 0)]
    assert (result.status, result.reason_code, result.quality_score_bp) == (OK, TtsReason.SPOKEN, 10_000)
    assert (result.provider_ref, result.capability) == ("google/tts", CAPABILITY_TTS)
    assert (result.request_id, result.idempotency_key) == ("req-1", "idem-1")
    assert result.simulation_context_ref == "sim-7"
    (call,) = google.ledger
    config = call.request.streaming_config
    assert (call.method, call.text, call.half_closed, call.answered) == (STREAM, TEXT, True, "OK")
    assert (config.voice.language_code, config.voice.name) == ("en-US", "en-US-Chirp3-HD-Kore")
    assert config.streaming_audio_config.audio_encoding == texttospeech_v1.AudioEncoding.PCM
    assert config.streaming_audio_config.sample_rate_hertz == RATE_HZ


async def test_ssml_comes_whole_and_is_handed_out_in_chunks(google: GoogleSimulator, tts: GoogleTts) -> None:
    chunks, marks, result = await spoken(tts, either(Markup.SSML))
    assert seconds(chunks) == pytest.approx(SPOKEN_S, abs=1e-3)
    assert max(len(chunk.pcm) for chunk in chunks) <= RATE_HZ * 2 // 5
    assert marks == []
    assert (result.status, result.reason_code) == (OK, TtsReason.SPOKEN)
    (call,) = google.ledger
    assert (call.method, call.request.input.ssml) == (SYNTHESIZE, SSML)
    assert (call.request.voice.language_code, call.request.voice.name) == ("en-US", "")


async def test_the_mark_of_the_first_sentence_is_where_its_text_begins(tts: GoogleTts) -> None:
    stream = tts.synthesise(to_say("  Hello."), deadline=NEVER)
    first, second, *_ = [event async for event in stream]
    assert first == Mark(MarkKind.SENTENCE, 0, 2)
    assert isinstance(second, AudioChunk)


@pytest.mark.parametrize("markup", Markup)
@pytest.mark.parametrize(("percent", "rate"), [(25, 0.25), (100, 1.0), (200, 2.0)])
async def test_the_rate_is_googles_in_hundredths(
    google: GoogleSimulator, tts: GoogleTts, markup: Markup, percent: int, rate: float
) -> None:
    text = SSML if markup is Markup.SSML else TEXT
    chunks, _, _ = await spoken(tts, to_say(text, markup=markup, rate_percent=percent))
    request = google.ledger[0].request
    sent = request.audio_config if markup is Markup.SSML else request.streaming_config.streaming_audio_config
    assert sent.speaking_rate == rate
    assert seconds(chunks) == pytest.approx(SPOKEN_S / rate, abs=1e-3)


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        (to_say(""), TtsReason.TEXT_EMPTY),
        (to_say(" \n"), TtsReason.TEXT_EMPTY),
        (to_say("a" * 5_001), TtsReason.TEXT_TOO_LONG),
        (to_say("ä" * 2_501), TtsReason.TEXT_TOO_LONG),
        (to_say("?!"), TtsReason.TEXT_UNSPEAKABLE),
        (to_say("a\0b"), TtsReason.TEXT_UNSPEAKABLE),
        (to_say("a\ud800"), TtsReason.TEXT_UNSPEAKABLE),
        (to_say("<speak>a", markup=Markup.SSML), TtsReason.SSML_MALFORMED),
        (to_say("<speak><audio src='http://a'/>a</speak>", markup=Markup.SSML), TtsReason.SSML_UNSUPPORTED),
        (to_say(locale=""), TtsReason.LOCALE_UNSUPPORTED),
        (to_say(locale="en"), TtsReason.LOCALE_UNSUPPORTED),
        (to_say(locale="en-ZA"), TtsReason.LOCALE_UNSUPPORTED),
        (to_say(rate_percent=24), TtsReason.RATE_OUT_OF_RANGE),
        (to_say(rate_percent=201), TtsReason.RATE_OUT_OF_RANGE),
    ],
)
async def test_what_cannot_be_said_is_refused_without_asking_google(
    google: GoogleSimulator, tts: GoogleTts, key: RotatingKey, request_: Synthesis, reason: str
) -> None:
    chunks, _, result = await spoken(tts, request_)
    assert (chunks, result.status, result.reason_code) == ([], TERMINAL, reason)
    assert (google.ledger, key.revealed) == ([], 0)


async def test_locales_are_found_however_they_are_written(google: GoogleSimulator, tts: GoogleTts) -> None:
    for locale in ("EN_us", "zh-CN", "cmn-cn"):
        await spoken(tts, to_say(locale=locale))
    voices = [call.request.streaming_config.voice for call in google.ledger]
    assert [voice.language_code for voice in voices] == ["en-US", "cmn-CN", "cmn-CN"]
    assert voices[1].name == "cmn-CN-Chirp3-HD-Kore"


@pytest.mark.parametrize("markup", Markup)
@pytest.mark.parametrize(
    ("fault", "status", "reason"),
    [
        (FaultKind.BUSY, RETRYABLE, ProviderReason.PROVIDER_BUSY),
        (FaultKind.INTERNAL, RETRYABLE, ProviderReason.PROVIDER_UNAVAILABLE),
        (FaultKind.UNAVAILABLE, RETRYABLE, ProviderReason.PROVIDER_UNAVAILABLE),
        (FaultKind.UNAUTHENTICATED, TERMINAL, ProviderReason.CREDENTIAL_REFUSED),
        (FaultKind.FORBIDDEN, TERMINAL, ProviderReason.CREDENTIAL_REFUSED),
        (FaultKind.BAD_REQUEST, TERMINAL, ProviderReason.REQUEST_REFUSED),
        (FaultKind.MALFORMED, RETRYABLE, ProviderReason.RESPONSE_MALFORMED),
        (FaultKind.WRONG_SCHEMA, RETRYABLE, ProviderReason.RESPONSE_MALFORMED),
        (FaultKind.EMPTY, RETRYABLE, ProviderReason.RESPONSE_MALFORMED),
    ],
    ids=str,
)
async def test_what_goes_wrong_is_a_result_with_a_reason_and_the_next_call_goes_well(
    google: GoogleSimulator, tts: GoogleTts, markup: Markup, fault: Fault | FaultKind, status: int, reason: str
) -> None:
    google.faults.plan(fault)
    chunks, _, result = await spoken(tts, either(markup))
    assert (chunks, result.status, result.reason_code) == ([], status, reason)
    assert (result.quality_score_bp, result.normalized_payload_ref) == (0, "")
    assert len(google.ledger) == 1
    _, _, result = await spoken(tts, either(markup))
    assert result.reason_code == TtsReason.SPOKEN


@pytest.mark.parametrize("markup", Markup)
@pytest.mark.parametrize("after", [0, 3])
async def test_a_connection_that_breaks_ends_the_speech_and_is_made_again(
    google: GoogleSimulator, tts: GoogleTts, markup: Markup, after: int
) -> None:
    google.faults.plan(Fault(FaultKind.RESET, after=after))
    chunks, _, result = await spoken(tts, either(markup))
    assert seconds(chunks) < SPOKEN_S
    assert (result.status, result.reason_code) == (RETRYABLE, ProviderReason.PROVIDER_UNAVAILABLE)
    assert len(google.ledger) == 1
    async with asyncio.timeout(10):
        while result.status != OK:
            _, _, result = await spoken(tts, either(markup))


async def test_a_stream_that_ends_long_before_its_text_could_be_said_is_truncated(
    google: GoogleSimulator, tts: GoogleTts
) -> None:
    google.faults.plan(Fault(FaultKind.HALF_STREAM, after=1))
    chunks, _, result = await spoken(tts, to_say("This goes on and on. " * 20))
    assert seconds(chunks) == 0.25
    assert (result.status, result.reason_code) == (RETRYABLE, ProviderReason.RESPONSE_TRUNCATED)


async def test_half_a_file_is_truncated(google: GoogleSimulator, tts: GoogleTts) -> None:
    google.faults.plan(FaultKind.HALF_STREAM)
    chunks, _, result = await spoken(tts, either(Markup.SSML))
    assert (chunks, result.status, result.reason_code) == ([], RETRYABLE, ProviderReason.RESPONSE_TRUNCATED)


async def test_samples_that_are_cut_in_two_are_joined_again(google: GoogleSimulator, tts: GoogleTts) -> None:
    google.speech = [bytes(4_801), b"\1" * 4_800, b"\2" * 4_799]
    chunks, _, result = await spoken(tts)
    assert b"".join(chunk.pcm for chunk in chunks) == b"".join(google.speech)
    assert result.reason_code == TtsReason.SPOKEN


async def test_half_a_sample_at_the_end_is_truncated(google: GoogleSimulator, tts: GoogleTts) -> None:
    google.speech = [bytes(48_000), bytes(48_001)]
    _, _, result = await spoken(tts)
    assert (result.status, result.reason_code) == (RETRYABLE, ProviderReason.RESPONSE_TRUNCATED)


@pytest.mark.parametrize(
    "file",
    [
        wav(bytes(96_000), rate_hz=16_000),
        wav(bytes(96_000), channels=2),
        wav(b""),
        b"RIFF",
        b"ID3 this is MP3",
        wav(bytes(96_000))[:20],
    ],
    ids=["another rate", "stereo", "no samples", "no file", "another format", "half a header"],
)
async def test_a_file_that_was_not_asked_for_is_malformed(google: GoogleSimulator, tts: GoogleTts, file: bytes) -> None:
    google.speech = [file]
    chunks, _, result = await spoken(tts, either(Markup.SSML))
    assert (chunks, result.status, result.reason_code) == ([], RETRYABLE, ProviderReason.RESPONSE_MALFORMED)


@pytest.mark.parametrize("markup", Markup)
async def test_a_status_that_is_not_documented_is_malformed(
    google: GoogleSimulator, tts: GoogleTts, markup: Markup
) -> None:
    google.refusal = (grpc.StatusCode.DATA_LOSS, b"")
    _, _, result = await spoken(tts, either(markup))
    assert (result.status, result.reason_code) == (RETRYABLE, ProviderReason.RESPONSE_MALFORMED)


@pytest.mark.parametrize("markup", Markup)
async def test_the_deadline_goes_with_the_call(google: GoogleSimulator, tts: GoogleTts, markup: Markup) -> None:
    await spoken(tts, either(markup), deadline=time.monotonic() + 7)
    await spoken(tts, either(markup), deadline=NEVER)
    bounded, unbounded = google.ledger
    assert bounded.deadline_s is not None
    assert 5 < bounded.deadline_s <= 7.1
    assert unbounded.deadline_s is None


@pytest.mark.parametrize("markup", Markup)
async def test_the_deadline_ends_a_call_that_hangs(google: GoogleSimulator, tts: GoogleTts, markup: Markup) -> None:
    google.faults.plan(FaultKind.HANG)
    _, _, result = await spoken(tts, either(markup), deadline=time.monotonic() + 0.8)
    assert (result.status, result.reason_code) == (RETRYABLE, ProviderReason.DEADLINE_EXCEEDED)
    await asyncio.wait_for(google.ledger[0].ended.wait(), 5)
    assert google.ledger[0].answered == "CANCELLED"


async def test_the_deadline_ends_a_trickle(google: GoogleSimulator, tts: GoogleTts) -> None:
    google.faults.plan(Fault(FaultKind.TRICKLE, seconds=0.2))
    chunks, _, result = await spoken(tts, deadline=time.monotonic() + 1.0)
    assert 0 < seconds(chunks) < SPOKEN_S
    assert (result.status, result.reason_code) == (RETRYABLE, ProviderReason.DEADLINE_EXCEEDED)


@pytest.mark.parametrize("markup", Markup)
async def test_the_deadline_holds_until_the_last_chunk_is_taken(google: GoogleSimulator, markup: Markup) -> None:
    """The caller takes chunks slower than the deadline allows; all of the audio has long come."""
    now = 100.0
    tts = GoogleTts(RotatingKey(), endpoint=google.endpoint, plaintext=True, monotonic=lambda: now)
    taken = []
    async for event in tts.synthesise(either(markup), deadline=105.0):
        taken.append(event)
        now += 1.0
    result = taken[-1]
    assert isinstance(result, ProviderResultV1)
    assert (result.status, result.reason_code, len(taken)) == (RETRYABLE, ProviderReason.DEADLINE_EXCEEDED, 6)
    await tts.close()


async def test_a_deadline_that_has_passed_is_not_sent(google: GoogleSimulator, tts: GoogleTts) -> None:
    _, _, result = await spoken(tts, deadline=time.monotonic() - 1)
    assert result.reason_code == ProviderReason.DEADLINE_EXCEEDED
    assert google.ledger == []


@pytest.mark.parametrize("markup", Markup)
async def test_latency_counts_to_the_first_chunk(google: GoogleSimulator, tts: GoogleTts, markup: Markup) -> None:
    google.faults.plan(Fault(FaultKind.LATENCY, seconds=0.2))
    _, _, result = await spoken(tts, either(markup))
    assert result.reason_code == TtsReason.SPOKEN
    assert 0.2 <= result.latency.ToNanoseconds() / 1e9 < 5


@pytest.mark.parametrize("markup", Markup)
async def test_after_an_interrupt_no_chunk_comes_and_nothing_failed(
    google: GoogleSimulator, tts: GoogleTts, markup: Markup
) -> None:
    google.faults.plan(Fault(FaultKind.HANG, after=4) if markup is Markup.PLAIN else None)
    interrupt, after = asyncio.Event(), []
    stream = tts.synthesise(either(markup), deadline=NEVER, interrupt=interrupt)
    async for event in stream:
        if interrupt.is_set():
            after.append(event)
        elif isinstance(event, AudioChunk) and event.sample_offset > 0:
            interrupt.set()
    (result,) = after
    assert isinstance(result, ProviderResultV1)
    assert (result.status, result.reason_code) == (OK, TtsReason.INTERRUPTED)
    await asyncio.wait_for(google.ledger[0].ended.wait(), 5)
    assert google.ledger[0].answered == ("CANCELLED" if markup is Markup.PLAIN else "OK")


@pytest.mark.parametrize("markup", Markup)
async def test_an_interrupt_ends_the_wait_for_google(google: GoogleSimulator, tts: GoogleTts, markup: Markup) -> None:
    google.faults.plan(FaultKind.HANG)
    interrupt = asyncio.Event()
    task = asyncio.create_task(spoken(tts, either(markup), deadline=NEVER, interrupt=interrupt))
    call = await google.begun(1)
    interrupt.set()
    chunks, _, result = await asyncio.wait_for(task, 5)
    assert (chunks, result.status, result.reason_code) == ([], OK, TtsReason.INTERRUPTED)
    await asyncio.wait_for(call.ended.wait(), 5)
    assert call.answered == "CANCELLED"


async def test_interrupted_before_it_began_google_is_not_asked(google: GoogleSimulator, tts: GoogleTts) -> None:
    interrupt = asyncio.Event()
    interrupt.set()
    chunks, _, result = await spoken(tts, interrupt=interrupt)
    assert (chunks, result.status, result.reason_code) == ([], OK, TtsReason.INTERRUPTED)
    assert google.ledger == []


async def test_closing_the_generator_closes_the_call(google: GoogleSimulator, tts: GoogleTts) -> None:
    google.faults.plan(Fault(FaultKind.HANG, after=1))
    stream: AsyncGenerator[TtsEvent, None] = tts.synthesise(to_say(), deadline=NEVER)
    assert isinstance(await anext(stream), Mark)
    assert isinstance(await anext(stream), AudioChunk)
    await stream.aclose()
    await asyncio.wait_for(google.ledger[0].ended.wait(), 5)
    assert google.ledger[0].answered == "CANCELLED"


@pytest.mark.parametrize("markup", Markup)
async def test_a_cancelled_task_closes_the_call(google: GoogleSimulator, tts: GoogleTts, markup: Markup) -> None:
    google.faults.plan(FaultKind.HANG)
    task = asyncio.create_task(spoken(tts, either(markup), deadline=NEVER))
    call = await google.begun(1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.wait_for(call.ended.wait(), 5)
    assert call.answered == "CANCELLED"


@pytest.mark.parametrize("markup", Markup)
async def test_closing_the_adapter_ends_what_is_under_way(
    google: GoogleSimulator, tts: GoogleTts, markup: Markup
) -> None:
    google.faults.plan(FaultKind.HANG)
    task = asyncio.create_task(spoken(tts, either(markup), deadline=NEVER))
    await google.begun(1)
    await tts.close()
    _, _, result = await task
    assert (result.status, result.reason_code) == (RETRYABLE, ProviderReason.PROVIDER_UNAVAILABLE)


async def test_what_came_before_it_was_read_is_not_lost(google: GoogleSimulator, tts: GoogleTts) -> None:
    """Little enough that Google can send all of it, and its status, to a caller that has read one piece."""
    text = "This is not long."
    stream = tts.synthesise(to_say(text), deadline=NEVER)
    events = [await anext(stream)]
    await asyncio.wait_for(google.ledger[0].ended.wait(), 5)
    events += [event async for event in stream]
    chunks = [event for event in events if isinstance(event, AudioChunk)]
    assert google.ledger[0].pieces_sent > 1
    assert seconds(chunks) == pytest.approx(len(text) * SECONDS_A_CHARACTER, abs=1e-3)


async def test_nobody_there_is_unavailable() -> None:
    nobody = GoogleTts(RotatingKey(), endpoint="127.0.0.1:1", plaintext=True)
    for markup in Markup:
        _, _, result = await spoken(nobody, either(markup))
        assert (result.status, result.reason_code) == (RETRYABLE, ProviderReason.PROVIDER_UNAVAILABLE)
    assert not await nobody.prewarm(within_s=0.1)
    await nobody.close()


async def test_a_warm_adapter_has_its_connection(google: GoogleSimulator, tts: GoogleTts) -> None:
    assert await tts.prewarm()
    assert google.ledger == []


@pytest.mark.parametrize("markup", Markup)
async def test_the_key_of_each_call_is_the_one_that_is_current(
    google: GoogleSimulator, tts: GoogleTts, key: RotatingKey, markup: Markup
) -> None:
    await spoken(tts, either(markup))
    first = key.secret
    key.rotate()
    google.keys = {key.secret}
    _, _, result = await spoken(tts, either(markup))
    assert result.reason_code == TtsReason.SPOKEN
    assert [call.key_sha256 for call in google.ledger] == [sha256(first), sha256(key.secret)]
    assert key.revealed == 2


@pytest.mark.parametrize("markup", Markup)
async def test_a_revoked_key_is_refused(google: GoogleSimulator, tts: GoogleTts, markup: Markup) -> None:
    google.keys = {"another"}
    _, _, result = await spoken(tts, either(markup))
    assert (result.status, result.reason_code) == (TERMINAL, ProviderReason.CREDENTIAL_REFUSED)


@pytest.mark.parametrize("markup", Markup)
async def test_without_a_lease_google_is_not_called(
    google: GoogleSimulator, tts: GoogleTts, key: RotatingKey, markup: Markup
) -> None:
    key.available = False
    _, _, result = await spoken(tts, either(markup))
    assert (result.status, result.reason_code) == (TERMINAL, ProviderReason.CREDENTIAL_UNAVAILABLE)
    assert google.ledger == []


@pytest.mark.parametrize("markup", Markup)
@pytest.mark.parametrize("secret", ["", "two words", "line\nfeed", "schlüssel"])
async def test_a_key_that_no_header_can_carry_is_not_sent(google: GoogleSimulator, markup: Markup, secret: str) -> None:
    tts = GoogleTts(Fixed(secret), endpoint=google.endpoint, plaintext=True)
    _, _, result = await spoken(tts, either(markup))
    assert (result.status, result.reason_code) == (TERMINAL, ProviderReason.CREDENTIAL_UNAVAILABLE)
    assert google.ledger == []
    await tts.close()


@pytest.mark.parametrize("markup", Markup)
async def test_the_key_is_in_nothing_that_can_be_read_later(
    google: GoogleSimulator,
    tts: GoogleTts,
    markup: Markup,
    key: RotatingKey,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Google's client logs the metadata of unary calls at DEBUG; the simulator quotes the key in its errors."""
    monkeypatch.setattr(logging.getLogger("google"), "propagate", True)
    with caplog.at_level(logging.DEBUG), caplog.at_level(logging.DEBUG, "google"):
        google.faults.plan(None, FaultKind.UNAUTHENTICATED, FaultKind.MALFORMED, FaultKind.RESET)
        results = [(await spoken(tts, either(markup)))[2] for _ in range(4)]
    texts = [str(result) for result in results]
    texts += [str(vars(record)) for record in caplog.records]
    texts += [repr(tts), repr(vars(tts))]
    assert len({result.reason_code for result in results}) == 4
    assert all(key.secret not in text for text in texts)
    assert not keeps(tts, key.secret)


async def test_speech_of_many_at_once_shares_a_connection_and_does_not_mix(
    google: GoogleSimulator, tts: GoogleTts
) -> None:
    texts = ["a" * (20 + 10 * n) for n in range(8)]
    results = await asyncio.gather(*(spoken(tts, to_say(text)) for text in texts))
    assert [seconds(chunks) for chunks, _, _ in results] == pytest.approx(
        [SECONDS_A_CHARACTER * len(text) for text in texts], abs=1e-3
    )
    assert {result.reason_code for _, _, result in results} == {TtsReason.SPOKEN}
