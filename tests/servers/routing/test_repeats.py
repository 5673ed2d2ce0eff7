"""What the idempotency key of a routed call does, on both databases: it is served once, and charged once."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from selene.routing.v1.routing_pb2 import DOMAIN_LLM
from selene.routing.v1.service_pb2 import BUDGET_PERIOD_DAY

from servers.routing import repeats
from servers.routing.router import RoutedCall
from servers.runtime.errors import Refusal, reason_name
from store import Store, StoreUnavailable, Transaction, Unavailability
from store.routing import Budget, Key, Quota
from tests.support.routed import FIRST, Asking, Bench, bench, facts, fails, hangs, put, says
from tests.support.time import FakeClock

DAILY = Key("t1", DOMAIN_LLM, BUDGET_PERIOD_DAY)
BUDGET = Budget(DAILY, 100_000, "EUR")
QUOTA = Quota("t1", DOMAIN_LLM, 10.0, 0.0, 10.0, datetime(2026, 1, 1, tzinfo=UTC).timestamp())
ASKED = b"what time is it"


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


def call(made: Bench, **changed: Any) -> RoutedCall:
    """A call under the key that all of them have."""
    return made.call(**{"idempotency_key": "k", "content": ASKED, **changed})


async def refusal(made: Bench, again: RoutedCall) -> tuple[str, dict[str, str]]:
    with pytest.raises(Refusal) as caught:
        await made.run(again)
    return reason_name(caught.value.reason), dict(caught.value.metadata)


async def spent(*benches: Bench) -> tuple[int, float]:
    """Of the budget and of the quota, after everything was settled."""
    for made in benches:
        await made.recorder.flush()
    for made in benches:
        await made.accounts.stop()
    start = benches[0].clock.now().replace(hour=0, minute=0, second=0, microsecond=0)
    store = benches[0].store
    quota = await store.routing.quotas.get("t1", DOMAIN_LLM)
    assert quota is not None
    return (await store.routing.grants.spending(DAILY, start)).spent_micros, 10.0 - quota.tokens


async def test_a_call_that_was_served_is_not_made_again_and_charged_once(store: Store, clock: FakeClock) -> None:
    made = await bench(store, clock, prices={FIRST: 50})
    await put(store, BUDGET, QUOTA)
    first = await made.finished(call(made))
    for _ in range(2):
        again = await refusal(made, call(made))
        assert again == ("CALL_ALREADY_SERVED", {"request_id": first.route.request_id})
    assert len(made.providers[FIRST].asked) == 1
    rows = [row for row in await made.trail() if row.transition in ("call.finished", "call.repeated")]
    assert [(row.transition, row.reason_code) for row in rows] == [
        ("call.finished", "ANSWERED"),
        *[("call.repeated", "CALL_ALREADY_SERVED")] * 2,
    ]
    assert facts(rows[1]) == {"request_id": "r-2", "repeats": first.route.request_id}
    assert await spent(made) == (50, 1.0)


async def test_while_a_call_is_under_way_no_second_provider_is_asked(store: Store, clock: FakeClock) -> None:
    made = await bench(store, clock, [hangs("a")], prices={FIRST: 50})
    await put(store, BUDGET, QUOTA)
    async with aclosing(made.router.run(call(made), Asking())) as events:
        assert await anext(events) == "a"
        assert await refusal(made, call(made)) == ("CALL_UNDER_WAY", {"request_id": "r-1"})
        other = await refusal(made, call(made, content=b"what day is it"))
        assert other == ("IDEMPOTENCY_KEY_REUSED", {"idempotency_key": "k"})
    assert len(made.providers[FIRST].asked) == 1
    assert await spent(made) == (50, 1.0)


async def test_a_key_with_other_content_is_refused_and_of_another_caller_is_another(
    store: Store, clock: FakeClock
) -> None:
    made = await bench(store, clock)
    await made.finished(call(made))
    other = await refusal(made, call(made, content=b"what day is it"))
    assert other == ("IDEMPOTENCY_KEY_REUSED", {"idempotency_key": "k"})
    assert (await made.finished(call(made, subject="otto"))).done
    assert (await made.finished(call(made, tenant="t2"))).done


async def test_what_failed_or_was_left_may_be_made_again_and_is_charged_for_itself(
    store: Store, clock: FakeClock
) -> None:
    made = await bench(store, clock, [fails(), hangs("a"), says("b")], [fails()], prices={FIRST: 50})
    await put(store, BUDGET, QUOTA)
    made.providers["selene-local/llm"].now(fails())
    assert (await refusal(made, call(made)))[0] == "PROVIDERS_FAILED"
    async with aclosing(made.router.run(call(made), Asking())) as events:
        assert await anext(events) == "a"
    assert (await made.finished(call(made))).done
    assert (await refusal(made, call(made)))[0] == "CALL_ALREADY_SERVED"
    assert await spent(made) == (100, 3.0)


async def test_two_servers_of_one_store_charge_a_key_once(store: Store, clock: FakeClock) -> None:
    kept: list[str] = []

    async def beside(tx: Transaction, trails: Any) -> None:
        kept.extend(trail.request_id for trail in trails)

    one = await bench(store, clock, prices={FIRST: 50}, beside=beside)
    other = await bench(store, clock, prices={FIRST: 50}, name="p2", beside=beside)
    await put(store, BUDGET, QUOTA)
    first = await one.finished(call(one))
    again = await other.finished(call(other, request_id="r-again"))
    assert (first.done, again.done) == (True, True)
    await one.recorder.flush()
    rows = [facts(row) for row in await other.trail() if row.transition == "call.finished"]
    assert [row.get("repeats") for row in rows] == [None, "r-1"]
    assert kept == ["r-1"]
    assert await spent(one, other) == (50, 1.0)


async def test_another_server_of_the_store_learns_what_was_served(store: Store, clock: FakeClock) -> None:
    one, other = await bench(store, clock), await bench(store, clock, name="p2")
    await one.finished(call(one))
    await one.recorder.flush()
    await other.repeats.follow()
    assert (await refusal(other, call(other)))[0] == "CALL_ALREADY_SERVED"
    assert (await refusal(other, call(other, content=b"what day is it")))[0] == "IDEMPOTENCY_KEY_REUSED"
    await one.finished(call(one, idempotency_key="k-2"))
    await one.recorder.flush()
    clock.advance(timedelta(seconds=1))
    await other.repeats.follow()
    assert (await refusal(other, call(other, idempotency_key="k-2")))[0] == "CALL_ALREADY_SERVED"
    assert other.providers[FIRST].asked == []


async def test_what_was_served_is_learnt_to_the_end_however_much_it_is(
    sqlite_store: Store, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(repeats, "READ_AT_ONCE", 3)
    one, other = await bench(sqlite_store, clock), await bench(sqlite_store, clock, name="p2")
    for number in range(7):
        await one.finished(call(one, idempotency_key=f"k-{number}"))
        await one.recorder.flush()
        clock.advance(timedelta(seconds=5))
    for _ in range(4):
        await other.repeats.refresh()
    for number in range(7):
        assert (await refusal(other, call(other, idempotency_key=f"k-{number}")))[0] == "CALL_ALREADY_SERVED"


async def test_what_a_process_no_longer_remembers_is_charged_nothing(
    store: Store, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(repeats, "MOST_KNOWN", 1)
    made = await bench(store, clock, prices={FIRST: 50})
    await put(store, BUDGET, QUOTA)
    await made.finished(call(made))
    await made.finished(call(made, idempotency_key="k-2"))
    assert (await made.finished(call(made))).done
    assert await spent(made) == (100, 2.0)


async def test_a_call_is_charged_once_its_rows_are_kept(
    store: Store, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = await bench(store, clock, prices={FIRST: 50})
    await put(store, BUDGET, QUOTA)

    async def away(self: Store, work: Any) -> None:
        raise StoreUnavailable(Unavailability.UNAVAILABLE, "away")

    with monkeypatch.context() as patch:
        await made.finished(call(made))
        patch.setattr(Store, "perform", away)
        await made.recorder.flush()
        assert (await refusal(made, call(made)))[0] == "CALL_ALREADY_SERVED"
    assert await spent(made) == (50, 1.0)


async def test_rows_whose_answer_was_lost_are_written_again_and_charge_their_call(
    store: Store, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = await bench(store, clock, prices={FIRST: 50})
    await put(store, BUDGET, QUOTA)
    perform = Store.perform

    async def lost(self: Store, work: Any) -> None:
        await perform(self, work)
        raise StoreUnavailable(Unavailability.UNAVAILABLE, "the answer was lost")

    await made.finished(call(made))
    with monkeypatch.context() as patch:
        patch.setattr(Store, "perform", lost)
        await made.recorder.flush()
    assert await spent(made) == (50, 1.0)


async def test_the_same_call_at_once_is_made_once(store: Store, clock: FakeClock) -> None:
    made = await bench(store, clock, prices={FIRST: 50})
    await put(store, BUDGET, QUOTA)

    async def one(_: int) -> str:
        try:
            await made.finished(call(made))
        except Refusal as refused:
            return reason_name(refused.reason)
        return "DONE"

    ends = await asyncio.gather(*map(one, range(20)))
    assert (ends.count("DONE"), ends.count("CALL_UNDER_WAY")) == (1, 19)
    assert len(made.providers[FIRST].asked) == 1
    assert await spent(made) == (50, 1.0)
