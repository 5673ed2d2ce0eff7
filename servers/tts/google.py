"""Google TTS: Text-to-Speech v1, through Google's own asyncio client (RTE-6, RTE-7).

Plain text is spoken by a Chirp 3 HD voice, whose audio streams as it is made; SSML, which those do not stream, comes
whole, from the voice that Google keeps for the language. The one mark is that of the first sentence of plain text:
Google does not say where in the audio the others begin, and reports named marks in a preview only.

``quality_score_bp`` is 10,000 where something audible came, else 0. It does not say how natural it sounds.
"""

from __future__ import annotations

import asyncio
import io
import time
import wave
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from google.cloud import texttospeech_v1
from google.cloud.texttospeech_v1.services.text_to_speech.transports import TextToSpeechGrpcAsyncIOTransport
from selene.provider.v1.provider_pb2 import CAPABILITY_TTS, ProviderResultV1

from servers.routing.credentials import Credential
from servers.routing.envelope import answered, status_of
from servers.routing.google import (
    CallFailed,
    Interrupted,
    Stream,
    answer,
    connected,
    key_metadata,
    open_channel,
    wire_timeout,
    without_metadata,
)
from servers.routing.reasons import TERMINAL, ProviderReason
from servers.tts.adapter import CALLER_FAULTS, AudioChunk, Mark, MarkKind, Markup, Synthesis, TtsEvent, TtsReason
from servers.tts.lexicon import Pronunciation
from servers.tts.loudness import audible
from servers.tts.segments import speakable
from servers.tts.ssml import Spoken, SsmlRefused, parse

ENDPOINT: Final = "texttospeech.googleapis.com:443"

RATE_HZ: Final = 24_000
"""The one rate that a stream of PCM has; asked for where the audio comes whole too."""

MAX_TEXT_BYTES: Final = 5_000
"""Google's bound on a request, markup included, UTF-8."""

MIN_RATE_PERCENT: Final = 25
MAX_RATE_PERCENT: Final = 200

_CHIRP_LANGUAGES: Final = (
    "ar-XA", "bn-IN", "cmn-CN", "de-DE", "en-AU", "en-GB", "en-IN", "en-US", "es-ES", "es-US", "fr-CA", "fr-FR",
    "gu-IN", "hi-IN", "id-ID", "it-IT", "ja-JP", "kn-IN", "ko-KR", "ml-IN", "mr-IN", "nl-NL", "pl-PL", "pt-BR",
    "ru-RU", "ta-IN", "te-IN", "th-TH", "tr-TR", "vi-VN",
)  # fmt: skip
CHIRP_VOICES: Final[Mapping[str, str]] = {
    "zh-CN": "cmn-CN-Chirp3-HD-Kore",
    **{language: f"{language}-Chirp3-HD-Kore" for language in _CHIRP_LANGUAGES},
}

PRONOUNCED_IN: Final = "en-US-"
"""The voices that take pronunciations of one's own, by how their names begin: other languages may come."""

_MAX_RESPONSE_BYTES: Final = 64 << 20
_BYTES_A_SAMPLE: Final = 2
_CHUNK_BYTES: Final = RATE_HZ * _BYTES_A_SAMPLE // 5
# Ten times faster than anyone is understood: audio shorter than this is not of the whole text.
_MIN_S_A_CHARACTER: Final = 0.005

# At DEBUG its interceptor logs the metadata of unary calls.
_TRANSPORT_LOGGER: Final = TextToSpeechGrpcAsyncIOTransport.__module__


class _Refused(Exception):
    def __init__(self, reason: StrEnum) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class _Plan:
    """What to ask of Google, and the fewest seconds of audio that can be all of it."""

    voice: str
    text: str
    rate: float
    shortest_s: float
    pronunciations: tuple[Pronunciation, ...] = ()

    @property
    def language(self) -> str:
        return "-".join(self.voice.split("-")[:2])


@dataclass(slots=True)
class _Spoken:
    """How far a synthesis has come; ``samples`` handed out so far."""

    began_at: float
    samples: int = 0
    first_at: float | None = None
    audible: bool = False


class GoogleTts:
    """Speaks over one connection, which all calls share.

    ``voices`` are the names of streaming voices by locale, and the only locales served; a name begins with Google's
    code of its language, ``cmn-CN-Chirp3-HD-Kore``. ``plaintext`` is for an ``endpoint`` (host:port) on a loopback
    address. ``monotonic`` gives seconds and is the clock of every deadline. The credential is an API key, asked for
    each call. To be made and used on one event loop; close it when done.
    """

    provider_ref = "google/tts"

    def __init__(
        self,
        credential: Credential,
        *,
        endpoint: str = ENDPOINT,
        plaintext: bool = False,
        voices: Mapping[str, str] = CHIRP_VOICES,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._credential = credential
        self._voices = {locale.lower(): name for locale, name in voices.items()}
        self._monotonic = monotonic
        self._channel = open_channel(endpoint, plaintext=plaintext, max_response_bytes=_MAX_RESPONSE_BYTES)
        without_metadata(_TRANSPORT_LOGGER)
        self._client = texttospeech_v1.TextToSpeechAsyncClient(
            transport=TextToSpeechGrpcAsyncIOTransport(channel=self._channel)
        )

    async def prewarm(self, within_s: float = 5.0) -> bool:
        """Open the connection, so that the first call need not; whether that was done in that time."""
        return await connected(self._channel, within_s)

    async def close(self) -> None:
        """Close the connection; syntheses under way end as PROVIDER_UNAVAILABLE."""
        await self._channel.close()

    async def synthesise(
        self, request: Synthesis, *, deadline: float, interrupt: asyncio.Event | None = None
    ) -> AsyncGenerator[TtsEvent, None]:
        """See `servers.tts.adapter.TtsAdapter`."""
        interrupt = interrupt or asyncio.Event()
        spoken = _Spoken(self._monotonic())
        try:
            plan = self._read(request)
            made = self._whole if request.markup is Markup.SSML else self._streamed
            async with aclosing(made(plan, deadline, interrupt)) as chunks:
                async for pcm in chunks:
                    if spoken.first_at is None:
                        spoken.first_at = self._monotonic()
                        if request.markup is Markup.PLAIN:
                            self._may_go_on(deadline, interrupt)
                            yield _first_sentence(request.text)
                    self._may_go_on(deadline, interrupt)
                    chunk = AudioChunk(pcm, spoken.samples, RATE_HZ)
                    spoken.samples += len(pcm) // _BYTES_A_SAMPLE
                    spoken.audible = spoken.audible or audible(pcm)
                    yield chunk
            reason = _reason(plan, spoken)
        except _Refused as refused:
            reason = refused.reason
        except Interrupted:
            reason = TtsReason.INTERRUPTED
        except CallFailed as failed:
            reason = failed.reason
        yield self._result(request, reason, spoken)

    def _read(self, request: Synthesis) -> _Plan:
        if len(request.text.encode(errors="replace")) > MAX_TEXT_BYTES:
            raise _Refused(TtsReason.TEXT_TOO_LONG)
        if not request.text.strip():
            raise _Refused(TtsReason.TEXT_EMPTY)
        voice = self._voices.get(request.locale.lower().replace("_", "-"))
        if voice is None:
            raise _Refused(TtsReason.LOCALE_UNSUPPORTED)
        try:
            pieces = parse(request.text) if request.markup is Markup.SSML else (Spoken(request.text),)
        except SsmlRefused as refused:
            raise _Refused(refused.reason) from None
        said = "".join(piece.text for piece in pieces if isinstance(piece, Spoken))
        if not speakable(said):
            raise _Refused(TtsReason.TEXT_UNSPEAKABLE)
        if not MIN_RATE_PERCENT <= request.rate_percent <= MAX_RATE_PERCENT:
            raise _Refused(TtsReason.RATE_OUT_OF_RANGE)
        rate = request.rate_percent / 100
        shortest_s = _MIN_S_A_CHARACTER * sum(map(str.isalnum, said)) / rate
        is_served = voice.startswith(PRONOUNCED_IN)
        return _Plan(voice, request.text, rate, shortest_s, request.pronunciations if is_served else ())

    async def _streamed(self, plan: _Plan, deadline: float, interrupt: asyncio.Event) -> AsyncGenerator[bytes, None]:
        metadata = await key_metadata(self._credential, self._left(deadline), interrupt)
        left = self._left(deadline)
        asked = self._client.streaming_synthesize(retry=None, timeout=wire_timeout(left), metadata=metadata)
        stream = await Stream.open(asked, left, interrupt)
        try:
            await answer(_ask(stream, plan), self._left(deadline), interrupt)
            half = b""
            while (response := await stream.read(self._left(deadline), interrupt)) is not None:
                pcm = half + response.audio_content
                whole = len(pcm) - len(pcm) % _BYTES_A_SAMPLE
                half = pcm[whole:]
                for chunk in _chunks(pcm[:whole]):
                    yield chunk
            if half:
                raise CallFailed(ProviderReason.RESPONSE_TRUNCATED)
        finally:
            stream.cancel()

    async def _whole(self, plan: _Plan, deadline: float, interrupt: asyncio.Event) -> AsyncGenerator[bytes, None]:
        metadata = await key_metadata(self._credential, self._left(deadline), interrupt)
        left = self._left(deadline)
        request = texttospeech_v1.SynthesizeSpeechRequest(
            input=texttospeech_v1.SynthesisInput(ssml=plan.text, custom_pronunciations=_custom(plan)),
            voice=texttospeech_v1.VoiceSelectionParams(language_code=plan.language),
            audio_config=texttospeech_v1.AudioConfig(
                audio_encoding=texttospeech_v1.AudioEncoding.LINEAR16,
                sample_rate_hertz=RATE_HZ,
                speaking_rate=plan.rate,
            ),
        )
        asked = self._client.synthesize_speech(request, retry=None, timeout=wire_timeout(left), metadata=metadata)
        response = await answer(asked, left, interrupt)
        if response is None:
            raise CallFailed(ProviderReason.RESPONSE_MALFORMED)
        for chunk in _chunks(_pcm(response.audio_content)):
            yield chunk

    def _may_go_on(self, deadline: float, interrupt: asyncio.Event) -> None:
        if interrupt.is_set():
            raise _Refused(TtsReason.INTERRUPTED)
        if self._monotonic() >= deadline:
            raise _Refused(ProviderReason.DEADLINE_EXCEEDED)

    def _left(self, deadline: float) -> float:
        return max(0.0, deadline - self._monotonic())

    def _result(self, request: Synthesis, reason: StrEnum, spoken: _Spoken) -> ProviderResultV1:
        done = reason in (TtsReason.SPOKEN, TtsReason.INTERRUPTED)
        answered_at = self._monotonic() if spoken.first_at is None else spoken.first_at
        return answered(
            request,
            provider_ref=self.provider_ref,
            capability=CAPABILITY_TTS,
            status=status_of(done=done, caller_fault=reason in CALLER_FAULTS or reason in TERMINAL),
            reason_code=reason,
            latency_s=answered_at - spoken.began_at,
            quality_score_bp=10_000 if done and spoken.audible else 0,
        )


async def _ask(stream: Stream, plan: _Plan) -> None:
    config = texttospeech_v1.StreamingSynthesizeConfig(
        voice=texttospeech_v1.VoiceSelectionParams(language_code=plan.language, name=plan.voice),
        streaming_audio_config=texttospeech_v1.StreamingAudioConfig(
            audio_encoding=texttospeech_v1.AudioEncoding.PCM, sample_rate_hertz=RATE_HZ, speaking_rate=plan.rate
        ),
        custom_pronunciations=_custom(plan),
    )
    text = texttospeech_v1.StreamingSynthesisInput(text=plan.text)
    await stream.write(texttospeech_v1.StreamingSynthesizeRequest(streaming_config=config))
    await stream.write(texttospeech_v1.StreamingSynthesizeRequest(input=text))
    await stream.half_close()


def _custom(plan: _Plan) -> texttospeech_v1.CustomPronunciations | None:
    if not plan.pronunciations:
        return None
    ipa = texttospeech_v1.CustomPronunciationParams.PhoneticEncoding.PHONETIC_ENCODING_IPA
    return texttospeech_v1.CustomPronunciations(
        pronunciations=[
            texttospeech_v1.CustomPronunciationParams(
                phrase=each.term, phonetic_encoding=ipa, pronunciation=each.phonemes
            )
            for each in plan.pronunciations
        ]
    )


def _reason(plan: _Plan, spoken: _Spoken) -> StrEnum:
    """Why a synthesis ended that Google says went well."""
    if not spoken.samples:
        return ProviderReason.RESPONSE_MALFORMED
    return TtsReason.SPOKEN if spoken.samples / RATE_HZ >= plan.shortest_s else ProviderReason.RESPONSE_TRUNCATED


def _first_sentence(text: str) -> Mark:
    return Mark(MarkKind.SENTENCE, 0, len(text) - len(text.lstrip()))


def _pcm(content: bytes) -> bytes:
    """The samples of a WAV file as it was asked for. CallFailed for any other, or where it ends too soon."""
    try:
        with wave.open(io.BytesIO(content)) as sound:
            frames: int = sound.getnframes()
            found = (sound.getnchannels(), sound.getsampwidth(), sound.getframerate())
            pcm: bytes = sound.readframes(frames)
    except (wave.Error, EOFError):
        raise CallFailed(ProviderReason.RESPONSE_MALFORMED) from None
    if found != (1, _BYTES_A_SAMPLE, RATE_HZ):
        raise CallFailed(ProviderReason.RESPONSE_MALFORMED)
    if len(pcm) < frames * _BYTES_A_SAMPLE:
        raise CallFailed(ProviderReason.RESPONSE_TRUNCATED)
    return pcm


def _chunks(pcm: bytes) -> Iterator[bytes]:
    return (pcm[at : at + _CHUNK_BYTES] for at in range(0, len(pcm), _CHUNK_BYTES))
