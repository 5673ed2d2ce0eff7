"""A drainer of what engines left, to kill, in a process of its own: it stands still before a commit, or after it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Coroutine
from datetime import datetime
from multiprocessing.connection import Connection
from typing import Any, Final, TypeVar

from servers.learning.capturing import Rules, drain
from servers.learning.settings import IntakeSettings
from store import Store, Transaction
from tests.support.stores import open_store
from tests.support.time import FakeClock

T = TypeVar("T")

DONE: Final = 0
"""Told where there was nothing left before the boundary was reached."""


class Halting(Store):
    """A store, as a process has it that tells of its boundary number `at`, from 1, and never goes on.

    Every transaction has two: one before its commit, one after it.
    """

    def __init__(self, store: Store, at: int, tells: Connection) -> None:
        self.__dict__.update(vars(store))
        self._at = at
        self._passed = 0
        self._tells = tells

    async def perform(self, work: Callable[[Transaction], Coroutine[Any, Any, T]]) -> T:
        async def halting(tx: Transaction) -> T:
            result = await work(tx)
            self._boundary()
            return result

        result = await super().perform(halting)
        self._boundary()
        return result

    def _boundary(self) -> None:
        self._passed += 1
        if self._passed == self._at:
            self._tells.send(self._at)
            threading.Event().wait()


async def main(tells: Connection, url: str, now: datetime, at: int) -> None:
    """Take on everything that is left."""
    store = await open_store(url, FakeClock(now), prefix="killed")
    halting, rules = Halting(store, at, tells), Rules(IntakeSettings().limits())
    while await drain(halting, rules):
        pass
    await store.close()
    tells.send(DONE)
