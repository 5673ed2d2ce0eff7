"""Google STT: Speech-to-Text v2, StreamingRecognize, through Google's own asyncio client (RTE-6, RTE-7).

A word's confidence is Google's; where Google gives none for a word, it is that of the stretch that the word lies in.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from google.cloud import speech_v2
from google.cloud.speech_v2.services.speech.transports import SpeechGrpcAsyncIOTransport
from selene.provider.v1.provider_pb2 import CAPABILITY_STT, ProviderResultV1

from servers.routing.credentials import Credential
from servers.routing.envelope import answered, status_of
from servers.routing.google import CallFailed, Stream, connected, key_metadata, open_channel, wire_timeout
from servers.routing.reasons import TERMINAL, ProviderReason
from servers.stt.adapter import (
    BYTES_A_SAMPLE,
    CALLER_FAULTS,
    RATE_HZ,
    Interim,
    SttEvent,
    SttReason,
    Transcript,
    Transcription,
    Word,
)
from servers.stt.confidence import quality_bp, to_bp

ENDPOINT: Final = "speech.googleapis.com:443"

MAX_STREAM_S: Final = 300.0
"""Google closes a stream after five minutes."""

MAX_MESSAGE_BYTES: Final = 15_000
"""The contract of v2 says 15 KB of audio a message."""

BOOST: Final = 10.0
"""How much likelier a term is heard than what sounds like it: half of the most that Google takes."""

_BLOCK_BYTES: Final = RATE_HZ * BYTES_A_SAMPLE // 10
_MAX_RESPONSE_BYTES: Final = 4 << 20
_BEYOND_S: Final = 1.0
"""Google rounds a word's offsets; a word that ends later than this after the audio was never in it."""

_LOCALE = re.compile(r"[A-Za-z]{2,3}(?:-[A-Za-z0-9]{2,8})*")


class _Refused(Exception):
    def __init__(self, reason: StrEnum) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(slots=True)
class _Heard:
    """How far a stream has come. ``words`` are settled; ``pending`` is what Google may still change.

    ``whole`` says that all of the audio was sent while Google was listening.
    """

    sent_bytes: int = 0
    ended_at: float | None = None
    whole: bool = False
    words: list[Word] = field(default_factory=list)
    pending: str = ""

    @property
    def audio_s(self) -> float:
        return self.sent_bytes / (RATE_HZ * BYTES_A_SAMPLE)

    @property
    def text(self) -> str:
        return " ".join([*(word.text for word in self.words), *self.pending.split()])


class GoogleStt:
    """Streams to Google's recogniser over one connection, which all calls share.

    ``recognizer`` is ``projects/{project}/locations/{location}/recognizers/{recognizer}``, ``_`` being none in
    particular; a location other than ``global`` has an ``endpoint`` (host:port) of its own. ``model`` must listen to
    the end of the audio and give words times: ``short`` stops at the first pause. ``plaintext`` is for a loopback
    address. ``max_audio_s`` bounds a stream. ``monotonic`` gives seconds and is the clock of every deadline. The
    credential is an API key, asked for each call. To be made and used on one event loop; close it when done.
    """

    provider_ref = "google/stt"

    def __init__(
        self,
        credential: Credential,
        *,
        recognizer: str,
        endpoint: str = ENDPOINT,
        plaintext: bool = False,
        model: str = "long",
        max_audio_s: float = MAX_STREAM_S,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._credential = credential
        self._recognizer = recognizer
        self._model = model
        self._max_bytes = round(max_audio_s * RATE_HZ) * BYTES_A_SAMPLE
        self._monotonic = monotonic
        self._channel = open_channel(endpoint, plaintext=plaintext, max_response_bytes=_MAX_RESPONSE_BYTES)
        self._client = speech_v2.SpeechAsyncClient(transport=SpeechGrpcAsyncIOTransport(channel=self._channel))

    async def prewarm(self, within_s: float = 5.0) -> bool:
        """Open the connection, so that the first call need not; whether that was done in that time."""
        return await connected(self._channel, within_s)

    async def close(self) -> None:
        """Close the connection; streams under way end as PROVIDER_UNAVAILABLE."""
        await self._channel.close()

    async def transcribe(
        self, request: Transcription, audio: AsyncIterator[bytes], *, deadline: float
    ) -> AsyncGenerator[SttEvent, None]:
        """See `servers.stt.adapter.SttAdapter`."""
        heard = _Heard()
        stream: Stream | None = None
        sending: asyncio.Task[None] | None = None
        reason: StrEnum
        try:
            stream = await self._begin(request, deadline)
            sending = asyncio.create_task(self._send(stream, heard, request, audio))
            while (response := await self._read(stream, sending, deadline)) is not None:
                before = heard.text
                end_s = _take(response, heard)
                if heard.text != before:
                    yield Interim(heard.text, end_s)
            reason = _reason(heard)
        except _Refused as refused:
            reason = refused.reason
        except CallFailed as failed:
            unknown_locale = any("language_codes" in name for name in failed.refused_fields)
            reason = SttReason.LOCALE_UNSUPPORTED if unknown_locale else failed.reason
        finally:
            await _give_up(stream, sending)
        if reason is not SttReason.TRANSCRIBED:
            yield self._result(request, reason, heard, 0)
            return
        yield Transcript(heard.text, tuple(heard.words), heard.audio_s)
        yield self._result(request, reason, heard, quality_bp(heard.words))

    async def _begin(self, request: Transcription, deadline: float) -> Stream:
        if not _LOCALE.fullmatch(request.locale):
            raise _Refused(SttReason.LOCALE_UNSUPPORTED)
        metadata = await key_metadata(self._credential, self._left(deadline))
        left = self._left(deadline)
        asked = self._client.streaming_recognize(retry=None, timeout=wire_timeout(left), metadata=metadata)
        return await Stream.open(asked, left)

    async def _send(self, stream: Stream, heard: _Heard, request: Transcription, audio: AsyncIterator[bytes]) -> None:
        """The configuration, the audio, the end. If the audio fails the call is cancelled, so that its reader wakes."""
        try:
            if not await stream.write(self._configuration(request)):
                return
            async with aclosing(self._blocks(audio)) as blocks:
                async for block in blocks:
                    heard.sent_bytes += len(block)
                    if not await stream.write(speech_v2.StreamingRecognizeRequest(audio=block)):
                        return
            heard.ended_at = self._monotonic()
            heard.whole = await stream.half_close()
        except BaseException:
            stream.cancel()
            raise

    async def _blocks(self, audio: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
        """The frames in blocks of 100 ms or more, as Google advises, and a rest; none larger than it takes."""
        taken, waiting = 0, b""
        async for frame in audio:
            taken += len(frame)
            if taken > self._max_bytes:
                raise _Refused(SttReason.AUDIO_TOO_LONG)
            if len(frame) % BYTES_A_SAMPLE:
                raise _Refused(SttReason.AUDIO_MALFORMED)
            waiting += frame
            if len(waiting) >= _BLOCK_BYTES:
                for at in range(0, len(waiting), MAX_MESSAGE_BYTES):
                    yield waiting[at : at + MAX_MESSAGE_BYTES]
                waiting = b""
        if waiting:
            yield waiting

    async def _read(
        self, stream: Stream, sending: asyncio.Task[None], deadline: float
    ) -> speech_v2.StreamingRecognizeResponse | None:
        try:
            response: speech_v2.StreamingRecognizeResponse | None = await stream.read(self._left(deadline))
        except CallFailed:
            if sending.done() and not sending.cancelled():
                sending.result()  # where the audio failed, that is why the call did
            raise
        return response

    def _configuration(self, request: Transcription) -> speech_v2.StreamingRecognizeRequest:
        config = speech_v2.RecognitionConfig(
            explicit_decoding_config=speech_v2.ExplicitDecodingConfig(
                encoding=speech_v2.ExplicitDecodingConfig.AudioEncoding.LINEAR16,
                sample_rate_hertz=RATE_HZ,
                audio_channel_count=1,
            ),
            model=self._model,
            language_codes=[request.locale],
            adaptation=_adaptation(request.terms),
            features=speech_v2.RecognitionFeatures(
                enable_word_time_offsets=True, enable_word_confidence=True, max_alternatives=1
            ),
        )
        return speech_v2.StreamingRecognizeRequest(
            recognizer=self._recognizer,
            streaming_config=speech_v2.StreamingRecognitionConfig(
                config=config, streaming_features=speech_v2.StreamingRecognitionFeatures(interim_results=True)
            ),
        )

    def _left(self, deadline: float) -> float:
        return max(0.0, deadline - self._monotonic())

    def _result(self, request: Transcription, reason: StrEnum, heard: _Heard, quality: int) -> ProviderResultV1:
        return answered(
            request,
            provider_ref=self.provider_ref,
            capability=CAPABILITY_STT,
            status=status_of(
                done=reason is SttReason.TRANSCRIBED, caller_fault=reason in CALLER_FAULTS or reason in TERMINAL
            ),
            reason_code=reason,
            latency_s=0.0 if heard.ended_at is None else self._monotonic() - heard.ended_at,
            quality_score_bp=quality,
        )


def _adaptation(terms: Sequence[str]) -> speech_v2.SpeechAdaptation | None:
    if not terms:
        return None
    phrases = [speech_v2.PhraseSet.Phrase(value=term, boost=BOOST) for term in terms]
    inline = speech_v2.SpeechAdaptation.AdaptationPhraseSet(inline_phrase_set=speech_v2.PhraseSet(phrases=phrases))
    return speech_v2.SpeechAdaptation(phrase_sets=[inline])


async def _give_up(stream: Stream | None, sending: asyncio.Task[None] | None) -> None:
    if stream is not None:
        stream.cancel()
    if sending is not None:
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)


def _reason(heard: _Heard) -> StrEnum:
    """Why a stream ended that Google says went well: only when all was sent, and what was guessed was settled."""
    if not heard.whole or heard.pending:
        return ProviderReason.RESPONSE_TRUNCATED
    return SttReason.TRANSCRIBED if heard.words else SttReason.NO_SPEECH


def _take(response: speech_v2.StreamingRecognizeResponse, heard: _Heard) -> float:
    """Add what a response says; how much audio it covers, seconds. CallFailed where it is not as documented."""
    results = speech_v2.StreamingRecognizeResponse.pb(response).results
    if not results:
        return heard.audio_s
    pending: list[str] = []
    for result in results:
        if result.is_final:
            heard.words.extend(_words(result, heard.audio_s))
        elif result.alternatives:
            pending.append(result.alternatives[0].transcript)
    heard.pending = " ".join(" ".join(pending).split())
    return min(max(0.0, _seconds(results[-1].result_end_offset)), heard.audio_s)


def _words(result: Any, audio_s: float) -> list[Word]:
    """The words of a settled result: it must have an alternative, and times for what is said in it."""
    if not result.alternatives:
        raise _malformed()
    best = result.alternatives[0]
    if best.transcript.strip() and not best.words:
        raise _malformed()
    return [_word(word, best.confidence, audio_s) for word in best.words]


def _word(word: Any, confidence: float, audio_s: float) -> Word:
    start_s, end_s = _seconds(word.start_offset), _seconds(word.end_offset)
    text = word.word.strip()
    if not text or not 0 <= start_s <= end_s <= audio_s + _BEYOND_S:
        raise _malformed()
    return Word(text, min(start_s, audio_s), min(end_s, audio_s), to_bp(word.confidence or confidence))


def _seconds(duration: Any) -> float:
    return float(duration.seconds + duration.nanos / 1e9)


def _malformed() -> CallFailed:
    return CallFailed(ProviderReason.RESPONSE_MALFORMED)
