"""Processes over one account of a provider, and one whose store is away."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, cast

from servers.delivery.shares import AWAY_S, Shares
from servers.runtime.storage import SYSTEM_TENANT
from store import Store, StoreUnavailable, Unavailability
from tests.servers.delivery.test_rates import exceeded
from tests.support.killable import forked, told
from tests.support.sharing import ACCOUNT, main
from tests.support.time import FakeClock

PER_S, BURST = 40.0, 4.0


async def test_two_processes_never_exceed_the_rate_of_an_account_and_each_gets_some(postgres_url: str) -> None:
    with (
        forked(main, postgres_url, PER_S, BURST, 1.5, "a") as (_, of_a),
        forked(main, postgres_url, PER_S, BURST, 1.5, "b") as (_, of_b),
    ):
        assert of_a.recv() == of_b.recv() == 0.0
        by_a, by_b = list(told(of_a)), list(told(of_b))
    assert exceeded([*by_a, *by_b], PER_S, BURST) == []
    assert by_a
    assert by_b
    assert len(by_a) + len(by_b) > 2 * BURST


class AwayStore:
    """It answers no change while it is away."""

    def __init__(self, store: Store) -> None:
        self.away = False
        self._store = store

    async def perform(self, work: Any) -> Any:
        if self.away:
            raise StoreUnavailable(Unavailability.UNAVAILABLE, "away")
        return await self._store.perform(work)


async def test_nothing_is_sent_over_a_limited_account_while_the_store_is_away(
    sqlite_store: Store, clock: FakeClock
) -> None:
    store = AwayStore(sqlite_store)
    shares = Shares(cast(Store, store), clock, {ACCOUNT: (1.0, 1.0)}, holder="a")
    store.away = True
    assert not await shares.admit(ACCOUNT)
    now = clock.now().timestamp()
    assert shares.free_at(ACCOUNT, now) == now + AWAY_S
    assert await shares.admit("unlimited/sms")
    store.away = False
    assert not await shares.admit(ACCOUNT)
    clock.advance(timedelta(seconds=AWAY_S))
    assert await shares.admit(ACCOUNT)
    assert not await shares.admit(ACCOUNT)
    await shares.stop()


async def test_a_share_that_is_left_over_is_free_for_others_once_its_holder_stops(
    sqlite_store: Store, clock: FakeClock
) -> None:
    one, other = (Shares(sqlite_store, clock, {ACCOUNT: (1.0, 1.0)}, holder=name) for name in "ab")
    assert await one.admit(ACCOUNT)
    assert not await other.admit(ACCOUNT)
    await one.stop()
    clock.advance(timedelta(seconds=1))
    assert await other.admit(ACCOUNT)
    await other.stop()
    facts = [
        {fact.name: fact.value for fact in row.event.facts} for row in await sqlite_store.audit.page(SYSTEM_TENANT)
    ]
    assert [(each["holder"], each["used"], each["share"]) for each in facts] == [
        ("a", "0", "1"),
        ("a", "1", "0"),
        ("b", "0", "1"),
        ("b", "1", "0"),
    ]
