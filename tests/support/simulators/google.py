"""Google's speech services, simulated: Speech v2 StreamingRecognize, Text-to-Speech v1 whole and streaming.

Google's own clients talk to it over a real socket. It is as strict as Google documents, keeps a ledger of what it got
and what it answered, and fails on demand. A relay of TCP stands before it, so that connections can really be broken.
"""

from __future__ import annotations

import asyncio
import hashlib
import io
import re
import socket
import struct
import wave
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import grpc
import numpy as np
from google.cloud import speech_v2, texttospeech_v1
from google.protobuf.any_pb2 import Any as Packed
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo  # type: ignore[import-untyped]  # ships no stubs
from google.rpc.status_pb2 import Status  # type: ignore[import-untyped]  # ships no stubs

from tests.support.simulators.faults import Fault, FaultKind, FaultScript

RECOGNIZE = "/google.cloud.speech.v2.Speech/StreamingRecognize"
SYNTHESIZE = "/google.cloud.texttospeech.v1.TextToSpeech/SynthesizeSpeech"
STREAM = "/google.cloud.texttospeech.v1.TextToSpeech/StreamingSynthesize"

STT_RATE_HZ = 16_000
STT_MAX_AUDIO = 15 * 1024
TTS_RATE_HZ = 24_000
TTS_MAX_BYTES = 5_000
SECONDS_A_CHARACTER = 0.06
PIECE_S = 0.25

LANGUAGES = frozenset({"en-US", "de-DE", "cmn-CN"})
GARBAGE = b"\xff\xff\xff\xffnot a message"

_DETAILS = "grpc-status-details-bin"
_RECOGNIZER = re.compile(r"projects/[^/]+/locations/[^/]+/recognizers/[^/]+")

_CODES = {
    FaultKind.BUSY: grpc.StatusCode.RESOURCE_EXHAUSTED,
    FaultKind.INTERNAL: grpc.StatusCode.INTERNAL,
    FaultKind.UNAVAILABLE: grpc.StatusCode.UNAVAILABLE,
    FaultKind.UNAUTHENTICATED: grpc.StatusCode.UNAUTHENTICATED,
    FaultKind.FORBIDDEN: grpc.StatusCode.PERMISSION_DENIED,
    FaultKind.BAD_REQUEST: grpc.StatusCode.INVALID_ARGUMENT,
}


@dataclass(frozen=True, slots=True)
class Portion:
    """A stretch of speech that is recognised: what is guessed on the way, and the words that it settles to.

    A word is text, start and end in seconds, and confidence, where 0 is none given.
    """

    words: tuple[tuple[str, float, float, float], ...]
    interims: tuple[str, ...] = ()
    confidence: float = 0.9


@dataclass(slots=True)
class Call:
    """One call, as the service saw it. ``answered`` is the status that it ended with here, or that the caller left it.

    ``ended`` is set then. ``deadline_s`` is what the caller allowed when it called; ``audio`` are sizes, by message.
    """

    method: str
    key_sha256: str
    deadline_s: float | None
    request: Any = None
    text: str = ""
    audio: list[int] = field(default_factory=list)
    half_closed: bool = False
    pieces_sent: int = 0
    answered: str = ""
    ended: asyncio.Event = field(default_factory=asyncio.Event)


class GoogleSimulator:
    """The services; use it through `google_simulator`. ``keys`` are the API keys that it takes."""

    def __init__(self, keys: set[str]) -> None:
        self.keys = keys
        self.faults = FaultScript()
        self.ledger: list[Call] = []
        self.endpoint = ""
        self.hears: Sequence[Portion] = ()
        """What is recognised in any audio."""
        self.results: Sequence[speech_v2.StreamingRecognizeResponse] | None = None
        """Where set, what is answered when the audio has ended, in place of `hears`."""
        self.speech: Sequence[bytes] | None = None
        """Where set, the pieces of a stream, or joined the file, in place of what would be said."""
        self.refusal: tuple[grpc.StatusCode, bytes] | None = None
        """Where set, how every call ends: a code, and the bytes of its details."""
        self._began = asyncio.Condition()
        self._links: set[asyncio.StreamWriter] = set()

    async def begun(self, calls: int) -> Call:
        """The call of this number, from 1, once it has come."""
        async with self._began:
            await self._began.wait_for(lambda: len(self.ledger) >= calls)
        return self.ledger[calls - 1]

    def break_connections(self) -> None:
        """Reset every connection, as a crash of the far side does."""
        for link in list(self._links):
            with suppress(OSError):
                raw = link.get_extra_info("socket")
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            link.transport.abort()

    async def recognise(self, requests: AsyncIterator[Any], context: Any) -> None:
        """Speech.StreamingRecognize."""
        async with self._call(RECOGNIZE, context) as (call, fault):
            call.request = await self._first(requests, context)
            await self._check_recognition(call.request, context)
            waiting = [] if fault and fault.kind in _WITHOUT_ANSWER else self._recognised()
            await _delay(fault)
            async for request in requests:
                if request.HasField("streaming_config") or not 0 < len(request.audio) <= STT_MAX_AUDIO:
                    await self._refuse(context, "Audio chunk can be of a maximum of 15360 bytes.")
                call.audio.append(len(request.audio))
                heard_s = sum(call.audio) / 2 / STT_RATE_HZ
                while len(waiting) > 1 and waiting[0].results[0].result_end_offset.ToNanoseconds() <= heard_s * 1e9:
                    if not await self._send(waiting.pop(0).SerializeToString(), call, fault, context):
                        return
            call.half_closed = True
            for payload in _spoilt(fault, _NO_ALTERNATIVES, [message.SerializeToString() for message in waiting]):
                if not await self._send(payload, call, fault, context):
                    return

    async def stream(self, requests: AsyncIterator[Any], context: Any) -> None:
        """TextToSpeech.StreamingSynthesize."""
        async with self._call(STREAM, context) as (call, fault):
            call.request = await self._first(requests, context)
            config = call.request.streaming_config
            audio = config.streaming_audio_config
            if audio.audio_encoding != texttospeech_v1.AudioEncoding.PCM or "Chirp3-HD" not in config.voice.name:
                await self._refuse(context, "Currently, only Chirp 3: HD voices are allowed.")
            await self._check_voice(config.voice, audio.speaking_rate, context)
            async for request in requests:
                call.text += request.input.text
            call.half_closed = True
            if not 0 < len(call.text.encode()) <= TTS_MAX_BYTES:
                await self._refuse(context, "Input must be of 1 to 5000 bytes.")
            await _delay(fault)
            size = round(PIECE_S * TTS_RATE_HZ) * 2
            pcm = _tone(len(call.text), audio.speaking_rate)
            pieces = self.speech or [pcm[at : at + size] for at in range(0, len(pcm), size)]
            payloads = [texttospeech_v1.StreamingSynthesizeResponse.serialize({"audio_content": p}) for p in pieces]
            for payload in _spoilt(fault, _NO_AUDIO, payloads):
                if not await self._send(payload, call, fault, context):
                    return

    async def synthesise(self, request: Any, context: Any) -> bytes:
        """TextToSpeech.SynthesizeSpeech."""
        async with self._call(SYNTHESIZE, context) as (call, fault):
            call.request, call.text = request, request.input.ssml or request.input.text
            if request.audio_config.audio_encoding != texttospeech_v1.AudioEncoding.LINEAR16:
                await self._refuse(context, "This service is simulated for LINEAR16 only.")
            if not 0 < len(call.text.encode()) <= TTS_MAX_BYTES:
                await self._refuse(context, "Input must be of 1 to 5000 bytes.")
            await self._check_voice(request.voice, request.audio_config.speaking_rate, context)
            await _delay(fault)
            said = re.sub(r"<[^>]*>", "", call.text)
            content = b"".join(self.speech or [wav(_tone(len(said), request.audio_config.speaking_rate))])
            if fault and fault.kind in (FaultKind.HANG, FaultKind.RESET):
                await self._stop(fault)
            if fault and fault.kind is FaultKind.HALF_STREAM:
                content = content[: len(content) // 2]
            payload = texttospeech_v1.SynthesizeSpeechResponse.serialize({"audio_content": content})
            payloads = _spoilt(fault, _NO_WAV, [payload])
            call.pieces_sent = len(payloads)
            return payloads[0] if payloads else b""

    @asynccontextmanager
    async def _call(self, method: str, context: Any) -> AsyncIterator[tuple[Call, Fault | None]]:
        metadata = dict(context.invocation_metadata())
        key = metadata.get("x-goog-api-key", "")
        call = Call(method, sha256(key), context.time_remaining())
        async with self._began:
            self.ledger.append(call)
            self._began.notify_all()
        fault = self.faults.take()
        try:
            if not key:
                await context.abort(grpc.StatusCode.PERMISSION_DENIED, "Method doesn't allow unregistered callers.")
            if key not in self.keys:
                await self._refuse(context, "API key not valid.", ErrorInfo(reason="API_KEY_INVALID"))
            if self.refusal is not None:
                code, details = self.refusal
                await context.abort(code, "as the test says", ((_DETAILS, details),) if details else ())
            if fault and fault.kind in _CODES:
                await context.abort(_CODES[fault.kind], f"simulated, for the key {key}")
            yield call, fault
            call.answered = "OK"
        except (asyncio.CancelledError, grpc.aio.InternalError):  # the second: nobody is there to be answered
            call.answered = "CANCELLED"
            raise
        except grpc.aio.AbortError:
            call.answered = context.code().name
            raise
        finally:
            call.ended.set()

    async def _first(self, requests: AsyncIterator[Any], context: Any) -> Any:
        first = await anext(requests, None)
        if first is None or not first.HasField("streaming_config"):
            await self._refuse(context, "The first message must hold the configuration.")
        return first

    async def _check_recognition(self, request: Any, context: Any) -> None:
        config = request.streaming_config.config
        decoding = config.explicit_decoding_config
        if not _RECOGNIZER.fullmatch(request.recognizer):
            await self._refuse(context, "Invalid resource field value in the request.")
        if (decoding.sample_rate_hertz, decoding.audio_channel_count) != (STT_RATE_HZ, 1):
            await self._refuse(context, "Audio encoding not recognised.")
        if not set(config.language_codes) <= LANGUAGES:
            violation = BadRequest.FieldViolation(field="streaming_config.config.language_codes")
            await self._refuse(context, "Unsupported language.", BadRequest(field_violations=[violation]))

    async def _check_voice(self, voice: Any, rate: float, context: Any) -> None:
        if voice.language_code not in LANGUAGES or not (voice.name or voice.language_code).startswith(
            voice.language_code
        ):
            await self._refuse(context, "This voice does not exist.")
        if rate and not 0.25 <= rate <= 2.0:
            await self._refuse(context, "Invalid speaking_rate.")

    async def _refuse(self, context: Any, text: str, *details: Message) -> None:
        packed = [Packed() for _ in details]
        for any_message, detail in zip(packed, details, strict=True):
            any_message.Pack(detail)
        code = grpc.StatusCode.INVALID_ARGUMENT
        status = Status(code=code.value[0], message=text, details=packed)
        await context.abort(code, text, ((_DETAILS, status.SerializeToString()),))

    def _recognised(self) -> list[Any]:
        """The messages for what is heard, in order: the last settles and is sent when the audio has ended."""
        if self.results is not None:
            return [speech_v2.StreamingRecognizeResponse.pb(message) for message in self.results]
        return [message for portion in self.hears for message in [*_guesses(portion), _settled(portion)]]

    async def _send(self, payload: bytes, call: Call, fault: Fault | None, context: Any) -> bool:
        """Send a piece; False where the stream is to end here instead."""
        if fault and fault.kind in _STOPS and call.pieces_sent == fault.after:
            if fault.kind is FaultKind.HALF_STREAM:
                return False
            await self._stop(fault)
        if fault and fault.kind is FaultKind.TRICKLE:
            await asyncio.sleep(fault.seconds)
        await context.write(payload)
        call.pieces_sent += 1
        return True

    async def _stop(self, fault: Fault) -> None:
        if fault.kind is FaultKind.RESET:
            self.break_connections()
        await asyncio.Event().wait()

    async def relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, port: int) -> None:
        """Carry a connection's bytes to the service and back."""
        there_reader, there = await asyncio.open_connection("127.0.0.1", port)
        self._links.add(writer)
        try:
            await asyncio.gather(_carry(reader, there), _carry(there_reader, writer))
        finally:
            self._links.discard(writer)
            writer.close()
            there.close()


_STOPS = (FaultKind.HANG, FaultKind.HALF_STREAM, FaultKind.RESET)
_WITHOUT_ANSWER = (FaultKind.EMPTY, FaultKind.MALFORMED, FaultKind.WRONG_SCHEMA)


def sha256(key: str) -> str:
    """As the ledger keeps keys."""
    return hashlib.sha256(key.encode()).hexdigest()


def wav(pcm: bytes, *, rate_hz: int = TTS_RATE_HZ, channels: int = 1) -> bytes:
    """PCM16 as a WAV file."""
    file = io.BytesIO()
    with wave.open(file, "wb") as sound:
        sound.setnchannels(channels)
        sound.setsampwidth(2)
        sound.setframerate(rate_hz)
        sound.writeframes(pcm)
    return file.getvalue()


_NO_ALTERNATIVES = speech_v2.StreamingRecognizeResponse.serialize({"results": [{"is_final": True}]})
_NO_AUDIO = texttospeech_v1.StreamingSynthesizeResponse.serialize({})
_NO_WAV = texttospeech_v1.SynthesizeSpeechResponse.serialize({"audio_content": bytes(4_800)})


@asynccontextmanager
async def google_simulator(*keys: str) -> AsyncIterator[GoogleSimulator]:
    """The services, on a port of their own until left."""
    simulator = GoogleSimulator(set(keys))
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    server.add_generic_rpc_handlers(_handlers(simulator))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    front = await asyncio.start_server(lambda r, w: simulator.relay(r, w, port), "127.0.0.1", 0)
    simulator.endpoint = f"127.0.0.1:{front.sockets[0].getsockname()[1]}"
    try:
        yield simulator
    finally:
        front.close()
        simulator.break_connections()
        await server.stop(None)


def _handlers(simulator: GoogleSimulator) -> tuple[grpc.GenericRpcHandler, ...]:
    def parse(message: Any) -> Callable[[bytes], Any]:
        pb_type = message.pb()
        return lambda data: pb_type.FromString(data)

    recognise = grpc.stream_stream_rpc_method_handler(
        simulator.recognise, parse(speech_v2.StreamingRecognizeRequest), bytes
    )
    stream = grpc.stream_stream_rpc_method_handler(
        simulator.stream, parse(texttospeech_v1.StreamingSynthesizeRequest), bytes
    )
    synthesise = grpc.unary_unary_rpc_method_handler(
        simulator.synthesise, parse(texttospeech_v1.SynthesizeSpeechRequest), bytes
    )
    handlers = {RECOGNIZE: recognise, STREAM: stream, SYNTHESIZE: synthesise}
    services = {path.split("/")[1] for path in handlers}
    return tuple(
        grpc.method_handlers_generic_handler(
            service, {path.split("/")[2]: handler for path, handler in handlers.items() if service in path}
        )
        for service in services
    )


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
    writer.close()


async def _delay(fault: Fault | None) -> None:
    if fault and fault.kind is FaultKind.LATENCY:
        await asyncio.sleep(fault.seconds)


def _spoilt(fault: Fault | None, wrong_schema: bytes, payloads: list[bytes]) -> list[bytes]:
    """The payloads, or what a fault of their content puts in their place."""
    match fault and fault.kind:
        case FaultKind.EMPTY:
            return []
        case FaultKind.MALFORMED:
            return [GARBAGE]
        case FaultKind.WRONG_SCHEMA:
            return [wrong_schema]
    return payloads


def _guesses(portion: Portion) -> list[Any]:
    start_s, end_s = portion.words[0][1], portion.words[-1][2]
    step_s = (end_s - start_s) / (len(portion.interims) + 1)
    return [
        _message({"alternatives": [{"transcript": text}], "stability": 0.5}, start_s + number * step_s)
        for number, text in enumerate(portion.interims, 1)
    ]


def _settled(portion: Portion) -> Any:
    words = [
        {"word": text, "start_offset": _duration(start_s), "end_offset": _duration(end_s), "confidence": confidence}
        for text, start_s, end_s, confidence in portion.words
    ]
    transcript = " ".join(text for text, *_ in portion.words)
    best = {"transcript": transcript, "confidence": portion.confidence, "words": words}
    return _message({"alternatives": [best], "is_final": True}, portion.words[-1][2])


def _message(result: dict[str, Any], end_s: float) -> Any:
    result = {**result, "result_end_offset": _duration(end_s)}
    return speech_v2.StreamingRecognizeResponse.pb(speech_v2.StreamingRecognizeResponse({"results": [result]}))


def _duration(seconds: float) -> Duration:
    duration = Duration()
    duration.FromNanoseconds(round(seconds * 1e9))
    return duration


def _tone(characters: int, rate: float) -> bytes:
    """As long as so many characters take to say, PCM16."""
    samples = round(characters * SECONDS_A_CHARACTER / (rate or 1.0) * TTS_RATE_HZ)
    pcm: bytes = (np.sin(np.arange(samples) * 0.05) * 8_000).astype("<i2").tobytes()
    return pcm
