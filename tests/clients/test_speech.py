"""The clients of speech against the real owners: what is said is heard again, interrupted, and cancelled."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import numpy as np
import pytest
from selene_messages.selene.routing.v1 import RouteScope
from selene_messages.selene.stt import v1 as stt
from selene_messages.selene.tts import v1 as tts

from clients.audio import AudioUnusable, Recording, unpaced
from clients.errors import SeleneError
from clients.retry import NO_RETRY
from clients.speech import Spoken, Stt, Tts
from tests.support.owners import Owners
from tests.support.servers import until

WORDS = "What time is it?"
LONG = "It is noon. " * 400


async def said(owners: Owners, text: str = WORDS) -> Recording:
    async with Tts(owners.connection("tts")).say(text, rate=16_000) as speech:
        return await speech.recording()


async def test_what_is_said_is_heard_with_interims_before_the_final(hearing: Owners) -> None:
    recording = await said(hearing)
    async with Stt(hearing.connection("stt")).transcribe(recording) as transcription:
        events = [event async for event in transcription.events()]
    assert isinstance(events[0], stt.TranscribeStarted)
    assert any(isinstance(event, stt.InterimTranscript) for event in events)
    final = events[-1]
    assert isinstance(final, stt.FinalTranscript)
    assert transcription.final is final
    assert final.transcript is not None and final.transcript.text.lower().strip("?") == "what time is it"
    assert final.verdict is stt.TranscriptVerdict.ACCEPTED
    assert final.route is not None and final.route.request_id == transcription.request_id


async def test_frames_longer_than_a_message_are_cut_and_lose_nothing(hearing: Owners) -> None:
    recording = await said(hearing)

    async def whole() -> AsyncIterator[bytes]:
        yield b"".join(recording.frames())

    async with Stt(hearing.connection("stt")).transcribe(whole(), rate=16_000) as transcription:
        final = await transcription.result()
    assert final.transcript is not None and final.transcript.audio is not None
    assert final.transcript.audio.total_seconds() == pytest.approx(recording.seconds, abs=0.001)


async def test_what_the_source_of_audio_raises_ends_the_call_and_reaches_the_reader(hearing: Owners) -> None:
    async def unplugged() -> AsyncIterator[bytes]:
        yield bytes(640)
        raise AudioUnusable("the microphone is gone")

    with pytest.raises(AudioUnusable, match="gone"):
        async with Stt(hearing.connection("stt")).transcribe(unplugged()) as transcription:
            await transcription.result()


async def test_leaving_a_transcription_lets_go_of_the_audio(hearing: Owners) -> None:
    waiting, closed = asyncio.Event(), asyncio.Event()

    async def paused() -> AsyncIterator[bytes]:
        try:
            yield bytes(640)
            waiting.set()
            await asyncio.Event().wait()
        finally:
            closed.set()

    async with Stt(hearing.connection("stt")).transcribe(paused()) as transcription:
        await waiting.wait()
    assert closed.is_set()
    assert transcription.final is None


async def test_a_refused_config_is_the_server_s_refusal(hearing: Owners) -> None:
    scope = RouteScope(tenant_id="dev")
    with pytest.raises(SeleneError) as refused:
        async with Stt(hearing.connection("stt"), scope=scope, policy=NO_RETRY).transcribe(
            unpaced([bytes(640)]), locale="x"
        ):
            pass
    assert refused.value.reason == "FIELD_INVALID"
    assert refused.value.violations


async def test_chunks_are_without_a_gap_and_marks_point_into_the_text(talking: Owners) -> None:
    async with Tts(talking.connection("tts")).say(WORDS, rate=16_000) as speech:
        events = [event async for event in speech.events()]
    samples = 0
    for chunk in (event for event in events if isinstance(event, tts.SpeechChunk)):
        assert chunk.sample_offset == samples
        samples += len(chunk.audio) // 2
    marks = [event for event in events if isinstance(event, tts.SpeechMark) and event.kind is tts.SpeechMarkKind.WORD]
    words = [WORDS[mark.text_offset : mark.text_offset + mark.text_length].strip("?") for mark in marks]
    assert words == ["What", "time", "is", "it"]
    assert speech.final is not None and speech.final.audio is not None
    assert speech.final.outcome is tts.SynthesizeOutcome.COMPLETED
    assert speech.final.audio.total_seconds() == pytest.approx(samples / 16_000, abs=0.001)


async def test_an_interrupt_ends_a_speech_early_and_says_so(talking: Owners) -> None:
    whole = await said(talking, LONG)
    async with Tts(talking.connection("tts")).say(LONG, rate=16_000) as speech:
        spoken = Spoken(speech.rate)
        async for event in speech.events():
            if isinstance(event, tts.SpeechChunk) and event.sequence == 0:
                await speech.interrupt()
            spoken.take(event)
    assert speech.final is not None
    assert speech.final.outcome is tts.SynthesizeOutcome.INTERRUPTED
    assert 0 < spoken.recording("part").seconds < whole.seconds


async def test_an_interrupt_after_the_end_changes_nothing(talking: Owners) -> None:
    async with Tts(talking.connection("tts")).say(WORDS) as speech:
        await speech.recording()
        await speech.interrupt()
    assert speech.final is not None and speech.final.outcome is tts.SynthesizeOutcome.COMPLETED


async def test_leaving_a_speech_early_cancels_it_on_the_server(talking: Owners) -> None:
    registry = talking.running.telemetry.registry

    def running() -> float | None:
        return registry.get_sample_value("selene_rpc_in_flight", {"owner": "tts"})

    async with Tts(talking.connection("tts")).say(LONG) as speech:
        assert await anext(speech.events())
        assert running() == 1
    await until(lambda: running() == 0)
    assert speech.final is None


async def test_a_complaint_counts_once_against_the_provider_that_spoke(talking: Owners) -> None:
    speaker = Tts(talking.connection("tts"))
    async with speaker.say(WORDS) as speech:
        await speech.recording()
    assert speech.final is not None and speech.final.result is not None
    first = await speaker.complain(speech.request_id, "WRONG_WORD", idempotency_key="one")
    again = await speaker.complain(speech.request_id, "WRONG_WORD", idempotency_key="one")
    second = await speaker.complain(speech.request_id, "TOO_FAST")
    assert (first.counted, first.provider_ref) == (True, speech.final.result.provider_ref)
    assert (again.counted, second.counted) == (True, False)


def test_what_a_switch_makes_void_is_not_in_the_recording() -> None:
    spoken = Spoken(16_000)
    spoken.take(tts.SpeechChunk(sequence=0, audio=np.arange(6, dtype="<i2").tobytes()))
    spoken.take(tts.SpeechSwitched(void_from_sample=2))
    spoken.take(tts.SpeechChunk(sequence=1, audio=np.array([70, 80], dtype="<i2").tobytes()))
    assert spoken.recording("joined").samples.tolist() == [0, 1, 70, 80]


async def test_nothing_is_read_outside_its_context(talking: Owners) -> None:
    speech = Tts(talking.connection("tts")).say(WORDS)
    with pytest.raises(RuntimeError, match="async with"):
        await anext(speech.events())
