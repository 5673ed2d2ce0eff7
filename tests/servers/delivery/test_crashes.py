"""A crash at every boundary, enumerated: whatever a process was doing, its successor sends nothing twice (DLV-2).

On SQLite and on PostgreSQL; each boundary has a delivery of its own, in one store and over the same two providers.

The judge is the providers' own ledger. `FIRST` is what the first provider does with its first request; the second
provider takes everything it is given.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import pytest
from selene.delivery.v1.delivery_pb2 import (
    DELIVERY_STATE_FAILED_DEFINITE,
    DELIVERY_STATE_SENT_ACKED,
    DELIVERY_STATE_UNKNOWN,
)

from servers.delivery.adapter import Declares
from servers.delivery.machine import Delivery, Rules
from servers.runtime.clock import ManualClock
from servers.runtime.ids import SeededIds
from store import Store
from tests.support.crashing import Fate, House, house
from tests.support.deliveries import TENANT, profile, text
from tests.support.simulators.plain_delivery import BLIND, FINDABLE, KEYED, Act, PlainAdapter, Provider, provider
from tests.support.stores import MASTER_KEY, SIGNING_KEY

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
RULES = Rules(backoff_s=5.0, backoff_max_s=20.0, inconclusive_polls=2, poll_max_s=60.0, clock_skew_s=1.0)
KINDS = {"keyed": KEYED, "findable": FINDABLE, "blind": BLIND}
FIRST = [
    *((kind, act) for kind in KINDS for act in (Act.TAKE, Act.TAKE_AND_LOSE_REPLY, Act.RESET)),
    ("keyed", Act.BUSY),
    ("blind", Act.RECIPIENT_INVALID),
]
STILL = [("keyed", Act.TAKE_AND_LOSE_REPLY), ("findable", Act.RESET), ("findable", Act.TAKE), ("blind", Act.TAKE)]
PROFILE = profile("first/sms", "second/sms")
MOST_BOUNDARIES = 60


class World:
    """Two providers, a store, and house after house over them: each has a boundary of its own to die at."""

    def __init__(
        self, store: Store, clock: ManualClock, providers: tuple[Provider, Provider], declares: Declares
    ) -> None:
        self.store = store
        self.clock = clock
        self.providers = providers
        refs = ("first/sms", "second/sms")
        self.adapters = [
            PlainAdapter(ref, each.url, declares, clock) for ref, each in zip(refs, providers, strict=True)
        ]

    @asynccontextmanager
    async def house(self, act: Act) -> AsyncIterator[House]:
        """A house in which nothing happened yet; the first provider does this with its first request."""
        first, _ = self.providers
        first.script.clear()
        first.plan(act)
        async with house(self.store, self.clock, self.adapters, PROFILE, RULES) as made:
            yield made

    def judge(self, there: House, ids: list[str], found: list[Delivery]) -> None:
        """At most one acceptance a key over all providers, and what is said of each delivery is true."""
        accepted = Counter(key for each in self.providers for key in each.accepted)
        assert all(times == 1 for times in accepted.values()), accepted
        assert there.late == [], "an adapter was called after the time that was kept with the attempt"
        assert [delivery.delivery_id for delivery in found] == ids
        for delivery in found:
            if delivery.state == DELIVERY_STATE_SENT_ACKED:
                assert accepted[delivery.delivery_id] == 1
            elif delivery.state == DELIVERY_STATE_FAILED_DEFINITE:
                assert accepted[delivery.delivery_id] == 0
            else:
                assert delivery.state == DELIVERY_STATE_UNKNOWN


@asynccontextmanager
async def world(url: str, declares: Declares) -> AsyncIterator[World]:
    clock = ManualClock(START)
    store = await Store.open(url, clock=clock, ids=SeededIds(1), signing_key=SIGNING_KEY, master_key=MASTER_KEY)
    keyed = declares.key_window_s is not None
    async with provider(keyed=keyed) as first, provider(keyed=keyed) as second:
        made = World(store, clock, (first, second), declares)
        yield made
        for adapter in made.adapters:
            await adapter.close()
    await store.close()


@pytest.mark.parametrize(("kind", "act"), FIRST, ids=str)
async def test_nothing_goes_out_twice_wherever_a_process_dies(store_url: str, kind: str, act: Act) -> None:
    async with world(store_url, KINDS[kind]) as there:
        for at in range(1, MOST_BOUNDARIES):
            async with there.house(act) as home:
                ids = await home.accept(text(f"m{at}"))
                fate = Fate(at)
                died = await home.run_until(await home.process(fate), fate)
                there.judge(home, ids, await home.settle(await home.process(), TENANT, ids))
            if not died:
                assert at > 4, "the enumeration ended before anything was sent"
                return
    raise AssertionError("the enumeration has no end")


@pytest.mark.parametrize(("kind", "act"), STILL, ids=str)
async def test_nothing_goes_out_twice_wherever_a_process_stands_still_past_its_lease(
    store_url: str, kind: str, act: Act
) -> None:
    async with world(store_url, KINDS[kind]) as there:
        for at in range(1, MOST_BOUNDARIES):
            async with there.house(act) as home:
                ids = await home.accept(text(f"m{at}"))
                fate = Fate(at)
                zombie = await home.process(fate)
                stood = await home.run_until(zombie, fate)
                await home.settle(await home.process(), TENANT, ids)
                fate.go_on()
                await asyncio.wait_for(zombie.quiet(), 10)
                there.judge(home, ids, await home.settle(await home.process(), TENANT, ids))
            if not stood:
                return
    raise AssertionError("the enumeration has no end")
