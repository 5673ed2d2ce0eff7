"""Callers that do everything wrong: each stream ends with a clear status, and the server goes on as before."""

from __future__ import annotations

import asyncio
import itertools
import struct
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import numpy as np
import pytest
import pytest_asyncio
from selene.common.v1.audio_pb2 import AUDIO_ENCODING_FLOAT32, AUDIO_ENCODING_OPUS, AudioFormat
from selene.voiceid.v1 import voiceid_pb2 as v1
from selene.voiceid.v2 import voiceid_pb2 as v2

from clients.audio import paced
from clients.errors import SeleneError
from tests.support.servers import House, Line, ask, copy_home, pcm16, serving, stream_config, until
from tests.support.speech import Person, pieces, silence

pytestmark = pytest.mark.asyncio(loop_scope="module")
TONE = (0.3 * np.sin(np.arange(320) / 5) * 32767).astype("<i2").tobytes()
LIMITS = {
    "limits.idle_s": 1.0,
    "owners.voiceid.max_audio_s": 20.0,
    "owners.voiceid.replay_min_s": 600.0,
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def house(enrolled: Path, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    """Impatient with silence on the wire, and with utterances beyond 20 s."""
    async with serving(copy_home(enrolled, tmp_path_factory.mktemp("callers") / "home"), LIMITS) as served:
        yield served


@pytest_asyncio.fixture(loop_scope="module", autouse=True)
async def unharmed(house: House, mira: Person) -> AsyncIterator[None]:
    """Whatever a test did: nothing stays open or waiting, and the next caller is served."""
    yield
    await house.idle()
    assert (await ask(house, mira.ask, session_id="afterwards")).v2.candidate_set[0].user_id == "mira"


@pytest_asyncio.fixture(loop_scope="module")
async def line(house: House) -> AsyncIterator[Line]:
    """A stream that has begun."""
    opened = house.line()
    await opened.config(stream_config())
    await opened.started()
    yield opened
    opened.cancel()


async def test_who_never_sends_is_told_so(line: Line) -> None:
    refusal = await line.refusal()
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.DEADLINE_EXCEEDED, "STREAM_IDLE")
    assert refusal.metadata == {"max_idle_s": "1"}


async def test_who_does_not_even_send_a_config_is_told_so(house: House) -> None:
    assert (await house.line().refusal()).reason == "STREAM_IDLE"


async def test_who_half_closes_without_a_config_is_told_so(house: House) -> None:
    line = house.line()
    await line.half_close()
    refusal = await line.refusal()
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "STREAM_CONFIG_EXPECTED")
    assert refusal.metadata == {"message_index": "0"}


async def test_a_frame_before_the_config_is_refused(house: House) -> None:
    line = house.line()
    await line.frame(TONE)
    assert (await line.refusal()).reason == "STREAM_CONFIG_EXPECTED"


async def test_a_second_config_is_refused(line: Line) -> None:
    await line.config(stream_config())
    refusal = await line.refusal()
    assert (refusal.reason, refusal.metadata) == ("STREAM_CONFIG_EXPECTED", {"message_index": "1"})


@pytest.mark.parametrize(
    "config", [v1.StreamConfig(), stream_config(tenant_id=""), stream_config(session_id="x" * 129)]
)
async def test_a_config_that_breaks_the_contract_is_refused_by_field(house: House, config: v1.StreamConfig) -> None:
    line = house.line()
    await line.config(config)
    refusal = await line.refusal()
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "FIELD_INVALID")
    assert all(violation.field.startswith("config.") for violation in refusal.violations)


@pytest.mark.parametrize(
    ("rate", "channels", "encoding"), [(11_025, 1, 1), (16_000, 2, 1), (16_000, 1, 0), (16_000, 1, 9), (44_100, 1, 3)]
)
async def test_a_format_that_is_not_of_the_contract_is_refused(
    house: House, rate: int, channels: int, encoding: int
) -> None:
    line = house.line()
    wanted = AudioFormat(encoding=encoding, sample_rate_hz=rate, channel_count=channels)  # type: ignore[arg-type]  # an enum value that is none
    await line.config(stream_config(audio_format=wanted))
    assert (await line.refusal()).reason == "FIELD_INVALID"


async def test_no_audio_at_all_is_no_speech(line: Line) -> None:
    decision = (await line.finish()).v2
    assert (decision.identity_tier, decision.reason_code) == (v2.IDENTITY_TIER_UNKNOWN, v1.VOICE_ID_REASON_NO_SPEECH)


@pytest.mark.parametrize(
    ("sequences", "expected", "received"),
    [([0, 2], "1", "2"), ([0, 1, 1], "2", "1"), ([1], "0", "1"), ([0, 1, 0], "2", "0")],
)
async def test_a_gap_a_repeat_and_disorder_are_refused(
    line: Line, sequences: list[int], expected: str, received: str
) -> None:
    for sequence in sequences:
        await line.frame(TONE, sequence)
    refusal = await line.refusal()
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "STREAM_SEQUENCE_BROKEN")
    assert refusal.metadata == {"expected": expected, "received": received}


async def test_frames_of_one_byte_are_the_same_speech(house: House, mira: Person) -> None:
    short = mira.ask.cut(0.0, 0.5)
    whole = (await ask(house, short, session_id="whole")).v2
    line = house.line(timeout=60.0)
    await line.config(stream_config(session_id="crumbs"))
    await line.frames(pieces(short.samples.astype("<i2").tobytes(), 1))
    crumbs = (await line.finish()).v2
    assert crumbs.telemetry.voiced == whole.telemetry.voiced
    assert (crumbs.reason_code, crumbs.score_bp) == (whole.reason_code, whole.score_bp)


async def test_a_frame_beyond_the_limit_of_the_contract_is_refused(line: Line) -> None:
    await line.frame(b"\0" * 15_361)
    refusal = await line.refusal()
    assert (refusal.reason, [one.field for one in refusal.violations]) == ("FIELD_INVALID", ["frame.audio"])


async def test_an_empty_frame_is_refused(line: Line) -> None:
    await line.frame(b"")
    assert (await line.refusal()).reason == "FIELD_INVALID"


async def test_a_message_beyond_the_limit_of_the_server_is_refused(line: Line) -> None:
    await line.frame(b"\0" * 1_000_000)
    assert (await line.refusal()).code is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_bytes_that_are_no_message_are_refused(house: House) -> None:
    channel = house.connection().channel
    raw = channel.stream_stream("/selene.voiceid.v2.VoiceIdService/Identify")
    call = raw(iter([b"\xff\xff\xff\xffgarbage"]), timeout=5)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call.read()
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
async def test_a_sample_that_is_no_number_is_refused(house: House, value: float) -> None:
    line = house.line()
    await line.config(stream_config(audio_format=pcm16(16_000, AUDIO_ENCODING_FLOAT32)))
    await line.frame(struct.pack("<4f", 0.1, 0.2, 0.1, 0.0))
    await line.frame(struct.pack("<4f", 0.1, value, 0.1, 0.0))
    refusal = await line.refusal()
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "AUDIO_UNDECODABLE")
    assert refusal.metadata == {"cause": "AUDIO_NOT_FINITE", "sequence": "1"}


async def test_a_stream_that_ends_inside_a_sample_is_refused(line: Line) -> None:
    await line.frame(TONE + b"\x01")
    await line.half_close()
    refusal = await line.refusal()
    assert (refusal.reason, refusal.metadata) == (
        "AUDIO_UNDECODABLE",
        {"cause": "TRUNCATED_SAMPLE", "sequence": "0"},
    )


async def test_bytes_that_are_no_opus_packet_are_refused(house: House) -> None:
    line = house.line()
    await line.config(stream_config(audio_format=pcm16(48_000, AUDIO_ENCODING_OPUS)))
    await line.frame(b"\xff" * 200)
    refusal = await line.refusal()
    assert (refusal.reason, refusal.metadata["cause"]) == ("AUDIO_UNDECODABLE", "AUDIO_DECODE_FAILED")


async def test_speech_that_was_clipped_names_nobody(house: House, mira: Person) -> None:
    loud = np.clip(mira.ask.samples.astype(np.int32) * 40, -32768, 32767).astype("<i2")
    line = house.line()
    await line.config(stream_config(session_id="loud"))
    await line.frames(pieces(loud.tobytes(), 640))
    decision = (await line.finish()).v2
    assert (decision.identity_tier, decision.reason_code) == (v2.IDENTITY_TIER_UNKNOWN, v1.VOICE_ID_REASON_QUALITY_LOW)
    assert decision.telemetry.clipped_ratio > 0.01


async def test_noise_is_nobody(house: House) -> None:
    noise = (np.random.default_rng(5).normal(0, 3000, 48_000)).astype("<i2")
    line = house.line()
    await line.config(stream_config(session_id="noise"))
    await line.frames(pieces(noise.tobytes(), 640))
    decision = (await line.finish()).v2
    assert decision.identity_tier == v2.IDENTITY_TIER_UNKNOWN


async def test_more_than_one_utterance_is_refused(line: Line) -> None:
    await line.frames(silence(21.0).frames(0.4))
    refusal = await line.refusal()
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.OUT_OF_RANGE, "STREAM_TOO_LONG")
    assert refusal.metadata == {"max_s": "20"}


async def test_who_cancels_is_gone_but_may_come_back(house: House, mira: Person) -> None:
    line = house.line()
    config = stream_config(session_id="cancelled")
    await line.config(config)
    config.resume_stream_id = (await line.started()).stream_id
    await line.frames(mira.ask.frames())
    await until(lambda: house.open_streams == 1)
    line.cancel()
    await house.idle()
    again = house.line()
    await again.config(config)
    assert (await again.started()).stream_id == config.resume_stream_id
    assert (await again.finish()).v2.identity_tier


async def test_a_deadline_that_passes_ends_the_stream(house: House, mira: Person) -> None:
    line = house.line(timeout=0.25)
    await line.config(stream_config())

    async def talk() -> None:
        async for tone in paced(itertools.repeat(TONE)):
            if not await line.frame(tone):
                return

    talking = asyncio.create_task(talk())
    with pytest.raises(SeleneError) as caught:
        await line.rest()
    await talking
    assert caught.value.code is grpc.StatusCode.DEADLINE_EXCEEDED


async def test_who_never_reads_is_held_back(house: House, mira: Person) -> None:
    """An interim for every tiny frame and nobody to read them: the server stops reading instead of buffering."""
    line = Line(house.connection(options=(("grpc.http2.bdp_probe", 0),)), "", "v2", 30.0)
    config = stream_config(session_id="deaf")
    config.interim_interval.FromNanoseconds(1)
    await line.config(config)
    await line.frames(mira.ask.frames())
    with pytest.raises(TimeoutError):
        for _ in range(20_000):
            async with asyncio.timeout(0.5):
                assert await line.frame(b"\0\0")
    line.cancel()
