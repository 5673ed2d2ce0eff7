"""The loop that looks for drift: once a day and tenant, wherever a process dies (§38.6)."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from selene.audit.v1.audit_pb2 import AuditEvent
from selene.learning.v1 import drift_pb2 as v1
from selene.learning.v1.signal_pb2 import PRIVACY_SCOPE_USER, SIGNAL_CLASS_DRIFT_ALERT, LearningSignal

from servers.learning.drifting import Watch, window_before
from servers.runtime.signals import Producer
from store import Store
from tests.support.dying import Dying, Killed
from tests.support.time import FakeClock
from tests.support.voices import TENANT, Turn, heard

DAY = timedelta(days=1)
MISHEARD = [Turn(speaker=f"u{number}") for number in range(3)]
"""Three enrolled speakers whom nobody recognised: a breach of their cohorts."""
COHORTS = ["cohort:device:kitchen", "cohort:language:en", "cohort:noise:home"]


def watch(store: Store, clock: FakeClock, *tenants: str) -> Watch:
    return Watch(store, clock, Producer("PH1.LEARN", frozenset(tenants)), every_s=3600)


async def trail(store: Store, transition: str) -> list[AuditEvent]:
    return [one.event async for one in store.audit.stream(TENANT) if one.event.transition == transition]


async def left(store: Store) -> list[LearningSignal]:
    async with store.transaction() as tx:
        found = [one.signal for one in await tx.learning.outbox.take(100)]
        tx.audit(tenant_id=TENANT, owner="test", actor="test", transition="test.taken", reason_code="TEST")
    return found


@pytest.mark.parametrize(
    ("now", "ended"),
    [
        (datetime(2026, 3, 2, tzinfo=UTC), datetime(2026, 3, 2, tzinfo=UTC)),
        (datetime(2026, 3, 2, 23, 59, 59, 999_999, tzinfo=UTC), datetime(2026, 3, 2, tzinfo=UTC)),
        (datetime(2026, 3, 3, tzinfo=UTC), datetime(2026, 3, 3, tzinfo=UTC)),
    ],
)
def test_a_window_ends_at_midnight(now: datetime, ended: datetime) -> None:
    assert window_before(now) == ended


async def test_a_breach_is_kept_audited_and_told_to_learning_once(store: Store, clock: FakeClock) -> None:
    await heard(store, MISHEARD, clock.now() + timedelta(hours=3))
    looking = watch(store, clock, TENANT)
    clock.advance(DAY - timedelta(microseconds=1))
    assert [await looking.tick(), *await store.learning.drift.page(TENANT, limit=9)] == [1]
    clock.advance(timedelta(microseconds=1))
    assert [await looking.tick(), await looking.tick()] == [1, 0]

    breaches = await store.learning.drift.page(TENANT, limit=9)
    assert sorted(one.subject for one in breaches) == COHORTS
    assert {(one.detector, one.recent, one.reference, one.samples, one.outcome) for one in breaches} == {
        (v1.DRIFT_DETECTOR_FALSE_REJECTS, 1.0, 0.01, 3, v1.DRIFT_OUTCOME_UNSPECIFIED)
    }
    assert [row.reason_code for row in await trail(store, "drift.breached")] == ["DRIFT_FALSE_REJECTS"] * 3
    assert [row.reason_code for row in await trail(store, "drift.looked")] == ["DRIFT_NOT_FOUND", "DRIFT_FOUND"]
    signals = await left(store)
    assert [one.signal_class for one in signals] == [SIGNAL_CLASS_DRIFT_ALERT] * 3
    assert {one.user_id for one in signals} == {"anonymous"}


async def test_a_tenant_that_does_not_consent_leaves_no_signal_and_still_a_breach(
    sqlite_store: Store, clock: FakeClock
) -> None:
    await heard(sqlite_store, MISHEARD, clock.now())
    clock.advance(DAY)
    assert await watch(sqlite_store, clock, "another").tick() == 1
    assert await left(sqlite_store) == []
    assert len(await sqlite_store.learning.drift.page(TENANT, limit=9)) == 3


@pytest.mark.parametrize("consents", [False, True])
async def test_a_users_breach_names_them_nowhere_but_in_a_signal_that_they_consent_to(
    sqlite_store: Store, clock: FakeClock, consents: bool
) -> None:
    await heard(sqlite_store, [Turn(named="mia") for _ in range(40)], clock.now())
    clock.advance(DAY)
    await heard(sqlite_store, [Turn(named="mia", poor=True) for _ in range(10)], clock.now())
    if consents:
        await enrolled(sqlite_store, "mia")
    clock.advance(DAY)
    await watch(sqlite_store, clock, TENANT).tick()
    [breach] = await sqlite_store.learning.drift.of_subject(TENANT, "user:mia")
    assert (breach.user_id, breach.recovery) == ("mia", v1.DRIFT_RECOVERY_REENROLMENT)
    rows = [row for row in await trail(sqlite_store, "drift.breached") if row.hashes]
    assert len(rows) == 1
    assert "mia" not in str(rows[0])
    named = [one for one in await left(sqlite_store) if one.user_id == "mia"]
    assert [one.privacy_scope for one in named] == ([PRIVACY_SCOPE_USER] if consents else [])
    assert all("mia" not in one.signal_id for one in named)


async def enrolled(store: Store, user_id: str) -> None:
    async with store.transaction() as tx:
        await tx.voiceid.profiles.lock(
            TENANT, user_id, model_set_hash="h", embedding=b"e", clip_count=29, voiced_ms=90_000, consent_ref="c-1"
        )
        tx.audit(tenant_id=TENANT, owner="test", actor="test", transition="test.locked", reason_code="TEST")


async def test_confused_pairs_are_those_of_the_last_14_days(store: Store, clock: FakeClock) -> None:
    confused = Turn(named="mia", speaker="noa")
    await heard(store, [confused, Turn(named="eli", next_to="ida", speaker="eli")], clock.now())
    clock.advance(DAY)
    await heard(store, [Turn(named="noa", speaker="mia")], clock.now())
    looking = watch(store, clock)
    clock.advance(13 * DAY)
    assert await looking.tick() == 1
    pairs = await store.learning.confusion.top(TENANT, limit=9)
    assert [(one.first_user_id, one.second_user_id, one.collisions, one.close_calls) for one in pairs] == [
        ("mia", "noa", 2, 0),
        ("eli", "ida", 0, 1),
    ]
    clock.advance(DAY)
    assert await looking.tick() == 1
    pairs = await store.learning.confusion.top(TENANT, limit=9)
    assert [(one.first_user_id, one.collisions) for one in pairs] == [("mia", 1)]


async def test_a_breach_is_told_of_for_90_days(sqlite_store: Store, clock: FakeClock) -> None:
    await heard(sqlite_store, MISHEARD, clock.now())
    clock.advance(DAY)
    looking = watch(sqlite_store, clock)
    for days, kept in ((0, 3), (90, 3), (1, 0)):
        clock.advance(days * DAY)
        await looking.tick()
        assert len(await sqlite_store.learning.drift.page(TENANT, limit=9)) == kept


async def test_four_processes_look_at_a_day_once(store: Store, clock: FakeClock) -> None:
    await heard(store, MISHEARD, clock.now())
    clock.advance(DAY)
    assert sum(await asyncio.gather(*(watch(store, clock, TENANT).tick() for _ in range(4)))) == 1
    assert len(await trail(store, "drift.looked")) == 1
    assert len(await left(store)) == 3


@pytest.mark.parametrize("committed", [False, True])
async def test_a_look_that_dies_is_done_once(store: Store, clock: FakeClock, committed: bool) -> None:
    await heard(store, MISHEARD, clock.now())
    clock.advance(DAY)
    dying = Dying(store, 1, committed=committed)
    with pytest.raises(Killed):
        await watch(dying, clock, TENANT).tick()
    assert await watch(store, clock, TENANT).tick() == (0 if committed else 1)
    assert len(await trail(store, "drift.looked")) == 1
    assert len(await trail(store, "drift.breached")) == 3
    assert len(await left(store)) == 3


async def test_every_tenant_is_looked_at_by_itself(sqlite_store: Store, clock: FakeClock) -> None:
    await heard(sqlite_store, MISHEARD, clock.now())
    await heard(sqlite_store, [Turn(named="mia")], clock.now(), tenant_id="acme")
    clock.advance(DAY)
    assert await sqlite_store.learning.drift.due(clock.now()) == ["acme", TENANT]
    assert await watch(sqlite_store, clock).tick() == 2
    assert await sqlite_store.learning.drift.due(clock.now()) == []
    assert await sqlite_store.learning.drift.page("acme", limit=9) == []
