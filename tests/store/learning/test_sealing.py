"""What a producer said of a user lies sealed under that user's key: destroying it erases, and nothing else breaks."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from selene.learning.v1 import signal_pb2 as nouns
from sqlalchemy import Connection, select

from store import Store, Transaction
from store.engine import open_database
from store.learning import CAPTURED, Captured, Erased, ErasedSignals, NewSignal, Outcome, signals_root
from store.learning.row import subject_of
from store.learning.tables import signals
from store.vault import sealed_under
from tests.support.signals import signal
from tests.support.stores import audit
from tests.support.time import FakeClock

TENANT = "t1"
SECRET = "audio://what-mira-said"


async def capture(store: Store, *wanted: nouns.LearningSignal, tenant: str = TENANT) -> Sequence[Outcome]:
    async def work(tx: Transaction) -> Sequence[Outcome]:
        new = [NewSignal(one, nouns.INTAKE_PATH_IMPROVEMENT) for one in wanted]
        outcomes = await tx.learning.signals.capture(tenant, new, lambda *_: 1)
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


async def erase(store: Store, user_id: str) -> ErasedSignals:
    async with store.transaction() as tx:
        erased = await tx.learning.signals.erase(TENANT, user_id)
        audit(tx)
    return erased


async def kept(url: str) -> list[tuple[str, str, bytes | None, bytes]]:
    """Id, user, key and bytes of every signal, as the database holds them."""
    database = open_database(url, lock_timeout_s=5.0, connections=1)
    rows = await database.reader.rows(select(signals).order_by(signals.c.tenant_id, signals.c.sequence))
    await database.close()
    return [(row.signal_id, row.user_id, row.key_id and bytes(row.key_id), bytes(row.canonical)) for row in rows]


async def test_the_database_holds_neither_whose_a_signal_is_nor_what_it_says(store: Store, store_url: str) -> None:
    await capture(store, signal("1", input_ref=SECRET), signal("2"), signal("3", user_id="otto"))
    rows = await kept(store_url)
    key = await store.vault.key(TENANT, subject_of("mira"))
    assert [user_id for _, user_id, _, _ in rows] == ["", "", ""]
    assert [key_id == key.key_id for _, _, key_id, _ in rows] == [True, True, False]
    for word in (SECRET, "mira", "otto", "kitchen", "s-1"):
        assert not any(word.encode() in canonical for *_, canonical in rows)
    assert [one.signal.input_ref for one in await store.learning.signals.between(TENANT, 1, 1)] == [SECRET]


async def test_of_an_erased_signal_only_what_it_is_found_by_is_left(store: Store, store_url: str) -> None:
    await capture(store, signal("1", input_ref=SECRET), signal("2", user_id="otto"), signal("3"))
    before = await store.learning.signals.between(TENANT, 1, 3)
    rows = await kept(store_url)
    erased = await erase(store, "mira")
    assert (erased.key_ids, erased.signals, erased.unsealed) == ((rows[0][2],), 2, 0)
    after = await store.learning.signals.between(TENANT, 1, 3)
    assert after[1] == before[1]
    for one, was in ((after[0], before[0]), (after[2], before[2])):
        left = nouns.LearningSignal(
            signal_id=was.signal.signal_id,
            tenant_id=TENANT,
            idempotency_key=was.signal.idempotency_key,
            domain=was.signal.domain,
        )
        assert (one.erased, one.signal) == (True, left)
        assert (one.sequence, one.priority_bp, one.captured_at) == (was.sequence, was.priority_bp, was.captured_at)
    assert await store.learning.signals.page(TENANT, user_id="mira") == []
    assert [one.erased for one in (await store.learning.signals.by_ids(TENANT, ["signal-1"])).values()] == [True]
    assert await kept(store_url) == rows
    assert await store.learning.signals.first_unproved(TENANT) is None
    assert (await store.verify(TENANT)).ok


async def test_a_signal_that_was_erased_is_not_taken_on_again(store: Store) -> None:
    await capture(store, signal("1"))
    await erase(store, "mira")
    assert await capture(store, signal("1"), signal("1", impact_estimate_bp=1)) == [Erased("signal-1")] * 2
    [fresh] = await capture(store, signal("2"))
    assert isinstance(fresh, Captured)
    assert await store.learning.signals.ids_of_user(TENANT, "mira") == ["signal-2"]


async def test_everyones_signals_are_erased_within_one_tenant(store: Store) -> None:
    await capture(store, signal("1"), signal("2", user_id="otto"))
    await capture(store, signal("1", "t2"), tenant="t2")
    erased = await erase(store, "")
    assert (len(erased.key_ids), erased.signals) == (2, 2)
    assert [one.erased for one in await store.learning.signals.between("t2", 1, 1)] == [False]
    assert await erase(store, "") == ErasedSignals((), 0, 0)


async def test_what_was_erased_is_never_learned_from_again_also_where_consent_is_given_anew(
    store: Store, clock: FakeClock
) -> None:
    await capture(store, signal("1"), signal("2", user_id="otto"))
    await erase(store, "mira")
    clock.advance(timedelta(seconds=1))
    async with store.transaction() as tx:
        await tx.governance.consents.grant(TENANT, "mira", None)
        audit(tx)
    await capture(store, signal("3"))
    ended = await store.governance.consents.ended(TENANT, ["signal-1", "signal-2", "signal-3"], clock.now())
    assert ended == {"signal-1"}


async def test_a_consent_that_ended_is_seen_through_the_key(store: Store, clock: FakeClock) -> None:
    await capture(store, signal("1"), signal("2", user_id="otto"))
    async with store.transaction() as tx:
        await tx.governance.consents.grant(TENANT, "mira", clock.now() + timedelta(days=1))
        await tx.governance.consents.grant(TENANT, "otto", None)
        audit(tx)
    both = ["signal-1", "signal-2"]
    assert not await store.governance.consents.any_ended(TENANT, both, clock.now())
    later = clock.now() + timedelta(days=1)
    assert await store.governance.consents.ended(TENANT, both, later) == {"signal-1"}
    assert await store.governance.consents.signal_ids(TENANT, "otto", later) == ["signal-2"]


async def test_a_profile_that_is_revoked_leaves_what_was_learned_under_its_own_consent(store: Store) -> None:
    await capture(store, signal("1"))
    key = await store.vault.key(TENANT, subject_of("mira"))
    voice = await _voice_key(store)
    assert key.key_id != voice
    async with store.transaction() as tx:
        assert await tx.vault.destroy(TENANT, "mira")
        audit(tx)
    assert [one.erased for one in await store.learning.signals.between(TENANT, 1, 1)] == [False]


async def _voice_key(store: Store) -> bytes | None:
    async with store.transaction() as tx:
        sealed = await tx.vault.seal(TENANT, "mira", "test", b"embedding")
        audit(tx)
    return sealed_under(sealed)


@pytest.fixture
async def old_store(store: Store, store_url: str, clock: FakeClock) -> Store:
    """With a signal from before signals were sealed."""
    now = Timestamp()
    now.FromDatetime(clock.now())
    row = nouns.CapturedSignal(
        signal=signal("1"), intake_path=nouns.INTAKE_PATH_IMPROVEMENT, priority_bp=1, sequence=1, captured_at=now
    )
    made = Captured(row, False, row.SerializeToString(deterministic=True))
    columns = {
        "tenant_id": TENANT,
        "sequence": 1,
        "signal_id": "signal-1",
        "idempotency_key": "key-1",
        "domain": row.signal.domain,
        "intake_path": row.intake_path,
        "safety_critical": 0,
        "user_id": "mira",
        "priority_bp": 1,
        "captured_at": clock.now(),
        "canonical": made.canonical,
    }
    database = open_database(store_url, lock_timeout_s=5.0, connections=1)

    def insert(connection: Connection) -> None:
        connection.execute(signals.insert(), [columns])

    await database.writer.exclusively(insert)
    await database.close()
    async with store.transaction() as tx:
        tx.audit(
            tenant_id=TENANT,
            owner="PH1.FEEDBACK",
            actor="system",
            transition=CAPTURED,
            reason_code="CAPTURED",
            hashes={"signals": signals_root([made])},
            facts={"first": "1", "last": "1"},
        )
    return store


async def test_signals_from_before_they_were_sealed_are_read_found_and_told_apart(
    old_store: Store, clock: FakeClock
) -> None:
    [old] = await old_store.learning.signals.between(TENANT, 1, 1)
    assert (old.signal, old.erased) == (signal("1"), False)
    assert await old_store.learning.signals.ids_of_user(TENANT, "mira") == ["signal-1"]
    assert [one.signal.signal_id for one in await old_store.learning.signals.page(TENANT, user_id="mira")] == [
        "signal-1"
    ]
    assert await old_store.governance.consents.signal_ids(TENANT, "mira", clock.now()) == ["signal-1"]
    assert await old_store.learning.signals.first_unproved(TENANT) is None
    assert (await erase(old_store, "otto")).unsealed == 0
    assert (await erase(old_store, "mira")).unsealed == 1
    async with old_store.transaction() as tx:
        await tx.governance.consents.end(TENANT, "mira")
        audit(tx)
    assert await old_store.governance.consents.ended(TENANT, ["signal-1"], clock.now()) == {"signal-1"}
