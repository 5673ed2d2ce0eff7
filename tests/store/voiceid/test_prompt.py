from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import datetime, timedelta

import pytest

from store import Store
from tests.support.stores import audit, open_store
from tests.support.time import FakeClock

COOLDOWN = timedelta(seconds=600)


async def claim(store: Store, now: datetime, *, session: bytes = b"s1", device: bytes = b"d1", most: int = 1) -> bool:
    async with store.transaction() as tx:
        claimed = await tx.voiceid.prompts.claim(
            "t1",
            session,
            device,
            session_id=session.decode(),
            device_id=device.decode(),
            max_per_session=most,
            cooldown=COOLDOWN,
            now=now,
        )
        audit(tx)
    return claimed


async def conflicts(store: Store, tenant_id: str, session_id: str) -> Mapping[str, int]:
    return (await store.voiceid.prompts.spent(tenant_id, session_id, "d1")).conflicts


async def after_prompt(store: Store, session_id: str = "s1", device_id: str = "d1") -> int | None:
    return (await store.voiceid.prompts.spent("t1", session_id, device_id)).after_prompt


async def retry(store: Store, now: datetime, session_id: str = "s1", device_id: str = "d1") -> int | None:
    async with store.transaction() as tx:
        spent = await tx.voiceid.prompts.retry("t1", session_id, device_id, now)
        audit(tx)
    return spent


async def test_a_session_may_ask_once(store: Store, clock: FakeClock) -> None:
    assert await claim(store, clock.now())
    clock.advance(2 * COOLDOWN)
    assert not await claim(store, clock.now())


async def test_a_new_session_waits_for_the_cooldown_across_a_restart(store_url: str, clock: FakeClock) -> None:
    store = await open_store(store_url, clock)
    assert await claim(store, clock.now())
    await store.close()
    store = await open_store(store_url, clock, prefix="restarted")
    clock.advance(COOLDOWN - timedelta(microseconds=1))
    assert not await claim(store, clock.now(), session=b"s2")
    clock.advance(timedelta(microseconds=1))
    assert await claim(store, clock.now(), session=b"s2")
    await store.close()


async def test_a_refused_claim_spends_nothing(store: Store, clock: FakeClock) -> None:
    await claim(store, clock.now())
    until = await store.voiceid.prompts.cooldown_until("t1", b"d1")
    assert not await claim(store, clock.now(), session=b"s2")
    assert await store.voiceid.prompts.used("t1", b"s2") == 0
    assert await store.voiceid.prompts.cooldown_until("t1", b"d1") == until


@pytest.mark.parametrize("back", [timedelta(seconds=1), timedelta(hours=1), timedelta(days=365)])
async def test_a_clock_that_goes_backwards_does_not_allow_a_second_prompt(
    store: Store, clock: FakeClock, back: timedelta
) -> None:
    assert await claim(store, clock.now())
    clock.advance(-back)
    assert not await claim(store, clock.now(), session=b"s2")
    assert not await claim(store, clock.now())


async def test_two_servers_cannot_both_ask(store_url: str, clock: FakeClock) -> None:
    stores = [await open_store(store_url, clock, prefix=f"server{number}") for number in range(2)]
    claims = [claim(stores[number % 2], clock.now(), session=b"s%d" % number) for number in range(10)]
    assert sum(await asyncio.gather(*claims)) == 1
    for store in stores:
        await store.close()


async def test_two_servers_spend_one_budget(store_url: str, clock: FakeClock) -> None:
    stores = [await open_store(store_url, clock, prefix=f"server{number}") for number in range(2)]
    claims = [claim(stores[number % 2], clock.now(), device=b"d%d" % number) for number in range(10)]
    assert sum(await asyncio.gather(*claims)) == 1
    for store in stores:
        await store.close()


async def test_a_confirmation_clears_the_cooldown_but_not_the_budget(store: Store, clock: FakeClock) -> None:
    await claim(store, clock.now())
    async with store.transaction() as tx:
        assert await tx.voiceid.prompts.clear_cooldown("t1", b"d1")
        assert not await tx.voiceid.prompts.clear_cooldown("t1", b"d1")
        audit(tx)
    assert not await claim(store, clock.now())
    assert await claim(store, clock.now(), session=b"s2")


async def test_a_budget_of_none_never_asks(sqlite_store: Store, clock: FakeClock) -> None:
    assert not await claim(sqlite_store, clock.now(), most=0)


async def test_other_devices_and_tenants_have_their_own_cooldown(store: Store, clock: FakeClock) -> None:
    assert await claim(store, clock.now())
    assert await claim(store, clock.now(), session=b"s2", device=b"d2")
    async with store.transaction() as tx:
        audit(tx, "t2")
        assert await tx.voiceid.prompts.claim(
            "t2",
            b"s1",
            b"d1",
            session_id="s1",
            device_id="d1",
            max_per_session=1,
            cooldown=COOLDOWN,
            now=clock.now(),
        )


async def test_retries_are_counted_per_conflict_state_and_session(store: Store) -> None:
    async with store.transaction() as tx:
        counts = [
            await tx.voiceid.prompts.count_retry("t1", session, state)
            for session, state in (("s1", "SPOOF_RISK"), ("s1", "SPOOF_RISK"), ("s1", "OVERLAP"), ("s2", "SPOOF_RISK"))
        ]
        audit(tx)
    assert counts == [1, 2, 1, 1]
    assert await conflicts(store, "t1", "s1") == {"SPOOF_RISK": 2, "OVERLAP": 1}


async def test_a_resolved_conflict_starts_over_and_no_other(store: Store) -> None:
    async with store.transaction() as tx:
        for state in ("OVERLAP", "PROFILE", "SPOOF_RISK"):
            await tx.voiceid.prompts.count_retry("t1", "s1", state)
        for tenant_id, session_id in (("t1", "s2"), ("t2", "s1")):
            await tx.voiceid.prompts.count_retry(tenant_id, session_id, "OVERLAP")
        assert await tx.voiceid.prompts.clear_retries("t1", "s1", ["OVERLAP", "OWNER", "PROFILE"]) == 2
        assert await tx.voiceid.prompts.clear_retries("t1", "s1", ["OVERLAP", "OWNER", "PROFILE"]) == 0
        assert await tx.voiceid.prompts.count_retry("t1", "s1", "OVERLAP") == 1
        audit(tx)
        audit(tx, "t2")
    assert await conflicts(store, "t1", "s1") == {"OVERLAP": 1, "SPOOF_RISK": 1}
    assert await conflicts(store, "t1", "s2") == {"OVERLAP": 1}
    assert await conflicts(store, "t2", "s1") == {"OVERLAP": 1}


async def test_a_prompt_waits_for_its_retry_across_a_restart(store_url: str, clock: FakeClock) -> None:
    store = await open_store(store_url, clock)
    assert await after_prompt(store) is None
    assert await retry(store, clock.now()) is None, "nobody was asked"
    assert await claim(store, clock.now())
    assert await after_prompt(store) == 0
    await store.close()
    store = await open_store(store_url, clock, prefix="restarted")
    assert await retry(store, clock.now()) == 1
    await store.close()
    store = await open_store(store_url, clock, prefix="once more")
    assert await after_prompt(store) == 1
    assert await retry(store, clock.now()) == 2
    await store.close()


async def test_of_two_servers_one_has_the_retry(store_url: str, clock: FakeClock) -> None:
    stores = [await open_store(store_url, clock, prefix=f"server{number}") for number in range(2)]
    await claim(stores[0], clock.now())
    spent = await asyncio.gather(*(retry(stores[number % 2], clock.now()) for number in range(10)))
    assert sorted(spent) == list(range(1, 11))
    for store in stores:
        await store.close()


async def test_a_session_that_waits_for_its_retry_is_not_asked_again_whoever_is_meant(
    store: Store, clock: FakeClock
) -> None:
    async def of_somebody(user: bytes) -> bool:
        async with store.transaction() as tx:
            audit(tx)
            return await tx.voiceid.prompts.claim(
                "t1",
                b"budget of " + user,
                b"cooldown of " + user,
                session_id="s1",
                device_id="d1",
                max_per_session=1,
                cooldown=COOLDOWN,
                now=clock.now(),
            )

    assert await of_somebody(b"mia")
    assert not await of_somebody(b"nobody")
    assert await store.voiceid.prompts.used("t1", b"budget of nobody") == 0
    assert await store.voiceid.prompts.cooldown_until("t1", b"cooldown of nobody") is None
    async with store.transaction() as tx:
        audit(tx)
        assert await tx.voiceid.prompts.answered("t1", "s1", "d1", at_most=0)
    assert await of_somebody(b"nobody")


async def test_a_refused_claim_waits_for_no_retry(store: Store, clock: FakeClock) -> None:
    await claim(store, clock.now())
    assert not await claim(store, clock.now(), session=b"s2")
    assert await after_prompt(store, "s2") is None


async def test_only_a_prompt_with_as_many_retries_is_answered(store: Store, clock: FakeClock) -> None:
    await claim(store, clock.now())
    assert await retry(store, clock.now()) == 1
    async with store.transaction() as tx:
        audit(tx)
        assert not await tx.voiceid.prompts.answered("t1", "s1", "d1", at_most=0)
        assert not await tx.voiceid.prompts.answered("t1", "s1", "d2", at_most=1)
        assert not await tx.voiceid.prompts.answered("t1", "s2", "d1", at_most=1)
        assert await tx.voiceid.prompts.answered("t1", "s1", "d1", at_most=1)
    assert await after_prompt(store) is None
