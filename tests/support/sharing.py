"""A process that sends over a limited account as fast as it may."""

from __future__ import annotations

import asyncio
from datetime import datetime
from multiprocessing.connection import Connection

from servers.delivery.shares import Shares
from servers.runtime.clock import SystemClock
from tests.support.dispatching import open_store

ACCOUNT = "plain/sms"


class NotingClock(SystemClock):
    """The machine's clock, and what it said last."""

    last = 0.0

    def now(self) -> datetime:
        now = super().now()
        self.last = now.timestamp()
        return now


async def main(tells: Connection, url: str, per_s: float, burst: float, for_s: float, name: str) -> None:
    """Tell of each token when it was used, seconds since the epoch."""
    store = await open_store(url)
    clock = NotingClock()
    shares = Shares(store, clock, {ACCOUNT: (per_s, burst)}, holder=name)
    tells.send(0.0)
    until = clock.monotonic() + for_s
    while clock.monotonic() < until:
        if await shares.admit(ACCOUNT):
            tells.send(clock.last)
        else:
            await _worth_a_try(clock, shares)
    await shares.stop()
    await store.close()


async def _worth_a_try(clock: NotingClock, shares: Shares) -> None:
    """Until it is worth another try."""
    now = clock.now().timestamp()
    await asyncio.sleep(min(0.2, max(0.001, shares.free_at(ACCOUNT, now) - now)))
