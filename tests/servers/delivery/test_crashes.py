"""A crash at every boundary, enumerated: whatever a process was doing, its successor sends nothing twice (DLV-2).

The judge is the providers' own ledger. `FIRST` is what the first provider does with its first request; the second
provider takes everything it is given.
"""

from __future__ import annotations

import asyncio
import shutil
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from selene.delivery.v1.delivery_pb2 import (
    DELIVERY_STATE_FAILED_DEFINITE,
    DELIVERY_STATE_SENT_ACKED,
    DELIVERY_STATE_UNKNOWN,
)

from servers.delivery.adapter import Declares
from servers.delivery.machine import Delivery, Rules
from servers.runtime.clock import Clock, ManualClock
from servers.runtime.ids import SeededIds
from store import Store
from tests.support.crashing import Fate, House, house, seed_profile
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
    """Two providers and a house between them."""

    def __init__(self, house_: House, providers: tuple[Provider, Provider]) -> None:
        self.house = house_
        self.providers = providers

    def judge(self, ids: list[str], there: list[Delivery]) -> None:
        """At most one acceptance a key over all providers, and what is said of each delivery is true."""
        accepted = Counter(key for each in self.providers for key in each.accepted)
        assert all(accepted[each] <= 1 for each in ids), accepted
        assert self.house.late == [], "an adapter was called after the time that was kept with the attempt"
        for delivery in there:
            if delivery.state == DELIVERY_STATE_SENT_ACKED:
                assert accepted[delivery.delivery_id] == 1
            elif delivery.state == DELIVERY_STATE_FAILED_DEFINITE:
                assert accepted[delivery.delivery_id] == 0
            else:
                assert delivery.state == DELIVERY_STATE_UNKNOWN


async def opened(file: Path, clock: Clock, ids: int = 1) -> Store:
    return await Store.open(
        f"sqlite:///{file}", clock=clock, ids=SeededIds(ids), signing_key=SIGNING_KEY, master_key=MASTER_KEY
    )


@asynccontextmanager
async def world(template: Path, folder: Path, declares: Declares, act: Act) -> AsyncIterator[World]:
    file = folder / "selene.db"
    shutil.copy(template, file)
    clock = ManualClock(START)
    store = await opened(file, clock)
    keyed = declares.key_window_s is not None
    async with provider(keyed=keyed) as first, provider(keyed=keyed) as second:
        first.plan(act)
        adapters = [
            PlainAdapter("first/sms", first.url, declares, clock),
            PlainAdapter("second/sms", second.url, declares, clock),
        ]
        async with house(store, clock, adapters, PROFILE, RULES) as made:
            yield World(made, (first, second))
        for adapter in adapters:
            await adapter.close()
    await store.close()


@pytest.fixture(scope="module")
def template(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with a profile to copy."""
    file = tmp_path_factory.mktemp("crashes") / "template.db"
    shutil.copy(sqlite_template, file)

    async def fill() -> None:
        store = await opened(file, ManualClock(START), ids=2)
        await seed_profile(store, PROFILE)
        await store.close()

    asyncio.run(fill())
    return file


@pytest.mark.parametrize(("kind", "act"), FIRST, ids=str)
async def test_nothing_goes_out_twice_wherever_a_process_dies(
    template: Path, tmp_path: Path, kind: str, act: Act
) -> None:
    for at in range(1, MOST_BOUNDARIES):
        folder = tmp_path / str(at)
        folder.mkdir()
        async with world(template, folder, KINDS[kind], act) as there:
            ids = await there.house.accept(text("m1"))
            fate = Fate(at)
            died = await there.house.run_until(await there.house.process(fate), fate)
            there.judge(ids, await there.house.settle(await there.house.process(), TENANT, ids))
        if not died:
            assert at > 4, "the enumeration ended before anything was sent"
            return
    raise AssertionError("the enumeration has no end")


@pytest.mark.parametrize(("kind", "act"), STILL, ids=str)
async def test_nothing_goes_out_twice_wherever_a_process_stands_still_past_its_lease(
    template: Path, tmp_path: Path, kind: str, act: Act
) -> None:
    for at in range(1, MOST_BOUNDARIES):
        folder = tmp_path / str(at)
        folder.mkdir()
        async with world(template, folder, KINDS[kind], act) as there:
            ids = await there.house.accept(text("m1"))
            fate = Fate(at)
            zombie = await there.house.process(fate)
            stood = await there.house.run_until(zombie, fate)
            await there.house.settle(await there.house.process(), TENANT, ids)
            fate.go_on()
            await asyncio.wait_for(zombie.quiet(), 10)
            there.judge(ids, await there.house.settle(await there.house.process(), TENANT, ids))
        if not stood:
            return
    raise AssertionError("the enumeration has no end")
