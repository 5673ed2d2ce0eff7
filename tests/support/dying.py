"""A store whose process dies at a chosen commit: before it, so that nothing was kept, or right after it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from store import Store, Transaction


class Killed(BaseException):
    """The process is gone: nothing in it catches that."""


class Dying(Store):
    """A store, as a process has it that dies at its transaction number `at`, from 1. `passed`: how many it began."""

    def __init__(self, store: Store, at: int, *, committed: bool) -> None:
        self.__dict__.update(vars(store))
        self._at = at
        self._committed = committed
        self.passed = 0

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        self.passed += 1
        at = self.passed
        async with super().transaction() as tx:
            yield tx
            if at == self._at and not self._committed:
                raise Killed
        if at == self._at:
            raise Killed
