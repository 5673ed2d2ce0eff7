"""What drift may start by itself: 24 hours, 72 hours, three in 14 days; each freeze and its end are audited (§38.6)."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from selene.audit.v1.audit_pb2 import AuditEvent
from selene.learning.v1 import drift_pb2 as v1
from selene.voiceid.v2.service_pb2 import RE_ENROLLMENT_CAUSE_MARGIN_COMPRESSION, RE_ENROLLMENT_CAUSE_UNSPECIFIED

from servers.governance.controller import Controller
from servers.governance.recovering import CAUSES
from servers.learning.drift import recovery_of
from store import Store
from store.learning import Breach, Standing
from store.voiceid import Asked
from tests.support.dying import Dying, Killed
from tests.support.time import FakeClock

TENANT = "dev"
USER, COHORT = "user:mia", "cohort:noise:street"
HOUR, DAY, INSTANT = timedelta(hours=1), timedelta(days=1), timedelta(microseconds=1)
ALLOWED, STARTED = v1.DRIFT_OUTCOME_ADAPTATION_ALLOWED, v1.DRIFT_OUTCOME_STARTED
ADAPT, ENROL = v1.DRIFT_RECOVERY_ADAPTATION, v1.DRIFT_RECOVERY_REENROLMENT
REJECTS, DECAY = v1.DRIFT_DETECTOR_FALSE_REJECTS, v1.DRIFT_DETECTOR_QUALITY_DECAY


async def breached(
    store: Store, clock: FakeClock, recovery: v1.DriftRecovery = ADAPT, *, subject: str = USER, detector: int = 0
) -> None:
    """A breach; without a detector, of one that asks for such a recovery."""
    breach = Breach(
        tenant_id=TENANT,
        window_ends_at=clock.now(),
        subject=subject,
        detector=detector or (DECAY if recovery == ENROL else REJECTS),
        user_id=subject.removeprefix("user:") if subject == USER else "",
        recent=0.5,
        reference=0.01,
        samples=10,
        recovery=recovery,
    )
    async with store.transaction() as tx:
        await tx.learning.drift.note(breach)
        tx.audit(tenant_id=TENANT, owner="test", actor="test", transition="test.breached", reason_code="TEST")


async def decided(store: Store, clock: FakeClock, subject: str = USER) -> list[int]:
    """The outcomes of a subject's breaches, oldest first, once the controller looked."""
    await Controller(store, clock, every_s=3600).tick()
    return [one.outcome for one in await store.learning.drift.of_subject(TENANT, subject)]


async def trail(store: Store, transition: str) -> list[AuditEvent]:
    return [one.event async for one in store.audit.stream(TENANT) if one.event.transition == transition]


@pytest.mark.parametrize(
    ("recovery", "later", "outcome"),
    [
        (ADAPT, 24 * HOUR - INSTANT, v1.DRIFT_OUTCOME_ADAPTATION_RATE_LIMITED),
        (ADAPT, 24 * HOUR, ALLOWED),
        (ADAPT, 24 * HOUR + INSTANT, ALLOWED),
        (ENROL, 72 * HOUR - INSTANT, v1.DRIFT_OUTCOME_REENROLMENT_RATE_LIMITED),
        (ENROL, 72 * HOUR, STARTED),
        (ENROL, 72 * HOUR + INSTANT, STARTED),
    ],
)
async def test_a_recovery_starts_once_in_its_time(
    sqlite_store: Store, clock: FakeClock, recovery: v1.DriftRecovery, later: timedelta, outcome: v1.DriftOutcome
) -> None:
    await breached(sqlite_store, clock, recovery)
    begun = STARTED if recovery == ENROL else ALLOWED
    assert await decided(sqlite_store, clock) == [begun]
    clock.advance(later)
    await breached(sqlite_store, clock, recovery)
    assert await decided(sqlite_store, clock) == [begun, outcome]
    reasons = [row.reason_code for row in await trail(sqlite_store, "drift.recovery_decided")]
    assert len(reasons) == 2 and reasons[0] == "DRIFT_RECOVERY_ALLOWED"


@pytest.mark.parametrize(("apart", "frozen"), [(7 * DAY - INSTANT, True), (7 * DAY, True), (7 * DAY + INSTANT, False)])
async def test_three_breaches_within_14_days_freeze_adaptation_and_say_so_once(
    sqlite_store: Store, clock: FakeClock, apart: timedelta, frozen: bool
) -> None:
    for _ in range(3):
        await breached(sqlite_store, clock, subject=COHORT)
        outcomes = await decided(sqlite_store, clock, COHORT)
        clock.advance(apart)
    last = v1.DRIFT_OUTCOME_FROZEN if frozen else ALLOWED
    assert outcomes == [ALLOWED, ALLOWED, last]
    assert (await sqlite_store.learning.drift.standing(TENANT, COHORT)).frozen is frozen
    rows = await trail(sqlite_store, "drift.frozen")
    assert [row.reason_code for row in rows] == ["DRIFT_AUTO_APPLY_FROZEN"] * frozen


async def test_what_is_frozen_stays_so_until_a_review_and_asking_to_enrol_again_goes_on(
    store: Store, clock: FakeClock
) -> None:
    for detector in (1, 2, 3):
        await breached(store, clock, detector=detector)
    assert await decided(store, clock) == [v1.DRIFT_OUTCOME_FROZEN] * 3
    clock.advance(100 * DAY)
    async with store.transaction() as tx:
        await tx.learning.drift.forget(TENANT, clock.now())
        tx.audit(tenant_id=TENANT, owner="test", actor="test", transition="test.forgot", reason_code="TEST")
    await breached(store, clock)
    await breached(store, clock, ENROL, detector=4)
    assert await decided(store, clock) == [v1.DRIFT_OUTCOME_FROZEN, STARTED]
    assert len(await trail(store, "drift.frozen")) == 1

    async with store.transaction() as tx:
        await tx.learning.drift.locked(TENANT, USER)
        await tx.learning.drift.stands(TENANT, USER, Standing(reviewed_at=clock.now()))
        tx.audit(tenant_id=TENANT, owner="test", actor="test", transition="test.reviewed", reason_code="TEST")
    clock.advance(DAY)
    await breached(store, clock)
    assert (await decided(store, clock))[-1] == ALLOWED


async def test_of_two_breaches_of_one_window_one_recovery_starts(sqlite_store: Store, clock: FakeClock) -> None:
    await breached(sqlite_store, clock, detector=2)
    await breached(sqlite_store, clock, detector=3)
    assert await decided(sqlite_store, clock) == [ALLOWED, v1.DRIFT_OUTCOME_ADAPTATION_RATE_LIMITED]


async def test_users_and_cohorts_are_limited_each_by_themselves(sqlite_store: Store, clock: FakeClock) -> None:
    await breached(sqlite_store, clock)
    await breached(sqlite_store, clock, subject=COHORT)
    assert await decided(sqlite_store, clock) == [ALLOWED]
    assert await decided(sqlite_store, clock, COHORT) == [ALLOWED]
    rows = await trail(sqlite_store, "drift.recovery_decided")
    assert sorted(bool(row.hashes) for row in rows) == [False, True]
    assert not any("mia" in str(row) for row in rows)


async def test_four_controllers_decide_of_a_breach_once(store: Store, clock: FakeClock) -> None:
    await breached(store, clock)
    await asyncio.gather(*(Controller(store, clock, every_s=3600).tick() for _ in range(4)))
    assert await decided(store, clock) == [ALLOWED]
    assert len(await trail(store, "drift.recovery_decided")) == 1


async def test_a_recovery_by_enrolling_again_asks_the_user_for_it(store: Store, clock: FakeClock) -> None:
    await breached(store, clock, ENROL, detector=v1.DRIFT_DETECTOR_MARGIN_COMPRESSION)
    assert await decided(store, clock) == [STARTED]
    asked = Asked("mia", RE_ENROLLMENT_CAUSE_MARGIN_COMPRESSION, clock.now(), clock.now(), None)
    assert await store.voiceid.reenrollments.get(TENANT, "mia") == asked


@pytest.mark.parametrize("recovery", [ADAPT, ENROL])
async def test_what_is_not_started_asks_nobody_for_anything(
    sqlite_store: Store, clock: FakeClock, recovery: v1.DriftRecovery
) -> None:
    await breached(sqlite_store, clock, ADAPT)
    await decided(sqlite_store, clock)
    assert await sqlite_store.voiceid.reenrollments.get(TENANT, "mia") is None
    await breached(sqlite_store, clock, ENROL)
    await decided(sqlite_store, clock)
    asked = await sqlite_store.voiceid.reenrollments.get(TENANT, "mia")
    assert asked is not None
    clock.advance(72 * HOUR - INSTANT)
    await breached(sqlite_store, clock, recovery)
    await decided(sqlite_store, clock)
    assert await sqlite_store.voiceid.reenrollments.get(TENANT, "mia") == asked


async def test_who_was_told_late_is_told_again_72_hours_after_that(sqlite_store: Store, clock: FakeClock) -> None:
    await breached(sqlite_store, clock, ENROL)
    await decided(sqlite_store, clock)
    clock.advance(50 * HOUR)
    async with sqlite_store.transaction() as tx:
        assert await tx.voiceid.reenrollments.tell(TENANT, "mia", clock.now()) is not None
        tx.audit(tenant_id=TENANT, owner="test", actor="test", transition="test.told", reason_code="TEST")
    clock.advance(22 * HOUR)
    await breached(sqlite_store, clock, ENROL)
    assert (await decided(sqlite_store, clock))[-1] == STARTED
    asked = await sqlite_store.voiceid.reenrollments.get(TENANT, "mia")
    assert asked is not None and asked.tell_from == clock.now() + 50 * HOUR


@pytest.mark.parametrize("committed", [False, True])
async def test_the_user_is_asked_where_it_is_decided_and_not_otherwise(
    store: Store, clock: FakeClock, committed: bool
) -> None:
    await breached(store, clock, ENROL)
    with pytest.raises(Killed):
        await Controller(Dying(store, 1, committed=committed), clock, every_s=3600).tick()
    [breach] = await store.learning.drift.of_subject(TENANT, USER)
    assert (breach.outcome == STARTED) is committed
    assert (await store.voiceid.reenrollments.get(TENANT, "mia") is not None) is committed
    assert await decided(store, clock) == [STARTED]
    assert await store.voiceid.reenrollments.get(TENANT, "mia") is not None


def test_whatever_asks_for_a_new_enrolment_says_why() -> None:
    asking = [each for each in v1.DriftDetector.values() if recovery_of(USER, each) == ENROL]
    assert sorted(CAUSES) == sorted(asking)
    assert len(set(CAUSES.values()) - {RE_ENROLLMENT_CAUSE_UNSPECIFIED}) == len(asking)
