"""OpenAI's transcription through the official client, against the simulator."""

from __future__ import annotations

import asyncio
import gc
import io
import logging
import time
import wave
from collections.abc import AsyncIterator
from contextlib import aclosing

import protovalidate
import pytest
from selene.provider.v1.provider_pb2 import (
    CAPABILITY_STT,
    PROVIDER_STATUS_OK,
    PROVIDER_STATUS_RETRYABLE_FAIL,
    PROVIDER_STATUS_TERMINAL_FAIL,
    ProviderResultV1,
)

from servers.routing.reasons import ProviderReason
from servers.stt.adapter import Interim, SttAdapter, SttEvent, SttReason, Transcript, Transcription, Word
from servers.stt.openai import Answer, OpenAiStt
from tests.support.keys import RotatingKey, keeps
from tests.support.simulators.faults import Fault, FaultKind
from tests.support.simulators.openai import OpenAiSimulator

FRAME = bytes(range(256)) * 5  # 40 ms
SECOND = [FRAME] * 25


@pytest.fixture
def key() -> RotatingKey:
    return RotatingKey()


@pytest.fixture
async def vendor(key: RotatingKey) -> AsyncIterator[OpenAiSimulator]:
    async with OpenAiSimulator({key.secret}).serve() as simulator:
        yield simulator


@pytest.fixture
async def stt(vendor: OpenAiSimulator, key: RotatingKey) -> AsyncIterator[OpenAiStt]:
    adapter = OpenAiStt(key, model="gpt-4o-transcribe", base_url=vendor.base_url)
    yield adapter
    await adapter.close()


@pytest.fixture
async def timed(vendor: OpenAiSimulator, key: RotatingKey) -> AsyncIterator[OpenAiStt]:
    adapter = OpenAiStt(key, model="whisper-1", base_url=vendor.base_url, answer=Answer.TIMED)
    yield adapter
    await adapter.close()


async def frames(pieces: list[bytes]) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


def spoken(locale: str = "en-US") -> Transcription:
    return Transcription("t-1", "req-1", "idem-1", locale)


async def transcribe(
    stt: SttAdapter, audio: list[bytes], locale: str = "en-US", within_s: float = 10.0
) -> tuple[list[SttEvent], ProviderResultV1]:
    heard = stt.transcribe(spoken(locale), frames(audio), deadline=time.monotonic() + within_s)
    *events, result = [event async for event in heard]
    assert isinstance(result, ProviderResultV1)
    protovalidate.validate(result)
    return events, result


async def test_interims_grow_while_the_answer_is_streamed_and_end_in_the_transcript(
    stt: OpenAiStt, vendor: OpenAiSimulator
) -> None:
    events, result = await transcribe(stt, SECOND)
    assert events == [
        Interim("what", 1.0),
        Interim("what time", 1.0),
        Interim("what time is", 1.0),
        Interim("what time is it", 1.0),
        Transcript("what time is it", (), 1.0),
    ]
    assert (result.status, result.reason_code, result.quality_score_bp) == (PROVIDER_STATUS_OK, "TRANSCRIBED", 9_000)
    assert (result.provider_ref, result.capability) == ("openai/stt", CAPABILITY_STT)
    (call,) = vendor.calls
    assert call.ended
    assert (call.body["model"], call.body["language"]) == ("gpt-4o-transcribe", "en")


async def test_the_audio_is_sent_whole_as_wav(stt: OpenAiStt, vendor: OpenAiSimulator) -> None:
    await transcribe(stt, SECOND)
    with wave.open(io.BytesIO(vendor.calls[0].audio)) as sent:
        assert (sent.getnchannels(), sent.getsampwidth(), sent.getframerate()) == (1, 2, 16_000)
        assert sent.readframes(sent.getnframes()) == b"".join(SECOND)


async def test_a_model_without_log_probabilities_is_not_asked_for_them(
    vendor: OpenAiSimulator, key: RotatingKey
) -> None:
    stt = OpenAiStt(key, model="gpt-transcribe", base_url=vendor.base_url, answer=Answer.STREAMED_UNSURE)
    _, result = await transcribe(stt, SECOND)
    assert (result.status, result.quality_score_bp) == (PROVIDER_STATUS_OK, 0)
    assert "include[]" not in vendor.calls[0].body
    await stt.close()


async def test_timed_words_have_their_places_and_the_confidence_of_their_segment(
    timed: OpenAiStt, vendor: OpenAiSimulator
) -> None:
    events, result = await transcribe(timed, SECOND)
    words = (Word("what", 0.0, 0.2, 9_000), Word("time", 0.2, 0.5, 9_000), Word("is", 0.5, 0.6, 9_000))
    assert events == [Transcript("what time is", words, 1.0)]
    assert (result.status, result.quality_score_bp) == (PROVIDER_STATUS_OK, 9_000)
    assert vendor.calls[0].body["response_format"] == "verbose_json"
    assert vendor.calls[0].body["timestamp_granularities[]"] == "word,segment"


async def test_words_that_the_model_heard_in_silence_are_no_speech(timed: OpenAiStt, vendor: OpenAiSimulator) -> None:
    vendor.answers.no_speech_prob, vendor.answers.logprob = 0.9, -1.5
    events, result = await transcribe(timed, SECOND)
    assert (events, result.reason_code) == ([], SttReason.NO_SPEECH)


SHARED_FAULTS: list[tuple[Fault | FaultKind, int, ProviderReason]] = [
    (FaultKind.BUSY, PROVIDER_STATUS_RETRYABLE_FAIL, ProviderReason.PROVIDER_BUSY),
    (FaultKind.INTERNAL, PROVIDER_STATUS_RETRYABLE_FAIL, ProviderReason.PROVIDER_UNAVAILABLE),
    (FaultKind.UNAVAILABLE, PROVIDER_STATUS_RETRYABLE_FAIL, ProviderReason.PROVIDER_UNAVAILABLE),
    (FaultKind.RESET, PROVIDER_STATUS_RETRYABLE_FAIL, ProviderReason.PROVIDER_UNAVAILABLE),
    (FaultKind.UNAUTHENTICATED, PROVIDER_STATUS_TERMINAL_FAIL, ProviderReason.CREDENTIAL_REFUSED),
    (FaultKind.FORBIDDEN, PROVIDER_STATUS_TERMINAL_FAIL, ProviderReason.CREDENTIAL_REFUSED),
    (FaultKind.BAD_REQUEST, PROVIDER_STATUS_TERMINAL_FAIL, ProviderReason.REQUEST_REFUSED),
    (Fault(FaultKind.RESET, after=1), PROVIDER_STATUS_RETRYABLE_FAIL, ProviderReason.RESPONSE_TRUNCATED),
    (FaultKind.MALFORMED, PROVIDER_STATUS_RETRYABLE_FAIL, ProviderReason.RESPONSE_MALFORMED),
    (FaultKind.WRONG_SCHEMA, PROVIDER_STATUS_RETRYABLE_FAIL, ProviderReason.RESPONSE_MALFORMED),
]
STREAMED_FAULTS = [
    *SHARED_FAULTS,
    (FaultKind.HALF_STREAM, PROVIDER_STATUS_RETRYABLE_FAIL, ProviderReason.RESPONSE_TRUNCATED),
    (Fault(FaultKind.HALF_STREAM, after=2), PROVIDER_STATUS_RETRYABLE_FAIL, ProviderReason.RESPONSE_TRUNCATED),
]
TIMED_FAULTS = [
    *SHARED_FAULTS,
    # A JSON body that ends well within HTTP, but not within JSON, cannot be told from one that never was JSON.
    (Fault(FaultKind.HALF_STREAM, after=1), PROVIDER_STATUS_RETRYABLE_FAIL, ProviderReason.RESPONSE_MALFORMED),
]


async def _fails(
    stt: OpenAiStt, vendor: OpenAiSimulator, fault: Fault | FaultKind, status: int, reason: ProviderReason
) -> None:
    vendor.faults.plan(fault)
    events, result = await transcribe(stt, SECOND)
    assert (result.status, result.reason_code) == (status, reason)
    assert not [event for event in events if isinstance(event, Transcript)]
    assert (result.normalized_payload_ref, result.quality_score_bp) == ("", 0)
    assert len(vendor.calls) == 1
    _, after = await transcribe(stt, SECOND)
    assert after.status == PROVIDER_STATUS_OK


@pytest.mark.parametrize(("fault", "status", "reason"), STREAMED_FAULTS)
async def test_each_way_to_fail_a_stream_has_its_reason_and_is_not_tried_again(
    stt: OpenAiStt, vendor: OpenAiSimulator, fault: Fault | FaultKind, status: int, reason: ProviderReason
) -> None:
    await _fails(stt, vendor, fault, status, reason)


@pytest.mark.parametrize(("fault", "status", "reason"), TIMED_FAULTS)
async def test_each_way_to_fail_a_timed_answer_has_its_reason_and_is_not_tried_again(
    timed: OpenAiStt, vendor: OpenAiSimulator, fault: Fault | FaultKind, status: int, reason: ProviderReason
) -> None:
    await _fails(timed, vendor, fault, status, reason)


@pytest.mark.parametrize("answer", list(Answer))
async def test_an_empty_transcript_is_no_speech(vendor: OpenAiSimulator, key: RotatingKey, answer: Answer) -> None:
    stt = OpenAiStt(key, model="m", base_url=vendor.base_url, answer=answer)
    vendor.faults.plan(FaultKind.EMPTY)
    events, result = await transcribe(stt, SECOND)
    assert (events, result.status, result.reason_code) == ([], PROVIDER_STATUS_TERMINAL_FAIL, SttReason.NO_SPEECH)
    await stt.close()


async def test_a_model_that_does_not_stream_is_not_taken_for_one_that_does(
    stt: OpenAiStt, vendor: OpenAiSimulator
) -> None:
    vendor.streams = False
    _, result = await transcribe(stt, SECOND)
    assert result.reason_code == ProviderReason.RESPONSE_MALFORMED


@pytest.mark.parametrize(
    "fault",
    [
        Fault(FaultKind.HANG),
        Fault(FaultKind.HANG, after=2),
        Fault(FaultKind.LATENCY, seconds=60),
        Fault(FaultKind.TRICKLE, seconds=0.12),
    ],
)
@pytest.mark.parametrize("answer", [Answer.STREAMED, Answer.TIMED])
async def test_the_deadline_ends_a_call_that_hangs_or_trickles(
    vendor: OpenAiSimulator, key: RotatingKey, fault: Fault, answer: Answer
) -> None:
    stt = OpenAiStt(key, model="m", base_url=vendor.base_url, answer=answer)
    vendor.faults.plan(fault)
    events, result = await transcribe(stt, SECOND, within_s=0.3)
    assert (result.status, result.reason_code) == (PROVIDER_STATUS_RETRYABLE_FAIL, ProviderReason.DEADLINE_EXCEEDED)
    assert not [event for event in events if isinstance(event, Transcript)]
    (call,) = vendor.calls
    await asyncio.wait_for(call.gone.wait(), 5)
    await stt.close()


async def test_the_deadline_ends_a_stream_whose_audio_does_not_end(stt: OpenAiStt, vendor: OpenAiSimulator) -> None:
    async def endless() -> AsyncIterator[bytes]:
        yield FRAME
        await asyncio.Event().wait()

    heard = stt.transcribe(spoken(), endless(), deadline=time.monotonic() + 0.2)
    (result,) = [event async for event in heard]
    assert isinstance(result, ProviderResultV1)
    assert result.reason_code == ProviderReason.DEADLINE_EXCEEDED
    assert vendor.calls == []


@pytest.mark.parametrize(
    ("audio", "locale", "reason"),
    [
        ([], "en-US", SttReason.NO_SPEECH),
        ([bytes(3_198)], "en-US", SttReason.NO_SPEECH),
        ([b"\x00" * 641], "en-US", SttReason.AUDIO_MALFORMED),
        ([bytes(32_000)] * 61, "en-US", SttReason.AUDIO_TOO_LONG),
        (SECOND, "tlh", SttReason.LOCALE_UNSUPPORTED),
        (SECOND, "", SttReason.LOCALE_UNSUPPORTED),
    ],
)
async def test_what_cannot_be_transcribed_is_refused_without_a_call(
    stt: OpenAiStt, vendor: OpenAiSimulator, key: RotatingKey, audio: list[bytes], locale: str, reason: SttReason
) -> None:
    events, result = await transcribe(stt, audio, locale)
    assert (events, result.status, result.reason_code) == ([], PROVIDER_STATUS_TERMINAL_FAIL, reason)
    assert (vendor.calls, key.revealed) == ([], 0)


async def test_a_minute_is_not_too_long(stt: OpenAiStt) -> None:
    _, result = await transcribe(stt, [bytes(32_000)] * 60)
    assert result.status == PROVIDER_STATUS_OK


@pytest.mark.parametrize(
    ("locale", "language"), [("de", "de"), ("pt-BR", "pt"), ("nb-NO", "no"), ("cmn-Hans-CN", "zh")]
)
async def test_the_locale_is_sent_as_the_language_that_openai_lists(
    stt: OpenAiStt, vendor: OpenAiSimulator, locale: str, language: str
) -> None:
    await transcribe(stt, SECOND, locale)
    assert vendor.calls[0].body["language"] == language


async def test_what_the_audio_raises_passes_through(stt: OpenAiStt) -> None:
    async def failing() -> AsyncIterator[bytes]:
        yield FRAME
        raise TimeoutError("the microphone's own")

    with pytest.raises(TimeoutError, match="the microphone's own"):
        _ = [event async for event in stt.transcribe(spoken(), failing(), deadline=time.monotonic() + 10)]


async def test_closing_the_stream_hangs_up(stt: OpenAiStt, vendor: OpenAiSimulator) -> None:
    vendor.faults.plan(Fault(FaultKind.HANG, after=2))
    async with aclosing(stt.transcribe(spoken(), frames(SECOND), deadline=time.monotonic() + 60)) as stream:
        assert isinstance(await anext(stream), Interim)
    (call,) = vendor.calls
    await asyncio.wait_for(call.gone.wait(), 5)
    assert not call.ended


@pytest.mark.parametrize("after", [0, 1])
@pytest.mark.parametrize("answer", [Answer.STREAMED, Answer.TIMED])
async def test_cancelling_a_call_hangs_up(
    vendor: OpenAiSimulator, key: RotatingKey, after: int, answer: Answer
) -> None:
    stt = OpenAiStt(key, model="m", base_url=vendor.base_url, answer=answer)
    vendor.faults.plan(Fault(FaultKind.HANG, after=after))
    task = asyncio.create_task(transcribe(stt, SECOND, within_s=60))
    await asyncio.wait_for(vendor.hung.wait(), 5)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.wait_for(vendor.calls[0].gone.wait(), 5)
    await stt.close()


async def test_a_rotated_secret_is_used_by_the_next_call_over_the_same_connection(
    stt: OpenAiStt, vendor: OpenAiSimulator, key: RotatingKey
) -> None:
    old = key.secret
    assert await stt.prewarm() is True
    await transcribe(stt, SECOND)
    key.rotate()
    vendor.keys = {key.secret}
    _, result = await transcribe(stt, SECOND)
    assert result.status == PROVIDER_STATUS_OK
    assert [call.secret for call in vendor.calls] == [old, key.secret]
    assert {call.connection for call in vendor.ledger} == {0}


async def test_without_a_lease_the_vendor_is_not_called(
    stt: OpenAiStt, vendor: OpenAiSimulator, key: RotatingKey
) -> None:
    key.available = False
    _, result = await transcribe(stt, SECOND)
    assert (result.status, result.reason_code) == (PROVIDER_STATUS_TERMINAL_FAIL, ProviderReason.CREDENTIAL_UNAVAILABLE)
    assert vendor.calls == []


@pytest.mark.parametrize("fault", [None, FaultKind.UNAUTHENTICATED, Fault(FaultKind.RESET, after=1)])
@pytest.mark.parametrize("answer", [Answer.STREAMED, Answer.TIMED])
async def test_the_secret_is_in_no_log_result_or_repr_and_nothing_keeps_it(
    vendor: OpenAiSimulator,
    key: RotatingKey,
    caplog: pytest.LogCaptureFixture,
    fault: Fault | FaultKind | None,
    answer: Answer,
) -> None:
    caplog.set_level(logging.DEBUG)
    stt = OpenAiStt(key, model="m", base_url=vendor.base_url, answer=answer)
    vendor.faults.plan(fault)
    events, result = await transcribe(stt, SECOND)
    assert vendor.calls[0].secret == key.secret
    assert "HTTP" in caplog.text
    for text in (caplog.text, repr(events), str(result), repr(stt), repr(vars(stt))):
        assert key.secret not in text
    gc.collect()
    assert not keeps(stt, key.secret)
    await stt.close()
