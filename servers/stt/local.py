"""Selene Local STT: Whisper tiny.en on CTranslate2, in English, offline (RTE-6, RTE-7).

Of read books it gets one word in seven wrong. It writes capitals, punctuation and digits. Its confidence is the mean
of the model's own probabilities of the words (`servers.stt.confidence`).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar

from selene.provider.v1.provider_pb2 import CAPABILITY_STT, ProviderResultV1

from servers.routing.envelope import answered, status_of
from servers.routing.reasons import ProviderReason
from servers.stt.adapter import (
    BYTES_A_SAMPLE,
    CALLER_FAULTS,
    RATE_HZ,
    Interim,
    SttEvent,
    SttReason,
    Transcript,
    Transcription,
)
from servers.stt.confidence import quality_bp
from servers.stt.workers import Pool, Worker, WorkerDied

LANGUAGE = "en"
"""The model was trained on English of every region. Of another language it would write English that nobody said."""

_T = TypeVar("_T")

_BLOCK_BYTES = RATE_HZ * BYTES_A_SAMPLE // 10


class _Refused(Exception):
    def __init__(self, reason: StrEnum) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(slots=True)
class _Utterance:
    heard_bytes: int = 0
    ended_at: float | None = None

    @property
    def audio_s(self) -> float:
        return self.heard_bytes / (RATE_HZ * BYTES_A_SAMPLE)


class LocalStt:
    """Transcribes on the pool's processes, one a stream; ``max_audio_s`` bounds a stream.

    ``monotonic`` gives seconds and is the clock of every deadline.
    """

    provider_ref = "selene-local/stt"

    def __init__(
        self, pool: Pool, *, max_audio_s: float = 60.0, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._pool = pool
        self._max_bytes = round(max_audio_s * RATE_HZ) * BYTES_A_SAMPLE
        self._monotonic = monotonic

    async def transcribe(
        self, request: Transcription, audio: AsyncIterator[bytes], *, deadline: float
    ) -> AsyncGenerator[SttEvent, None]:
        """See `servers.stt.adapter.SttAdapter`."""
        utterance = _Utterance()
        worker: Worker | None = None
        try:
            if request.locale.lower().split("-")[0] != LANGUAGE:
                raise _Refused(SttReason.LOCALE_UNSUPPORTED)
            worker = await self._lent(deadline)
            async with aclosing(self._interims(worker, utterance, audio, deadline)) as interims:
                async for interim in interims:
                    yield interim
            utterance.ended_at = self._monotonic()
            words = await self._in_time(worker.end(), deadline)
            reason: StrEnum = SttReason.TRANSCRIBED if words else SttReason.NO_SPEECH
        except _Refused as refused:
            reason = refused.reason
        except WorkerDied:
            reason = ProviderReason.PROVIDER_CRASHED
        finally:
            if worker is not None:
                self._pool.release(worker)
        if reason is not SttReason.TRANSCRIBED:
            yield self._result(request, reason, utterance, 0)
            return
        yield Transcript(" ".join(word.text for word in words), words, utterance.audio_s)
        yield self._result(request, reason, utterance, quality_bp(words))

    async def _interims(
        self, worker: Worker, utterance: _Utterance, audio: AsyncIterator[bytes], deadline: float
    ) -> AsyncGenerator[Interim, None]:
        text = ""
        async with aclosing(self._blocks(audio, deadline)) as blocks:
            async for block in blocks:
                utterance.heard_bytes += len(block)
                found = await self._in_time(worker.hear(block), deadline)
                if found != text:
                    text = found
                    yield Interim(text, utterance.audio_s)

    async def _blocks(self, audio: AsyncIterator[bytes], deadline: float) -> AsyncGenerator[bytes, None]:
        """The frames in blocks of 100 ms and a rest: fewer hops for small frames, no long ones for large."""
        taken, waiting = 0, b""
        while (frame := await self._in_time(anext(audio, None), deadline)) is not None:
            taken += len(frame)
            if taken > self._max_bytes:
                raise _Refused(SttReason.AUDIO_TOO_LONG)
            if len(frame) % BYTES_A_SAMPLE:
                raise _Refused(SttReason.AUDIO_MALFORMED)
            waiting += frame
            whole = len(waiting) - len(waiting) % _BLOCK_BYTES
            for at in range(0, whole, _BLOCK_BYTES):
                yield waiting[at : at + _BLOCK_BYTES]
            waiting = waiting[whole:]
        if waiting:
            yield waiting

    async def _lent(self, deadline: float) -> Worker:
        try:
            async with asyncio.timeout(self._left(deadline)):
                worker = await self._pool.acquire()
        except TimeoutError:
            raise _Refused(ProviderReason.PROVIDER_BUSY) from None
        try:
            await self._in_time(worker.begin(), deadline)
        except BaseException:
            self._pool.release(worker)
            raise
        return worker

    async def _in_time(self, answer: Awaitable[_T], deadline: float) -> _T:
        try:
            async with asyncio.timeout(self._left(deadline)):
                return await answer
        except TimeoutError:
            raise _Refused(ProviderReason.DEADLINE_EXCEEDED) from None

    def _left(self, deadline: float) -> float:
        return max(0.0, deadline - self._monotonic())

    def _result(self, request: Transcription, reason: StrEnum, utterance: _Utterance, quality: int) -> ProviderResultV1:
        return answered(
            request,
            provider_ref=self.provider_ref,
            capability=CAPABILITY_STT,
            status=status_of(done=reason is SttReason.TRANSCRIBED, caller_fault=reason in CALLER_FAULTS),
            reason_code=reason,
            latency_s=0.0 if utterance.ended_at is None else self._monotonic() - utterance.ended_at,
            quality_score_bp=quality,
        )
