"""OpenAI's speech through the official client, against the simulator."""

from __future__ import annotations

import asyncio
import gc
import logging
import time
from collections.abc import AsyncIterator
from contextlib import aclosing

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
from servers.tts.adapter import AudioChunk, Markup, Synthesis, TtsAdapter, TtsEvent, TtsReason
from servers.tts.openai import OpenAiTts
from tests.support.keys import RotatingKey, keeps
from tests.support.simulators.faults import Fault, FaultKind
from tests.support.simulators.openai import OpenAiSimulator


@pytest.fixture
def key() -> RotatingKey:
    return RotatingKey()


@pytest.fixture
async def vendor(key: RotatingKey) -> AsyncIterator[OpenAiSimulator]:
    async with OpenAiSimulator({key.secret}).serve() as simulator:
        yield simulator


@pytest.fixture
async def tts(vendor: OpenAiSimulator, key: RotatingKey) -> AsyncIterator[OpenAiTts]:
    adapter = OpenAiTts(key, model="tts-simulated", voice="alloy", base_url=vendor.base_url)
    yield adapter
    await adapter.close()


def to_say(
    text: str = "It is noon.", locale: str = "en-US", markup: Markup = Markup.PLAIN, rate_percent: int = 100
) -> Synthesis:
    return Synthesis("t-1", "req-1", "idem-1", text, locale, markup, rate_percent)


async def spoken(
    tts: TtsAdapter, request: Synthesis | None = None, within_s: float = 10.0
) -> tuple[list[AudioChunk], ProviderResultV1]:
    *events, result = [
        event async for event in tts.synthesise(request or to_say(), deadline=time.monotonic() + within_s)
    ]
    assert isinstance(result, ProviderResultV1)
    protovalidate.validate(result)
    chunks = [event for event in events if isinstance(event, AudioChunk)]
    assert len(chunks) == len(events)
    return chunks, result


async def test_the_audio_comes_as_consecutive_chunks_and_one_result(tts: OpenAiTts, vendor: OpenAiSimulator) -> None:
    chunks, result = await spoken(tts)
    assert b"".join(chunk.pcm for chunk in chunks) == b"".join(vendor.answers.pcm_pieces)
    offset = 0
    for chunk in chunks:
        assert (chunk.sample_offset, chunk.rate_hz) == (offset, 24_000)
        offset += len(chunk.pcm) // 2
    assert (result.status, result.reason_code, result.quality_score_bp) == (PROVIDER_STATUS_OK, "SPOKEN", 10_000)
    assert (result.provider_ref, result.capability) == ("openai/tts", CAPABILITY_TTS)
    (call,) = vendor.calls
    assert call.ended
    assert call.body == {"input": "It is noon.", "model": "tts-simulated", "voice": "alloy", "response_format": "pcm"}


async def test_a_chunk_is_handed_on_before_the_next_was_made(tts: OpenAiTts, vendor: OpenAiSimulator) -> None:
    vendor.faults.plan(Fault(FaultKind.HANG, after=1))
    async with aclosing(tts.synthesise(to_say(), deadline=time.monotonic() + 10)) as stream:
        first = await anext(stream)
    assert first == AudioChunk(vendor.answers.pcm_pieces[0], 0, 24_000)
    assert vendor.calls[0].pieces == 1


async def test_every_chunk_is_of_whole_samples_however_the_vendor_cuts(tts: OpenAiTts, vendor: OpenAiSimulator) -> None:
    audio = bytes(range(250)) * 4
    vendor.answers.pcm_pieces = [audio[:1], audio[1:4], audio[4:333], audio[333:]]
    chunks, result = await spoken(tts)
    assert result.status == PROVIDER_STATUS_OK
    assert all(chunk.pcm and len(chunk.pcm) % 2 == 0 for chunk in chunks)
    assert b"".join(chunk.pcm for chunk in chunks) == audio


async def test_half_a_sample_at_the_end_is_a_stream_that_broke_off(tts: OpenAiTts, vendor: OpenAiSimulator) -> None:
    vendor.answers.pcm_pieces = [b"\x00\x10" * 100 + b"\x00"]
    _, result = await spoken(tts)
    assert (result.status, result.reason_code) == (PROVIDER_STATUS_RETRYABLE_FAIL, ProviderReason.RESPONSE_TRUNCATED)


async def test_silence_is_of_no_quality(tts: OpenAiTts, vendor: OpenAiSimulator) -> None:
    vendor.answers.pcm_pieces = [bytes(4_800)]
    _, result = await spoken(tts)
    assert (result.status, result.quality_score_bp) == (PROVIDER_STATUS_OK, 0)


async def test_the_rate_is_sent_as_a_factor(tts: OpenAiTts, vendor: OpenAiSimulator) -> None:
    await spoken(tts, to_say(rate_percent=150))
    assert vendor.calls[0].body["speed"] == 1.5


@pytest.mark.parametrize(
    ("fault", "status", "reason"),
    [
        (FaultKind.BUSY, PROVIDER_STATUS_RETRYABLE_FAIL, ProviderReason.PROVIDER_BUSY),
        (FaultKind.INTERNAL, PROVIDER_STATUS_RETRYABLE_FAIL, ProviderReason.PROVIDER_UNAVAILABLE),
        (FaultKind.UNAVAILABLE, PROVIDER_STATUS_RETRYABLE_FAIL, ProviderReason.PROVIDER_UNAVAILABLE),
        (FaultKind.RESET, PROVIDER_STATUS_RETRYABLE_FAIL, ProviderReason.PROVIDER_UNAVAILABLE),
        (FaultKind.UNAUTHENTICATED, PROVIDER_STATUS_TERMINAL_FAIL, ProviderReason.CREDENTIAL_REFUSED),
        (FaultKind.FORBIDDEN, PROVIDER_STATUS_TERMINAL_FAIL, ProviderReason.CREDENTIAL_REFUSED),
        (FaultKind.BAD_REQUEST, PROVIDER_STATUS_TERMINAL_FAIL, ProviderReason.REQUEST_REFUSED),
        (Fault(FaultKind.RESET, after=1), PROVIDER_STATUS_RETRYABLE_FAIL, ProviderReason.RESPONSE_TRUNCATED),
        (FaultKind.EMPTY, PROVIDER_STATUS_RETRYABLE_FAIL, ProviderReason.RESPONSE_MALFORMED),
        (FaultKind.HALF_STREAM, PROVIDER_STATUS_RETRYABLE_FAIL, ProviderReason.RESPONSE_MALFORMED),
        (FaultKind.MALFORMED, PROVIDER_STATUS_RETRYABLE_FAIL, ProviderReason.RESPONSE_MALFORMED),
        (FaultKind.WRONG_SCHEMA, PROVIDER_STATUS_RETRYABLE_FAIL, ProviderReason.RESPONSE_MALFORMED),
    ],
)
async def test_each_way_to_fail_has_its_reason_and_is_not_tried_again(
    tts: OpenAiTts, vendor: OpenAiSimulator, fault: Fault | FaultKind, status: int, reason: ProviderReason
) -> None:
    vendor.faults.plan(fault)
    _, result = await spoken(tts)
    assert (result.status, result.reason_code) == (status, reason)
    assert result.normalized_payload_ref == ""
    assert len(vendor.calls) == 1
    _, after = await spoken(tts)
    assert after.status == PROVIDER_STATUS_OK


@pytest.mark.parametrize(
    "fault",
    [
        Fault(FaultKind.HANG),
        Fault(FaultKind.HANG, after=1),
        Fault(FaultKind.LATENCY, seconds=60),
        Fault(FaultKind.TRICKLE, seconds=0.12),
    ],
)
async def test_the_deadline_ends_a_call_that_hangs_or_trickles(
    tts: OpenAiTts, vendor: OpenAiSimulator, fault: Fault
) -> None:
    vendor.faults.plan(fault)
    chunks, result = await spoken(tts, within_s=0.3)
    assert (result.status, result.reason_code) == (PROVIDER_STATUS_RETRYABLE_FAIL, ProviderReason.DEADLINE_EXCEEDED)
    assert len(chunks) < 3
    (call,) = vendor.calls
    await asyncio.wait_for(call.gone.wait(), 5)


async def test_a_deadline_that_passes_while_a_chunk_is_played_ends_the_synthesis(
    vendor: OpenAiSimulator, key: RotatingKey
) -> None:
    now = 0.0
    tts = OpenAiTts(key, model="m", voice="alloy", base_url=vendor.base_url, monotonic=lambda: now)
    vendor.faults.plan(Fault(FaultKind.HANG, after=1))
    async with aclosing(tts.synthesise(to_say(), deadline=60.0)) as stream:
        assert isinstance(await anext(stream), AudioChunk)
        now = 60.0
        result = await anext(stream)
    assert isinstance(result, ProviderResultV1)
    assert result.reason_code == ProviderReason.DEADLINE_EXCEEDED
    await tts.close()


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        (to_say(""), TtsReason.TEXT_EMPTY),
        (to_say(" \n"), TtsReason.TEXT_EMPTY),
        (to_say("..."), TtsReason.TEXT_UNSPEAKABLE),
        (to_say("a\x00b"), TtsReason.TEXT_UNSPEAKABLE),
        (to_say("a\ud83d"), TtsReason.TEXT_UNSPEAKABLE),
        (to_say("a" * 4_097), TtsReason.TEXT_TOO_LONG),
        (to_say("<speak>hello</speak>", markup=Markup.SSML), TtsReason.SSML_UNSUPPORTED),
        (to_say(locale="tlh"), TtsReason.LOCALE_UNSUPPORTED),
        (to_say(rate_percent=24), TtsReason.RATE_OUT_OF_RANGE),
        (to_say(rate_percent=401), TtsReason.RATE_OUT_OF_RANGE),
    ],
)
async def test_what_cannot_be_said_is_refused_without_a_call(
    tts: OpenAiTts, vendor: OpenAiSimulator, key: RotatingKey, request_: Synthesis, reason: TtsReason
) -> None:
    chunks, result = await spoken(tts, request_)
    assert (chunks, result.status, result.reason_code) == ([], PROVIDER_STATUS_TERMINAL_FAIL, reason)
    assert (vendor.calls, key.revealed) == ([], 0)


async def test_an_interrupt_lets_no_further_chunk_through_and_hangs_up(tts: OpenAiTts, vendor: OpenAiSimulator) -> None:
    vendor.faults.plan(Fault(FaultKind.HANG, after=2))
    interrupt = asyncio.Event()
    after: list[TtsEvent] = []
    async for event in tts.synthesise(to_say(), deadline=time.monotonic() + 60, interrupt=interrupt):
        if interrupt.is_set():
            after.append(event)
        interrupt.set()
    (result,) = after
    assert isinstance(result, ProviderResultV1)
    assert (result.status, result.reason_code) == (PROVIDER_STATUS_OK, TtsReason.INTERRUPTED)
    await asyncio.wait_for(vendor.calls[0].gone.wait(), 5)


@pytest.mark.parametrize("after", [0, 1])
async def test_an_interrupt_reaches_a_synthesis_that_waits_for_the_vendor(
    tts: OpenAiTts, vendor: OpenAiSimulator, after: int
) -> None:
    vendor.faults.plan(Fault(FaultKind.HANG, after=after))
    interrupt = asyncio.Event()

    async def result() -> TtsEvent:
        stream = tts.synthesise(to_say(), deadline=time.monotonic() + 60, interrupt=interrupt)
        return [event async for event in stream][-1]

    ended = asyncio.create_task(result())
    await asyncio.wait_for(vendor.hung.wait(), 5)
    interrupt.set()
    last = await asyncio.wait_for(ended, 5)
    assert isinstance(last, ProviderResultV1)
    assert (last.status, last.reason_code) == (PROVIDER_STATUS_OK, TtsReason.INTERRUPTED)
    await asyncio.wait_for(vendor.calls[0].gone.wait(), 5)


async def test_an_interrupt_that_came_before_costs_no_call(tts: OpenAiTts, vendor: OpenAiSimulator) -> None:
    interrupt = asyncio.Event()
    interrupt.set()
    (result,) = [e async for e in tts.synthesise(to_say(), deadline=time.monotonic() + 10, interrupt=interrupt)]
    assert isinstance(result, ProviderResultV1)
    assert result.reason_code == TtsReason.INTERRUPTED
    assert vendor.calls == []


async def test_closing_the_stream_hangs_up(tts: OpenAiTts, vendor: OpenAiSimulator) -> None:
    vendor.faults.plan(Fault(FaultKind.HANG, after=1))
    async with aclosing(tts.synthesise(to_say(), deadline=time.monotonic() + 60)) as stream:
        assert isinstance(await anext(stream), AudioChunk)
    (call,) = vendor.calls
    await asyncio.wait_for(call.gone.wait(), 5)
    assert not call.ended


@pytest.mark.parametrize("after", [0, 1])
async def test_cancelling_a_call_hangs_up(tts: OpenAiTts, vendor: OpenAiSimulator, after: int) -> None:
    vendor.faults.plan(Fault(FaultKind.HANG, after=after))
    task = asyncio.create_task(spoken(tts, within_s=60))
    await asyncio.wait_for(vendor.hung.wait(), 5)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.wait_for(vendor.calls[0].gone.wait(), 5)


async def test_a_rotated_secret_is_used_by_the_next_call_over_the_same_connection(
    tts: OpenAiTts, vendor: OpenAiSimulator, key: RotatingKey
) -> None:
    old = key.secret
    assert await tts.prewarm() is True
    await spoken(tts)
    key.rotate()
    vendor.keys = {key.secret}
    _, result = await spoken(tts)
    assert result.status == PROVIDER_STATUS_OK
    assert [call.secret for call in vendor.calls] == [old, key.secret]
    assert {call.connection for call in vendor.ledger} == {0}


async def test_without_a_lease_the_vendor_is_not_called(
    tts: OpenAiTts, vendor: OpenAiSimulator, key: RotatingKey
) -> None:
    key.available = False
    _, result = await spoken(tts)
    assert (result.status, result.reason_code) == (PROVIDER_STATUS_TERMINAL_FAIL, ProviderReason.CREDENTIAL_UNAVAILABLE)
    assert vendor.calls == []


@pytest.mark.parametrize("fault", [None, FaultKind.UNAUTHENTICATED, Fault(FaultKind.RESET, after=1)])
async def test_the_secret_is_in_no_log_result_or_repr_and_nothing_keeps_it(
    tts: OpenAiTts,
    vendor: OpenAiSimulator,
    key: RotatingKey,
    caplog: pytest.LogCaptureFixture,
    fault: Fault | FaultKind | None,
) -> None:
    caplog.set_level(logging.DEBUG)
    vendor.faults.plan(fault)
    chunks, result = await spoken(tts)
    assert vendor.calls[0].secret == key.secret
    assert "HTTP" in caplog.text
    for text in (caplog.text, repr(chunks), str(result), repr(tts), repr(vars(tts))):
        assert key.secret not in text
    gc.collect()
    assert not keeps(tts, key.secret)
