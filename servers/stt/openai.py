"""OpenAI STT (§22, RTE-6, RTE-7): the audio is kept until it ends, then sent as one WAV file.

So interims come only while the answer is streamed, after the audio has ended, and each counts as covering all of it.
``quality_score_bp`` is how sure the model was: of its tokens when streamed, of its segments when timed.
"""

from __future__ import annotations

import io
import json
import math
import time
import wave
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from enum import Enum, StrEnum, auto
from typing import Any, Final

from selene.provider.v1.provider_pb2 import CAPABILITY_STT, ProviderResultV1

from servers.routing.credentials import Credential
from servers.routing.envelope import answered, status_of
from servers.routing.openai import (
    BASE_URL,
    CallEnded,
    Deadline,
    Endpoint,
    events,
    language_of,
)
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

TRANSCRIPTIONS: Final = "/audio/transcriptions"

MIN_AUDIO_S: Final = 0.1
"""OpenAI refuses less. No word is so short."""

SILENT_PROBABILITY: Final = 0.6
SILENT_LOGPROB: Final = -1.0
"""A segment with a greater probability of no speech and a lower mean log probability is silence, whatever its text."""


class Answer(Enum):
    """What the model is asked for."""

    STREAMED = auto()
    """The text as it is written, with the log probabilities of its tokens; no words (``gpt-4o-transcribe``)."""
    STREAMED_UNSURE = auto()
    """The same without log probabilities, for models that give none: the quality is then not known, and 0."""
    TIMED = auto()
    """All at once: words, where they lie, and the confidence of their segment (``whisper-1``)."""


@dataclass(slots=True)
class _Utterance:
    pcm: bytearray
    ended_at: float | None = None
    quality_bp: int = 0

    @property
    def audio_s(self) -> float:
        return len(self.pcm) / (RATE_HZ * BYTES_A_SAMPLE)


@dataclass(frozen=True, slots=True)
class _Segment:
    start_s: float
    end_s: float
    logprob: float
    silent: bool


class OpenAiStt:
    """Asks ``model`` at ``base_url``. ``max_audio_s`` bounds a stream, and what is kept of it: 32 kB a second.

    ``monotonic`` gives seconds and is the clock of every deadline. Close it when done.
    """

    provider_ref = "openai/stt"

    def __init__(
        self,
        credential: Credential,
        *,
        model: str,
        base_url: str = BASE_URL,
        answer: Answer = Answer.STREAMED,
        max_audio_s: float = 60.0,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._endpoint = Endpoint(base_url, credential)
        self._model = model
        self._answer = answer
        self._max_bytes = round(max_audio_s * RATE_HZ) * BYTES_A_SAMPLE
        self._monotonic = monotonic

    async def prewarm(self) -> bool:
        """Open a connection, so that the first call need not; whether something answered."""
        return await self._endpoint.prewarm()

    async def close(self) -> None:
        """Close the connections; calls under way fail."""
        await self._endpoint.close()

    async def transcribe(
        self, request: Transcription, audio: AsyncIterator[bytes], *, deadline: float
    ) -> AsyncGenerator[SttEvent, None]:
        """See `servers.stt.adapter.SttAdapter`."""
        utterance = _Utterance(bytearray())
        until = Deadline(deadline, self._monotonic)
        reason: StrEnum = SttReason.TRANSCRIBED
        try:
            language = language_of(request.locale)
            if language is None:
                raise CallEnded(SttReason.LOCALE_UNSUPPORTED)
            await self._hear(audio, utterance, until)
            ask = self._timed if self._answer is Answer.TIMED else self._streamed
            async with aclosing(until.each(ask(request, utterance, language, until))) as events:
                async for event in events:
                    yield event
        except CallEnded as ended:
            reason = ended.reason
        yield self._result(request, reason, utterance)

    async def _hear(self, audio: AsyncIterator[bytes], utterance: _Utterance, until: Deadline) -> None:
        while (frame := await until.keep(lambda: anext(audio, None))) is not None:
            if len(utterance.pcm) + len(frame) > self._max_bytes:
                raise CallEnded(SttReason.AUDIO_TOO_LONG)
            if len(frame) % BYTES_A_SAMPLE:
                raise CallEnded(SttReason.AUDIO_MALFORMED)
            utterance.pcm += frame
        utterance.ended_at = self._monotonic()
        if utterance.audio_s < MIN_AUDIO_S:
            raise CallEnded(SttReason.NO_SPEECH)

    async def _streamed(
        self, request: Transcription, utterance: _Utterance, language: str, until: Deadline
    ) -> AsyncGenerator[SttEvent, None]:
        body: dict[str, object] = {
            "model": self._model,
            "language": language,
            "response_format": "json",
            "stream": True,
        }
        if self._answer is Answer.STREAMED:
            body["include"] = ["logprobs"]
        body |= _prompt(request)
        said = ""
        done: str | None = None
        async with (
            self._endpoint.asked(TRANSCRIPTIONS, request, until, body, file=_wav(utterance.pcm)) as response,
            aclosing(events(response)) as sent,
        ):
            async for event in (event async for together in sent for event in together):
                match event:
                    case {"type": "transcript.text.delta", "delta": str(delta)}:
                        said += delta
                        yield Interim(said.strip(), utterance.audio_s)
                    case {"type": "transcript.text.done", "text": str(text)}:
                        done = text
                        utterance.quality_bp = _sureness_bp(_logprobs(event))
                    case {"type": "transcript.text.delta" | "transcript.text.done"}:
                        raise CallEnded(ProviderReason.RESPONSE_MALFORMED)
        if done is None:
            raise CallEnded(ProviderReason.RESPONSE_TRUNCATED)
        if not done.strip():
            raise CallEnded(SttReason.NO_SPEECH)
        yield Transcript(done.strip(), (), utterance.audio_s)

    async def _timed(
        self, request: Transcription, utterance: _Utterance, language: str, until: Deadline
    ) -> AsyncGenerator[SttEvent, None]:
        body = {
            "model": self._model,
            "language": language,
            "response_format": "verbose_json",
            "timestamp_granularities": ["word", "segment"],
            **_prompt(request),
        }
        async with self._endpoint.asked(TRANSCRIPTIONS, request, until, body, file=_wav(utterance.pcm)) as response:
            words = _words(json.loads(await response.aread()))
        if not words:
            raise CallEnded(SttReason.NO_SPEECH)
        utterance.quality_bp = quality_bp(words)
        yield Transcript(" ".join(word.text for word in words), words, utterance.audio_s)

    def _result(self, request: Transcription, reason: StrEnum, utterance: _Utterance) -> ProviderResultV1:
        done = reason is SttReason.TRANSCRIBED
        return answered(
            request,
            provider_ref=self.provider_ref,
            capability=CAPABILITY_STT,
            status=status_of(done=done, caller_fault=reason in CALLER_FAULTS or reason in TERMINAL),
            reason_code=reason,
            latency_s=0.0 if utterance.ended_at is None else self._monotonic() - utterance.ended_at,
            quality_score_bp=utterance.quality_bp if done else 0,
        )


def _prompt(request: Transcription) -> dict[str, object]:
    return {"prompt": ", ".join(request.terms)} if request.terms else {}


def _wav(pcm: bytearray) -> tuple[str, bytes, str]:
    file = io.BytesIO()
    with wave.open(file, "wb") as wav:
        wav.setnchannels(1)
        wav.setsampwidth(BYTES_A_SAMPLE)
        wav.setframerate(RATE_HZ)
        wav.writeframes(pcm)
    return "audio.wav", file.getvalue(), "audio/wav"


def _sureness_bp(logprobs: Sequence[float]) -> int:
    """The geometric mean of the tokens' probabilities, basis points; no tokens: 0."""
    known = [logprob for logprob in logprobs if not math.isnan(logprob)]
    return to_bp(math.exp(min(0.0, sum(known) / len(known)))) if known else 0


def _logprobs(done: Mapping[str, Any]) -> list[float]:
    """The log probabilities of the tokens, as far as they were sent; raises where they are not of that shape."""
    sent = [logprob for token in done.get("logprobs") or () if (logprob := token.get("logprob")) is not None]
    if any(isinstance(logprob, bool) or not isinstance(logprob, int | float) for logprob in sent):
        raise CallEnded(ProviderReason.RESPONSE_MALFORMED)
    return sent


def _words(body: object) -> tuple[Word, ...]:
    """The words of a ``verbose_json`` answer that do not lie in silence; raises where it is not of that shape."""
    if not isinstance(body, Mapping) or not isinstance(body["text"], str):
        raise CallEnded(ProviderReason.RESPONSE_MALFORMED)
    if not body["text"].strip():
        return ()
    segments = [_segment(segment) for segment in body["segments"]]
    words = []
    for word in body["words"]:
        start_s, end_s = _span(word)
        segment = next((s for s in segments if s.start_s <= (start_s + end_s) / 2 <= s.end_s), None)
        if segment is None or not segment.silent:
            sureness = 0 if segment is None else _sureness_bp([segment.logprob])
            words.append(Word(str(word["word"]).strip(), start_s, end_s, sureness))
    return tuple(words)


def _segment(segment: Mapping[str, Any]) -> _Segment:
    logprob = _number(segment["avg_logprob"])
    silent = _number(segment["no_speech_prob"]) > SILENT_PROBABILITY and logprob < SILENT_LOGPROB
    return _Segment(*_span(segment), logprob, silent)


def _span(timed: Mapping[str, Any]) -> tuple[float, float]:
    start_s, end_s = _number(timed["start"]), _number(timed["end"])
    if not 0 <= start_s <= end_s:
        raise CallEnded(ProviderReason.RESPONSE_MALFORMED)
    return start_s, end_s


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise CallEnded(ProviderReason.RESPONSE_MALFORMED)
    return float(value)
