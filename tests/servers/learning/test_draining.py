"""A drainer that is killed before or after any commit: what engines left is taken on once, whoever goes on with it."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from servers.learning.capturing import AT_ONCE, Rules, drain
from servers.learning.settings import IntakeSettings
from store import Store
from tests.support import crash_drainer
from tests.support.crash_drainer import DONE
from tests.support.killable import forked, told
from tests.support.signals import EPOCH, signal
from tests.support.stores import DIALECTS, Postgres, audit, migrated_sqlite, open_store
from tests.support.time import FakeClock

TENANTS = ("t1", "t2")
LEFT = AT_ONCE + 40
"""Two batches."""
KNOWN_BEFORE, LATE = 7, 11
"""The one was captured over the wire already, the other breaks a rule."""
MOST_BOUNDARIES = 30
RULES = Rules(IntakeSettings().limits())


@dataclass(frozen=True)
class Outcome:
    """What is left of it all: the signals of each tenant in their order, and how often the trail tells of what."""

    signals: dict[str, list[str]]
    unproved: list[int | None]
    told: Counter[tuple[str, str, str]]


@dataclass(frozen=True)
class Begun:
    """A store with everything left, of which there are as many copies as are wanted."""

    copy: Callable[[], str]
    is_deserted: Callable[[str], bool]


async def leave(url: str) -> None:
    """Engines leave signals of both tenants by turns, one of them twice known and one of them without consent."""
    store = await open_store(url, FakeClock(EPOCH), prefix="left")
    left = [signal(str(number), tenant=TENANTS[number % 2], idempotency_key=f"k-{number}") for number in range(LEFT)]
    left[LATE].consent_asserted = False
    async with store.transaction() as tx:
        await tx.learning.outbox.put([left[KNOWN_BEFORE]])
        audit(tx)
    assert await drain(store, RULES) == 1
    async with store.transaction() as tx:
        await tx.learning.outbox.put(left)
        audit(tx)
    await store.close()


async def outcome(store: Store) -> Outcome:
    """As the store has it."""
    found: dict[str, list[str]] = {}
    told_of: Counter[tuple[str, str, str]] = Counter()
    for tenant in TENANTS:
        rows = await store.learning.signals.between(tenant, 1, LEFT + 1)
        found[tenant] = [row.signal.signal_id for row in rows]
        async for chained in store.audit.stream(tenant):
            told_of[tenant, chained.event.transition, chained.event.reason_code] += 1
        assert (await store.verify(tenant)).ok
    return Outcome(found, [await store.learning.signals.first_unproved(tenant) for tenant in TENANTS], told_of)


async def drained(url: str) -> Outcome:
    """What comes of it where the next process takes on what is left."""
    store = await open_store(url, FakeClock(EPOCH), prefix="next")
    try:
        while await drain(store, RULES):
            pass
        assert not await store.learning.outbox.waiting()
        return await outcome(store)
    finally:
        await store.close()


@pytest.fixture(scope="module", params=DIALECTS)
def begun(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Begun]:
    """The moment before the first look, once per dialect."""
    numbers = itertools.count(1)
    if request.param == "sqlite":
        folder = tmp_path_factory.mktemp("left")
        path = folder / "left.db"
        path.write_bytes(migrated_sqlite())
        asyncio.run(leave(f"sqlite:///{path}"))

        def copied() -> str:
            to: Path = folder / f"left-{next(numbers)}.db"
            to.write_bytes(path.read_bytes())
            return f"sqlite:///{to}"

        yield Begun(copied, lambda _: True)
        return
    postgres: Postgres = request.getfixturevalue("postgres")
    made = postgres.fresh()
    asyncio.run(leave(made.url))
    names: dict[str, str] = {}

    def copy() -> str:
        name = f"{made.name}_{next(numbers)}"
        url = postgres.create(name, template=made.name)
        names[url] = name
        return url

    yield Begun(copy, lambda url: postgres.is_deserted(names[url]))


async def deserted(begun: Begun, url: str) -> None:
    """Returns once the database holds nothing of who was killed."""
    for _ in range(500):
        if begun.is_deserted(url):
            return
        await asyncio.sleep(0.02)
    raise AssertionError("the database still holds who was killed")


async def test_a_drainer_that_is_killed_around_any_commit_loses_nothing_and_takes_nothing_twice(begun: Begun) -> None:
    undisturbed = await drained(begun.copy())
    every = {f"signal-{number}" for number in range(LEFT)} - {f"signal-{LATE}"}
    assert sorted(itertools.chain(*undisturbed.signals.values())) == sorted(every)
    assert undisturbed.unproved == [None, None]

    for at in range(1, MOST_BOUNDARIES):
        url = begun.copy()
        with forked(crash_drainer.main, url, EPOCH, at) as (process, tells):
            reached = await asyncio.to_thread(next, told(tells))
            process.kill()
            await asyncio.to_thread(process.join)
        await deserted(begun, url)
        assert await drained(url) == undisturbed, at
        if reached == DONE:
            assert at > 2 * (LEFT // AT_ONCE + 1), "the enumeration ended before every batch was taken on"
            return
    raise AssertionError("the enumeration has no end")
