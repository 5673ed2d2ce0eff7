"""Work with the store that nobody may be held up by: one at a time, waited for a moment, finished beside the calls."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Final

STORE_WAIT_S: Final = 0.1


class Beside:
    """Where the last work still runs no other begins: that is left to the next time."""

    def __init__(self) -> None:
        self._task: asyncio.Task[None] | None = None

    async def run(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Wait for a moment. Raises what a work has raised that has ended by then."""
        if self._task is None or self._task.done():
            self._task = asyncio.ensure_future(work())
        await asyncio.wait((self._task,), timeout=STORE_WAIT_S)
        if self._task.done():
            self._task.result()
