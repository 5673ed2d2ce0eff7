"""The kept audio of one utterance, and what an attempt at it may take."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from grpc.aio import EOF
from hypothesis import given
from hypothesis import strategies as st
from selene.common.v1 import error_reason_pb2 as reasons
from selene.common.v1.audio_pb2 import AUDIO_ENCODING_FLOAT32, AUDIO_ENCODING_LINEAR16, AudioFormat, AudioFrame
from selene.provider.v1.provider_pb2 import (
    CAPABILITY_STT,
    PROVIDER_STATUS_OK,
    PROVIDER_STATUS_TERMINAL_FAIL,
    ProviderResultV1,
    ProviderStatus,
)
from selene.stt.v1 import service_pb2 as messages

from servers.routing.envelope import Asked, answered
from servers.routing.router import Limit
from servers.runtime.clock import ManualClock
from servers.runtime.errors import Refusal
from servers.stt.adapter import Interim, SttEvent, SttReason, Transcript, Transcription, Word
from servers.stt.service import Transcribing
from servers.stt.utterance import Utterance, hear

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
LINEAR = AudioFormat(encoding=AUDIO_ENCODING_LINEAR16, sample_rate_hz=16_000, channel_count=1)
FLOAT = AudioFormat(encoding=AUDIO_ENCODING_FLOAT32, sample_rate_hz=16_000, channel_count=1)
ASKED = Asked(tenant_id="t-1", provider_ref="p/stt", capability=CAPABILITY_STT, request_id="r-1", idempotency_key="k-1")


class Client:
    """Frames of these bytes, then the half-close."""

    def __init__(self, pieces: Sequence[bytes]) -> None:
        self._pieces: Iterator[bytes] = iter(pieces)
        self.received = 1

    async def read(self) -> Any:
        piece = next(self._pieces, None)
        if piece is None:
            return EOF
        self.received += 1
        frame = AudioFrame(sequence=self.received - 2, audio=piece)
        return messages.TranscribeRequest(frame=frame)


async def heard(utterance: Utterance) -> bytes:
    return b"".join([piece async for piece in utterance.listen()])


@given(st.lists(st.binary(min_size=1, max_size=9_000), max_size=6))
def test_every_attempt_hears_all_of_it_from_the_beginning(pieces: list[bytes]) -> None:
    sound = b"".join(pieces)
    if len(sound) % 2:
        pieces, sound = [*pieces, b"\0"], sound + b"\0"

    async def listen() -> None:
        utterance = Utterance()
        early = asyncio.create_task(heard(utterance))
        await hear(Client(pieces), LINEAR, utterance, max_s=60.0)
        assert await early == sound
        assert await heard(utterance) == sound
        assert utterance.ended

    asyncio.run(listen())


async def test_samples_of_another_encoding_are_brought_to_16_bits_and_clamped() -> None:
    utterance = Utterance()
    await hear(Client([np.array([0.5, -0.5, 3.0, -3.0], "<f4").tobytes()]), FLOAT, utterance, max_s=60.0)
    assert np.frombuffer(await heard(utterance), "<i2").tolist() == [16_384, -16_384, 32_767, -32_768]


async def test_an_utterance_of_just_the_longest_is_heard_and_a_sample_more_is_not() -> None:
    longest = Utterance()
    await hear(Client([bytes(3_200)] * 10), LINEAR, longest, max_s=1.0)
    assert (longest.ended, longest.seconds) == (True, 1.0)
    longer = Utterance()
    await hear(Client([*([bytes(3_200)] * 10), bytes(2)]), LINEAR, longer, max_s=1.0)
    with pytest.raises(Refusal) as refused:
        await heard(longer)
    assert refused.value.reason == reasons.ERROR_REASON_STREAM_TOO_LONG


async def test_a_provider_that_does_not_listen_is_given_up_when_the_audio_is_refused() -> None:
    utterance, gone = Utterance(), asyncio.Event()

    async def deaf() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            gone.set()

    waiting = asyncio.create_task(utterance.unless_refused(deaf()))
    await asyncio.sleep(0)
    utterance.refuse(Refusal(reasons.ERROR_REASON_STREAM_IDLE, "nothing came"))
    with pytest.raises(Refusal) as refused:
        await asyncio.wait_for(waiting, 5.0)
    assert refused.value.reason == reasons.ERROR_REASON_STREAM_IDLE
    assert gone.is_set()


async def test_a_timeout_of_the_providers_own_stays_one() -> None:
    async def late() -> None:
        raise TimeoutError

    with pytest.raises(TimeoutError):
        await Utterance().unless_refused(late())


class Provider:
    """Says these things after the audio that it wants to hear, and notes the deadline that it got."""

    provider_ref = "p/stt"

    def __init__(self, *says: SttEvent, listens: bool = True) -> None:
        self._says = says
        self._listens = listens
        self.deadline = 0.0

    async def transcribe(
        self, request: Transcription, audio: AsyncIterator[bytes], *, deadline: float
    ) -> AsyncGenerator[SttEvent, None]:
        self.deadline = deadline
        yield Interim("wha", 0.1)
        if self._listens:
            async for _ in audio:
                pass
        for event in self._says:
            yield event


def result(reason: SttReason = SttReason.TRANSCRIBED, status: ProviderStatus = PROVIDER_STATUS_OK) -> ProviderResultV1:
    return answered(
        ASKED,
        provider_ref="p/stt",
        capability=CAPABILITY_STT,
        status=status,
        reason_code=reason,
        quality_score_bp=9_000,
    )


WORD = Word("what", 0.1, 0.2, 9_000)
SAID = Transcript("what", (WORD,), 1.0)


def ended() -> Utterance:
    utterance = Utterance()
    utterance.add(bytes(6_400))
    utterance.end()
    return utterance


async def attempt(provider: Provider, utterance: Utterance) -> list[Any]:
    limit = Limit(ManualClock(NOON), 5.0, 600.0)
    return [event async for event in Transcribing("en-US", utterance).begin(provider, ASKED, limit)]


async def test_while_audio_comes_the_provider_is_not_what_is_waited_for() -> None:
    clock, utterance, provider = ManualClock(NOON), Utterance(), Provider(SAID, result())
    began = clock.monotonic()
    limit = Limit(clock, 5.0, began + 600.0)
    async with aclosing(Transcribing("en-US", utterance).begin(provider, ASKED, limit)) as events:
        await anext(events)
        assert limit.at == provider.deadline == began + 600.0
        clock.advance(40.0)
        utterance.end()
        assert limit.at == began + 45.0


async def test_an_attempt_that_begins_after_the_audio_has_its_own_time_only() -> None:
    clock, provider = ManualClock(NOON), Provider(SAID, result())
    limit = Limit(clock, 5.0, clock.monotonic() + 600.0)
    clock.advance(3.0)
    async with aclosing(Transcribing("en-US", ended()).begin(provider, ASKED, limit)) as events:
        await anext(events)
        assert limit.at == provider.deadline == clock.monotonic() + 5.0


async def test_a_sound_attempt_is_interims_then_the_transcript_then_the_result() -> None:
    interim, transcript, last = await attempt(Provider(SAID, result()), ended())
    assert (interim.text, transcript.text, last.status) == ("wha", "what", PROVIDER_STATUS_OK)
    assert transcript.words[0].end.ToMilliseconds() == 200


@pytest.mark.parametrize(
    "says",
    [
        (result(),),
        (Transcript("", (), 1.0), result()),
        (Transcript("\ud800", (), 1.0), result()),
        (Transcript("x" * 100_001, (), 1.0), result()),
        (Transcript("what", (Word("what", 0.2, 0.1, 9_000),), 1.0), result()),
        (Transcript("what", (Word("what", -0.1, 0.1, 9_000),), 1.0), result()),
        (Transcript("what", (Word("what", 0.1, float("inf"), 9_000),), 1.0), result()),
        (Transcript("what", (Word("what", 0.1, float("nan"), 9_000),), 1.0), result()),
        (Transcript("what", (Word("what", 0.1, 0.2, 10_001),), 1.0), result()),
        (Interim("what", float("nan")), SAID, result()),
        (Interim("\udfff", 0.1), SAID, result()),
    ],
)
async def test_what_the_contract_cannot_say_is_a_malformed_answer(says: tuple[SttEvent, ...]) -> None:
    *_, last = await attempt(Provider(*says), ended())
    assert last.reason_code == "RESPONSE_MALFORMED"
    assert last.status != PROVIDER_STATUS_OK


async def test_a_transcript_of_half_the_audio_is_none() -> None:
    *_, last = await attempt(Provider(SAID, result(), listens=False), ended())
    assert last.reason_code == "RESPONSE_TRUNCATED"


class Deaf:
    """Neither listens nor answers."""

    provider_ref = "p/stt"

    async def transcribe(
        self, request: Transcription, audio: AsyncIterator[bytes], *, deadline: float
    ) -> AsyncGenerator[SttEvent, None]:
        yield Interim("", 0.0)
        await asyncio.Event().wait()


async def test_an_attempt_ends_when_the_audio_is_refused_although_its_provider_does_not() -> None:
    utterance = Utterance()
    limit = Limit(ManualClock(NOON), 5.0, 600.0)
    async with aclosing(Transcribing("en-US", utterance).begin(Deaf(), ASKED, limit)) as events:
        await anext(events)
        waiting = asyncio.ensure_future(anext(events))
        await asyncio.sleep(0)
        utterance.refuse(Refusal(reasons.ERROR_REASON_STREAM_IDLE, "nothing came"))
        with pytest.raises(Refusal) as refused:
            await asyncio.wait_for(waiting, 5.0)
    assert refused.value.reason == reasons.ERROR_REASON_STREAM_IDLE


async def test_a_provider_that_failed_hands_on_no_transcript() -> None:
    *before, last = await attempt(Provider(SAID, result(SttReason.NO_SPEECH, PROVIDER_STATUS_TERMINAL_FAIL)), ended())
    assert last.reason_code == "NO_SPEECH"
    assert not [event for event in before if isinstance(event, messages.Transcript)]
