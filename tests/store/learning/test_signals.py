"""Signals in the store: kept once, in their order, provably as they were captured."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from datetime import timedelta
from typing import Any

import asyncpg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from selene.gold.v1.gold_pb2 import GOLD_DOMAIN_PAE_ROUTE, GOLD_DOMAIN_VOICE_IDENTITY
from selene.learning.v1 import signal_pb2 as nouns

from store import Store, Transaction
from store.learning import (
    AT_MOST,
    CAPTURED,
    Absent,
    Captured,
    IdTaken,
    KeyReused,
    NewSignal,
    Outcome,
    signals_root,
)
from store.learning.row import root
from store.merkle import inclusion_proof, leaf_hash, tree_root, verify_inclusion
from store.verify import Fault, verify_store
from tests.support.signals import signal
from tests.support.stores import audit
from tests.support.time import FakeClock

A = nouns.INTAKE_PATH_DEFECT
B = nouns.INTAKE_PATH_IMPROVEMENT


def weigh(one: nouns.LearningSignal, seen: int) -> int:
    """Impact first, then how often it was seen."""
    return int(one.impact_estimate_bp) + seen


def new(name: str, path: Any = B, **fields: Any) -> NewSignal:
    return NewSignal(signal(name, **fields), path)


async def capture(store: Store, *wanted: NewSignal, tenant: str = "t1") -> Sequence[Outcome]:
    """As a server does it: what is new, with its audit row."""

    async def work(tx: Transaction) -> Sequence[Outcome]:
        outcomes = await tx.learning.signals.capture(tenant, wanted, weigh)
        made = [one for one in outcomes if isinstance(one, Captured) and not one.repeated]
        if made:
            tx.audit(
                tenant_id=tenant,
                owner="PH1.FEEDBACK",
                actor="system",
                transition=CAPTURED,
                reason_code="CAPTURED",
                hashes={"signals": signals_root(made)},
                facts={"first": str(made[0].row.sequence), "last": str(made[-1].row.sequence)},
            )
        return outcomes

    return await store.perform(work)


def rows(outcomes: Sequence[Outcome]) -> list[nouns.CapturedSignal]:
    assert all(isinstance(one, Captured) for one in outcomes), outcomes
    return [one.row for one in outcomes if isinstance(one, Captured)]


async def test_signals_get_sequences_without_gaps_and_what_they_weigh(store: Store, clock: FakeClock) -> None:
    first = rows(await capture(store, new("1"), new("2", A, impact_estimate_bp=9000)))
    clock.advance(timedelta(seconds=5))
    third = rows(await capture(store, new("3", reason_code="GRAY_ZONE")))
    assert [(one.sequence, one.frequency, one.priority_bp) for one in (*first, *third)] == [
        (1, 0, 5000),
        (2, 1, 9001),
        (3, 0, 5000),
    ]
    assert third[0].captured_at.ToDatetime(tzinfo=clock.now().tzinfo) == clock.now()
    listed = await store.learning.signals.page("t1")
    assert listed == [first[1], third[0], first[0]]


async def test_the_same_signal_is_kept_once(store: Store) -> None:
    [first] = rows(await capture(store, new("1")))
    assert await capture(store, new("1"), new("1")) == [Captured(first, True)] * 2
    assert await capture(store, new("1", impact_estimate_bp=1)) == [KeyReused("key-1")]
    assert await capture(store, new("1", idempotency_key="other")) == [IdTaken("signal-1")]
    assert await store.learning.signals.size("t1") == 1


async def test_repetitions_within_one_capture_are_found_too(store: Store) -> None:
    outcomes = await capture(
        store, new("1"), new("1"), new("1", impact_estimate_bp=1), new("1", idempotency_key="other")
    )
    [first] = await store.learning.signals.page("t1")
    assert outcomes == [
        Captured(first, False),
        Captured(first, True),
        KeyReused("key-1"),
        IdTaken("signal-1"),
    ]


async def test_what_is_not_admissible_is_only_looked_for(store: Store) -> None:
    [known] = rows(await capture(store, new("1")))
    late = [NewSignal(signal(name), B, admissible=False) for name in ("1", "2")]
    assert await capture(store, *late) == [Captured(known, True), Absent()]
    assert await store.learning.signals.size("t1") == 1


async def test_tenants_share_nothing(store: Store) -> None:
    [one] = rows(await capture(store, new("1")))
    [other] = rows(await capture(store, NewSignal(signal("1", tenant="t2"), B), tenant="t2"))
    assert (one.sequence, other.sequence, other.frequency) == (1, 1, 0)
    assert await store.learning.signals.by_ids("t2", ["signal-1", "signal-9"]) == {"signal-1": other}
    assert await store.learning.signals.ids_of_user("t2", "mira") == ["signal-1"]
    assert await store.learning.signals.ids_of_user("t2", "otto") == []


async def test_pages_follow_each_other_by_urgency_whatever_the_filter(store: Store) -> None:
    await capture(
        store,
        *(
            new(
                str(number),
                A if number % 2 else B,
                impact_estimate_bp=1000 * (number % 3),
                user_id="mira" if number % 5 else "otto",
                domain=GOLD_DOMAIN_PAE_ROUTE if number % 7 == 0 else GOLD_DOMAIN_VOICE_IDENTITY,
            )
            for number in range(1, 41)
        ),
    )
    everything = await store.learning.signals.between("t1", 1, 40)
    for domain in (0, GOLD_DOMAIN_PAE_ROUTE):
        for path in (0, A):
            for user in ("", "otto"):
                wanted = [
                    one
                    for one in everything
                    if domain in (0, one.signal.domain)
                    and path in (0, one.intake_path)
                    and user in ("", one.signal.user_id)
                ]
                wanted.sort(key=lambda one: (one.priority_bp, one.sequence), reverse=True)
                filters: Any = {"domain": domain, "intake_path": path, "user_id": user}
                found: list[nouns.CapturedSignal] = []
                before = None
                while page := await store.learning.signals.page("t1", limit=3, before=before, **filters):
                    found += page
                    before = (page[-1].priority_bp, page[-1].sequence)
                assert found == wanted


async def test_captures_at_once_leave_no_gap_and_count_each_signal_once(store: Store) -> None:
    batches = [[new(f"{batch}-{number}") for number in range(5)] for batch in range(6)]
    again = batches[0]
    await asyncio.gather(*(capture(store, *batch) for batch in (*batches, again)))
    kept = await store.learning.signals.between("t1", 1, 100)
    assert [one.sequence for one in kept] == list(range(1, 31))
    assert [one.frequency for one in kept] == list(range(30))
    assert {one.signal.signal_id for one in kept} == {one.signal.signal_id for batch in batches for one in batch}
    assert await store.learning.signals.first_unproved("t1") is None


async def test_more_than_a_statement_may_bind_is_refused(sqlite_store: Store) -> None:
    with pytest.raises(ValueError, match="at most"):
        await capture(sqlite_store, *(new(str(number)) for number in range(AT_MOST + 1)))
    assert len(await capture(sqlite_store, *(new(str(number)) for number in range(AT_MOST)))) == AT_MOST


@given(st.integers(0, 70))
def test_the_root_is_that_of_the_standard(size: int) -> None:
    leaves = [leaf_hash(bytes([number])) for number in range(size)]
    assert root(leaves) == tree_root(leaves)


async def test_one_signal_is_shown_to_belong_to_the_audit_row_of_its_batch(sqlite_store: Store) -> None:
    outcomes = await capture(sqlite_store, *(new(str(number)) for number in range(7)))
    [row] = [one.event async for one in sqlite_store.audit.stream("t1")]
    leaves = [leaf_hash(one.canonical) for one in outcomes if isinstance(one, Captured)]
    assert len(leaves) == 7
    for place, leaf in enumerate(leaves):
        path = inclusion_proof(leaves, place)
        assert verify_inclusion(leaf, place, 7, path, row.hashes[0].sha256)
        assert not verify_inclusion(leaf_hash(b"other"), place, 7, path, row.hashes[0].sha256)


TAMPERING = {
    "a byte is flipped": ("UPDATE learning_signals SET canonical = x'0a00' WHERE sequence = 5", 4),
    "one is dropped": ("DELETE FROM learning_signals WHERE sequence = 2", 1),
    "two change places": (
        "UPDATE learning_signals SET canonical = (SELECT canonical FROM learning_signals AS other "
        "WHERE other.sequence = 9 - learning_signals.sequence) WHERE sequence IN (4, 5)",
        4,
    ),
    "the last batch is cut off": ("DELETE FROM learning_signals WHERE sequence > 6", 7),
    "a column is changed": ("UPDATE learning_signals SET user_id = 'otto' WHERE sequence = 5", 5),
    "it is put under another key": ("UPDATE learning_signals SET key_id = zeroblob(16) WHERE sequence = 5", 5),
    "its key is left out": ("UPDATE learning_signals SET key_id = NULL WHERE sequence = 5", 5),
    "it becomes less urgent": ("UPDATE learning_signals SET priority_bp = 0 WHERE sequence = 9", 9),
    "one is slipped in": (
        "INSERT INTO learning_signals SELECT tenant_id, 10, 'x', 'x', domain, intake_path, safety_critical, user_id, "
        "priority_bp, captured_at, canonical, key_id FROM learning_signals WHERE sequence = 1",
        10,
    ),
}


@pytest.mark.parametrize("what", TAMPERING)
async def test_tampering_past_the_triggers_is_found(sqlite_store: Store, sqlite_url: str, what: str) -> None:
    for batch in range(3):
        await capture(sqlite_store, *(new(f"{batch}-{number}") for number in range(3)))
    assert await sqlite_store.learning.signals.first_unproved("t1") is None
    assert (await verify_store(sqlite_url, sqlite_store.trusted_keys())).ok
    statement, first = TAMPERING[what]
    with closing(sqlite3.connect(sqlite_url.removeprefix("sqlite:///"))) as raw:
        for verb in ("update", "delete"):
            raw.execute(f"DROP TRIGGER learning_signals_refuse_{verb}")
        assert raw.execute(statement).rowcount
        raw.commit()
    assert await sqlite_store.learning.signals.first_unproved("t1") == first
    for report in (await verify_store(sqlite_url, sqlite_store.trusted_keys()), await sqlite_store.verify("t1")):
        assert [(one.fault, one.tenant_id, one.sequence) for one in report.findings] == [
            (Fault.SIGNALS_DIFFER, "t1", first)
        ]


@pytest.mark.parametrize("captured", [True, False])
async def test_a_store_without_signals_verifies_unless_the_trail_tells_of_some(
    sqlite_store: Store, sqlite_url: str, captured: bool
) -> None:
    if captured:
        await capture(sqlite_store, new("1"))
    with closing(sqlite3.connect(sqlite_url.removeprefix("sqlite:///"))) as raw:
        raw.execute("DROP TABLE learning_signals")
        raw.commit()
    report = await verify_store(sqlite_url, sqlite_store.trusted_keys())
    assert [one.fault for one in report.findings] == ([Fault.UNREADABLE] if captured else [])


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE learning_signals SET user_id = user_id",
        "DELETE FROM learning_signals",
        "INSERT OR REPLACE INTO learning_signals SELECT * FROM learning_signals",
        "INSERT OR REPLACE INTO learning_signals SELECT tenant_id, 9, 'x', idempotency_key, domain, intake_path, "
        "safety_critical, user_id, priority_bp, captured_at, canonical, key_id FROM learning_signals",
    ],
)
async def test_sqlite_refuses_to_change_or_delete_a_signal(
    sqlite_store: Store, sqlite_url: str, statement: str
) -> None:
    await capture(sqlite_store, new("1"))
    with closing(sqlite3.connect(sqlite_url.removeprefix("sqlite:///"))) as raw:
        before = raw.execute("SELECT * FROM learning_signals").fetchall()
        with pytest.raises(sqlite3.IntegrityError, match="append-only"):
            raw.execute(statement)
        assert raw.execute("SELECT * FROM learning_signals").fetchall() == before


@pytest.mark.parametrize(
    "statement",
    ["UPDATE learning_signals SET user_id = user_id", "DELETE FROM learning_signals", "TRUNCATE learning_signals"],
)
async def test_postgresql_refuses_to_change_or_delete_a_signal(postgres_url: str, statement: str) -> None:
    from tests.support.stores import open_store

    store = await open_store(postgres_url)
    await capture(store, new("1"))
    await store.close()
    raw = await asyncpg.connect(postgres_url)
    for role in ("origin", "replica"):
        await raw.execute(f"SET session_replication_role = {role}")
        with pytest.raises(asyncpg.RestrictViolationError, match="append-only"):
            await raw.execute(statement)
    assert await raw.fetchval("SELECT count(*) FROM learning_signals") == 1
    await raw.close()


async def test_a_stream_never_goes_back(store: Store) -> None:
    async def advance(through: int, tenant: str = "t1") -> None:
        async with store.transaction() as tx:
            await tx.learning.streams.advance(tenant, "phone", through)
            audit(tx, tenant)

    for through in (3, 8, 5):
        await advance(through)
    await advance(2, "t2")
    positions = [await store.learning.streams.position(tenant, "phone") for tenant in ("t1", "t2", "t3")]
    assert positions == [8, 2, 0]


async def test_what_engines_left_is_taken_once_the_oldest_first(store: Store, clock: FakeClock) -> None:
    for name in ("1", "2", "1", "3"):
        async with store.transaction() as tx:
            await tx.learning.outbox.put([signal(name, reason_code=f"AT_{clock.monotonic():.0f}")])
            audit(tx)
        clock.advance(timedelta(seconds=1))
    assert await store.learning.outbox.waiting() == 3

    async def take(tx: Transaction) -> list[str]:
        audit(tx)
        return [one.signal.signal_id + one.signal.reason_code for one in await tx.learning.outbox.take(2)]

    assert [await store.perform(take) for _ in range(3)] == [["signal-1AT_0", "signal-2AT_1"], ["signal-3AT_3"], []]


async def test_two_that_take_at_once_take_different_ones(store: Store) -> None:
    async with store.transaction() as tx:
        await tx.learning.outbox.put([signal(str(number)) for number in range(40)])
        audit(tx)

    async def take(tx: Transaction) -> list[str]:
        audit(tx)
        return [one.signal.signal_id for one in await tx.learning.outbox.take(10)]

    taken = [name for names in await asyncio.gather(*(store.perform(take) for _ in range(6))) for name in names]
    assert sorted(taken) == sorted({f"signal-{number}" for number in range(40)})


async def test_what_was_taken_by_a_transaction_that_failed_is_there_again(store: Store) -> None:
    async with store.transaction() as tx:
        await tx.learning.outbox.put([signal("1")])
        audit(tx)
    with pytest.raises(RuntimeError):
        async with store.transaction() as tx:
            assert len(await tx.learning.outbox.take(10)) == 1
            raise RuntimeError
    assert await store.learning.outbox.waiting() == 1
