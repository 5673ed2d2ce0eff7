"""Circuits as a process knows them (§24, RTE-5): taken over, evaluated, kept; with and without their store."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest
from selene.routing.v1.routing_pb2 import (
    CIRCUIT_STATE_CLOSED,
    CIRCUIT_STATE_FORCED_CLOSED,
    CIRCUIT_STATE_FORCED_OPEN,
    CIRCUIT_STATE_HALF_OPEN,
    CIRCUIT_STATE_OPEN,
    DOMAIN_LLM,
    MEASURE_ERROR_RATE_60S,
    CircuitState,
)

from servers.routing import circuit as rules
from servers.routing.board import Evidence
from servers.routing.circuit import CONSECUTIVE_FAILURES, Circuit, Probe, Step
from servers.routing.defaults import DEFAULTS
from servers.routing.windows import Call, Outcome
from store import Store, StoreUnavailable, Transaction, Unavailability
from store.routing import KeptCircuit
from tests.support.routed import FIRST, OWNER, SECOND, Bench, bench, facts
from tests.support.stores import audit
from tests.support.time import FakeClock

OPEN_GAUGE = "selene_routing_circuit_open"
LABELS = {"owner": OWNER, "provider": FIRST}


class Link:
    """A store that is there, is gone, or hangs."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.down = False
        self.hanging: asyncio.Event | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    @property
    def routing(self) -> Any:
        return self

    @property
    def circuits(self) -> Any:
        return self

    async def _passable(self) -> None:
        if self.hanging is not None:
            await self.hanging.wait()
        if self.down:
            raise StoreUnavailable(Unavailability.UNAVAILABLE, "cut")

    async def all(self, owner: str) -> list[KeptCircuit]:
        await self._passable()
        return await self._store.routing.circuits.all(owner)

    async def get(self, owner: str, provider_ref: str, profile_hash: bytes) -> KeptCircuit | None:
        await self._passable()
        return await self._store.routing.circuits.get(owner, provider_ref, profile_hash)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        await self._passable()
        async with self._store.transaction() as tx:
            yield tx


async def behind(store: Store, clock: FakeClock, name: str = "p1") -> tuple[Bench, Link]:
    """A bench whose circuits are behind a link."""
    link = Link(store)
    made = await bench(store, clock, name=name)
    made.board._store = link  # type: ignore[assignment]  # the same calls
    return made, link


def failed(made: Bench, times: int = CONSECUTIVE_FAILURES) -> None:
    for _ in range(times):
        ended = Call("t1", Outcome.ERROR, 100.0)
        made.board.record(made.key(), ended, began_at=made.clock.monotonic(), probe=False)


async def half_open(made: Bench) -> None:
    failed(made)
    await made.board.tick()
    made.clock.advance(timedelta(seconds=181))
    await made.board.tick()
    assert made.state() == CIRCUIT_STATE_HALF_OPEN


async def change(made: Bench, step: Callable[[Circuit, str, float], Step], reason: str = "DRILL") -> Circuit:
    async with made.store.transaction() as tx:
        return await made.board.change(tx, made.key(), lambda circuit, now: step(circuit, reason, now), "system")


def gauge(made: Bench) -> float | None:
    return made.registry.get_sample_value(OPEN_GAUGE, LABELS)


async def test_what_one_process_measured_holds_in_all(store: Store, clock: FakeClock) -> None:
    one, two = await bench(store, clock), await bench(store, clock, name="p2")
    failed(one)
    await one.board.tick()
    assert two.state() == CIRCUIT_STATE_CLOSED
    await two.board.tick()
    assert two.board.circuits()[two.key()] == one.board.circuits()[one.key()]
    assert gauge(one) == gauge(two) == 1


async def test_of_two_that_open_at_once_one_is_told_of(store: Store, clock: FakeClock) -> None:
    made = [await bench(store, clock, name=name) for name in ("p1", "p2", "p3")]
    for each in made:
        failed(each)
    await asyncio.gather(*(each.board.tick() for each in made))
    clock.advance(timedelta(seconds=1))
    await asyncio.gather(*(each.board.tick() for each in made))
    rows = await made[0].trail("circuit.open", "system")
    assert len(rows) == 1 and len(await store.routing.circuits.transitions(OWNER)) == 1
    assert {each.board.circuits()[each.key()].trips for each in made} == {1}


async def test_a_circuit_is_of_one_resolved_profile(sqlite_store: Store, clock: FakeClock) -> None:
    made = await bench(sqlite_store, clock)
    other = b"o" * 32
    policies = {each.provider_ref: each.circuit for each in made.router.resolve("t1", "", "", "").providers(DOMAIN_LLM)}
    made.board.know(other, policies)
    failed(made)
    await made.board.tick()
    assert made.state() == CIRCUIT_STATE_OPEN
    assert made.board.view(other)[FIRST].state == CIRCUIT_STATE_CLOSED
    assert gauge(made) == 1
    made.board.know(b"n" * 32, policies)
    assert gauge(made) == 1


async def test_every_transition_is_kept_with_its_row(store: Store, clock: FakeClock) -> None:
    made = await bench(store, clock)
    await half_open(made)
    rows = await made.trail("circuit.", "system")
    assert [(row.transition, row.reason_code, facts(row)["before"]) for row in rows] == [
        ("circuit.open", "CONSECUTIVE_FAILURES", "CLOSED"),
        ("circuit.half_open", "COOLDOWN_OVER", "OPEN"),
    ]
    assert facts(rows[0])["provider_ref"] == FIRST and facts(rows[0])["trips"] == "1"
    assert {row.hashes[0].sha256 for row in rows} == {made.key()[0]}
    kept = await store.routing.circuits.transitions(OWNER)
    assert [(each.before, each.after, each.reason_code) for each in kept] == [
        (CIRCUIT_STATE_OPEN, CIRCUIT_STATE_HALF_OPEN, "COOLDOWN_OVER"),
        (CIRCUIT_STATE_CLOSED, CIRCUIT_STATE_OPEN, "CONSECUTIVE_FAILURES"),
    ]
    assert made.registry.get_sample_value(
        "selene_routing_circuit_transitions_total", {**LABELS, "after": "OPEN", "reason": "CONSECUTIVE_FAILURES"}
    )


async def test_without_its_store_a_circuit_opens_and_is_kept_when_the_store_is_back(
    store: Store, clock: FakeClock
) -> None:
    made, link = await behind(store, clock)
    link.down = True
    failed(made)
    await made.board.tick()
    assert made.state() == CIRCUIT_STATE_OPEN
    clock.advance(timedelta(seconds=181))
    await made.board.tick()
    assert made.state() == CIRCUIT_STATE_HALF_OPEN
    assert await made.board.lease(made.key(), 10.0) is None
    assert await store.routing.circuits.all(OWNER) == []
    link.down = False
    await made.board.tick()
    assert [row.transition for row in await made.trail("circuit.", "system")] == ["circuit.open", "circuit.half_open"]
    assert await made.board.lease(made.key(), 10.0) is not None


async def test_a_store_that_hangs_does_not_hold_up_the_evaluation(
    sqlite_store: Store, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("servers.routing.beside.STORE_WAIT_S", 0.01)
    made, link = await behind(sqlite_store, clock)
    link.hanging = asyncio.Event()
    failed(made)
    async with asyncio.timeout(5):
        await made.board.tick()
    assert made.state() == CIRCUIT_STATE_OPEN
    link.hanging.set()
    monkeypatch.setattr("servers.routing.beside.STORE_WAIT_S", 5.0)
    await made.board.tick()
    (row,) = await made.trail("circuit.", "system")
    assert row.transition == "circuit.open"


async def test_what_others_decided_meanwhile_holds_after_an_outage(sqlite_store: Store, clock: FakeClock) -> None:
    made, link = await behind(sqlite_store, clock)
    other = await bench(sqlite_store, clock, name="p2")
    link.down = True
    failed(made)
    await made.board.tick()
    await change(other, rules.force_close)
    link.down = False
    await made.board.tick()
    assert made.state() == CIRCUIT_STATE_FORCED_CLOSED
    rows = await made.trail("circuit.", "system")
    assert [row.transition for row in rows] == ["circuit.forced_closed"]


async def test_leases_of_many_calls_at_once_are_as_many_as_counted(store: Store, clock: FakeClock) -> None:
    one, two = await bench(store, clock), await bench(store, clock, name="p2")
    await half_open(one)
    await two.board.tick()
    leases = await asyncio.gather(
        *(made.board.lease(made.key(), 10.0) for _ in range(10) for made in (one, two)),
    )
    granted = [lease for lease in leases if lease is not None]
    assert len(granted) == len(set(granted)) == 3


async def test_probes_of_two_processes_count_together(store: Store, clock: FakeClock) -> None:
    one, two = await bench(store, clock), await bench(store, clock, name="p2")
    await half_open(one)
    await two.board.tick()
    for made in (one, two, one):
        lease = await made.board.lease(made.key(), 10.0)
        assert lease is not None
        await made.board.settle(made.key(), lease, Probe.OK)
    assert await two.board.lease(two.key(), 10.0) is None
    await two.board.refresh()
    circuit = two.board.circuits()[two.key()]
    assert (circuit.told, circuit.issued, circuit.leases) == (3, 3, ())


async def test_a_probe_that_is_told_while_the_circuit_is_evaluated_is_not_forgotten(
    store: Store, clock: FakeClock
) -> None:
    made = await bench(store, clock)
    await half_open(made)
    for _ in range(3):
        lease = await made.board.lease(made.key(), 10.0)
        assert lease is not None
        ended = Call("t1", Outcome.OK, 20.0)
        made.board.record(made.key(), ended, began_at=clock.monotonic(), probe=True)
        await asyncio.gather(
            made.board.settle(made.key(), lease, Probe.OK), made.board.tick(), made.board.tick(), made.board.refresh()
        )
    await made.board.tick()
    circuit = made.board.circuits()[made.key()]
    assert (circuit.told, circuit.window_proven) == (3, True)
    row = await store.routing.circuits.get(OWNER, FIRST, made.key()[0])
    assert row is not None and row.body["told"] == 3


async def test_what_began_before_the_probes_says_nothing_of_them(sqlite_store: Store, clock: FakeClock) -> None:
    made = await bench(sqlite_store, clock)
    began_at = clock.monotonic()
    await half_open(made)
    ended = Call("t1", Outcome.ERROR, 100.0)
    made.board.record(made.key(), ended, began_at=began_at, probe=True)
    made.board.record(made.key(), ended, began_at=clock.monotonic(), probe=False)
    assert made.board.measures(made.key()).readings[MEASURE_ERROR_RATE_60S].samples == 0
    made.board.record(made.key(), ended, began_at=clock.monotonic(), probe=True)
    assert made.board.measures(made.key()).readings[MEASURE_ERROR_RATE_60S].samples == 1


async def test_when_a_provider_last_worked_and_failed_outlives_what_is_measured(
    sqlite_store: Store, clock: FakeClock
) -> None:
    made = await bench(sqlite_store, clock)
    profile_hash, provider = made.key()
    another = (b"\x01" * 32, provider)
    made.board.know(another[0], {provider: DEFAULTS[DOMAIN_LLM].policy})
    assert made.board.evidence(provider) == Evidence()
    worked_at = clock.now().timestamp()
    made.board.record(another, Call("t1", Outcome.OK, 20.0), began_at=clock.monotonic(), probe=False)
    clock.advance(timedelta(seconds=5))
    failed_at = clock.now().timestamp()
    made.board.record(another, Call("t1", Outcome.AUTH_FAIL, 20.0), began_at=clock.monotonic(), probe=False)
    await half_open(made)
    assert made.board.measures((profile_hash, provider)).readings[MEASURE_ERROR_RATE_60S].samples == 0
    told = made.board.evidence(provider)
    assert (told.succeeded_at, told.failed_at, told.failure) == (worked_at, failed_at, Outcome.ERROR)
    late = clock.now().timestamp()
    made.board.record(made.key(), Call("t1", Outcome.OK, 20.0), began_at=clock.monotonic() - 300.0, probe=False)
    assert made.board.evidence(provider).succeeded_at == late
    assert made.board.evidence(SECOND) == Evidence()


FORCES: list[tuple[Callable[[Circuit, str, float], Step], CircuitState]] = [
    (rules.force_open, CIRCUIT_STATE_FORCED_OPEN),
    (rules.force_close, CIRCUIT_STATE_FORCED_CLOSED),
]


@pytest.mark.parametrize(("step", "state"), FORCES)
async def test_an_operators_hand_reaches_every_process(
    store: Store, clock: FakeClock, step: Callable[[Circuit, str, float], Step], state: CircuitState
) -> None:
    one, two = await bench(store, clock), await bench(store, clock, name="p2")
    assert (await change(one, step)).state == state
    for made in (one, two):
        await made.board.tick()
        assert made.state() == state
    (row,) = await one.trail("circuit.", "system")
    assert row.reason_code == "DRILL"
    await change(two, rules.release, "DRILL_OVER")
    await one.board.tick()
    assert one.state() == (CIRCUIT_STATE_HALF_OPEN if state == CIRCUIT_STATE_FORCED_OPEN else CIRCUIT_STATE_CLOSED)


async def test_a_circuit_forced_closed_stays_so_whatever_is_measured(sqlite_store: Store, clock: FakeClock) -> None:
    made = await bench(sqlite_store, clock)
    await change(made, rules.force_close)
    await made.board.tick()
    failed(made, 2 * CONSECUTIVE_FAILURES)
    await made.board.tick()
    assert made.state() == CIRCUIT_STATE_FORCED_CLOSED
    assert (await made.finished()).result.provider_ref == FIRST


async def test_releasing_what_nobody_forced_is_told_and_changes_nothing(store: Store, clock: FakeClock) -> None:
    made = await bench(store, clock)
    assert (await change(made, rules.release)).state == CIRCUIT_STATE_CLOSED
    (row,) = await made.trail("circuit.", "system")
    assert row.transition == "circuit.unchanged"
    assert await store.routing.circuits.all(OWNER) == []


async def test_a_kept_circuit_that_is_none_changes_nothing(sqlite_store: Store, clock: FakeClock) -> None:
    made = await bench(sqlite_store, clock)
    async with sqlite_store.transaction() as tx:
        assert await tx.routing.circuits.swap(KeptCircuit(OWNER, FIRST, made.key()[0], 0, {"state": 2}))
        audit(tx, "system")
    await made.board.tick()
    assert made.state() == CIRCUIT_STATE_CLOSED
    assert (await made.finished()).result.provider_ref == FIRST


async def test_watchers_are_told_of_every_transition_until_they_stop(sqlite_store: Store, clock: FakeClock) -> None:
    made = await bench(sqlite_store, clock)
    seen: list[tuple[str, CircuitState]] = []
    stop = made.board.watch(lambda key, circuit: seen.append((key[1], circuit.state)))
    await half_open(made)
    stop()
    await change(made, rules.force_close)
    await made.board.tick()
    assert seen == [(FIRST, CIRCUIT_STATE_OPEN), (FIRST, CIRCUIT_STATE_HALF_OPEN)]


async def test_a_process_that_starts_knows_what_the_others_know(store: Store, clock: FakeClock) -> None:
    one = await bench(store, clock)
    failed(one)
    await one.board.tick()
    late = await bench(store, clock, name="p2")
    assert late.state() == CIRCUIT_STATE_OPEN
    assert (await late.finished()).result.provider_ref == SECOND
    assert late.board.view(late.key()[0])[SECOND].state == CIRCUIT_STATE_CLOSED


async def test_nothing_is_measured_of_what_is_not_known(sqlite_store: Store, clock: FakeClock) -> None:
    made = await bench(sqlite_store, clock)
    assert made.board.measures((b"x" * 32, FIRST)).readings == {}
    assert not made.board.complain((b"x" * 32, FIRST), "t1")


class Silent:
    """A call that waits for its provider since then."""

    def __init__(self, made: Bench) -> None:
        self._clock = made.clock
        self._since = made.clock.monotonic()

    @property
    def silent_s(self) -> float:
        return self._clock.monotonic() - self._since


def answered(made: Bench, times: int = 60) -> None:
    for number in range(times):
        ended = Call(f"t{number % 4}", Outcome.OK, 150.0)
        made.board.record(made.key(), ended, began_at=made.clock.monotonic(), probe=False)


async def test_a_provider_that_goes_silent_is_left_before_anybody_times_out(store: Store, clock: FakeClock) -> None:
    made = await bench(store, clock)
    answered(made)
    clock.advance(timedelta(milliseconds=20))
    for number in range(12):
        made.board.under_way(made.key(), f"t{number % 4}", Silent(made))
    clock.advance(timedelta(milliseconds=500))
    await made.board.tick()
    assert made.state() == CIRCUIT_STATE_CLOSED
    clock.advance(timedelta(milliseconds=10))
    await made.board.tick()
    assert (made.state(), made.board.circuits()[made.key()].reason) == (CIRCUIT_STATE_OPEN, "SILENT")


async def test_calls_that_are_over_are_waited_for_no_more(store: Store, clock: FakeClock) -> None:
    made = await bench(store, clock)
    answered(made)
    clock.advance(timedelta(milliseconds=20))
    calls = [made.board.under_way(made.key(), f"t{number % 4}", Silent(made)) for number in range(20)]
    clock.advance(timedelta(seconds=5))
    for over in calls[:9]:
        over()
    await made.board.tick()
    assert made.state() == CIRCUIT_STATE_CLOSED
