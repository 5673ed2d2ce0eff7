"""Many small changes in few transactions: whoever comes while one is written goes with the next."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from store import StoreUnavailable

I = TypeVar("I")  # noqa: E741  # what comes in
O = TypeVar("O")  # noqa: E741  # what comes out


class Batches(Generic[I, O]):
    """`write` is given up to `at_most` items and gives one outcome each; what it raises befalls all of them. Where that
    is not the store's being away, each is written alone, so that none is refused for another's sake.
    """

    def __init__(self, write: Callable[[Sequence[I]], Awaitable[Sequence[O]]], at_most: int) -> None:
        self._write = write
        self._at_most = at_most
        self._waiting: list[tuple[I, asyncio.Future[O]]] = []
        self._task: asyncio.Task[None] | None = None

    async def put(self, item: I) -> O:
        """The outcome, once it is durable. An item whose caller has gone is written all the same."""
        future: asyncio.Future[O] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future))
        if self._task is None:
            self._task = asyncio.ensure_future(self._drain())
        return await future

    async def _drain(self) -> None:
        # Whoever is ready to run puts its item first.
        await asyncio.sleep(0)
        while self._waiting:
            batch = self._waiting[: self._at_most]
            del self._waiting[: len(batch)]
            await self._written(batch)
        self._task = None

    async def _written(self, batch: Sequence[tuple[I, asyncio.Future[O]]]) -> None:
        try:
            outcomes = await self._write([item for item, _ in batch])
        except Exception as error:
            if len(batch) > 1 and not isinstance(error, StoreUnavailable):
                for each in batch:
                    await self._written([each])
                return
            for _, future in batch:
                if not future.done():
                    future.set_exception(error)
            return
        for (_, future), outcome in zip(batch, outcomes, strict=True):
            if not future.done():
                future.set_result(outcome)
