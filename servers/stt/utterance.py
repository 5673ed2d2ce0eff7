"""The audio of one utterance, read once from the client and kept until the transcript is final (RTE-7).

Every attempt listens from the beginning, to what is there and to what still comes, so a provider that fails at whatever
moment costs no audio.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Protocol, TypeVar

import numpy as np
import structlog
from grpc.aio import EOF
from selene.common.v1 import audio_pb2
from selene.common.v1 import error_reason_pb2 as reasons

from servers.runtime.audio.decode import AudioError, Samples, open_decoder
from servers.runtime.audio.order import FrameOrder, config_expected, too_long, undecodable
from servers.runtime.audio.resample import MODEL_RATE_HZ, Resampler
from servers.runtime.errors import Refusal
from servers.stt.adapter import BYTES_A_SAMPLE

_BLOCK_BYTES = MODEL_RATE_HZ * BYTES_A_SAMPLE // 10

_log = structlog.get_logger("selene.stt")

_T = TypeVar("_T")


class Utterance:
    """PCM16 of 16 kHz, mono, as it comes. It ends once: well, or with the refusal of what the client sent."""

    def __init__(self) -> None:
        self._pcm = bytearray()
        self._ended = False
        self._refusal: Refusal | None = None
        self._news = asyncio.Event()
        self._waiting: asyncio.Timeout | None = None
        self.when_ended: Callable[[], None] | None = None
        """Called at the good end."""

    @property
    def ended(self) -> bool:
        """Whether all of it is here."""
        return self._ended

    @property
    def seconds(self) -> float:
        """How much is here."""
        return len(self._pcm) / (MODEL_RATE_HZ * BYTES_A_SAMPLE)

    def add(self, pcm: bytes) -> None:
        """What follows, in whole samples."""
        self._pcm += pcm
        self._tell()

    def end(self) -> None:
        """Nothing follows."""
        self._ended = True
        if self.when_ended is not None:
            self.when_ended()
        self._tell()

    def refuse(self, refusal: Refusal) -> None:
        """Nothing follows that can be used: whoever listens is told, and whoever waits in `unless_refused`."""
        self._refusal = refusal
        if self._waiting is not None and not self._waiting.expired():
            self._waiting.reschedule(asyncio.get_running_loop().time())
        self._tell()

    def listen(self) -> Listening:
        """From the beginning."""
        return Listening(self)

    async def after(self, heard_bytes: int) -> bytes:
        """What follows the first `heard_bytes`, 100 ms at most; nothing at the end. Refusal."""
        while True:
            if self._refusal is not None:
                raise self._refusal
            if heard_bytes < len(self._pcm):
                return bytes(self._pcm[heard_bytes : heard_bytes + _BLOCK_BYTES])
            if self._ended:
                return b""
            self._news.clear()
            await self._news.wait()

    async def unless_refused(self, awaited: Awaitable[_T]) -> _T:
        """What is awaited, given up as soon as the audio is refused: a provider may not be listening then. Refusal."""
        try:
            async with asyncio.timeout(0 if self._refusal is not None else None) as self._waiting:
                return await awaited
        except TimeoutError:
            if self._refusal is not None:
                raise self._refusal from None
            raise
        finally:
            self._waiting = None

    def _tell(self) -> None:
        self._news.set()


class Listening(AsyncIterator[bytes]):
    """One attempt's way through an utterance. `finished` once it was given the end."""

    def __init__(self, utterance: Utterance) -> None:
        self._utterance = utterance
        self._heard_bytes = 0
        self.finished = False

    async def __anext__(self) -> bytes:
        piece = await self._utterance.after(self._heard_bytes)
        if not piece:
            self.finished = True
            raise StopAsyncIteration
        self._heard_bytes += len(piece)
        return piece


class Caller(Protocol):
    """The other side of a stream, as the runtime presents it."""

    received: int

    async def read(self) -> Any: ...


async def hear(call: Caller, audio_format: audio_pb2.AudioFormat, utterance: Utterance, *, max_s: float) -> None:
    """Read the frames up to the half-close. What is wrong with them becomes the utterance's refusal."""
    try:
        await _frames(call, audio_format, utterance, max_s)
    except Refusal as refusal:
        utterance.refuse(refusal)
    except Exception:
        # Not the caller's fault, and not a provider's: the call must not wait for audio that nobody reads.
        _log.exception("the audio was not read")
        utterance.refuse(Refusal(reasons.ERROR_REASON_INTERNAL_ERROR, "the audio was not read"))


async def _frames(call: Caller, audio_format: audio_pb2.AudioFormat, utterance: Utterance, max_s: float) -> None:
    sequence, order = 0, FrameOrder(0)
    try:
        decoder = open_decoder(audio_format)
        resampler = Resampler(decoder.rate_hz)
        while (message := await call.read()) is not EOF:
            if message.WhichOneof("message") != "frame":
                raise config_expected(call.received - 1)
            sequence = message.frame.sequence
            order.admit(message.frame)
            utterance.add(_pcm16(resampler.push(decoder.push(message.frame.audio))))
            if utterance.seconds > max_s:
                raise too_long(max_s)
        decoder.finish()
    except AudioError as error:
        raise undecodable(error, sequence) from error
    utterance.add(_pcm16(resampler.flush()))
    utterance.end()


def _pcm16(samples: Samples) -> bytes:
    return np.clip(np.rint(samples * 32768), -32768, 32767).astype("<i2").tobytes()
