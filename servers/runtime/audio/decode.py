"""Frames of an audio stream to mono float32 samples (VID-2).

Nothing of a frame is trusted: what cannot be decoded ends in an :class:`AudioError` with a reason, never in noise.
"""

from __future__ import annotations

from typing import Protocol

import av
import numpy as np
import numpy.typing as npt
from av.error import FFmpegError
from selene.common.v1 import audio_pb2

Samples = npt.NDArray[np.float32]

OPUS_RATE_HZ = 48_000
# libopus codes 6.5 ms ahead; a bare packet stream has no header that says so (RFC 7845, section 4.2).
OPUS_PRE_SKIP = 312


class AudioError(Exception):
    """Audio that cannot be used. ``reason``: ``AUDIO_NOT_FINITE``, ``AUDIO_DECODE_FAILED`` or ``TRUNCATED_SAMPLE``."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class Decoder(Protocol):
    """Decodes one stream; made by :func:`open_decoder`."""

    rate_hz: int
    """Rate of the samples returned: the stream's own, except Opus, which always decodes at 48 kHz."""
    seconds_a_byte: float
    """Where no frame can be refused, so that several may be decoded joined: how long a byte is; else 0."""
    clamped: int
    """Samples found outside [-1, 1] so far; they were clamped."""

    def push(self, frame: bytes) -> Samples:
        """Samples that are complete with this frame, ``[n]``; raises :class:`AudioError`."""

    def finish(self) -> None:
        """The stream has ended; raises ``TRUNCATED_SAMPLE`` if it ended inside a sample."""


class Linear16Decoder:
    """Little-endian signed 16-bit PCM. A frame may end in the middle of a sample."""

    clamped = 0

    def __init__(self, rate_hz: int) -> None:
        self.rate_hz = rate_hz
        self.seconds_a_byte = 1 / (2 * rate_hz)
        self._rest = b""

    def push(self, frame: bytes) -> Samples:
        whole, self._rest = _split(self._rest + frame, 2)
        return np.frombuffer(whole, "<i2").astype(np.float32) * np.float32(1 / 32768)

    def finish(self) -> None:
        _refuse_rest(self._rest, 2)


class Float32Decoder:
    """Little-endian IEEE 754 32-bit PCM. NaN and infinity are refused, values beyond [-1, 1] clamped and counted."""

    seconds_a_byte = 0.0

    def __init__(self, rate_hz: int) -> None:
        self.rate_hz = rate_hz
        self.clamped = 0
        self._rest = b""

    def push(self, frame: bytes) -> Samples:
        whole, self._rest = _split(self._rest + frame, 4)
        samples = np.frombuffer(whole, "<f4").astype(np.float32)
        if not np.isfinite(samples).all():
            raise AudioError("AUDIO_NOT_FINITE", "a sample is NaN or infinite")
        self.clamped += int(np.count_nonzero(np.abs(samples) > 1))
        return np.clip(samples, -1, 1, out=samples)

    def finish(self) -> None:
        _refuse_rest(self._rest, 4)


class OpusDecoder:
    """Bare Opus packets (RFC 6716), one a frame. ``pre_skip`` samples at 48 kHz are dropped from the start."""

    rate_hz = OPUS_RATE_HZ
    seconds_a_byte = 0.0

    def __init__(self, pre_skip: int = OPUS_PRE_SKIP) -> None:
        codec = av.CodecContext.create("libopus", "r")
        assert isinstance(codec, av.AudioCodecContext)
        codec.sample_rate = OPUS_RATE_HZ
        codec.layout = "mono"
        self._codec = codec
        self._skip = pre_skip
        self.clamped = 0

    def push(self, frame: bytes) -> Samples:
        try:
            decoded = [part.to_ndarray()[0] for part in self._codec.decode(av.Packet(frame))]
        except FFmpegError as error:
            raise AudioError("AUDIO_DECODE_FAILED", f"not an Opus packet: {error.strerror}") from error
        if not decoded:
            raise AudioError("AUDIO_DECODE_FAILED", "an Opus packet without sound")
        pcm = np.concatenate(decoded)
        skipped = min(self._skip, len(pcm))
        self._skip -= skipped
        return pcm[skipped:].astype(np.float32) * np.float32(1 / 32768)

    def finish(self) -> None:
        """A packet is whole or refused: nothing can be left."""


def open_decoder(audio_format: audio_pb2.AudioFormat) -> Decoder:
    """The decoder of a stream; an encoding that is not known raises ``AUDIO_DECODE_FAILED``."""
    match audio_format.encoding:
        case audio_pb2.AUDIO_ENCODING_LINEAR16:
            return Linear16Decoder(audio_format.sample_rate_hz)
        case audio_pb2.AUDIO_ENCODING_FLOAT32:
            return Float32Decoder(audio_format.sample_rate_hz)
        case audio_pb2.AUDIO_ENCODING_OPUS:
            return OpusDecoder()
    raise AudioError("AUDIO_DECODE_FAILED", f"encoding {audio_format.encoding} is not known")


def _split(data: bytes, width: int) -> tuple[bytes, bytes]:
    whole = len(data) - len(data) % width
    return data[:whole], data[whole:]


def _refuse_rest(rest: bytes, width: int) -> None:
    if rest:
        raise AudioError("TRUNCATED_SAMPLE", f"the stream ends {len(rest)} bytes into a sample of {width}")
