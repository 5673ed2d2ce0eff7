"""Selene Local STT: Whisper tiny.en on CTranslate2, in English, offline (RTE-6, RTE-7).

Of read books it gets one word in seven wrong. It writes capitals, punctuation and digits. Its confidence is the mean
of the model's own probabilities of the words (`servers.stt.confidence`).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, aclosing
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
from servers.stt.progress import Progress
from servers.stt.workers import Pool, WorkerDied

LANGUAGE = "en"
"""The model was trained on English of every region. Of another language it would write English that nobody said."""

_T = TypeVar("_T")

_BLOCK_BYTES = RATE_HZ * BYTES_A_SAMPLE // 10


class _Refused(Exception):
    def __init__(self, reason: StrEnum) -> None:
        super().__init__(reason)
        self.reason = reason


class LocalStt:
    """Transcribes on the pool's processes, for all streams together; ``max_audio_s`` bounds a stream.

    A stream holds a process for one look at a time and none while it waits for audio. Transcripts are made in the order
    in which the streams ended; interims only on a process that is idle.
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
        progress = Progress(self._monotonic())
        ended_at: float | None = None
        try:
            if request.locale.lower().split("-")[0] != LANGUAGE:
                raise _Refused(SttReason.LOCALE_UNSUPPORTED)
            async with aclosing(self._interims(progress, request.terms, audio, deadline)) as interims:
                async for interim in interims:
                    yield interim
            ended_at = self._monotonic()
            if progress.pending:
                await self._settle(progress, progress.pending, request.terms, deadline)
            reason: StrEnum = SttReason.TRANSCRIBED if progress.words else SttReason.NO_SPEECH
        except _Refused as refused:
            reason = refused.reason
        except WorkerDied:
            reason = ProviderReason.PROVIDER_CRASHED
        if reason is not SttReason.TRANSCRIBED:
            yield self._result(request, reason, ended_at, 0)
            return
        words = progress.words
        yield Transcript(" ".join(word.text for word in words), words, progress.audio_s)
        yield self._result(request, reason, ended_at, quality_bp(words))

    async def _interims(
        self, progress: Progress, terms: Sequence[str], audio: AsyncIterator[bytes], deadline: float
    ) -> AsyncGenerator[Interim, None]:
        text = ""
        async with aclosing(self._blocks(audio, deadline)) as blocks:
            async for block in blocks:
                progress.add(block)
                while (part := progress.full_part()) is not None:
                    await self._settle(progress, part, terms, deadline)
                await self._glance(progress, deadline)
                if progress.text != text:
                    text = progress.text
                    yield Interim(text, progress.audio_s)

    async def _glance(self, progress: Progress, deadline: float) -> None:
        began_at = self._monotonic()
        if not progress.worth_a_glance(began_at) or (worker := self._pool.spare()) is None:
            return
        try:
            seen = await self._in_time(worker.glance(progress.pending), deadline)
        finally:
            self._pool.give_back(worker)
        progress.glanced(seen, began_at, self._monotonic())

    async def _settle(self, progress: Progress, part: bytes, terms: Sequence[str], deadline: float) -> None:
        async with AsyncExitStack() as stack:
            try:
                async with asyncio.timeout(self._left(deadline)):
                    worker = await stack.enter_async_context(self._pool.lent())
            except TimeoutError:
                raise _Refused(ProviderReason.PROVIDER_BUSY) from None
            heard = await self._in_time(worker.words(part, terms), deadline)
        progress.settle(part, heard)

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

    async def _in_time(self, answer: Awaitable[_T], deadline: float) -> _T:
        try:
            async with asyncio.timeout(self._left(deadline)):
                return await answer
        except TimeoutError:
            raise _Refused(ProviderReason.DEADLINE_EXCEEDED) from None

    def _left(self, deadline: float) -> float:
        return max(0.0, deadline - self._monotonic())

    def _result(
        self, request: Transcription, reason: StrEnum, ended_at: float | None, quality: int
    ) -> ProviderResultV1:
        return answered(
            request,
            provider_ref=self.provider_ref,
            capability=CAPABILITY_STT,
            status=status_of(done=reason is SttReason.TRANSCRIBED, caller_fault=reason in CALLER_FAULTS),
            reason_code=reason,
            latency_s=0.0 if ended_at is None else self._monotonic() - ended_at,
            quality_score_bp=quality,
        )
