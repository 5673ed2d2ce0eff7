"""How much of what is sent may lie open in memory at once."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, field


@dataclass(eq=False, slots=True)
class _Waiting:
    size: int
    let_in: asyncio.Future[None] = field(repr=False)


class Room:
    """Bytes, of which `most` are there. What is larger than that takes all of it. First come, first served."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._free = most
        self._waiting: deque[_Waiting] = deque()

    def enter(self, size: int) -> bool:
        """Take so much at once; False where it is not free, or others wait."""
        size = min(size, self._most)
        if size and (self._waiting or size > self._free):
            return False
        self._free -= size
        return True

    async def entered(self, size: int) -> None:
        """Take so much as soon as it is free."""
        if self.enter(size):
            return
        mine = _Waiting(min(size, self._most), asyncio.get_running_loop().create_future())
        self._waiting.append(mine)
        try:
            await mine.let_in
        except asyncio.CancelledError:
            if mine in self._waiting:
                self._waiting.remove(mine)
                self._admit()
            else:
                self.leave(size)
            raise

    def leave(self, size: int) -> None:
        """Give it back."""
        self._free += min(size, self._most)
        self._admit()

    def _admit(self) -> None:
        while self._waiting and self._waiting[0].size <= self._free:
            one = self._waiting.popleft()
            self._free -= one.size
            if one.let_in.cancelled():
                self._free += one.size
            else:
                one.let_in.set_result(None)
