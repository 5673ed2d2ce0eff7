"""Who is asked to enrol again is told once, at most once in 72 hours, and not where they have done it (§38.6)."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta

import pytest

from store import Store
from store.voiceid import Asked
from tests.support.stores import audit, open_store
from tests.support.time import FakeClock

INSTANT, HOUR = timedelta(microseconds=1), timedelta(hours=1)
EVERY = 72 * HOUR
QUALITY, MARGIN = 1, 2


async def ask(store: Store, now: datetime, user_id: str = "mira", cause: int = QUALITY, tenant_id: str = "t1") -> None:
    async with store.transaction() as tx:
        await tx.voiceid.reenrollments.ask(tenant_id, user_id, cause, now, EVERY)
        audit(tx, tenant_id)


async def tell(store: Store, now: datetime, user_id: str = "mira", tenant_id: str = "t1") -> Asked | None:
    async with store.transaction() as tx:
        told = await tx.voiceid.reenrollments.tell(tenant_id, user_id, now)
        audit(tx, tenant_id)
    return told


async def lock(store: Store, user_id: str = "mira", tenant_id: str = "t1") -> None:
    """The user enrols, or enrols again, now."""
    async with store.transaction() as tx:
        await tx.voiceid.profiles.lock(
            tenant_id, user_id, embedding=b"e", model_set_hash="h", clip_count=3, voiced_ms=9_000, consent_ref="c-1"
        )
        audit(tx, tenant_id)


async def test_who_is_asked_is_told_once(store: Store, clock: FakeClock) -> None:
    asked_at = clock.now()
    assert await store.voiceid.reenrollments.get("t1", "mira") is None
    assert await tell(store, asked_at) is None
    await ask(store, asked_at, cause=MARGIN)
    assert await store.voiceid.reenrollments.get("t1", "mira") == Asked("mira", MARGIN, asked_at, asked_at, None)
    told = Asked("mira", MARGIN, asked_at, asked_at, asked_at + HOUR)
    assert await tell(store, asked_at + HOUR) == told
    assert await tell(store, asked_at + 2 * HOUR) is None
    assert await store.voiceid.reenrollments.get("t1", "mira") == told


async def test_users_and_tenants_are_told_each_by_themselves(store: Store, clock: FakeClock) -> None:
    await ask(store, clock.now())
    assert await tell(store, clock.now(), "otto") is None
    assert await tell(store, clock.now(), tenant_id="t2") is None
    await ask(store, clock.now(), "otto", MARGIN)
    for user_id, cause in (("mira", QUALITY), ("otto", MARGIN)):
        told = await tell(store, clock.now(), user_id)
        assert told is not None and (told.user_id, told.cause) == (user_id, cause)


@pytest.mark.parametrize(
    ("asked", "told", "is_told"),
    [
        (HOUR, EVERY - INSTANT, False),
        (HOUR, EVERY, True),
        (HOUR, EVERY + INSTANT, True),
        (EVERY - INSTANT, EVERY - INSTANT, False),
        (EVERY - INSTANT, EVERY, True),
        (EVERY, EVERY, True),
        (EVERY + INSTANT, EVERY, False),
        (EVERY + INSTANT, EVERY + INSTANT, True),
    ],
)
async def test_who_was_told_is_told_again_at_the_earliest_72_hours_later(
    store: Store, clock: FakeClock, asked: timedelta, told: timedelta, is_told: bool
) -> None:
    first = clock.now()
    await ask(store, first)
    assert await tell(store, first) is not None
    await ask(store, first + asked)
    again = await tell(store, first + told)
    assert (again is not None) is is_told
    if again is not None:
        assert again.tell_from == max(first + asked, first + EVERY)


async def test_what_was_asked_and_never_told_makes_the_next_wait_for_nothing(store: Store, clock: FakeClock) -> None:
    await ask(store, clock.now(), cause=QUALITY)
    later = clock.now() + HOUR
    await ask(store, later, cause=MARGIN)
    assert await tell(store, later) == Asked("mira", MARGIN, later, later, later)


async def test_a_clock_that_is_behind_tells_nothing_early(store: Store, clock: FakeClock) -> None:
    await ask(store, clock.now())
    assert await tell(store, clock.now() - INSTANT) is None
    assert await tell(store, clock.now()) is not None
    await ask(store, clock.now() - HOUR)
    assert await tell(store, clock.now() + EVERY) is None


@pytest.mark.parametrize(("after", "is_told"), [(-INSTANT, True), (timedelta(0), True), (INSTANT, False)])
async def test_who_has_enrolled_again_since_is_told_nothing(
    store: Store, clock: FakeClock, after: timedelta, is_told: bool
) -> None:
    asked_at = clock.now() + HOUR
    await lock(store)
    await ask(store, asked_at)
    clock.advance(HOUR + after)
    await lock(store)
    await lock(store, "otto")
    await lock(store, tenant_id="t2")
    assert (await tell(store, asked_at + HOUR) is not None) is is_told


async def test_somebody_else_who_enrols_changes_nothing(store: Store, clock: FakeClock) -> None:
    await ask(store, clock.now())
    clock.advance(HOUR)
    await lock(store, "otto")
    await lock(store, tenant_id="t2")
    assert await tell(store, clock.now()) is not None


async def test_who_enrolled_again_is_asked_again_when_drift_asks_again(store: Store, clock: FakeClock) -> None:
    await ask(store, clock.now())
    clock.advance(HOUR)
    await lock(store)
    clock.advance(HOUR)
    await ask(store, clock.now())
    assert await tell(store, clock.now()) is not None


async def test_two_servers_cannot_both_tell(store_url: str, clock: FakeClock) -> None:
    stores = [await open_store(store_url, clock, prefix=f"server{number}") for number in range(2)]
    await ask(stores[0], clock.now())
    told = await asyncio.gather(*(tell(stores[number % 2], clock.now()) for number in range(10)))
    assert sum(one is not None for one in told) == 1
    for store in stores:
        await store.close()


async def test_what_is_undone_was_not_told(store: Store, clock: FakeClock) -> None:
    await ask(store, clock.now())
    with pytest.raises(ZeroDivisionError):
        async with store.transaction() as tx:
            assert await tx.voiceid.reenrollments.tell("t1", "mira", clock.now()) is not None
            raise ZeroDivisionError
    assert await tell(store, clock.now()) is not None


@pytest.mark.parametrize("user_id", ["mira", ""])
async def test_an_erasure_leaves_nothing_of_it(store: Store, clock: FakeClock, user_id: str) -> None:
    for user, tenant_id in (("mira", "t1"), ("otto", "t1"), ("mira", "t2")):
        await ask(store, clock.now(), user, tenant_id=tenant_id)
    async with store.transaction() as tx:
        await tx.voiceid.erasures.erase("t1", user_id)
        audit(tx)
    assert await store.voiceid.reenrollments.get("t1", "mira") is None
    assert (await store.voiceid.reenrollments.get("t1", "otto") is None) is (user_id == "")
    assert await store.voiceid.reenrollments.get("t2", "mira") is not None
