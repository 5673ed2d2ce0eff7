"""OpenAI's API over HTTP, as far as the adapters use it: chat completions, speech, transcriptions.

Its ledger says what came in and what went out; what it answers is set on it, what it does wrong is scripted.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from tests.support.simulators.faults import Fault, FaultKind, FaultScript

PACKET = {
    "intent": "time.query",
    "slots": [{"name": "place", "value": "Zürich"}],
    "reply": 'It is "noon" in Zürich 🕛.',
    "confidence_bp": 9_100,
    "needs_clarification": False,
}

_STATUSES = {
    FaultKind.BUSY: (429, "rate_limit_error", "rate_limit_exceeded"),
    FaultKind.INTERNAL: (500, "server_error", None),
    FaultKind.UNAVAILABLE: (503, "server_error", None),
    FaultKind.UNAUTHENTICATED: (401, "invalid_request_error", "invalid_api_key"),
    FaultKind.FORBIDDEN: (403, "invalid_request_error", "unsupported_country_region_territory"),
    FaultKind.BAD_REQUEST: (400, "invalid_request_error", "invalid_value"),
}


@dataclass(slots=True)
class Call:
    """One request and what became of it. ``pieces`` were sent; ``gone`` is set when the caller left before the end."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: dict[str, Any] = field(default_factory=dict)
    audio: bytes = b""
    connection: int = 0
    status: int | None = None
    pieces: int = 0
    ended: bool = False
    gone: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def secret(self) -> str | None:
        """What came as bearer token."""
        authorization = self.headers.get("Authorization")
        return None if authorization is None else authorization.removeprefix("Bearer ")


@dataclass(slots=True)
class Answers:
    """What is answered. ``content`` is what the chat model writes; ``finish`` why it stopped.

    ``error`` is a status and an error's code instead of any answer, ``error_event`` an error in the middle of a stream.
    ``endless`` is a status, a type, and a piece of the body that is repeated until the caller leaves. ``encoding`` is
    how a body is said to be encoded, falsely.
    """

    content: str = json.dumps(PACKET, ensure_ascii=False)
    content_pieces: Sequence[str] | None = None
    finish: str = "stop"
    refusal: str | None = None
    error: tuple[int, str | None] | None = None
    error_event: dict[str, Any] | None = None
    endless: tuple[int, str, bytes] | None = None
    encoding: str | None = None
    text: str = "what time is it"
    logprob: float = -0.105_360_516  # ln 0.9
    words: Sequence[tuple[str, float, float]] = (("what", 0.0, 0.2), ("time", 0.2, 0.5), ("is", 0.5, 0.6))
    no_speech_prob: float = 0.01
    pcm_pieces: Sequence[bytes] = (b"\x00\x10" * 1_200, b"\x00\x20" * 1_200, b"\x00\x30" * 1_200)


_Answer = Callable[[web.Request, Call, Fault | None], Awaitable[web.StreamResponse]]


class OpenAiSimulator:
    """Served by `serve`. ``keys`` are the secrets that it accepts, None where it wants none.

    ``schemas`` is False for a compatible endpoint that knows no JSON schemas and refuses what it does not know.
    ``streams`` is False for a model that answers a transcription at once, whatever it was asked, as ``whisper-1`` does.
    ``hung`` is set once a call hangs. ``fault_of`` is a fault by what is asked, where none is planned.
    """

    def __init__(self, keys: set[str] | None = None, *, schemas: bool = True) -> None:
        self.keys = keys
        self.schemas = schemas
        self.streams = True
        self.faults = FaultScript()
        self.fault_of: Callable[[Call], Fault | None] = lambda call: None
        self.answers = Answers()
        self.ledger: list[Call] = []
        self.base_url = ""
        self.hung = asyncio.Event()
        self._connections: dict[object, int] = {}

    @asynccontextmanager
    async def serve(self) -> AsyncIterator[OpenAiSimulator]:
        """On a port of its own, until left."""
        app = web.Application(client_max_size=1 << 26)
        app.router.add_post("/v1/chat/completions", self._handler(self._chat))
        app.router.add_post("/v1/audio/speech", self._handler(self._speech))
        app.router.add_post("/v1/audio/transcriptions", self._handler(self._transcription))
        app.router.add_get("/v1", self._handler(self._root), allow_head=False)
        runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0][:2]
        self.base_url = f"http://{host}:{port}/v1"
        try:
            yield self
        finally:
            await runner.cleanup()

    @property
    def calls(self) -> list[Call]:
        """The ledger without what only opened a connection."""
        return [call for call in self.ledger if call.method != "GET"]

    def _handler(self, answer: _Answer) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def handle(request: web.Request) -> web.StreamResponse:
            number = self._connections.setdefault(request.transport, len(self._connections))
            call = Call(request.method, request.path, request.headers, connection=number)
            self.ledger.append(call)
            try:
                await _read(request, call)
                response = await self._answered(request, call, answer)
                call.ended = True
                return response
            except (asyncio.CancelledError, ConnectionError):
                call.gone.set()
                raise

        return handle

    async def _answered(self, request: web.Request, call: Call, answer: _Answer) -> web.StreamResponse:
        if call.method == "GET":
            return await answer(request, call, None)
        fault = self.faults.take() or self.fault_of(call)
        if self.keys is not None and call.secret not in self.keys:
            # The real one masks most of the key that it quotes; this one quotes all of it, as a proxy in between might.
            return _error(call, 401, "invalid_request_error", "invalid_api_key", f"Incorrect API key: {call.secret}.")
        if self.answers.error is not None:
            status, code = self.answers.error
            return _error(call, status, "invalid_request_error", code, "As told.")
        if self.answers.endless is not None:
            return await self._repeat(request, call, *self.answers.endless)
        if fault is not None and fault.kind in _STATUSES:
            status, kind, code = _STATUSES[fault.kind]
            return _error(call, status, kind, code, f"As scripted; the key was {call.secret}.")
        if fault is not None and fault.kind is FaultKind.LATENCY:
            await asyncio.sleep(fault.seconds)
        if fault is not None and fault.kind is FaultKind.HANG and not fault.after:
            await self._hang()
        if fault is not None and fault.kind is FaultKind.RESET and not fault.after:
            _reset(request)
        return await answer(request, call, fault)

    async def _repeat(
        self, request: web.Request, call: Call, status: int, content_type: str, piece: bytes
    ) -> web.StreamResponse:
        response = web.StreamResponse(status=status, headers={"Content-Type": content_type})
        await response.prepare(request)
        call.status = status
        while True:
            await response.write(piece)
            call.pieces += 1

    async def _hang(self) -> None:
        self.hung.set()
        await asyncio.Event().wait()

    async def _root(self, _request: web.Request, call: Call, _fault: Fault | None) -> web.StreamResponse:
        return _error(call, 404, "invalid_request_error", None, f"Invalid URL ({call.method} {call.path})")

    async def _chat(self, request: web.Request, call: Call, fault: Fault | None) -> web.StreamResponse:
        body = call.body
        if not body.get("model") or not body.get("messages"):
            return _error(call, 400, "invalid_request_error", None, "you must provide a model and messages")
        if not self.schemas and body.get("response_format", {}).get("type") == "json_schema":
            return _error(call, 400, "invalid_request_error", None, "response_format.type: unknown json_schema")
        return await self._stream(request, call, fault, "text/event-stream", self._chat_events(fault))

    def _chat_events(self, fault: Fault | None) -> list[bytes]:
        answers, kind = self.answers, fault.kind if fault is not None else None
        if kind is FaultKind.MALFORMED:
            return [b"data: {not json\n\n"]
        if kind is FaultKind.WRONG_SCHEMA:
            return [_event({"id": "chatcmpl-1", "object": "chat.completion.chunk", "choices": [{"delta": 5}]})]
        content = "" if kind is FaultKind.EMPTY else answers.content
        pieces = answers.content_pieces or [content[at : at + 7] for at in range(0, len(content), 7)]
        deltas: list[dict[str, Any]] = [{"role": "assistant", "content": "", "refusal": None}]
        if answers.refusal is not None:
            deltas.append({"refusal": answers.refusal})
        else:
            deltas += [{"content": piece} for piece in pieces]
        if answers.error_event is not None:
            return [*(_event(_chunk(delta, None)) for delta in deltas), _event({"error": answers.error_event})]
        chunks = [_chunk(delta, None) for delta in deltas] + [_chunk({}, answers.finish)]
        return [*(_event(chunk) for chunk in chunks), b"data: [DONE]\n\n"]

    async def _speech(self, request: web.Request, call: Call, fault: Fault | None) -> web.StreamResponse:
        body = call.body
        if not all(body.get(name) for name in ("model", "input", "voice")) or body.get("response_format") != "pcm":
            return _error(call, 400, "invalid_request_error", None, "a field is missing or not simulated")
        match fault.kind if fault is not None else None:
            case FaultKind.MALFORMED:
                return await self._stream(request, call, fault, "text/html", [b"<html>Log in to this network</html>"])
            case FaultKind.WRONG_SCHEMA:
                return await self._stream(request, call, fault, "application/json", [b'{"audio": ""}'])
            case FaultKind.EMPTY:
                return await self._stream(request, call, fault, "audio/pcm", [])
        return await self._stream(request, call, fault, "audio/pcm", self.answers.pcm_pieces)

    async def _transcription(self, request: web.Request, call: Call, fault: Fault | None) -> web.StreamResponse:
        if not call.body.get("model") or not call.audio.startswith(b"RIFF"):
            return _error(call, 400, "invalid_request_error", None, "a field is missing or not simulated")
        if self.streams and call.body.get("stream") == "true":
            events = self._transcription_events(call, fault)
            return await self._stream(request, call, fault, "text/event-stream", events)
        body = self._verbose(fault)
        third = len(body) // 3 + 1
        pieces = [body[at : at + third] for at in range(0, len(body), third)]
        return await self._stream(request, call, fault, "application/json", pieces)

    def _transcription_events(self, call: Call, fault: Fault | None) -> list[bytes]:
        kind = fault.kind if fault is not None else None
        if kind is FaultKind.MALFORMED:
            return [b"data: {not json\n\n"]
        if kind is FaultKind.WRONG_SCHEMA:
            return [_event({"type": "transcript.text.done", "words": 4})]
        text = "" if kind is FaultKind.EMPTY else self.answers.text
        deltas = [f"{word} " for word in text.split()]
        logprobs = {}
        if call.body.get("include[]") == "logprobs":
            logprobs = {"logprobs": [{"token": d, "bytes": [], "logprob": self.answers.logprob} for d in deltas]}
        usage = {"type": "tokens", "input_tokens": 14, "output_tokens": 5, "total_tokens": 19}
        done = {"type": "transcript.text.done", "text": text, "usage": usage, **logprobs}
        return [*(_event({"type": "transcript.text.delta", "delta": delta}) for delta in deltas), _event(done)]

    def _verbose(self, fault: Fault | None) -> bytes:
        kind = fault.kind if fault is not None else None
        if kind is FaultKind.MALFORMED:
            return b"{not json, not at all"
        if kind is FaultKind.WRONG_SCHEMA:
            return json.dumps({"task": "transcribe", "text": "what", "words": [{"word": "what"}]}).encode()
        answers = self.answers
        words = [] if kind is FaultKind.EMPTY else answers.words
        end = words[-1][2] if words else 0.0
        segment = {
            "id": 0,
            "seek": 0,
            "start": 0.0,
            "end": end,
            "text": " ".join(word for word, _, _ in words),
            "tokens": [],
            "temperature": 0.0,
            "avg_logprob": answers.logprob,
            "compression_ratio": 1.0,
            "no_speech_prob": answers.no_speech_prob,
        }
        body = {
            "task": "transcribe",
            "language": "english",
            "duration": end,
            "text": segment["text"],
            "words": [{"word": word, "start": start, "end": stop} for word, start, stop in words],
            "segments": [segment] if words else [],
        }
        return json.dumps(body).encode()

    async def _stream(
        self, request: web.Request, call: Call, fault: Fault | None, content_type: str, pieces: Sequence[bytes]
    ) -> web.StreamResponse:
        kind = fault.kind if fault is not None else None
        response = web.StreamResponse(headers={"Content-Type": content_type, "x-request-id": "req_simulated"})
        response.enable_chunked_encoding()
        if self.answers.encoding is not None:
            response.headers["Content-Encoding"] = self.answers.encoding
        await response.prepare(request)
        call.status = 200
        for number, piece in enumerate(pieces):
            if fault is not None and kind is FaultKind.TRICKLE:
                await asyncio.sleep(fault.seconds)
            if fault is not None and number == fault.after:
                if kind is FaultKind.HANG:
                    await self._hang()
                if kind is FaultKind.RESET:
                    _reset(request)
                if kind is FaultKind.HALF_STREAM:
                    break
            await response.write(piece)
            call.pieces += 1
        await response.write_eof()
        return response


async def _read(request: web.Request, call: Call) -> None:
    if request.content_type == "multipart/form-data":
        async for part in await request.multipart():
            content = bytes(await part.read())  # type: ignore[union-attr]  # a part of a form is never multipart here
            if part.name == "file":  # type: ignore[union-attr]  # as above
                call.audio = content
            else:
                name = str(part.name)  # type: ignore[union-attr]  # as above
                said = call.body.get(name)
                call.body[name] = content.decode() if said is None else f"{said},{content.decode()}"
    elif request.can_read_body:
        call.body = await request.json()


def _reset(request: web.Request) -> None:
    assert request.transport is not None
    request.transport.abort()
    raise ConnectionResetError


def _error(call: Call, status: int, kind: str, code: str | None, message: str) -> web.Response:
    call.status = status
    error = {"message": message, "type": kind, "param": None, "code": code}
    return web.json_response({"error": error}, status=status)


def _event(data: dict[str, Any]) -> bytes:
    return f"data: {json.dumps(data, ensure_ascii=False)}\n\n".encode()


def _chunk(delta: dict[str, Any], finish: str | None) -> dict[str, Any]:
    return {
        "id": "chatcmpl-simulated",
        "object": "chat.completion.chunk",
        "created": 1_700_000_000,
        "model": "simulated",
        "system_fingerprint": "fp_simulated",
        "choices": [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}],
    }
