from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest
from selene.common.v1.scope_pb2 import Scope, ScopeType, TurnRef

from store import Conflict, Store, StoreError, UnauditedChange
from store.ledger import AuditFilter, row_hash
from tests.support.stores import audit, open_store


async def enrolled(store: Store, enrollment_id: str) -> None:
    async with store.transaction() as tx:
        await tx.voiceid.enrollments.start("t1", enrollment_id, user_id="u1", device_id="d1", consent_ref="c1")
        audit(tx)


async def test_a_change_without_an_audit_row_is_refused_and_undone(store: Store) -> None:
    with pytest.raises(UnauditedChange):
        async with store.transaction() as tx:
            await tx.voiceid.devices.set_owner("t1", "d1", "u1")
    assert await store.voiceid.devices.owner("t1", "d1") is None


async def test_an_audit_row_needs_no_change(store: Store) -> None:
    async with store.transaction() as tx:
        audit(tx, transition="request.refused")
    assert await store.audit.size("t1") == 1


async def test_reading_needs_no_audit_row(store: Store) -> None:
    async with store.transaction() as tx:
        assert await tx.voiceid.devices.owner("t1", "d1") is None
    assert await store.audit.size("t1") == 0


async def test_an_exception_undoes_the_change_and_its_audit_row(store: Store) -> None:
    with pytest.raises(LookupError):
        async with store.transaction() as tx:
            await tx.voiceid.devices.set_owner("t1", "d1", "u1")
            audit(tx)
            raise LookupError
    assert await store.voiceid.devices.owner("t1", "d1") is None
    assert await store.audit.size("t1") == 0


async def test_an_uncommitted_change_is_seen_inside_only(store: Store) -> None:
    async with store.transaction() as tx:
        await tx.voiceid.devices.set_owner("t1", "d1", "u1")
        audit(tx)
        assert await tx.voiceid.devices.owner("t1", "d1") == "u1"
        assert await store.voiceid.devices.owner("t1", "d1") is None
    assert await store.voiceid.devices.owner("t1", "d1") == "u1"


async def test_a_swallowed_database_error_ends_the_transaction(store: Store) -> None:
    await enrolled(store, "e1")
    with pytest.raises(StoreError, match="swallowed"):
        async with store.transaction() as tx:
            await tx.voiceid.profiles.lock(
                "t1", "u1", embedding=b"e", model_set_hash="m", clip_count=1, voiced_ms=1, consent_ref="c1"
            )
            audit(tx)
            with pytest.raises(Conflict):
                await tx.write(tx.insert(_profiles()).values(**_duplicate_profile()))
    assert await store.voiceid.profiles.current("t1", "u1") is None


def _profiles() -> object:
    from store.schema import profiles

    return profiles


def _duplicate_profile() -> dict[str, object]:
    return {
        "tenant_id": "t1",
        "user_id": "u1",
        "profile_version": 1,
        "model_set_hash": "m",
        "sealed": b"",
        "clip_count": 1,
        "voiced_ms": 1,
        "consent_ref": "c1",
        "created_at": datetime(2026, 1, 1, tzinfo=UTC),
    }


async def test_an_audit_event_keeps_everything_it_was_given(store: Store) -> None:
    async with store.transaction() as tx:
        event_id = tx.audit(
            tenant_id="t1",
            owner="PH1.VOICE.ID",
            actor="a" * 64,
            transition="voiceid.decided",
            reason_code="VID_OK",
            scope=Scope(scope_type=ScopeType.SCOPE_TYPE_USER, scope_id="u1"),
            turn=TurnRef(correlation_id="corr", turn_id="turn"),
            session_id="s1",
            device_id="d1",
            idempotency_key="k1",
            hashes={"pack": b"p" * 32, "audio": b"a" * 32},
            facts={"tier": "CONFIRMED", "score_bp": "9900"},
        )
    (chained,) = await store.audit.page("t1")
    event = chained.event
    assert (event.event_id, event.sequence, event.owner) == (event_id, 1, "PH1.VOICE.ID")
    assert event.occurred_at.ToDatetime(tzinfo=UTC) == datetime(2026, 1, 1, tzinfo=UTC)
    assert [named.name for named in event.hashes] == ["audio", "pack"]
    assert [(named.name, named.value) for named in event.facts] == [("score_bp", "9900"), ("tier", "CONFIRMED")]
    assert (event.scope.scope_id, event.turn.correlation_id, event.session_id) == ("u1", "corr", "s1")


async def test_a_digest_of_the_wrong_length_is_refused(sqlite_store: Store) -> None:
    async with sqlite_store.transaction() as tx:
        with pytest.raises(ValueError, match="31 bytes"):
            tx.audit(
                tenant_id="t1",
                owner="o",
                actor="system",
                transition="a.b",
                reason_code="OK",
                hashes={"audio": bytes(31)},
            )


async def test_chains_are_gapless_per_tenant_under_concurrent_writers_of_two_servers(store_url: str) -> None:
    stores = [await open_store(store_url, prefix=f"server{number}") for number in range(2)]

    async def write(number: int) -> None:
        async with stores[number % 2].transaction() as tx:
            audit(tx, "t1", number=str(number))
            audit(tx, f"t{number % 3}", number=str(number))

    await asyncio.gather(*(write(number) for number in range(30)))
    for tenant_id in ("t0", "t1", "t2"):
        events = await stores[0].audit.page(tenant_id)
        assert [chained.event.sequence for chained in events] == list(range(1, len(events) + 1))
        previous = bytes(32)
        for chained in events:
            assert chained.prev_hash == previous
            assert chained.row_hash == row_hash(previous, chained.event.SerializeToString(deterministic=True))
            previous = chained.row_hash
    assert await stores[0].audit.size("t1") == 40
    for store in stores:
        await store.close()


async def test_the_trail_is_filtered_by_owner_correlation_scope_session_and_time(store: Store) -> None:
    scope = Scope(scope_type=ScopeType.SCOPE_TYPE_USER, scope_id="u1")
    async with store.transaction() as tx:
        audit(tx, transition="other.thing")
        tx.audit(
            tenant_id="t1",
            owner="PH1.VOICE.ID",
            actor="system",
            transition="voiceid.decided",
            reason_code="OK",
            scope=scope,
            turn=TurnRef(correlation_id="corr"),
            session_id="s1",
        )
    filters = [
        AuditFilter(owner="PH1.VOICE.ID"),
        AuditFilter(transition="voiceid.decided"),
        AuditFilter(correlation_id="corr"),
        AuditFilter(session_id="s1"),
        AuditFilter(scope=scope),
    ]
    for only in filters:
        assert [chained.event.sequence for chained in await store.audit.page("t1", only=only)] == [2]
    assert await store.audit.page("t1", only=AuditFilter(since=datetime(2026, 1, 2, tzinfo=UTC))) == []
    assert [chained.event.sequence async for chained in store.audit.stream("t1", after=1)] == [2]
    assert await store.audit.page("t2") == []
