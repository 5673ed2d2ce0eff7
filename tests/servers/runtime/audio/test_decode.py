"""Frames to samples: every encoding of the contract, cut anywhere, and what is refused."""

from itertools import pairwise

import av
import numpy as np
import pytest
import soxr
from hypothesis import given
from hypothesis import strategies as st
from selene.common.v1 import audio_pb2

from servers.runtime.audio.decode import (
    OPUS_PRE_SKIP,
    AudioError,
    Float32Decoder,
    Linear16Decoder,
    OpusDecoder,
    open_decoder,
)


def cut(data: bytes, places: list[int]) -> list[bytes]:
    bounds = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[start:end] for start, end in pairwise(bounds)]


def decode_all(decoder, frames):
    samples = np.concatenate([decoder.push(frame) for frame in frames])
    decoder.finish()
    return samples


def opus_packets(samples: np.ndarray) -> list[bytes]:
    codec = av.CodecContext.create("libopus", "w")
    codec.sample_rate, codec.layout, codec.format, codec.bit_rate = 16_000, "mono", "s16", 24_000
    packets = []
    for start in range(0, len(samples) - 319, 320):
        pcm = (samples[start : start + 320] * 32767).astype(np.int16)
        frame = av.AudioFrame.from_ndarray(pcm[None], format="s16", layout="mono")
        frame.sample_rate, frame.pts = 16_000, start
        packets += [bytes(packet) for packet in codec.encode(frame)]
    return packets + [bytes(packet) for packet in codec.encode(None)]


@given(st.lists(st.integers(-32768, 32767), min_size=1, max_size=400), st.lists(st.integers(0, 10_000), max_size=12))
def test_linear16_may_be_cut_anywhere(values, places):
    data = np.array(values, "<i2").tobytes()
    samples = decode_all(Linear16Decoder(16_000), cut(data, places))
    assert samples.dtype == np.float32
    assert (samples * 32768).tolist() == values


@given(st.lists(st.floats(-1, 1, width=32), min_size=1, max_size=400), st.lists(st.integers(0, 10_000), max_size=12))
def test_float32_may_be_cut_anywhere(values, places):
    decoder = Float32Decoder(48_000)
    samples = decode_all(decoder, cut(np.array(values, "<f4").tobytes(), places))
    assert samples.tolist() == values
    assert decoder.clamped == 0


@pytest.mark.parametrize(
    ("decoder", "data"), [(Linear16Decoder(16_000), b"\0\1\2"), (Float32Decoder(16_000), b"\0" * 7)]
)
def test_a_stream_that_ends_inside_a_sample_is_refused(decoder, data):
    decoder.push(data)
    with pytest.raises(AudioError) as refused:
        decoder.finish()
    assert refused.value.reason == "TRUNCATED_SAMPLE"


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_float32_that_is_not_finite_is_refused(bad):
    with pytest.raises(AudioError) as refused:
        Float32Decoder(16_000).push(np.array([0.1, bad, 0.2], "<f4").tobytes())
    assert refused.value.reason == "AUDIO_NOT_FINITE"


def test_float32_beyond_full_scale_is_clamped_and_counted():
    decoder = Float32Decoder(16_000)
    samples = decoder.push(np.array([1.5, -3e38, 1.0, 0.25], "<f4").tobytes())
    assert samples.tolist() == [1.0, -1.0, 1.0, 0.25]
    assert decoder.clamped == 2


def test_opus_packets_decode_to_the_sound_that_was_encoded(voice):
    original = voice(2.0)
    decoder = OpusDecoder()
    decoded = decode_all(decoder, opus_packets(original))
    heard = soxr.resample(decoded, decoder.rate_hz, 16_000)[: len(original)]
    aligned = original[: len(heard)]
    assert np.corrcoef(heard, aligned)[0, 1] > 0.9


def test_opus_drops_the_encoders_lookahead_once(voice):
    packets = opus_packets(voice(0.2))
    lengths = [len(samples) for samples in map(OpusDecoder().push, packets)]
    assert lengths[0] == 960 - OPUS_PRE_SKIP
    assert set(lengths[1:]) == {960}


@pytest.mark.parametrize("packet", [b"\xff" * 50, b"\x03\xff", b"\x02\xfc"])
def test_a_corrupt_opus_packet_is_refused(packet):
    with pytest.raises(AudioError) as refused:
        OpusDecoder().push(packet)
    assert refused.value.reason == "AUDIO_DECODE_FAILED"


@given(st.binary(min_size=1, max_size=400))
def test_any_opus_bytes_end_in_samples_or_in_a_refusal(packet):
    decoder = OpusDecoder(pre_skip=0)
    try:
        samples = decoder.push(packet)
    except AudioError as refused:
        assert refused.reason == "AUDIO_DECODE_FAILED"
        return
    assert 0 < len(samples) <= 5760
    assert np.isfinite(samples).all()


@pytest.mark.parametrize(
    ("encoding", "rate", "decoded_rate"),
    [
        (audio_pb2.AUDIO_ENCODING_LINEAR16, 8_000, 8_000),
        (audio_pb2.AUDIO_ENCODING_FLOAT32, 44_100, 44_100),
        (audio_pb2.AUDIO_ENCODING_OPUS, 16_000, 48_000),
    ],
)
def test_every_encoding_of_the_contract_has_a_decoder(encoding, rate, decoded_rate):
    audio_format = audio_pb2.AudioFormat(encoding=encoding, sample_rate_hz=rate, channel_count=1)
    assert open_decoder(audio_format).rate_hz == decoded_rate


def test_an_unspecified_encoding_is_refused():
    with pytest.raises(AudioError) as refused:
        open_decoder(audio_pb2.AudioFormat(sample_rate_hz=16_000, channel_count=1))
    assert refused.value.reason == "AUDIO_DECODE_FAILED"
