"""Apple's push service over HTTP/2 in clear, as far as the adapter uses it."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Self

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, RequestReceived, StreamEnded
from h2.exceptions import ProtocolError

from tests.support.simulators.messaging import Trouble, Wrong

TEAM, KEY_ID, TOPIC = "TEAM012345", "KEY0123456", "com.example.selene"


@dataclass(slots=True)
class Notification:
    """One request, and in the ledger one notification."""

    path: str
    headers: Mapping[str, str]
    body: bytearray = field(default_factory=bytearray)
    connection: int = 0

    @property
    def said(self) -> dict[str, Any]:
        """Its payload."""
        payload: dict[str, Any] = json.loads(self.body)
        return payload

    @property
    def device(self) -> str:
        return self.path.removeprefix("/3/device/")


class ApnsSimulator:
    """Served by `serve`. ``devices`` are those that are registered, ``accepted`` is the ledger.

    A second request under an ``apns-id`` is a second notification, as with the real one.
    """

    def __init__(self) -> None:
        self.devices: set[str] = set()
        self.asked: list[Notification] = []
        self.accepted: list[Notification] = []
        self.base_url = ""
        self.hung = asyncio.Event()
        self._wrong: deque[Wrong | None] = deque()
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._connections = 0

    def signing_key(self) -> str:
        """The team's ``.p8`` file."""
        pem = self._key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return pem.decode()

    def replace_key(self) -> None:
        """Take no token of the former key any more."""
        self._key = ec.generate_private_key(ec.SECP256R1())

    def plan(self, *wrongs: Wrong | Trouble | None) -> None:
        """What goes wrong with the next requests, in order; REFUSE and TAKE_AND_FAIL say `code` as Apple's reason."""
        self._wrong.extend(Wrong(each) if isinstance(each, Trouble) else each for each in wrongs)

    @asynccontextmanager
    async def serve(self) -> AsyncIterator[Self]:
        """On a port of its own, until left."""
        server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.base_url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        try:
            yield self
        finally:
            server.close()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections += 1
        number = self._connections
        connection = H2Connection(H2Configuration(client_side=False, header_encoding="utf-8"))
        connection.initiate_connection()
        streams: dict[int, Notification] = {}
        try:
            while True:
                writer.write(connection.data_to_send())
                data = await reader.read(65_536)
                if not data:
                    return
                for event in connection.receive_data(data):
                    if isinstance(event, RequestReceived):
                        headers = {str(name): str(value) for name, value in event.headers}
                        streams[event.stream_id] = Notification(headers[":path"], headers, connection=number)
                    elif isinstance(event, DataReceived):
                        streams[event.stream_id].body += event.data
                        connection.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                    elif isinstance(event, StreamEnded):
                        self._answer(connection, event.stream_id, streams.pop(event.stream_id), writer)
        except (ConnectionError, ProtocolError):
            return
        finally:
            writer.close()

    def _answer(self, connection: H2Connection, stream: int, asked: Notification, writer: asyncio.StreamWriter) -> None:
        self.asked.append(asked)
        wrong = self._wrong.popleft() if self._wrong else None
        trouble = wrong.trouble if wrong is not None else None
        status, reason = self._judged(asked)
        if wrong is not None and trouble in (Trouble.REFUSE, Trouble.TAKE_AND_FAIL):
            status, reason = wrong.status, str(wrong.code)
        if trouble is Trouble.RESET:
            writer.transport.abort()
            return
        if status == 200 or trouble is Trouble.TAKE_AND_FAIL:
            self.accepted.append(asked)
        if trouble is Trouble.LOSE_REPLY:
            writer.transport.abort()
        elif trouble is Trouble.HANG:
            self.hung.set()
        elif status == 200:
            name = "" if trouble is Trouble.WRONG_SCHEMA else asked.headers["apns-id"].upper()
            connection.send_headers(stream, [(":status", "200"), ("apns-id", name)], end_stream=True)
        else:
            answer = [(":status", str(status)), ("content-type", "application/json")]
            if wrong is not None and wrong.retry_after:
                answer.append(("retry-after", wrong.retry_after))
            connection.send_headers(stream, answer)
            connection.send_data(stream, json.dumps({"reason": reason} if reason else {}).encode(), end_stream=True)

    def _judged(self, asked: Notification) -> tuple[int, str]:
        scheme, _, token = asked.headers.get("authorization", "").partition(" ")
        try:
            claims = jwt.decode(token, self._key.public_key(), algorithms=["ES256"], options={"verify_iat": False})
            sound = claims["iss"] == TEAM and jwt.get_unverified_header(token)["kid"] == KEY_ID and scheme == "bearer"
        except (jwt.PyJWTError, KeyError):
            sound = False
        if not sound:
            return 403, "InvalidProviderToken"
        if asked.headers.get("apns-topic") != TOPIC:
            return 400, "BadTopic"
        return (200, "") if asked.device in self.devices else (400, "BadDeviceToken")
