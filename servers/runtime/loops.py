"""What a process does again and again beside its calls."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from servers.runtime.logging import raised
from store import StoreError

_log = structlog.get_logger("selene.loops")


async def repeat(work: Callable[[], Awaitable[object]], every_s: float, complaint: str) -> None:
    """Do the work, wait, and do it again, until cancelled. Whatever goes wrong is told, and the next round comes."""
    while True:
        try:
            await work()
        except StoreError as error:
            _log.error(complaint, cause=type(error).__name__)
        except Exception as error:
            _log.error(complaint, **raised(error))
        await asyncio.sleep(every_s)
