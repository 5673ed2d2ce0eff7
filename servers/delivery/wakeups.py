"""Wake-ups between processes over NATS JetStream (§25): who accepts a delivery says so, and dispatchers look at once.

The database stays the truth. A wake-up that is lost costs what the next look of a dispatcher takes; nothing waits for
NATS, and a server that is away is connected to again and again beside the calls. For wake-ups that survive a crash of
the machine the NATS server is run with `sync_interval: always`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import structlog

from servers.delivery.settings import NatsSettings

if TYPE_CHECKING:
    from nats.aio.client import Client
    from nats.aio.msg import Msg

AGAIN_S: Final = 2.0
CALL_S: Final = 2.0
KEPT_FOR_S: Final = 60.0

_log = structlog.get_logger("selene.delivery")


class WakeUps:
    """Calls `wake` when any process says that something was accepted. `start` begins, `stop` ends."""

    def __init__(self, settings: NatsSettings, wake: Callable[[], None]) -> None:
        self._settings = settings
        self._wake = wake
        self._said = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def say(self) -> None:
        """Something was accepted. What is said while one is on its way goes with the next."""
        self._said.set()

    def start(self) -> None:
        """From now on, as soon as NATS is there."""
        self._task = asyncio.ensure_future(self._repeat())

    async def stop(self) -> None:
        """Never again."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _repeat(self) -> None:
        while True:
            try:
                await self._connected()
            except Exception as error:
                # Whatever it was: dispatchers look by themselves until it is better.
                _log.warning("no wake-ups over NATS", cause=type(error).__name__)
            await asyncio.sleep(AGAIN_S)

    async def _connected(self) -> None:
        import nats  # an extra, which processes without NATS do without

        gone = asyncio.Event()

        async def lost() -> None:
            gone.set()

        client = await nats.connect(
            self._settings.url, allow_reconnect=False, connect_timeout=int(CALL_S), closed_cb=lost, disconnected_cb=lost
        )
        try:
            await self._relayed(client, gone)
        finally:
            await client.close()

    async def _relayed(self, client: Client, gone: asyncio.Event) -> None:
        from nats.js.api import ConsumerConfig, DeliverPolicy, RetentionPolicy, StreamConfig

        stream = client.jetstream(timeout=CALL_S)
        config = StreamConfig(
            name=self._settings.stream,
            subjects=[self._settings.subject],
            retention=RetentionPolicy.LIMITS,
            max_age=KEPT_FOR_S,
            max_msgs=1000,
        )
        await stream.add_stream(config)

        async def heard(message: Msg) -> None:
            self._wake()
            await message.ack()

        consumer = ConsumerConfig(deliver_policy=DeliverPolicy.NEW)
        await stream.subscribe(self._settings.subject, cb=heard, config=consumer)
        ended = asyncio.ensure_future(gone.wait())
        try:
            while not gone.is_set():
                said = asyncio.ensure_future(self._said.wait())
                await asyncio.wait((said, ended), return_when=asyncio.FIRST_COMPLETED)
                said.cancel()
                if self._said.is_set() and not gone.is_set():
                    self._said.clear()
                    await stream.publish(self._settings.subject, b"")
        finally:
            ended.cancel()
