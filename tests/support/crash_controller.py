"""A controller to kill, in a process of its own: it does what is due, and stands still within a transaction."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from multiprocessing.connection import Connection

from servers.governance.controller import Controller
from store import Store, Transaction
from tests.support.stores import open_store
from tests.support.time import FakeClock


class Halting(Store):
    """A store, as a process has it that tells of its transaction number `at` before the commit, and never goes on."""

    def __init__(self, store: Store, at: int, tells: Connection) -> None:
        self.__dict__.update(vars(store))
        self._left = at
        self._at = at
        self._tells = tells

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        async with super().transaction() as tx:
            yield tx
            self._left -= 1
            if self._left == 0:
                self._tells.send(self._at)
                await asyncio.Event().wait()


async def main(tells: Connection, url: str, now: datetime, at: int) -> None:
    """Look once."""
    clock = FakeClock(now)
    store = await open_store(url, clock, prefix="killed")
    await Controller(Halting(store, at, tells), clock, every_s=3600).tick()
    await store.close()
