"""An endpoint in the place of a LLaMA server, for `make demo`: OpenAI's Chat Completions over a real socket.

There is no language model behind it: it tells the time, in a packet of the form that it is asked for, and from
`POST /break` on it answers HTTP 500 to everything. Whoever asks it cannot tell the difference from a server that has
one and has just broken.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

BREAK: Final = "/break"
_MOST_BYTES: Final = 1 << 20


class StandIn:
    """What is told of a running one. ``url`` is its root; requests are counted by how they were answered."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.base_url = f"{url}/v1"
        self.broken = False
        self.answered = 0
        self.failed = 0


@contextmanager
def standing_in() -> Iterator[StandIn]:
    """One on a loopback port of its own, until left."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    state = StandIn(f"http://127.0.0.1:{server.server_address[1]}")
    server.state = state  # type: ignore[attr-defined]  # how a handler finds it
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, name="stand-in", daemon=True)
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    @property
    def _state(self) -> StandIn:
        state: StandIn = self.server.state  # type: ignore[attr-defined]  # set by `standing_in`
        return state

    def do_HEAD(self) -> None:
        """Whether anybody is there."""
        self._send(HTTPStatus.OK, "text/plain", b"")

    def do_POST(self) -> None:
        """A chat completion, or the end of all good answers."""
        body = self.rfile.read(min(int(self.headers.get("content-length") or 0), _MOST_BYTES))
        state = self._state
        if self.path == BREAK:
            state.broken = True
            self._send(HTTPStatus.OK, "text/plain", b"")
        elif state.broken:
            state.failed += 1
            self._error(HTTPStatus.INTERNAL_SERVER_ERROR, "server_error")
        elif self.path != "/v1/chat/completions":
            self._error(HTTPStatus.NOT_FOUND, "invalid_request_error")
        else:
            try:
                packet = packet_of(json.loads(body))
            except (ValueError, KeyError, TypeError, IndexError):
                self._error(HTTPStatus.BAD_REQUEST, "invalid_request_error")
                return
            state.answered += 1
            self._send(HTTPStatus.OK, "text/event-stream", b"".join(_chunks(json.dumps(packet))))

    def _error(self, status: HTTPStatus, kind: str) -> None:
        body = {"error": {"message": status.phrase, "type": kind, "param": None, "code": None}}
        self._send(status, "application/json", json.dumps(body).encode())

    def _send(self, status: HTTPStatus, content_type: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("content-type", content_type)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: the demonstration tells what happens."""


def packet_of(request: Any) -> dict[str, Any]:
    """The decision packet for a chat completion as Selene asks it. ValueError, KeyError, TypeError, IndexError."""
    said = json.loads(request["messages"][-1]["content"])
    at = datetime.fromisoformat(said["said_at"])
    understood = "time" in said["utterance"].lower()
    return {
        "intent": "time.query" if understood else "unknown",
        "slots": [],
        "reply": f"It is {at:%H:%M} on {at:%A}." if understood else "I know only the time. What did you want to know?",
        "confidence_bp": 9_000 if understood else 1_000,
        "needs_clarification": not understood,
    }


def _chunks(text: str) -> Iterator[bytes]:
    for begin in range(0, len(text), 16):
        yield _event({"delta": {"content": text[begin : begin + 16]}, "finish_reason": None})
    yield _event({"delta": {}, "finish_reason": "stop"})
    yield b"data: [DONE]\n\n"


def _event(choice: dict[str, Any]) -> bytes:
    chunk = {
        "id": "chatcmpl-demo",
        "object": "chat.completion.chunk",
        "created": 0,
        "model": "stand-in",
        "choices": [{"index": 0, **choice}],
    }
    return b"data: " + json.dumps(chunk).encode() + b"\n\n"
