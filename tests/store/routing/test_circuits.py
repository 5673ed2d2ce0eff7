"""Circuits in the store: read by everybody, changed by whoever saw the last revision."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from store import Store
from store.routing import KeptCircuit, Transition
from tests.support.time import FakeClock

PROFILE = b"p" * 32
INSTANT = datetime(2026, 1, 2, tzinfo=UTC)
FIRST = KeptCircuit("PH1.C", "openai/stt", PROFILE, 0, {"state": 1, "leases": []})


async def swapped(store: Store, circuit: KeptCircuit) -> bool:
    async with store.transaction() as tx:
        tx.audit(tenant_id="system", owner="PH1.C", actor="system", transition="circuit.open", reason_code="X")
        return await tx.routing.circuits.swap(circuit)


async def test_a_circuit_that_never_changed_is_none(store: Store) -> None:
    assert await store.routing.circuits.get("PH1.C", "openai/stt", PROFILE) is None


async def test_what_was_kept_is_read_with_its_revision(store: Store) -> None:
    assert await swapped(store, FIRST)
    read = await store.routing.circuits.get("PH1.C", "openai/stt", PROFILE)
    assert read == replace(FIRST, revision=1)


async def test_of_two_that_saw_the_same_revision_one_is_faster(store: Store) -> None:
    assert await swapped(store, FIRST)
    assert not await swapped(store, replace(FIRST, body={"state": 2}))
    assert await swapped(store, replace(FIRST, revision=1, body={"state": 2}))
    assert not await swapped(store, replace(FIRST, revision=1, body={"state": 3}))
    read = await store.routing.circuits.get("PH1.C", "openai/stt", PROFILE)
    assert read is not None
    assert (read.revision, read.body) == (2, {"state": 2})


async def test_an_owner_reads_its_own_circuits_only(store: Store) -> None:
    assert await swapped(store, FIRST)
    assert await swapped(store, replace(FIRST, owner="PH1.TTS", provider_ref="openai/tts"))
    assert await swapped(store, replace(FIRST, profile_hash=b"q" * 32))
    found = await store.routing.circuits.all("PH1.C")
    assert [(each.provider_ref, each.profile_hash) for each in found] == [
        ("openai/stt", PROFILE),
        ("openai/stt", b"q" * 32),
    ]


async def test_circuits_are_found_by_how_long_they_have_not_changed(store: Store, clock: FakeClock) -> None:
    assert await swapped(store, FIRST)
    clock.advance(timedelta(hours=1))
    assert await swapped(store, replace(FIRST, provider_ref="google/stt"))
    assert await swapped(store, replace(FIRST, owner="PH1.TTS"))
    for after, expected in ((timedelta(0), ["openai/stt"]), (timedelta(seconds=1), ["openai/stt", "google/stt"])):
        found = await store.routing.circuits.unchanged_since("PH1.C", clock.now() + after)
        assert [each.provider_ref for each in found] == expected


async def test_a_circuit_is_forgotten_by_who_saw_its_last_revision(store: Store) -> None:
    assert await swapped(store, FIRST)
    last = replace(FIRST, revision=1)
    for seen, gone in ((FIRST, False), (replace(last, profile_hash=b"q" * 32), False), (last, True), (last, False)):
        async with store.transaction() as tx:
            tx.audit(tenant_id="system", owner="PH1.C", actor="system", transition="circuit.open", reason_code="X")
            assert await tx.routing.circuits.forget(seen) is gone
    assert await store.routing.circuits.all("PH1.C") == []
    assert await swapped(store, FIRST)


async def test_what_happened_is_read_latest_first_and_page_by_page(store: Store) -> None:
    made = [
        Transition(f"t-{number}", "PH1.C", f"p{number % 2}/stt", PROFILE, 1, 2, "PROBE_FAILED", INSTANT)
        for number in range(4)
    ]
    async with store.transaction() as tx:
        tx.audit(tenant_id="system", owner="PH1.C", actor="system", transition="circuit.open", reason_code="X")
        for each in (*made, replace(made[0], transition_id="t-9", owner="PH1.TTS")):
            await tx.routing.circuits.note(each)
    circuits = store.routing.circuits
    assert await circuits.transitions("PH1.C", limit=3) == made[:0:-1]
    assert await circuits.transitions("PH1.C", before="t-1") == [made[0]]
    assert await circuits.transitions("PH1.C", provider_ref="p1/stt") == [made[3], made[1]]
