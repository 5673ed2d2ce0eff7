"""OpenAI TTS (§22, RTE-6, RTE-7): PCM of 24 kHz as it is made, without marks, from plain text.

``quality_score_bp`` is 10,000 where something audible came, else 0. It does not say how natural it sounds.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import numpy as np
from selene.provider.v1.provider_pb2 import CAPABILITY_TTS, ProviderResultV1

from servers.routing.credentials import Credential
from servers.routing.envelope import answered, status_of
from servers.routing.openai import BASE_URL, CallEnded, Deadline, Endpoint, language_of
from servers.routing.reasons import TERMINAL, ProviderReason
from servers.tts.adapter import CALLER_FAULTS, AudioChunk, Markup, Synthesis, TtsEvent, TtsReason
from servers.tts.segments import speakable

RATE_HZ: Final = 24_000
BYTES_A_SAMPLE: Final = 2
MIN_RATE_PERCENT: Final = 25
MAX_RATE_PERCENT: Final = 400

MAX_AUDIO_BYTES: Final = 64 << 20
"""Over twenty minutes: what 4,096 characters take at a quarter of the pace."""

AUDIBLE: Final = 327
"""-40 dB of full scale."""


@dataclass(slots=True)
class _Spoken:
    """How far a synthesis has come; ``samples`` handed out so far."""

    began_at: float
    samples: int = 0
    first_at: float | None = None
    audible: bool = False


class OpenAiTts:
    """Speaks with ``voice`` of ``model`` at ``base_url``; the voice is the same in every language.

    ``max_chars`` bounds a text: OpenAI takes 4,096. ``monotonic`` gives seconds and is the clock of every deadline.
    Close it when done.
    """

    provider_ref = "openai/tts"

    def __init__(
        self,
        credential: Credential,
        *,
        model: str,
        voice: str,
        base_url: str = BASE_URL,
        max_chars: int = 4_096,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._endpoint = Endpoint(base_url, credential, max_answer_bytes=MAX_AUDIO_BYTES)
        self._model = model
        self._voice = voice
        self._max_chars = max_chars
        self._monotonic = monotonic

    async def prewarm(self) -> bool:
        """Open a connection, so that the first call need not; whether something answered."""
        return await self._endpoint.prewarm()

    async def close(self) -> None:
        """Close the connections; calls under way fail."""
        await self._endpoint.close()

    async def synthesise(
        self, request: Synthesis, *, deadline: float, interrupt: asyncio.Event | None = None
    ) -> AsyncGenerator[TtsEvent, None]:
        """See `servers.tts.adapter.TtsAdapter`. There are no marks."""
        interrupt = interrupt or asyncio.Event()
        spoken = _Spoken(self._monotonic())
        reason: StrEnum = TtsReason.SPOKEN
        try:
            self._check(request)
            until = Deadline(deadline, self._monotonic)
            async with aclosing(self._pcm(request, until)) as pieces:
                while (pcm := await _unless(interrupt, until, pieces)) is not None:
                    chunk = AudioChunk(pcm, spoken.samples, RATE_HZ)
                    spoken.first_at = self._monotonic() if spoken.first_at is None else spoken.first_at
                    spoken.samples += len(pcm) // BYTES_A_SAMPLE
                    spoken.audible = spoken.audible or _audible(pcm)
                    yield chunk
            if not spoken.samples:
                raise CallEnded(ProviderReason.RESPONSE_MALFORMED)
        except CallEnded as ended:
            reason = ended.reason
        yield self._result(request, reason, spoken)

    def _check(self, request: Synthesis) -> None:
        if len(request.text) > self._max_chars:
            raise CallEnded(TtsReason.TEXT_TOO_LONG)
        if not request.text.strip():
            raise CallEnded(TtsReason.TEXT_EMPTY)
        if request.markup is Markup.SSML:
            raise CallEnded(TtsReason.SSML_UNSUPPORTED)
        if language_of(request.locale) is None:
            raise CallEnded(TtsReason.LOCALE_UNSUPPORTED)
        if not speakable(request.text):
            raise CallEnded(TtsReason.TEXT_UNSPEAKABLE)
        if not MIN_RATE_PERCENT <= request.rate_percent <= MAX_RATE_PERCENT:
            raise CallEnded(TtsReason.RATE_OUT_OF_RANGE)

    async def _pcm(self, request: Synthesis, until: Deadline) -> AsyncGenerator[bytes, None]:
        """Whole samples, as they come."""
        body = {"input": request.text, "model": self._model, "voice": self._voice, "response_format": "pcm"}
        speed = {} if request.rate_percent == 100 else {"speed": request.rate_percent / 100}
        rest = b""
        async with self._endpoint.asked(
            "/audio/speech", request, until, {**body, **speed}, accept="application/octet-stream"
        ) as response:
            _expect_audio(response.headers.get("content-type", ""))
            async with aclosing(response.aiter_bytes()) as pieces:
                async for piece in pieces:
                    pcm = rest + piece
                    whole = len(pcm) - len(pcm) % BYTES_A_SAMPLE
                    rest = pcm[whole:]
                    if whole:
                        yield pcm[:whole]
        if rest:
            raise CallEnded(ProviderReason.RESPONSE_TRUNCATED)

    def _result(self, request: Synthesis, reason: StrEnum, spoken: _Spoken) -> ProviderResultV1:
        answered_at = self._monotonic() if spoken.first_at is None else spoken.first_at
        return answered(
            request,
            provider_ref=self.provider_ref,
            capability=CAPABILITY_TTS,
            status=status_of(
                done=reason in (TtsReason.SPOKEN, TtsReason.INTERRUPTED),
                caller_fault=reason in CALLER_FAULTS or reason in TERMINAL,
            ),
            reason_code=reason,
            latency_s=answered_at - spoken.began_at,
            quality_score_bp=10_000 if spoken.audible else 0,
        )


async def _unless(interrupt: asyncio.Event, until: Deadline, pieces: AsyncGenerator[bytes, None]) -> bytes | None:
    """The next piece, None after the last; raises CallEnded when the interrupt or the deadline comes first."""

    async def following() -> bytes | None:
        return await anext(pieces, None)

    if interrupt.is_set():
        raise CallEnded(TtsReason.INTERRUPTED)
    left = until.left()
    piece, stop = asyncio.ensure_future(following()), asyncio.ensure_future(interrupt.wait())
    try:
        await asyncio.wait((piece, stop), timeout=left, return_when=asyncio.FIRST_COMPLETED)
        if interrupt.is_set():
            raise CallEnded(TtsReason.INTERRUPTED)
        if not piece.done():
            raise CallEnded(ProviderReason.DEADLINE_EXCEEDED)
        return piece.result()
    finally:
        piece.cancel()
        stop.cancel()
        await asyncio.gather(piece, stop, return_exceptions=True)  # pieces can be closed only when nobody waits for one


def _expect_audio(content_type: str) -> None:
    kind = content_type.partition(";")[0].strip().lower()
    if not kind.startswith("audio/") and kind != "application/octet-stream":
        raise CallEnded(ProviderReason.RESPONSE_MALFORMED)


def _audible(pcm: bytes) -> bool:
    samples = np.frombuffer(pcm, "<i2")
    return bool(((samples > AUDIBLE) | (samples < -AUDIBLE)).any())
