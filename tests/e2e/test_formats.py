"""The same speech in every accepted format is the same person, through a real stream."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import pytest_asyncio
import soxr
from selene.common.v1.audio_pb2 import (
    AUDIO_ENCODING_FLOAT32,
    AUDIO_ENCODING_LINEAR16,
    AUDIO_ENCODING_OPUS,
    AudioEncoding,
)
from selene.voiceid.v2 import voiceid_pb2 as v2

from clients.audio import Recording
from tests.support.servers import House, copy_home, pcm16, serving, stream_config
from tests.support.speech import Person, pieces

pytestmark = pytest.mark.asyncio(loop_scope="module")
OPUS_FRAME = 960


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def house(enrolled: Path, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    """Mira and otto live here; what is asked twice is not taken for a replay."""
    home = copy_home(enrolled, tmp_path_factory.mktemp("formats") / "home")
    async with serving(home, {"owners.voiceid.replay_min_s": 600.0}) as served:
        yield served


def at(recording: Recording, rate: int) -> np.ndarray:
    """The samples, f32 in [-1, 1], at another rate."""
    return soxr.resample(recording.samples.astype(np.float32) / 32768, recording.rate, rate)


def linear16(recording: Recording, rate: int) -> Iterator[bytes]:
    samples = np.clip(np.rint(at(recording, rate) * 32768), -32768, 32767).astype("<i2")
    return pieces(samples.tobytes(), rate // 50 * 2)


def float32(recording: Recording, rate: int) -> Iterator[bytes]:
    return pieces(at(recording, rate).astype("<f4").tobytes(), rate // 50 * 4)


def opus(recording: Recording, rate: int) -> Iterator[bytes]:
    """Packets of 20 ms from a real encoder, as a phone makes them."""
    encoder = av.CodecContext.create("libopus", "w")
    encoder.sample_rate, encoder.layout, encoder.format = rate, "mono", "s16"
    encoder.bit_rate, encoder.time_base = 24_000, Fraction(1, rate)
    size = rate // 50
    samples = np.clip(at(recording, rate) * 32767, -32768, 32767).astype(np.int16)
    for index in range(len(samples) // size):
        frame = av.AudioFrame.from_ndarray(samples[None, index * size : (index + 1) * size], "s16", "mono")
        frame.sample_rate, frame.pts = rate, index * size
        yield from (bytes(packet) for packet in encoder.encode(frame))
    yield from (bytes(packet) for packet in encoder.encode(None))


FORMATS = {
    "linear16-8k": (AUDIO_ENCODING_LINEAR16, 8_000, linear16),
    "linear16-24k": (AUDIO_ENCODING_LINEAR16, 24_000, linear16),
    "linear16-44k": (AUDIO_ENCODING_LINEAR16, 44_100, linear16),
    "linear16-48k": (AUDIO_ENCODING_LINEAR16, 48_000, linear16),
    "float32-16k": (AUDIO_ENCODING_FLOAT32, 16_000, float32),
    "float32-44k": (AUDIO_ENCODING_FLOAT32, 44_100, float32),
    "opus-16k": (AUDIO_ENCODING_OPUS, 16_000, opus),
    "opus-48k": (AUDIO_ENCODING_OPUS, 48_000, opus),
}


@pytest.mark.parametrize("name", FORMATS)
async def test_the_same_speech_is_the_same_person_in_every_format(house: House, mira: Person, name: str) -> None:
    encoding, rate, encode = FORMATS[name]
    line = house.line()
    await line.config(stream_config(audio_format=pcm16(rate, encoding), session_id=name))
    await line.frames(encode(mira.ask, rate))
    decision = (await line.finish()).v2
    assert decision.identity_tier in (v2.IDENTITY_TIER_CONFIRMED, v2.IDENTITY_TIER_PROBABLE), decision
    assert decision.candidate_set[0].user_id == "mira"
    assert decision.telemetry.audio.ToTimedelta().total_seconds() == pytest.approx(mira.ask.seconds, abs=0.03)


@pytest.mark.parametrize(("rate", "declared"), [(48_000, 16_000), (16_000, 8_000), (8_000, 48_000)])
@pytest.mark.parametrize("encoding", [AUDIO_ENCODING_LINEAR16, AUDIO_ENCODING_FLOAT32])
async def test_a_wrong_rate_names_nobody_wrongly(
    house: House, mira: Person, rate: int, declared: int, encoding: AudioEncoding
) -> None:
    encode = linear16 if encoding == AUDIO_ENCODING_LINEAR16 else float32
    line = house.line()
    await line.config(stream_config(audio_format=pcm16(declared, encoding), session_id=f"wrong-{rate}-{declared}"))
    await line.frames(encode(mira.ask, rate))
    decision = (await line.finish()).v2
    assert decision.identity_tier != v2.IDENTITY_TIER_CONFIRMED
    assert "otto" not in [one.user_id for one in decision.candidate_set[:1]]
