"""What is kept for a time only goes when it is over, oldest first, in batches, and nothing goes before."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest
from selene.governance.v1.rollout_pb2 import ARM_CANDIDATE
from sqlalchemy import func, select

from store import Store, UnauditedChange
from store.retention import BATCH, Kept
from store.routing import CallObservation
from store.schema import idempotency
from store.voiceid import Observation
from tests.support.stores import audit, open_store
from tests.support.time import FakeClock

TICK = timedelta(microseconds=1)
HASH = bytes(32)


async def use_key(store: Store, key: str) -> bytes | None:
    """Asks for the key's first answer, and gives it one where there is none."""
    async with store.transaction() as tx:
        earlier = await tx.idempotent("t1", "/m", key, HASH)
        if earlier is None:
            await tx.remember("t1", "/m", key, b"reply")
            audit(tx)
    return earlier


async def ask(store: Store, session: bytes, clock: FakeClock, *, device: bytes = b"d1") -> bool:
    async with store.transaction() as tx:
        granted = await tx.voiceid.prompts.claim(
            "t1",
            session,
            device,
            session_id=session.decode(),
            device_id=device.decode(),
            max_per_session=1,
            cooldown=timedelta(seconds=600),
            now=clock.now(),
        )
        audit(tx)
    return granted


async def retry(store: Store, session: str) -> None:
    async with store.transaction() as tx:
        await tx.voiceid.prompts.count_retry("t1", session, "OVERLAP")
        audit(tx)


async def go_on(store: Store, stream_id: str, through: int) -> None:
    async with store.transaction() as tx:
        await tx.learning.streams.advance("t1", stream_id, through)
        audit(tx)


async def remove(store: Store, clock: FakeClock, at_most: int = BATCH) -> Mapping[str, int]:
    async with store.transaction() as tx:
        removed = await tx.retention.remove(Kept(), clock.now(), at_most)
        if removed:
            audit(tx)
    return removed


async def test_an_idempotency_key_answers_for_seven_days(store: Store, clock: FakeClock) -> None:
    assert await use_key(store, "k1") is None
    clock.advance(timedelta(days=7))
    assert await remove(store, clock) == {}
    assert await use_key(store, "k1") == b"reply"
    clock.advance(TICK)
    assert await remove(store, clock) == {"idempotency": 1}
    assert await use_key(store, "k1") is None


async def test_a_prompt_budget_stays_spent_for_seven_days_and_its_cooldown_for_one_after_it_ended(
    store: Store, clock: FakeClock
) -> None:
    assert await ask(store, b"s1", clock)
    clock.advance(timedelta(days=1, seconds=600))
    assert await remove(store, clock) == {}
    clock.advance(TICK)
    assert await remove(store, clock) == {"prompt_cooldowns": 1}
    assert not await ask(store, b"s1", clock), "the session has had its prompt"
    clock.advance(timedelta(days=6) - timedelta(seconds=600))
    assert await remove(store, clock) == {"prompt_budgets": 1, "prompt_retries": 1}
    assert await store.voiceid.prompts.used("t1", b"s1") == 0
    assert (await store.voiceid.prompts.spent("t1", "s1", "d1")).after_prompt is None


async def test_a_retry_is_forgotten_a_day_after_the_last_one(store: Store, clock: FakeClock) -> None:
    await retry(store, "s1")
    clock.advance(timedelta(hours=20))
    await retry(store, "s1")
    await retry(store, "s2")
    clock.advance(timedelta(days=1))
    assert await remove(store, clock) == {}
    assert (await store.voiceid.prompts.spent("t1", "s1", "d1")).conflicts == {"OVERLAP": 2}
    clock.advance(TICK)
    assert await remove(store, clock) == {"conflict_retries": 2}
    assert (await store.voiceid.prompts.spent("t1", "s1", "d1")).conflicts == {}


async def test_a_stream_of_signals_can_be_resumed_for_thirty_days_since_it_last_went_on(
    store: Store, clock: FakeClock
) -> None:
    for name, through in (("old", 5), ("phone", 7)):
        await go_on(store, name, through)
    clock.advance(timedelta(days=29))
    await go_on(store, "phone", 8)
    clock.advance(timedelta(days=1))
    assert await remove(store, clock) == {}
    clock.advance(TICK)
    assert await remove(store, clock) == {"signal_streams": 1}
    assert [await store.learning.streams.position("t1", name) for name in ("old", "phone")] == [0, 8]
    async with store.transaction() as tx:
        assert await tx.retention.remove(Kept(signal_streams=timedelta(days=1)), clock.now()) == {"signal_streams": 1}
        audit(tx)


async def test_what_decisions_and_calls_add_to_windows_is_kept_for_seven_days(store: Store, clock: FakeClock) -> None:
    seen: dict[str, Any] = {
        "tenant_id": "t1",
        "rollout_id": "r1",
        "arm": ARM_CANDIDATE,
        "at": clock.now(),
        "latency_us": 1,
    }
    of_decision: dict[str, Any] = {
        "stream_id": "s1",
        "session_id": "s1",
        "cohort": {},
        "named_user_id": "",
        "accepted": False,
    }
    asking: dict[str, Any] = {"conflict_state": 0, "prompt_key": b"", "prompted": False, "asked": False}
    of_call: dict[str, Any] = {
        "owner": "PH1.D",
        "call_id": "c1",
        "locale": "",
        "cost_micros": 0,
        "outputs": 1,
        "schema_valid": 1,
    }
    ended: dict[str, Any] = {"policy_conflicts": 0, "failed": False, "timed_out": False, "fell_back": False}
    async with store.transaction() as tx:
        await tx.voiceid.observations.add([Observation(**seen, **of_decision, **asking)])
        await tx.routing.calls.add([CallObservation(**seen, **of_call, **ended)])
        audit(tx)
    clock.advance(timedelta(days=7))
    assert await remove(store, clock) == {}
    clock.advance(TICK)
    assert await remove(store, clock) == {"observations": 1, "call_observations": 1}


async def test_a_batch_is_bounded_over_all_kinds_and_takes_the_oldest_first(store: Store, clock: FakeClock) -> None:
    for number in range(5):
        await use_key(store, f"k{number}")
        clock.advance(timedelta(seconds=1))
    for number in range(3):
        await retry(store, f"s{number}")
    clock.advance(timedelta(days=8))
    assert await remove(store, clock, at_most=2) == {"idempotency": 2}
    left = await count_and_oldest(store)
    assert left == (3, "k2")
    assert await remove(store, clock, at_most=4) == {"idempotency": 3, "conflict_retries": 1}
    assert await remove(store, clock, at_most=4) == {"conflict_retries": 2}
    assert await remove(store, clock, at_most=4) == {}


async def test_two_servers_that_remove_at_once_remove_each_row_once(store_url: str, clock: FakeClock) -> None:
    stores = [await open_store(store_url, clock, prefix=f"server{number}") for number in range(2)]
    for number in range(20):
        await use_key(stores[0], f"k{number}")
    clock.advance(timedelta(days=8))
    removed = await asyncio.gather(*(remove(store, clock) for store in stores))
    assert sum(counts.get("idempotency", 0) for counts in removed) == 20
    for store in stores:
        await store.close()


async def test_removing_without_an_audit_row_is_refused(store: Store, clock: FakeClock) -> None:
    await use_key(store, "k1")
    clock.advance(timedelta(days=8))
    with pytest.raises(UnauditedChange):
        async with store.transaction() as tx:
            await tx.retention.remove(Kept(), clock.now())
    assert await use_key(store, "k1") == b"reply"


async def count_and_oldest(store: Store) -> tuple[int, str]:
    async with store.transaction() as tx:
        (row,) = await tx.rows(select(func.count().label("n"), func.min(idempotency.c.key).label("key")))
    return row.n, row.key
