"""The trail of routed calls: written beside them, in order, and never held up for good by one that cannot be."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest
from selene.audit.v1.audit_pb2 import AuditEvent
from selene.common.v1.scope_pb2 import TurnRef

from servers.routing import recorder as module
from servers.routing.recorder import AT_ONCE, MOST_WAITING, Recorder, Trail
from store import Store, StoreUnavailable, Transaction, Unavailability
from tests.support.routed import facts
from tests.support.time import FakeClock


def trail(clock: FakeClock, request_id: str, *, tenant: str = "t1", subject: str = "mira", digest: int = 32) -> Trail:
    made = Trail(tenant, subject, request_id, f"k-{request_id}", TurnRef(correlation_id="c-1"))
    made.add("call.routed", "PRIMARY", clock.now(), {"provider_ref": "a/llm"}, {"profile": b"p" * digest})
    made.add("call.finished", "ANSWERED", clock.now(), {})
    return made


async def rows(store: Store, tenant: str = "t1") -> list[AuditEvent]:
    return [each.event for each in await store.audit.page(tenant, limit=2000)]


def told(events: list[AuditEvent]) -> list[tuple[str, str]]:
    return [(facts(event)["request_id"], event.transition) for event in events]


class Link:
    """A store that can be cut off."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.down = False
        self.asked = asyncio.Event()
        self.rounds = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def perform(self, work: Callable[[Transaction], Awaitable[Any]]) -> Any:
        self.asked.set()
        self.rounds += 1
        if self.down:
            raise StoreUnavailable(Unavailability.UNAVAILABLE, "cut")
        return await self._store.perform(work)  # type: ignore[arg-type]  # as the caller gave it


def behind(link: Link) -> Recorder:
    return Recorder(link, "PH1.D")  # type: ignore[arg-type]  # the calls that it needs


async def test_rows_are_in_the_order_of_the_calls_and_of_their_steps(store: Store, clock: FakeClock) -> None:
    recorder = Recorder(store, "PH1.D")
    for request_id in ("r-1", "r-2"):
        recorder.note(trail(clock, request_id))
    await recorder.flush()
    steps = ("call.routed", "call.finished")
    assert told(await rows(store)) == [(request_id, step) for request_id in ("r-1", "r-2") for step in steps]


async def test_who_called_is_named_by_a_commitment_alone(store: Store, clock: FakeClock) -> None:
    recorder = Recorder(store, "PH1.D")
    for request_id, subject in (("r-1", "mira"), ("r-2", "mira"), ("r-3", "noor")):
        recorder.note(trail(clock, request_id, subject=subject))
    await recorder.flush()
    first, _, second, _, third, _ = [event.actor for event in await rows(store)]
    async with store.transaction() as tx:
        committed = (await tx.vault.commitment("t1", "mira", b"actor")).hex()
    assert first == second == committed != third


async def test_a_row_tells_when_it_happened_not_when_it_was_written(store: Store, clock: FakeClock) -> None:
    recorder = Recorder(store, "PH1.D")
    happened = clock.now()
    recorder.note(trail(clock, "r-1"))
    clock.advance(timedelta(minutes=5))
    await recorder.flush()
    assert {event.occurred_at.ToDatetime(tzinfo=happened.tzinfo) for event in await rows(store)} == {happened}


async def test_it_writes_by_itself_and_stopping_writes_what_is_left(sqlite_store: Store, clock: FakeClock) -> None:
    link = Link(sqlite_store)
    recorder = behind(link)
    recorder.start()
    recorder.note(trail(clock, "r-1"))
    async with asyncio.timeout(10):
        await link.asked.wait()
    recorder.note(trail(clock, "r-2"))
    await recorder.stop()
    assert [request_id for request_id, step in told(await rows(sqlite_store)) if step == "call.finished"] == [
        "r-1",
        "r-2",
    ]


async def test_a_crowd_is_written_without_waiting_for_the_tenth_of_a_second(
    sqlite_store: Store, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FLUSH_EVERY_S", 3600.0)
    link = Link(sqlite_store)
    recorder = behind(link)
    recorder.start()
    for number in range(AT_ONCE):
        recorder.note(trail(clock, f"r-{number}"))
    async with asyncio.timeout(20):
        await link.asked.wait()
    await recorder.stop()
    assert len(await rows(sqlite_store)) == 2 * AT_ONCE


async def test_what_the_store_refuses_waits_and_is_written_once(sqlite_store: Store, clock: FakeClock) -> None:
    link = Link(sqlite_store)
    recorder = behind(link)
    link.down = True
    recorder.note(trail(clock, "r-1"))
    await recorder.flush()
    assert await rows(sqlite_store) == []
    link.down = False
    recorder.note(trail(clock, "r-2"))
    await recorder.flush()
    await recorder.flush()
    assert [request_id for request_id, _ in told(await rows(sqlite_store))] == ["r-1", "r-1", "r-2", "r-2"]


async def test_it_is_full_until_the_store_has_taken_something(sqlite_store: Store, clock: FakeClock) -> None:
    recorder = Recorder(sqlite_store, "PH1.D")
    empty = Trail("t1", "mira", "r", "k", TurnRef())
    for _ in range(MOST_WAITING - 1):
        recorder.note(empty)
    assert not recorder.full
    recorder.note(trail(clock, "r-1"))
    assert recorder.full


async def test_a_trail_that_cannot_be_written_is_told_of_in_one_row_and_holds_up_no_other(
    store: Store, clock: FakeClock
) -> None:
    recorder = Recorder(store, "PH1.D")
    recorder.note(trail(clock, "r-1"))
    recorder.note(trail(clock, "r-2", digest=31))
    recorder.note(trail(clock, "r-3"))
    await recorder.flush()
    events = await rows(store)
    assert told(events) == [
        ("r-1", "call.routed"),
        ("r-1", "call.finished"),
        ("r-2", "call.untold"),
        ("r-3", "call.routed"),
        ("r-3", "call.finished"),
    ]
    assert (events[2].reason_code, facts(events[2])["cause"]) == ("TRAIL_NOT_WRITABLE", "ValueError")


async def test_after_a_trail_that_cannot_be_written_others_are_written_together_again(
    sqlite_store: Store, clock: FakeClock
) -> None:
    link = Link(sqlite_store)
    recorder = behind(link)
    recorder.note(trail(clock, "bad", digest=31))
    for number in range(50):
        recorder.note(trail(clock, f"r-{number}"))
    await recorder.flush()
    assert len(await rows(sqlite_store)) == 101
    assert link.rounds == 3


async def test_a_store_that_goes_while_a_trail_is_given_up_keeps_it_waiting(
    sqlite_store: Store, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone() -> Any:
        raise StoreUnavailable(Unavailability.UNAVAILABLE, "cut")

    link = Link(sqlite_store)
    recorder = behind(link)
    recorder.note(trail(clock, "bad", digest=31))
    with monkeypatch.context() as cut:
        cut.setattr(link, "transaction", gone, raising=False)
        await recorder.flush()
    assert await rows(sqlite_store) == []
    await recorder.flush()
    assert told(await rows(sqlite_store)) == [("bad", "call.untold")]
