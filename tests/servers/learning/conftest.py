"""Learning as it is served: a store of its own, real channels on port 0."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from selene.learning.v1 import service_pb2 as messages
from selene.learning.v1 import service_pb2_grpc as rpc
from selene.learning.v1 import signal_pb2 as nouns

from clients.duplex import Duplex
from servers.runtime.auth import Principal, issue_token
from tests.support.owners import Owners, serving
from tests.support.servers import TENANT
from tests.support.signals import signal


@dataclass
class Learning:
    """A running owner, and calls of it by hand."""

    owners: Owners

    @property
    def store(self) -> Any:
        return self.owners.store

    def now(self) -> datetime:
        return self.owners.clock.now()

    def signal(self, name: str = "1", **fields: Any) -> nouns.LearningSignal:
        """One that happened just now, of the development tenant."""
        return signal(name, **{"tenant": TENANT, "moment": self.now(), **fields})

    def token(self, *roles: str, tenant: str = TENANT) -> str:
        key = self.owners.running.development_key
        assert key is not None
        caller = Principal(tenant, "feeder", "", frozenset(roles))
        return issue_token(key, caller, now=datetime.now(UTC), lifetime=timedelta(minutes=5))

    def stub(self, token: str = "") -> rpc.SignalServiceStub:
        return rpc.SignalServiceStub(self.owners.connection("learning", token).channel)

    def line(self, stream_id: str = "phone", tenant: str = TENANT) -> Line:
        return Line(Duplex(self.stub().CaptureStream(timeout=20.0)), stream_id, tenant)


@dataclass
class Line:
    """One stream of signals, message by message."""

    duplex: Duplex
    stream_id: str
    tenant: str

    async def open(self) -> int:
        """Send the config; where the stream stands."""
        config = messages.CaptureStreamConfig(tenant_id=self.tenant, stream_id=self.stream_id)
        await self.duplex.write(messages.CaptureStreamRequest(config=config))
        reply = await self.reply()
        return int(reply.acknowledged_through)

    async def send(self, sequence: int, one: nouns.LearningSignal) -> bool:
        streamed = messages.StreamedSignal(sequence=sequence, signal=one)
        return await self.duplex.write(messages.CaptureStreamRequest(signal=streamed))

    async def send_together(self, first: int, ones: Sequence[nouns.LearningSignal]) -> bool:
        streamed = messages.StreamedSignals(first_sequence=first, signals=ones)
        return await self.duplex.write(messages.CaptureStreamRequest(signals=streamed))

    async def reply(self) -> messages.CaptureStreamResponse:
        reply = await self.duplex.read()
        assert reply is not None
        found: messages.CaptureStreamResponse = reply
        return found

    async def until(self, through: int) -> list[messages.CaptureStreamResponse]:
        """Replies until everything up to there is acknowledged."""
        replies = [await self.reply()]
        while replies[-1].acknowledged_through < through:
            replies.append(await self.reply())
        return replies

    async def finish(self) -> list[messages.CaptureStreamResponse]:
        """Half-close, and every reply up to the end. SeleneError."""
        await self.duplex.half_close()
        replies = []
        while (reply := await self.duplex.read()) is not None:
            replies.append(reply)
        return replies


@pytest.fixture
async def learning(tmp_path: Path) -> AsyncIterator[Learning]:
    """The owner on SQLite. Nothing drains the outbox but what a test calls."""
    flags = {"owners.learning": {"intake": {"batch": 8, "outbox_every_s": 60}}}
    async with serving(["learning"], tmp_path, flags) as owners:
        yield Learning(owners)
