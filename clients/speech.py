"""Speech for people who write Python: a recording or a microphone becomes a transcript, a text becomes audio."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterable, Mapping
from types import TracebackType
from typing import Any, Final

import betterproto2
from selene.common.v1.audio_pb2 import AudioFrame
from selene.stt.v1 import service_pb2 as stt_wire
from selene.stt.v1 import service_pb2_grpc as stt_rpc
from selene.tts.v1 import service_pb2 as tts_wire
from selene.tts.v1 import service_pb2_grpc as tts_rpc
from selene_messages.selene.common.v1 import AudioEncoding, AudioFormat
from selene_messages.selene.routing.v1 import ProviderSwitched
from selene_messages.selene.stt import v1 as stt
from selene_messages.selene.tts import v1 as tts

from clients.audio import Recording, unpaced
from clients.calls import ask
from clients.duplex import Duplex
from clients.errors import SeleneError
from clients.retry import RetryPolicy
from clients.routed import DEFAULT_LOCALE, Routed, begin, event_of, new_key, no_final
from clients.stream import MAX_FRAME_BYTES
from clients.voiceid import CALL_TIMEOUT
from clients.wire import to_message, to_wire

SPEECH_RATE: Final = 24_000
"""Samples a second of speech that is made, unless another rate is asked for."""

_BYTES_A_SAMPLE: Final = 2

Heard = stt.TranscribeStarted | stt.InterimTranscript | ProviderSwitched | stt.FinalTranscript
Said = tts.SynthesizeStarted | tts.SpeechMark | tts.SpeechChunk | tts.SpeechSwitched | tts.SynthesizeFinal

_HEARD: Final[Mapping[str, type[betterproto2.Message]]] = {
    "started": stt.TranscribeStarted,
    "interim": stt.InterimTranscript,
    "switched": ProviderSwitched,
    "final": stt.FinalTranscript,
}
_SAID: Final[Mapping[str, type[betterproto2.Message]]] = {
    "started": tts.SynthesizeStarted,
    "mark": tts.SpeechMark,
    "switched": tts.SpeechSwitched,
    "final": tts.SynthesizeFinal,
}


class Stt(Routed):
    """The SpeechToTextService over one connection. Raises SeleneError."""

    Stub = stt_rpc.SpeechToTextServiceStub

    def transcribe(
        self,
        audio: Recording | AsyncIterable[bytes],
        *,
        rate: int = 16_000,
        locale: str = DEFAULT_LOCALE,
        idempotency_key: str = "",
    ) -> "Transcription":
        """One utterance: a recording, sent as fast as the server takes it, or mono PCM16 of ``rate`` as it comes."""
        frames = unpaced(audio.frames()) if isinstance(audio, Recording) else audio
        config = stt.TranscribeConfig(
            audio_format=_pcm16(audio.rate if isinstance(audio, Recording) else rate),
            scope=self.scope,
            locale=locale,
            idempotency_key=idempotency_key or new_key(),
        )
        return Transcription(self._open, config, frames, timeout=self._timeout, policy=self._policy)

    def _open(self, seconds: float) -> Any:
        return self._stub.Transcribe(timeout=seconds, metadata=self._connection.metadata())


class Transcription:
    """One utterance on its way, used as an async context manager; leaving it before its final cancels it.

        async with Stt(connection).transcribe(recording) as heard:
            async for event in heard.events():
                …
        heard.final

    What the source of the audio raises ends the call and is raised by `events`.
    """

    def __init__(
        self,
        open_call: Any,
        config: stt.TranscribeConfig,
        frames: AsyncIterable[bytes],
        *,
        timeout: float,
        policy: RetryPolicy,
    ) -> None:
        self._open_call = open_call
        self._config = to_wire(config, stt_wire.TranscribeConfig)
        self._frames = frames
        self._timeout = timeout
        self._policy = policy
        self._call: Duplex | None = None
        self._sender: asyncio.Task[None] | None = None
        self._started = stt.TranscribeStarted()
        self.final: stt.FinalTranscript | None = None

    async def __aenter__(self) -> "Transcription":
        async def opened(seconds: float) -> Duplex:
            call = Duplex(self._open_call(seconds))
            await call.write(stt_wire.TranscribeRequest(config=self._config))
            return call

        self._call, started = await begin(opened, lasting=self._timeout, policy=self._policy)
        self._started = to_message(started, stt.TranscribeStarted)
        self._sender = asyncio.create_task(self._send(self._call))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._call is not None:
            self._call.cancel()
        if self._sender is not None:
            self._sender.cancel()
            await asyncio.gather(self._sender, return_exceptions=True)

    @property
    def request_id(self) -> str:
        """Names the request in audit rows."""
        return self._started.request_id

    async def events(self) -> AsyncGenerator[Heard, None]:
        """Events as they come, the final one last. Interims before a switch of providers are void. SeleneError."""
        if self._call is None:
            raise RuntimeError("use the transcription inside `async with`")
        yield self._started
        while (response := await self._read(self._call)) is not None:
            event = event_of(response, _HEARD)
            if isinstance(event, stt.FinalTranscript):
                self.final = event
            if event is not None:
                yield event
        if self.final is None:
            raise no_final()

    async def result(self) -> stt.FinalTranscript:
        """Reads to the end: the transcript and its verdict. SeleneError."""
        async for _ in self.events():
            pass
        assert self.final is not None  # `events` raises where there was none
        return self.final

    async def _read(self, call: Duplex) -> Any:
        try:
            return await call.read()
        except SeleneError:
            if self._sender is not None and self._sender.done() and not self._sender.cancelled():
                self._sender.result()
            raise

    async def _send(self, call: Duplex) -> None:
        try:
            await self._send_frames(call)
        except Exception:
            call.cancel()
            raise

    async def _send_frames(self, call: Duplex) -> None:
        sequence = sent = 0
        rate = self._config.audio_format.sample_rate_hz
        async for audio in self._frames:
            for begins in range(0, len(audio), MAX_FRAME_BYTES):
                piece = audio[begins : begins + MAX_FRAME_BYTES]
                frame = AudioFrame(sequence=sequence, audio=piece)
                frame.offset.FromMicroseconds(round(sent / _BYTES_A_SAMPLE / rate * 1e6))
                if not await call.write(stt_wire.TranscribeRequest(frame=frame)):
                    return
                sequence, sent = sequence + 1, sent + len(piece)
        await call.half_close()


class Tts(Routed):
    """The TextToSpeechService over one connection. Raises SeleneError."""

    Stub = tts_rpc.TextToSpeechServiceStub

    def say(
        self,
        text: str,
        *,
        markup: tts.TextMarkup = tts.TextMarkup.PLAIN,
        locale: str = DEFAULT_LOCALE,
        rate: int = SPEECH_RATE,
        rate_percent: int = 0,
        idempotency_key: str = "",
    ) -> "Speech":
        """``text`` as mono PCM16 of ``rate``; ``rate_percent`` is the pace, 0 that of the voice."""
        config = tts.SynthesizeConfig(
            text=text,
            markup=markup,
            locale=locale,
            rate_percent=rate_percent,
            audio_format=_pcm16(rate),
            scope=self.scope,
            idempotency_key=idempotency_key or new_key(),
        )
        return Speech(self._open, config, timeout=self._timeout, policy=self._policy)

    async def complain(
        self, request_id: str, reason_code: str, *, idempotency_key: str = ""
    ) -> tts.ReportComplaintResponse:
        """Say that a synthesis was bad, in UPPER_SNAKE_CASE; complaints count against its provider."""
        request = tts_wire.ReportComplaintRequest(
            tenant_id=self.scope.tenant_id,
            request_id=request_id,
            reason_code=reason_code,
            idempotency_key=idempotency_key or new_key(),
        )
        return await ask(
            self._connection,
            self._stub.ReportComplaint,
            request,
            tts.ReportComplaintResponse,
            within=min(self._timeout, CALL_TIMEOUT),
            policy=self._policy,
        )

    def _open(self, seconds: float) -> Any:
        return self._stub.Synthesize(timeout=seconds, metadata=self._connection.metadata())


class Speech:
    """A text that is being spoken, used as an async context manager; leaving it before its final cancels it.

    Chunks follow one another without a gap. After a SpeechSwitched what was not played from its `void_from_sample` on
    is void.
    """

    def __init__(self, open_call: Any, config: tts.SynthesizeConfig, *, timeout: float, policy: RetryPolicy) -> None:
        self._open_call = open_call
        self._config = to_wire(config, tts_wire.SynthesizeConfig)
        self._timeout = timeout
        self._policy = policy
        self._call: Duplex | None = None
        self._started = tts.SynthesizeStarted()
        self.final: tts.SynthesizeFinal | None = None

    async def __aenter__(self) -> "Speech":
        async def opened(seconds: float) -> Duplex:
            call = Duplex(self._open_call(seconds))
            await call.write(tts_wire.SynthesizeRequest(config=self._config))
            return call

        self._call, started = await begin(opened, lasting=self._timeout, policy=self._policy)
        self._started = to_message(started, tts.SynthesizeStarted)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._call is not None:
            self._call.cancel()

    @property
    def request_id(self) -> str:
        """Names the request in audit rows and in complaints."""
        return self._started.request_id

    @property
    def rate(self) -> int:
        """Samples a second."""
        return self._config.audio_format.sample_rate_hz

    async def events(self) -> AsyncGenerator[Said, None]:
        """Events as they come, the final one last. SeleneError."""
        if self._call is None:
            raise RuntimeError("use the speech inside `async with`")
        yield self._started
        while (response := await self._call.read()) is not None:
            event = _said(response)
            if isinstance(event, tts.SynthesizeFinal):
                self.final = event
            if event is not None:
                yield event
        if self.final is None:
            raise no_final()

    async def interrupt(self) -> None:
        """No further audio, please; the final event says INTERRUPTED, or COMPLETED where it came too late."""
        if self._call is not None:
            await self._call.write(tts_wire.SynthesizeRequest(interrupt=tts_wire.SynthesizeInterrupt()))

    async def recording(self, name: str = "speech") -> Recording:
        """Reads to the end: all that was said, as one recording. SeleneError."""
        spoken = Spoken(self.rate)
        async with contextlib.aclosing(self.events()) as events:
            async for event in events:
                spoken.take(event)
        return spoken.recording(name)


class Spoken:
    """Audio of a speech put together, as a listener who has played nothing yet would hear it."""

    def __init__(self, rate: int) -> None:
        self._rate = rate
        self._pcm = bytearray()

    def take(self, event: Said) -> None:
        """Notes one event of the speech."""
        if isinstance(event, tts.SpeechChunk):
            self._pcm += event.audio
        elif isinstance(event, tts.SpeechSwitched):
            del self._pcm[event.void_from_sample * _BYTES_A_SAMPLE :]

    def recording(self, name: str) -> Recording:
        """What there is so far."""
        return Recording.of_pcm(name, self._rate, bytes(self._pcm))


def _said(response: Any) -> Any:
    if response.WhichOneof("event") != "chunk":
        return event_of(response, _SAID)
    chunk = response.chunk
    return tts.SpeechChunk(sequence=chunk.sequence, sample_offset=chunk.sample_offset, audio=chunk.audio)


def _pcm16(rate: int) -> AudioFormat:
    return AudioFormat(encoding=AudioEncoding.LINEAR16, sample_rate_hz=rate, channel_count=1)
