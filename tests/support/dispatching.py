"""A dispatcher to kill, in a process of its own."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Final

from prometheus_client import CollectorRegistry

from servers.delivery import ENGINE_ID
from servers.delivery.adapter import Declares
from servers.delivery.assembly import DOMAINS
from servers.delivery.dispatcher import Dispatcher
from servers.delivery.keeping import Keeper
from servers.delivery.machine import Rules
from servers.delivery.routes import Routes
from servers.delivery.settings import DispatchSettings
from servers.delivery.shares import Shares
from servers.routing.board import Board, CircuitMetrics
from servers.routing.directory import Directory
from servers.routing.profile import Resolved
from servers.runtime.clock import SystemClock
from servers.runtime.ids import UuidV7Ids
from store import Store
from tests.support.killable import forked
from tests.support.simulators.plain_delivery import BLIND, FINDABLE, KEYED, PlainAdapter
from tests.support.stores import MASTER_KEY, SIGNING_KEY

KINDS: Final[dict[str, Declares]] = {"keyed": KEYED, "findable": FINDABLE, "blind": BLIND}
RULES: Final = Rules(
    call_timeout_s=3.0,
    backoff_s=0.1,
    backoff_max_s=0.5,
    key_margin_s=0.0,
    clock_skew_s=0.0,
    poll_every_s=0.2,
    inconclusive_polls=100,
)
SETTINGS: Final = DispatchSettings(lease_s=4.0, poll_s=0.1, batch=8, concurrency=4)
PROVIDER: Final = "plain/sms"


async def open_store(url: str) -> Store:
    """The test's store by the machine's clock."""
    clock = SystemClock()
    return await Store.open(
        url, clock=clock, ids=UuidV7Ids(clock), signing_key=SIGNING_KEY, master_key=MASTER_KEY, connections=3
    )


async def main(tells: Connection, url: str, provider_url: str, kind: str, name: str) -> None:
    """Dispatch until SIGTERM; `up` is told once that has begun."""
    store = await open_store(url)
    clock = SystemClock()
    board = Board(store, clock, UuidV7Ids(clock), ENGINE_ID, CircuitMetrics(CollectorRegistry()))

    def known(resolved: Resolved) -> None:
        each = {one.provider_ref: one.circuit for domain in DOMAINS for one in resolved.providers(domain)}
        board.know(resolved.profile_hash, each)

    directory = Directory(store, known)
    await directory.refresh()
    adapter = PlainAdapter(PROVIDER, provider_url, KINDS[kind], clock)
    shares = Shares(store, clock, {}, holder=name)
    routes = Routes(
        directory=directory, board=board, adapters={PROVIDER: adapter}, shares=shares, missing=tuple, clock=clock
    )
    dispatcher = Dispatcher(
        store,
        clock,
        routes,
        Keeper(store, clock, RULES),
        RULES,
        SETTINGS,
        holder=f"{name}-{os.getpid()}",
        jitter=lambda: 0.0,
    )
    dispatcher.start()
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    tells.send("up")
    await ended.wait()
    await dispatcher.stop()
    await adapter.close()
    await store.close()


@contextmanager
def dispatchers(url: str, provider_url: str, kind: str, *names: str) -> Iterator[list[BaseProcess]]:
    """Processes that have begun to dispatch; killed at the end."""
    with ExitStack() as running:
        started = [running.enter_context(forked(main, url, provider_url, kind, name)) for name in names]
        for _, told in started:
            assert told.recv() == "up"
        yield [process for process, _ in started]
