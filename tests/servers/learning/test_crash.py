"""A real server, really killed in the middle of a stream: what it acknowledged is there, and exactly once."""

from __future__ import annotations

import asyncio
import os
import signal as signals
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from selene_messages.selene.learning import v1

from bench.process import Server
from bench.routing.owner import served
from clients.channel import connect
from clients.retry import RetryPolicy
from clients.signals import Signals
from clients.wire import to_message
from servers.runtime.storage import DATABASE, MASTER_KEY
from tests.support.servers import TENANT
from tests.support.signals import signal
from tests.support.stores import DIALECTS, open_store

TOTAL = 900
KILL_AT = {"sqlite": (200, 500), "postgresql": (300,)}
QUICK = RetryPolicy(first_wait=0.05, longest_wait=0.2)


def start(data_dir: Path, url: str, port: int) -> Server:
    flags: dict[str, Any] = {"owners.learning.intake.batch": 32, "listen.ports.learning": port}
    if url:
        flags["store.url"] = url
    server = served(["learning"], data_dir, flags)
    server.start()
    return server


def kill(server: Server) -> None:
    os.kill(server.pid, signals.SIGKILL)
    server.stop()


@pytest.fixture(params=DIALECTS)
def url(request: pytest.FixtureRequest) -> str:
    """Where the server's store is; empty for a file of its own."""
    return "" if request.param == "sqlite" else str(request.getfixturevalue("postgres_url"))


async def test_a_stream_survives_its_server_being_killed(url: str, tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    kill_at = KILL_AT["postgresql" if url else "sqlite"]
    server = await asyncio.to_thread(start, data_dir, url, 0)
    target = server.targets["learning"]
    port = int(target.rpartition(":")[2])
    moment = datetime.now(UTC)
    try:
        async with connect(target) as connection, Signals(connection, policy=QUICK).stream("phone") as stream:
            for number in range(TOTAL):
                await stream.send(to_message(signal(str(number), TENANT, moment), v1.LearningSignal))
                if number in kill_at:
                    await asyncio.to_thread(kill, server)
                    acknowledged = stream.acknowledged_through
                    await _there(data_dir, url, acknowledged)
                    server = await asyncio.to_thread(start, data_dir, url, port)
        assert stream.acknowledged_through == TOTAL
        await _there(data_dir, url, TOTAL)
    finally:
        server.stop()
    assert stream.told.taken + stream.told.repeated + stream.told.unheard == TOTAL


async def _there(data_dir: Path, url: str, through: int) -> None:
    """Everything up to there, once and in order, as the trail says."""
    key = (data_dir / MASTER_KEY).read_bytes()
    store = await open_store(url or f"sqlite:///{data_dir / DATABASE}", master_key=key)
    kept = await store.learning.signals.between(TENANT, 1, TOTAL + 1)
    assert [row.signal.signal_id for row in kept[:through]] == [f"signal-{number}" for number in range(through)]
    assert len({row.signal.signal_id for row in kept}) == len(kept) >= through
    assert await store.learning.signals.first_unproved(TENANT) is None
    assert await store.learning.streams.position(TENANT, "phone") == len(kept)
    await store.close()
