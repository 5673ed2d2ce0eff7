"""A mailbox for `make demo`: a real SMTP server, and an endpoint in the place of Resend for what that refuses.

Both keep a ledger of what they took; `GET /ledger` tells it. From `POST /refuse` on the SMTP server refuses every
sender, which is a definite no: nothing was taken.
"""

from __future__ import annotations

import json
import socket
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final
from uuid import uuid4

REFUSE: Final = "/refuse"
LEDGER: Final = "/ledger"
EMAILS: Final = "/emails"
_MOST_BYTES: Final = 1 << 20


@dataclass(slots=True)
class Mailbox:
    """A running one: ``url`` of its HTTP side, ``port`` of its SMTP side. ``taken`` counts acceptances by subject."""

    url: str = ""
    port: int = 0
    refusing: bool = False
    taken: dict[str, Counter[str]] = field(default_factory=lambda: {"smtp": Counter(), "resend": Counter()})
    keys: dict[str, str] = field(default_factory=dict)

    def settings(self) -> str:
        """The accounts of delivery that send here, as TOML. The second one's secret is put by whoever demonstrates."""
        return (
            '[owners.delivery.accounts."smtp/primary"]\n'
            f'host = "127.0.0.1"\nport = {self.port}\nsecurity = "none"\nneeds_secret = false\n'
            'sender = "selene@example.org"\n'
            '[owners.delivery.accounts."resend/email"]\n'
            f'base_url = "{self.url}"\nsender = "selene@example.org"\n'
        )


class _Smtp:
    """What aiosmtpd asks of a handler."""

    def __init__(self, state: Mailbox) -> None:
        self._state = state

    async def handle_MAIL(self, server: Any, session: Any, envelope: Any, address: str, options: list[str]) -> str:
        if self._state.refusing:
            return "550 5.7.1 this sender is not wanted here"
        envelope.mail_from = address
        return "250 2.1.0 ok"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        subject = str(message_from_bytes(envelope.content)["subject"])
        self._state.taken["smtp"][subject] += 1
        return f"250 2.0.0 queued as {uuid4().hex[:12]}"


@contextmanager
def mailbox() -> Iterator[Mailbox]:
    """One on loopback ports of its own, until left. ImportError where aiosmtpd is not installed."""
    from aiosmtpd.controller import Controller

    state = Mailbox()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Http)
    server.daemon_threads = True
    server.state = state  # type: ignore[attr-defined]  # how a handler finds it
    state.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, name="mailbox", daemon=True)
    smtp = Controller(_Smtp(state), hostname="127.0.0.1", port=_free_port())
    thread.start()
    smtp.start()
    state.port = smtp.port
    try:
        yield state
    finally:
        smtp.stop()
        server.shutdown()
        server.server_close()
        thread.join()


def _free_port() -> int:
    # The controller connects to the port that it was given, so that it cannot be told 0.
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


class _Http(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    @property
    def _state(self) -> Mailbox:
        state: Mailbox = self.server.state  # type: ignore[attr-defined]  # set by `mailbox`
        return state

    def do_HEAD(self) -> None:
        """Whether anybody is there."""
        self._send(HTTPStatus.OK, {})

    def do_GET(self) -> None:
        """The ledger: acceptances of each provider by subject."""
        if self.path == LEDGER:
            self._send(HTTPStatus.OK, self._state.taken)
        else:
            self._send(HTTPStatus.NOT_FOUND, {"name": "not_found"})

    def do_POST(self) -> None:
        """A mail as Resend takes it, once a key; or the end of all mail over SMTP."""
        body = self.rfile.read(min(int(self.headers.get("content-length") or 0), _MOST_BYTES))
        if self.path == REFUSE:
            self._state.refusing = True
            self._send(HTTPStatus.OK, {})
        elif self.path != EMAILS:
            self._send(HTTPStatus.NOT_FOUND, {"name": "not_found"})
        else:
            self._take(body)

    def _take(self, body: bytes) -> None:
        key = self.headers.get("idempotency-key") or str(uuid4())
        try:
            subject = str(json.loads(body)["subject"])
        except (ValueError, KeyError, TypeError):
            self._send(HTTPStatus.UNPROCESSABLE_ENTITY, {"name": "validation_error", "statusCode": 422})
            return
        if key not in self._state.keys:
            self._state.keys[key] = str(uuid4())
            self._state.taken["resend"][subject] += 1
        self._send(HTTPStatus.OK, {"id": self._state.keys[key]})

    def _send(self, status: HTTPStatus, document: Any) -> None:
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: the demonstration tells what happens."""
