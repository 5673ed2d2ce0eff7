"""Processes for a test to kill or to stop, forked from one that has imported everything: to import costs far more than
most of them do.
"""

from __future__ import annotations

import asyncio
import multiprocessing
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any, Final

_FORKS: Final = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(
    [
        f"tests.support.{name}"
        for name in (
            "dispatching",
            "crash_dispatcher",
            "crash_controller",
            "crash_drainer",
            "crash_router",
            "sharing",
        )
    ]
)

Main = Callable[..., Coroutine[Any, Any, None]]
"""What a process does; its first argument is the connection over which it tells the test of it."""


@contextmanager
def forked(main: Main, *arguments: Any) -> Iterator[tuple[BaseProcess, Connection]]:
    """A process and what it tells; killed at the end."""
    told, tells = _FORKS.Pipe(duplex=False)
    process = _FORKS.Process(target=_run, args=(main, tells, *arguments))
    process.start()
    tells.close()
    try:
        yield process, told
    finally:
        process.kill()
        process.join()
        told.close()


def told(connection: Connection) -> Iterator[Any]:
    """What a process tells until it is gone; what it was in the middle of telling, it did not tell."""
    with suppress(EOFError, ConnectionResetError):
        while True:
            yield connection.recv()


def _run(main: Main, *arguments: Any) -> None:
    asyncio.run(main(*arguments))
