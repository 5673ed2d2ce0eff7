"""What routed calls say to learning: who had to go on for whom, kept with the call's own audit rows."""

from __future__ import annotations

from functools import partial

import pytest
from selene.learning.v1 import signal_pb2 as nouns
from selene.routing.v1.routing_pb2 import CIRCUIT_STATE_CLOSED

from servers.routing.recorder import Beside
from servers.routing.signals import leave
from servers.runtime.errors import Refusal
from servers.runtime.signals import Producer
from store import Store
from tests.support.routed import FIRST, SECOND, THIRD, Bench, bench, fails, llm_profile, says
from tests.support.stores import audit
from tests.support.time import FakeClock

BROKEN = fails("PROVIDER_UNAVAILABLE")


async def left(made: Bench) -> list[nouns.LearningSignal]:
    """What waits for learning, once everything was written."""
    await made.recorder.flush()
    async with made.store.transaction() as tx:
        audit(tx, "t1")
        return [one.signal for one in await tx.learning.outbox.take(100)]


def to_learning(*tenants: str) -> Beside:
    return partial(leave, Producer("PH1.D", frozenset(tenants)))


async def test_a_failover_is_a_signal_of_why_and_of_who_served(sqlite_store: Store, clock: FakeClock) -> None:
    made = await bench(sqlite_store, clock, [BROKEN], [says("second")], beside=to_learning("t1"))
    await made.finished()
    [one] = await left(made)
    assert (one.signal_class, one.reason_code) == (nouns.SIGNAL_CLASS_FAILOVER, "PROVIDER_UNAVAILABLE")
    assert (one.source_engine_id, one.input_ref, one.output_ref) == ("PH1.D", "call:r-1", f"provider:{SECOND}")
    assert (one.user_id, one.correlation_id, one.turn_id) == ("anonymous", "c-1", "turn-1")
    assert "mira" not in str(one)


async def test_serving_in_place_of_a_first_choice_whose_circuit_is_open_is_a_fallback(
    sqlite_store: Store, clock: FakeClock
) -> None:
    made = await bench(sqlite_store, clock, [BROKEN], beside=to_learning("t1"))
    while made.state() == CIRCUIT_STATE_CLOSED:
        await made.finished()
        await made.refresh()
    await left(made)
    await made.finished()
    [one] = await left(made)
    assert (one.signal_class, one.reason_code) == (nouns.SIGNAL_CLASS_FALLBACK, "CIRCUIT_OPEN")
    assert one.output_ref == f"provider:{SECOND}"


async def test_a_first_choice_that_nobody_configured_is_none(sqlite_store: Store, clock: FakeClock) -> None:
    made = await bench(sqlite_store, clock, unconfigured=[FIRST], beside=to_learning("t1"))
    await made.finished()
    assert await left(made) == []


async def test_a_call_that_the_first_choice_served_says_nothing(sqlite_store: Store, clock: FakeClock) -> None:
    profile = llm_profile(max_retries=1)
    made = await bench(sqlite_store, clock, [says("a"), BROKEN, says("b")], profile=profile, beside=to_learning("t1"))
    await made.finished()
    await made.finished()
    assert await left(made) == []


async def test_a_call_that_nobody_served_says_nothing(sqlite_store: Store, clock: FakeClock) -> None:
    made = await bench(sqlite_store, clock, [BROKEN], [BROKEN], beside=to_learning("t1"))
    made.providers[THIRD].now(BROKEN)
    with pytest.raises(Refusal):
        await made.finished()
    assert await left(made) == []


async def test_the_calls_of_a_tenant_that_does_not_consent_say_nothing(sqlite_store: Store, clock: FakeClock) -> None:
    made = await bench(sqlite_store, clock, [BROKEN], beside=to_learning("t2"))
    await made.finished()
    assert await left(made) == []
